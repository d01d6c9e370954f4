// Command bench measures every figure of the library beside a peer, in one run:
//
//	go run ./bench              measures and prints every figure: a quarter of an hour
//	go run ./bench -run BlockOn measures only the figures whose names match
//	go run ./bench -quick       leaves out the figures that take long: four minutes
//	go run ./bench -v           also prints what each peer is
//	go run ./bench -save        keeps the figures in bench/results, then does what -write does
//	go run ./bench -plots       the same for the cost curves of docs/: two minutes
//	go run ./bench -write       measures nothing: renders RESULTS.md and the plots of docs/
//	                            from bench/results
//
// It prints one line per figure, tab-separated: name, ours, peer, ratio, goal. Lower is better;
// each number is a median over interleaved pairs. README.md describes how each figure is measured.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	if runChild() {
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options say which figures to measure.
type options struct {
	pairs          int
	only           *regexp.Regexp
	quick, verbose bool
}

// selected reports whether the name and the speed of f are what o asks for.
func (o options) selected(f figure) bool {
	return o.only.MatchString(f.name) && !(o.quick && f.slow)
}

// run is the command. It returns the exit status.
func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	var o options
	flags.IntVar(&o.pairs, "pairs", 9, "measure `N` interleaved pairs of each figure")
	only := flags.String("run", "", "measure only the figures that match this `REGEXP`")
	flags.BoolVar(&o.quick, "quick", false, "leave out the figures that take long")
	flags.BoolVar(&o.verbose, "v", false, "print what each peer is")
	list := flags.Bool("list", false, "print the figures' names and measure nothing")
	save := flags.Bool("save", false, "keep the figures in bench/results and render RESULTS.md")
	plots := flags.Bool("plots", false, "measure the cost curves, keep them and draw them")
	write := flags.Bool("write", false, "render RESULTS.md and the plots, and measure nothing")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	usage := func(problem string) int {
		fmt.Fprintf(errs, "bench: %s (go run ./bench -h lists the flags)\n", problem)
		return 2
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return usage("-run: " + err.Error())
	}
	partial := o.quick || *only != ""
	switch {
	case flags.NArg() > 0:
		return usage("unknown argument " + flags.Arg(0))
	case o.pairs < 1:
		return usage("-pairs: at least 1")
	case (*save || *plots) && partial:
		return usage("-save and -plots keep a whole run: leave out -run and -quick")
	}
	fail := func(err error) int {
		fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	var dir string
	if *save || *plots || *write {
		if dir, err = benchDir(); err != nil {
			return fail(err)
		}
	}
	command := strings.Join(append([]string{"go run ./bench"}, args...), " ")
	switch {
	case *list:
		for _, f := range figures() {
			if o.selected(f) {
				fmt.Fprintln(out, f.name)
			}
		}
		return 0
	case *plots:
		var c *curves
		if c, err = measureCurves(command); err == nil {
			err = saveFile(dir, c)
		}
	case !*write:
		var r *results
		if r, err = measureFigures(o, command, out); err == nil && *save {
			err = saveFile(dir, r)
		}
	}
	if err != nil {
		return fail(err)
	}
	if *save || *plots || *write {
		all, err := readAll(dir)
		if err != nil {
			return fail(err)
		}
		page, err := all.write(dir)
		if err != nil {
			return fail(err)
		}
		for _, problem := range all.problems(page, figures()) {
			fmt.Fprintln(errs, "bench:", problem)
		}
	}
	return 0
}
