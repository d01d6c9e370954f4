//go:build cgo && linux

package main

import "fmt"

// measureCurves measures the cost curves. If there is no Rust, tokio's is left out.
func measureCurves(command string) (*curves, error) {
	rust, noRust := startRust()
	if noRust == nil {
		defer rust.stop()
	}
	c := &curves{header: thisMachine(command)}
	add := func(plot, name string, runs func(n int) int, measure func(n int) float64) {
		line := curve{plot: plot, name: name}
		for _, n := range sizes {
			value := medianOf(runs(n), func() float64 { return measure(n) })()
			line.values = append(line.values, value)
		}
		c.curves = append(c.curves, line)
	}
	byTime := func(n int) int { return max(3, 101_000/n) }
	three := func(int) int { return 3 }
	add("time", "ffiwaker", byTime, perTask)
	if noRust == nil {
		add("time", "tokio", byTime, func(n int) float64 { return rust.ask("tokio_per_task", n) })
	}
	add("time", "goroutines and channels", byTime, perGoroutine)
	add("memory", "ffiwaker: task, future and handle", three, func(n int) float64 {
		return child(fmt.Sprint("idle ", n)).Bytes
	})
	add("memory", "goroutine blocked on a channel", three, func(n int) float64 {
		return child(fmt.Sprint("idleGo ", n)).Bytes
	})
	return c, nil
}
