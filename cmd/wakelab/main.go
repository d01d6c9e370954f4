// Wakelab shows what wakers do and what they cost: the article's examples one after the other, and the bytes of a waker in
// C, Go and Rust.
//
//	go run ./cmd/wakelab           every example of the article, with its polls, wakes and CPU time
//	go run ./cmd/wakelab layout    where the fields of a waker are
//	go run ./cmd/wakelab help      everything else
//
// It uses the library's public names only, so its files are also examples of them: tour.go drives futures, meter.go wraps
// one, layout.go takes a waker apart.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// A command is one word on the command line.
type command struct {
	name string
	does string // one line
	run  func(out io.Writer)
}

// commands in the order in which help lists them. The first is the one that runs where none is named.
func commands() []command {
	return []command{
		{"tour", "every example of the article: what it prints and what it costs (the default)", tour},
		{"layout", "the bytes of a waker, its vtable and a context: C beside Go beside Rust", layout},
		{"help", "this list", help},
	}
}

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	name := commands()[0].name
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		if len(args) > 1 {
			fmt.Fprintf(stderr, "wakelab: %s takes no arguments\n", name)
			return 2
		}
		out := &output{w: stdout}
		c.run(out)
		if out.err != nil {
			fmt.Fprintf(stderr, "wakelab: %s: %v\n", name, out.err)
			return 1
		}
		return 0
	}
	fmt.Fprintf(stderr, "wakelab: no command %q; did you mean %q? See: wakelab help\n", name, nearest(name))
	return 2
}

// output remembers the first error and then writes no more, so that commands need not look at each. It does not buffer:
// the tour is watched while it runs.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (n int, err error) {
	if o.err == nil {
		n, o.err = o.w.Write(p)
	}
	return n, o.err
}

func help(out io.Writer) {
	fmt.Fprint(out, "Usage: wakelab [command]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(out, "  %-8s  %s\n", c.name, c.does)
	}
}

// nearest is the known command that takes the fewest edits.
func nearest(name string) string {
	best, fewest := "", -1
	for _, c := range commands() {
		if n := edits(strings.ToLower(name), c.name); fewest < 0 || n < fewest {
			best, fewest = c.name, n
		}
	}
	return best
}

// edits is the Levenshtein distance: how many bytes to insert, delete or replace.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
