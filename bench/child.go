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

const childEnv = "FFIWAKER_BENCH_CHILD"

// runChild is the whole of a child: it measures what it was told to and prints it.
func runChild(what string) {
	name, rest, _ := strings.Cut(what, " ")
	var n int
	fmt.Sscan(rest, &n)
	measure := map[string]func() pending{
		"off": func() pending {
			var loop string
			fmt.Sscanf(rest, "%d %q", &n, &loop)
			return pending{last: runOff(loop, n)}
		},
		"futures": pendingFutures, "goroutines": pendingGoroutines,
		"idle":   func() pending { return idle(n) },
		"idleGo": func() pending { return idleGo(n) },
	}[name]
	p := measure()
	json.NewEncoder(os.Stdout).Encode([]float64{p.threads, p.bytes, p.last, p.wake})
}

// child measures in a process of its own, whose threads and memory are those of the measurement.
func child(what string) pending { return childOf(self(), what) }

func childOf(exe, what string) pending {
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		panic("bench: child " + what + ": " + err.Error())
	}
	var v [4]float64
	if err := json.Unmarshal(out, &v); err != nil {
		panic(err)
	}
	return pending{v[0], v[1], v[2], v[3]}
}

// procStatus is a number of /proc/self/status.
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
