//go:build cgo && linux

// Bench measures every figure of the library beside a peer, in one run:
//
//	go run ./bench             all of them; about four minutes
//	go run ./bench -run BlockOn
//	go run ./bench -v          also says what each peer is
//	go run ./bench -plots docs draws the cost curves into a folder, and measures nothing else
//
// One line a figure, tab-separated: name, ours, peer, ratio, goal. Lower is better; each number is a median over
// interleaved pairs. README.md here says how each is measured, RESULTS.md what came out.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"
)

func main() {
	if what := os.Getenv(childEnv); what != "" {
		runChild(what)
		return
	}
	pairs := flag.Int("pairs", 9, "interleaved pairs for each figure")
	only := flag.String("run", "", "only the figures that match this regular expression")
	quick := flag.Bool("quick", false, "without those that take long")
	list := flag.Bool("list", false, "name the figures, and measure none")
	verbose := flag.Bool("v", false, "say what each peer is")
	folder := flag.String("plots", "", "draw the cost curves into this folder")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil || *pairs < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench [-pairs N] [-run REGEXP] [-quick] [-list] [-v] [-plots FOLDER]")
		os.Exit(2)
	}
	all := slices.Concat(loops, waits, border, tasks, off())
	all = slices.DeleteFunc(all, func(f figure) bool { return !wanted.MatchString(f.name) })
	if *list {
		for _, f := range all {
			if !*quick || !f.slow {
				fmt.Println(f.name)
			}
		}
		return
	}
	end := func() {
		for _, f := range cleanUp {
			f()
		}
	}
	defer end()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		end()
		os.Exit(1)
	}()
	rust, noRust := startRust()
	if noRust == nil {
		defer rust.stop()
	}
	if *folder != "" {
		if err := plots(*folder, rust); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	fmt.Printf("# %s %s/%s, %d CPUs, %s, %d pairs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		time.Now().Format(time.DateOnly), *pairs)
	fmt.Println("# name\tours\tpeer\tratio\tgoal")
	for _, f := range all {
		if *quick && f.slow {
			fmt.Printf("# left out: %s: slow\n", f.name)
			continue
		}
		if f.needs != "" {
			if _, err := exec.LookPath(f.needs); err != nil {
				fmt.Printf("# left out: %s: %v\n", f.name, err)
				continue
			}
		}
		if f.rust != "" || f.rustOurs != "" {
			if noRust != nil {
				fmt.Printf("# left out: %s: %v\n", f.name, noRust)
				continue
			}
			if f.rustOurs != "" {
				f.ours = func() float64 { return rust.ask(f.rustOurs, f.rustN) }
			}
			if f.rust != "" {
				f.other = rust.peer(f)
			}
		}
		if *verbose && f.peer != "" {
			fmt.Printf("# peer: %s\n", f.peer)
		}
		n := *pairs
		if f.pairs > 0 {
			n = min(n, f.pairs)
		}
		r := f.run(n)
		fmt.Printf("%s\t%.4g\t%.4g\t%.3g\t%.4g\n", f.name, r.ours, r.peer, r.ratio, f.goal)
	}
}
