//go:build cgo && linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// figures are all of them, in the order of RESULTS.md.
func figures() []figure {
	return slices.Concat(loops, waits, crossings, sendings, tasks, redisModule, examples,
		tracingOff())
}

// measureFigures measures what o selects, and prints each figure once it is known.
func measureFigures(o options, command string, out io.Writer) (*results, error) {
	selected := slices.DeleteFunc(figures(), func(f figure) bool {
		return !o.only.MatchString(f.name)
	})
	var rust *rustPeers
	var noRust error
	if slices.ContainsFunc(selected, func(f figure) bool { return f.rust != "" || f.rustOurs != "" }) {
		if rust, noRust = startRust(); noRust == nil {
			defer rust.stop()
		}
	}
	defer removeBuilds()
	go removeBuildsOnSignal()

	r := &results{header: thisMachine(command)}
	r.pairs = strconv.Itoa(o.pairs)
	r.valgrind = strings.TrimPrefix(versionOf("valgrind"), "valgrind-")
	fmt.Fprint(out, r.header, columns)
	for _, f := range selected {
		if reason := f.leftOut(o, noRust); reason != "" {
			l := leftOut{f.name, reason}
			r.leftOut = append(r.leftOut, l)
			fmt.Fprint(out, l)
			continue
		}
		if f.rustOurs != "" {
			f.ours = func() float64 { return rust.ask(f.rustOurs, f.rustN) }
		}
		if f.rust != "" {
			f.other = rust.peer(f)
		}
		if f.examples.names != nil {
			f.both = f.examples.sums
			for _, part := range f.examples.leftOut() {
				l := leftOut{f.name + ", part " + part.name, part.reason}
				r.leftOut = append(r.leftOut, l)
				fmt.Fprint(out, l)
			}
		}
		if o.verbose && f.peer != "" {
			fmt.Fprintf(out, "# peer: %s\n", f.peer)
		}
		pairs := o.pairs
		if f.pairs > 0 {
			pairs = min(pairs, f.pairs)
		}
		m := f.measure(pairs)
		row := row{f.name, m.ours, m.peer, m.ratio, f.goal}
		r.rows = append(r.rows, row)
		fmt.Fprint(out, row)
	}
	return r, nil
}

// leftOut returns why f cannot be measured, or "".
func (f figure) leftOut(o options, noRust error) string {
	if o.quick && f.slow {
		return "slow"
	}
	if f.needs != "" {
		if _, err := exec.LookPath(f.needs); err != nil {
			return err.Error()
		}
	}
	if (f.rust != "" || f.rustOurs != "") && noRust != nil {
		return noRust.Error()
	}
	if f.prepare != nil {
		if err := f.prepare(); err != nil {
			return err.Error()
		}
	}
	if f.examples.names != nil {
		return f.examples.noneReason()
	}
	return ""
}

// builds is a temporary folder for the programs of the tracing figures, or "" as long as there is
// none. The lock is never released by removeBuildsOnSignal, so that nothing is built after it.
var (
	buildsLock sync.Mutex
	builds     string
)

func buildsDir() string {
	buildsLock.Lock()
	defer buildsLock.Unlock()
	if builds == "" {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			panic(err)
		}
		builds = dir
	}
	return builds
}

func removeBuilds() {
	buildsLock.Lock()
	defer buildsLock.Unlock()
	os.RemoveAll(builds)
}

func removeBuildsOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	buildsLock.Lock()
	os.RemoveAll(builds)
	os.Exit(1)
}
