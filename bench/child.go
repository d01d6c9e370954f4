//go:build cgo && linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// childEnv names what a child process measures, followed by a space and its arguments.
const childEnv = "FFIWAKER_BENCH_CHILD"

// A childResult is what a child process has measured: those of the numbers that it is for.
type childResult struct {
	Threads float64 // of the process, while all operations are pending
	Bytes   float64 // resident memory for each operation or task
	Last    float64 // ns from the first wake to the last result
	Wake    float64 // ns that a thread takes for one wake
	Loop    float64 // ns per round of a loop
}

// runChild does the work of a child process, if this is one: it measures and prints the result.
// It reports whether this is one.
func runChild() bool {
	what := os.Getenv(childEnv)
	if what == "" {
		return false
	}
	name, rest, _ := strings.Cut(what, " ")
	var n int
	fmt.Sscan(rest, &n)
	measure := map[string]func() childResult{
		"tracing": func() childResult {
			var loop string
			fmt.Sscanf(rest, "%d %q", &n, &loop)
			return childResult{Loop: runTracingLoop(loop, n)}
		},
		"futures":    pendingFutures,
		"goroutines": pendingGoroutines,
		"idle":       func() childResult { return idle(n) },
		"idleGo":     func() childResult { return idleGo(n) },
	}[name]
	json.NewEncoder(os.Stdout).Encode(measure())
	return true
}

// child measures in a separate process, so that no other measurement adds threads or memory to it.
func child(what string) childResult { return childOf(self(), what) }

// childOf is child in another program: a build of this one.
func childOf(exe, what string) childResult {
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		panic("bench: child " + what + ": " + err.Error())
	}
	var r childResult
	if err := json.Unmarshal(out, &r); err != nil {
		panic(err)
	}
	return r
}

// procStatus returns a number of /proc/self/status.
func procStatus(name string) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			var v float64
			fmt.Sscan(rest, &v)
			return v
		}
	}
	panic("bench: no " + name + " in /proc/self/status")
}
