//go:build cgo

// Bench measures every figure of the library beside a peer, in one run:
//
//	go run ./bench             all of them; about two minutes
//	go run ./bench -run BlockOn
//	go run ./bench -v          also says what each peer is
//
// One line a figure, tab-separated: name, ours, peer, ratio, goal; lines that begin with # say what the columns are, what was
// left out, and at last on which machine this was. Lower is better; each number is a median over
// interleaved pairs. README.md here says how each is measured, RESULTS.md what came out.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"
)

func main() {
	pairs := flag.Int("pairs", 9, "interleaved pairs for each figure")
	only := flag.String("run", "", "only the figures that match this regular expression")
	verbose := flag.Bool("v", false, "say what each peer is")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil || *pairs < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench [-pairs N] [-run REGEXP] [-v]")
		os.Exit(2)
	}
	rust := sync.OnceValues(startRust) // only where a figure needs it
	load := loadBefore()
	progress := func(string) {}
	if at, err := os.Stderr.Stat(); err == nil && at.Mode()&os.ModeCharDevice != 0 {
		progress = func(name string) { fmt.Fprintf(os.Stderr, "\r\x1b[K%s", name) }
	}
	fmt.Println("# name\tours\tpeer\tratio\tgoal")
	for _, f := range slices.Concat(loops, waits) {
		if !wanted.MatchString(f.name) {
			continue
		}
		progress(f.name)
		if f.rust != "" {
			peers, err := rust()
			if err != nil {
				progress("")
				fmt.Printf("# left out: %s: %v\n", f.name, err)
				continue
			}
			f.other = func() float64 { return peers.ask(f.rust, f.rustN) }
		}
		r := f.run(*pairs)
		progress("")
		if *verbose && f.peer != "" {
			fmt.Printf("# peer: %s\n", f.peer)
		}
		fmt.Printf("%s\t%.4g\t%.4g\t%.3g\t%.4g\n", f.name, r.ours, r.peer, r.ratio, f.goal)
	}
	fmt.Printf("# %s; %s %s/%s; %s; %d pairs%s\n", machine(), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		time.Now().Format(time.DateOnly), *pairs, load)
}
