//go:build cgo && linux

package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// curve is one line of a plot, a value for each of sizes.
type curve struct {
	name, colour string
	values       []float64
}

var sizes = []int{1000, 10_000, 100_000, 1_000_000}

// plots measures the cost curves and draws them. rust is nil where there is none: then tokio's is left out.
func plots(folder string, rust *rustPeers) error {
	each := func(runs func(n int) int, measure func(n int) float64) (values []float64) {
		for _, n := range sizes {
			values = append(values, several(runs(n), func() float64 { return measure(n) })())
		}
		return values
	}
	byTime := func(n int) int { return max(3, 101_000/n) }
	three := func(int) int { return 3 }
	times := []curve{{"ffiwaker", "#0b6e4f", each(byTime, perTask)}}
	if rust != nil {
		times = append(times, curve{"tokio", "#b5532a", each(byTime, func(n int) float64 { return rust.ask("tokio_per_task", n) })})
	}
	times = append(times, curve{"goroutines and channels", "#3a5a9b", each(byTime, perGoroutine)})
	bytes := []curve{
		{"ffiwaker: task, future and handle", "#0b6e4f", each(three, func(n int) float64 { return child(fmt.Sprint("idle ", n)).bytes })},
		{"goroutine blocked on a channel", "#3a5a9b", each(three, func(n int) float64 { return child(fmt.Sprint("idleGo ", n)).bytes })},
	}
	for _, p := range []struct {
		file, title, unit string
		curves            []curve
	}{
		{"tasks-time.svg", "Time for a task: spawned, asleep, woken, over; all at once", "ns", times},
		{"tasks-memory.svg", "Resident memory for a task asleep on a waker", "bytes", bytes},
	} {
		if err := os.WriteFile(filepath.Join(folder, p.file), []byte(draw(p.title, p.unit, p.curves)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// machine is what a reader needs to know of where it was measured.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.TrimSpace(strings.TrimLeft(rest, "\t :"))
				break
			}
		}
	}
	return fmt.Sprintf("%d CPUs, %s, %s, %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version(), time.Now().Format(time.DateOnly))
}

// draw is a plot with two logarithmic axes, each value written where it is.
func draw(title, unit string, curves []curve) string {
	const width, height, left, right, top, bottom = 760.0, 400.0, 90.0, 60.0, 50.0, 330.0
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		low, high = min(low, slices.Min(c.values)), max(high, slices.Max(c.values))
	}
	low, high = math.Floor(2*math.Log10(low))/2, math.Ceil(2*math.Log10(high))/2
	x := func(i int) float64 { return left + (width-left-right)*float64(i)/float64(len(sizes)-1) }
	y := func(v float64) float64 { return bottom - (bottom-top)*(math.Log10(v)-low)/(high-low) }

	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12" fill="#222">`, width, height)
	say(`<title>%s</title>`, title)
	say(`<rect width="100%%" height="100%%" fill="#fff"/>`)
	say(`<text x="%.0f" y="24" font-size="15" font-weight="bold">%s</text>`, left, title)
	for e := math.Ceil(low); e <= high; e++ {
		at := y(math.Pow(10, e))
		say(`<path d="M%.0f %.1fH%.0f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end">%s %s</text>`, left, at, width-right, left-8, at+4, thousands(math.Pow(10, e)), unit)
	}
	for i, n := range sizes {
		say(`<path d="M%.1f %.0fV%.0f" stroke="#eee"/><text x="%.1f" y="%.0f" text-anchor="middle">%s tasks</text>`, x(i), top, bottom, x(i), bottom+18, thousands(float64(n)))
	}
	at := left // of the next name
	for _, c := range curves {
		say(`<path d="M%.0f %.0fh18" stroke="%s" stroke-width="3"/><text x="%.0f" y="%.0f">%s</text>`, at, bottom+36, c.colour, at+24, bottom+40, c.name)
		at += 50 + 6.5*float64(len(c.name))
	}
	for _, c := range curves {
		points := make([]string, len(c.values))
		for i, v := range c.values {
			points[i] = fmt.Sprintf("%.1f,%.1f", x(i), y(v))
		}
		say(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`, strings.Join(points, " "), c.colour)
		for i, v := range c.values {
			dx, dy, anchor := 0.0, -7.0, "middle"
			for _, other := range curves {
				// Two that are close: the lower one's number goes beside it.
				if o := other.values[i]; o > v && y(v)-y(o) < 20 {
					dx, dy, anchor = 7, 11, "start"
				}
			}
			say(`<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/><text x="%.1f" y="%.1f" fill="%s" text-anchor="%s" font-size="11">%s</text>`,
				x(i), y(v), c.colour, x(i)+dx, y(v)+dy, c.colour, anchor, thousands(math.Round(v)))
		}
	}
	say(`<text x="%.0f" y="%.0f" font-size="10" fill="#555">make plots: %s. Medians; both axes are logarithmic.</text>`, left, height-8, machine())
	say(`</svg>`)
	return b.String()
}

// thousands writes a whole number with commas.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
