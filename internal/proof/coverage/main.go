//go:build unix

// Command coverage lists the statements of the library that no test runs, and checks that each has
// a reason in missed.txt.
//
//	go run ./internal/proof/coverage [-only c|go] [-list] [-keep FOLDER]
//
// Go is measured with go test -coverprofile, merged over the library's packages and over builds:
// as it is, with FFIWAKERDEBUG=audit=1 and trace, with the tag ffiwakerdebug and without cgo. C is
// measured with clang's source-based coverage, whose counters are in a mapped file: a process that
// aborts leaves them too. There, what is counted is a region: statements without a jump, and each
// operand of && and ||.
//
// A line of missed.txt is a key, " # " and a reason. A key is the file, the function, and the first
// line of the statements that are missed; or * for all of the function. A reason that begins with
// "sometimes: " is for statements that run only if threads meet.
//
// The exit status is 1 if a missed statement is not in the list, if one of the list is covered or
// does not exist, or if a package, or a file of C, is covered by less than 97 %.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

//go:embed missed.txt
var missed string

const goal = 97.0

var (
	only = flag.String("only", "", "measure only this `language`: c or go")
	list = flag.Bool("list", false, "print each missed statement as a line of missed.txt")
	keep = flag.String("keep", "", "leave profiles and programs in this `folder`")
)

// place is where statements without a jump are, from their first byte to their last.
type place struct {
	file                  string
	line, column, to, end int
}

// statements are those of one place.
type statements struct {
	n     int // how many
	count int // how often a test ran them
	key   string
}

// measured is all that was measured in one language.
type measured map[place]*statements

func (m measured) add(p place, n, count int) {
	if m[p] == nil {
		m[p] = &statements{n: n}
	}
	m[p].count += count
}

func main() {
	flag.Parse()
	tool.Run(*keep, func(dir string) int { return report(measure(dir)) })
}

func measure(dir string) measured {
	all := measured{}
	if *only != "c" {
		maps.Copy(all, measureGo(dir))
	}
	if *only != "go" {
		if _, err := exec.LookPath("clang"); err != nil {
			fmt.Println("left out C: no clang")
			*only = "go"
		} else {
			maps.Copy(all, measureC(dir))
		}
	}
	return all
}

// fatal prints what a command printed, and exits.
func fatal(what string, out []byte, err error) {
	fmt.Fprintf(os.Stderr, "%s\ncoverage: %s: %v\n", out, what, err)
	os.Exit(2)
}

// each calls f for every item, two at a time.
func each[T any](items []T, f func(i int, item T)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 2 {
		wg.Go(func() {
			for i := range next {
				f(i, items[i])
			}
		})
	}
	for i := range items {
		next <- i
	}
	close(next)
	wg.Wait()
}

func report(all measured) (status int) {
	reasons, used := tool.Table(missed, " # "), map[string]bool{}
	type sum struct{ n, covered int }
	sums := map[string]*sum{}
	add := func(what string, s *statements) {
		if sums[what] == nil {
			sums[what] = &sum{}
		}
		sums[what].n += s.n
		if s.count > 0 {
			sums[what].covered += s.n
		}
	}
	var lines []string
	for _, p := range all.sorted() {
		s := all[p]
		add(p.file, s)
		if d := filepath.Dir(p.file); strings.HasSuffix(p.file, ".go") {
			add(d, s)
		}
		whole := strings.Join(strings.SplitN(s.key, ": ", 3)[:2], ": ") + ": *"
		key := s.key
		if reasons[key] == "" && reasons[whole] != "" {
			key = whole
		}
		reason := reasons[key]
		used[key] = used[key] || s.count == 0 || strings.HasPrefix(reason, "sometimes: ")
		switch {
		case s.count > 0:
		case reason == "":
			lines = append(lines, fmt.Sprintf("MISSED  %s:%d %s", p.file, p.line, s.key))
			status = 1
		case *list:
			lines = append(lines, fmt.Sprintf("missed  %s:%d %s # %s", p.file, p.line, key, reason))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(reasons)) {
		if is := strings.Contains(key, ".c: "); is && *only == "go" || !is && *only == "c" {
			continue
		}
		if !used[key] {
			lines = append(lines, "COVERED, or no longer there: "+key)
			status = 1
		}
	}
	fmt.Println(strings.Join(lines, "\n"))
	for _, what := range slices.Sorted(maps.Keys(sums)) {
		s := sums[what]
		percent, low := 100*float64(s.covered)/float64(s.n), ""
		if percent < goal && (!strings.HasSuffix(what, ".go")) {
			low, status = fmt.Sprintf(" BELOW %.0f %%", goal), 1
		}
		if strings.HasSuffix(what, ".go") {
			what = "  " + filepath.Base(what)
		}
		fmt.Printf("%-34s %5.1f %%  %4d of %4d%s\n", what, percent, s.covered, s.n, low)
	}
	return status
}

// sorted returns the places in their order, and gives each its key.
func (m measured) sorted() []place {
	places := slices.SortedFunc(maps.Keys(m), func(a, b place) int {
		if a.file != b.file {
			return strings.Compare(a.file, b.file)
		}
		if a.line != b.line {
			return a.line - b.line
		}
		if a.column != b.column {
			return a.column - b.column
		}
		return b.to - a.to
	})
	seen := map[string]int{}
	files := map[string]*source{}
	for _, p := range places {
		f := files[p.file]
		if f == nil {
			f = newSource(p.file)
			files[p.file] = f
		}
		key := fmt.Sprintf("%s: %s: %s", p.file, f.function(p), f.text(p))
		if seen[key]++; seen[key] > 1 {
			key += fmt.Sprintf(" (%d)", seen[key])
		}
		m[p].key = key
	}
	return places
}
