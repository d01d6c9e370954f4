//go:build unix

// Command mutate edits the code that holds the state words, one edit at a time, and checks that a
// test, a sanitizer or a model notices. It never edits the tree: C is compiled from a copy, Go is
// built with an overlay.
//
//	go run ./internal/proof/mutate [-only c|go|orders] [-match REGEXP] [-by REGEXP] [-every N]
//		[-jobs 2] [-list] [-v] [-rounds 3] [-explained] [-hints] [-unhinted] [-limit 15m] [-keep FOLDER]
//		[-unthinned] [-alone]
//
// It reads three lists, whose keys name a mutant as -list prints it:
//
//   - equivalent.txt: mutants that nothing in a run notices, with the reason. Any other mutant that
//     nothing notices is an error. With -explained those of the list run too, and one that is
//     noticed is an error.
//   - modelled.txt: mutants that only a weak memory order shows, or an interleaving that no machine
//     produces in time. It names a model's broken twin with the same edit, which runs instead and
//     must fail.
//   - noticed.txt: the test that noticed a mutant the last time, which runs first. It only saves
//     time. -hints writes it again: without keys that name no mutant, and unchanged for mutants
//     that did not run. With -unhinted, only mutants that it does not have run.
//
// The exit status is 1 if a mutant survives, or if a key of the first two lists names no mutant.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

// mutant is one edit. key names it in the lists; it does not depend on the lines before it.
type mutant struct {
	kind, file, key string
	line, number    int
	text            []byte // the whole file, edited
	thinned         string // the rule by which it does not run; empty: none
}

// verdict is the result of running a mutant.
type verdict struct {
	by   string // what noticed it; empty: nothing did
	none string // why it is not a mutant
	race bool   // the race detector noticed it

	unreached bool // no test runs the edited place
}

//go:embed equivalent.txt
var equivalents string

//go:embed noticed.txt
var noticed string

//go:embed modelled.txt
var modelled string

const noticedHead = "# Which test notices which mutant: a hint that saves time. " +
	"Written by mutate -hints.\n"

var (
	only      = flag.String("only", "", "run only mutants of this `kind`: c, go or orders")
	match     = flag.String("match", "", "run only mutants whose key matches the `regexp`")
	jobs      = flag.Int("jobs", 2, "run `n` mutants at a time")
	list      = flag.Bool("list", false, "list the mutants, and run none")
	by        = flag.String("by", "", "run only mutants whose hint matches the `regexp`")
	every     = flag.Int("every", 1, "run only every `n`th mutant")
	verbose   = flag.Bool("v", false, "print each mutant when it is done")
	explained = flag.Bool("explained", false, "run those of equivalent.txt too")
	rounds    = flag.Int("rounds", 3, "a mutant survives if all tests pass `n` times: threads differ")
	hints     = flag.Bool("hints", false, "write noticed.txt again")
	unhinted  = flag.Bool("unhinted", false, "run only mutants without a hint in noticed.txt")
	keep      = flag.String("keep", "", "leave the test programs in this `folder`, and use them again")
	unthinned = flag.Bool("unthinned", false, "also those that the rules of thin.go leave out")
	alone     = flag.Bool("alone", false, "in Go, stop at the first package that reaches the edit")
	limit     = flag.Duration("limit", 0, "start no mutant after this time; do not report the rest")
)

func main() {
	flag.Parse()
	tool.Run(*keep, run)
}

func run(temp string) int {
	reasons, hint := tool.Table(equivalents, " # "), tool.Table(noticed, "\t")
	twins := tool.Table(modelled, "\t")
	var all, whole []mutant
	began := time.Now()
	want, whose := regexp.MustCompile(*match), regexp.MustCompile(*by)
	n := 0
	listed := slices.Concat(orders(), inC(), inGo())
	for _, m := range listed {
		if *unthinned || m.thinned == "" && sampled(m) {
			whole = append(whole, m)
		}
	}
	for _, m := range whole {
		if *unhinted && (hint[m.key] != "" || twins[m.key] != "" || m.kind == "orders") {
			continue
		}
		if *only != "" && *only != m.kind || !want.MatchString(m.key) ||
			*by != "" && !whose.MatchString(hint[m.key]) {
			continue
		}
		if n++; n%*every == 0 {
			all = append(all, m)
		}
	}
	if n == 0 && !*unhinted {
		fmt.Fprintln(os.Stderr, "mutate: no mutant matches (-list names them)")
		return 2
	}
	if *list {
		for _, m := range all {
			fmt.Printf("%s:%d\t%s\n", m.file, m.line, m.key)
		}
		return 0
	}
	c, g := newCLab(temp, all), newGoLab(temp, all)
	got := make([]verdict, len(all))
	var wg sync.WaitGroup
	next := make(chan int)
	for job := range *jobs {
		wg.Go(func() {
			for i := range next {
				m := all[i]
				if reasons[m.key] != "" && !*explained {
					continue
				}
				start := time.Now()
				dir := filepath.Join(temp, fmt.Sprint(job))
				if twins[m.key] != "" {
					got[i].by = byModel(twins[m.key])
				}
				switch {
				case got[i].by != "":
				case m.kind == "go":
					got[i] = g.try(m, hint[m.key])
				case m.kind == "orders":
					got[i] = tryOrders(dir, m)
				default:
					got[i] = c.try(dir, m, hint[m.key])
				}
				if *verbose {
					fmt.Printf("%5.1fs %-40s %s:%d %s\n", time.Since(start).Seconds(), shown(got[i]),
						m.file, m.line, m.key)
				}
			}
		})
	}
	done := 0
	for i := range all {
		if *limit != 0 && time.Since(began) > *limit {
			break
		}
		next <- i
		done++
	}
	close(next)
	wg.Wait()
	if done < len(all) {
		fmt.Printf("LEFT OUT    %d of %d: the time is up\n", len(all)-done, len(all))
		all, got = all[:done], got[:done]
	}
	if *hints {
		for i, v := range got {
			delete(hint, all[i].key)
			if v.by != "" && all[i].kind != "orders" && !strings.HasPrefix(v.by, "model") {
				hint[all[i].key] = v.by
			}
		}
		text := noticedHead
		for _, m := range listed {
			if hint[m.key] != "" {
				text += m.key + "\t" + hint[m.key] + "\n"
			}
		}
		tool.Check(os.WriteFile("internal/proof/mutate/noticed.txt", []byte(text), 0o644))
	}
	fmt.Printf("%d mutants ran in %.0f s\n", len(all), time.Since(began).Seconds())
	return max(report(all, got, reasons), stale(listed, "equivalent.txt", reasons),
		stale(listed, "modelled.txt", twins))
}

// stale reports the keys of a list that name no mutant: the code has changed since.
func stale(whole []mutant, file string, list map[string]string) (status int) {
	known := map[string]bool{}
	for _, m := range whole {
		known[m.key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(list)) {
		if !known[key] {
			fmt.Printf("STALE       %s: %s\n", file, key)
			status = 1
		}
	}
	return status
}

// byModel runs the model's broken twin that has the same edit. It returns what noticed; empty if
// the run passed.
func byModel(twin string) string {
	words := strings.Fields(twin)
	failed, out := command(4*time.Minute, ".", nil, "internal/proof/model/"+words[0], words[1:]...)
	if !failed || !strings.Contains(out, "FAIL loom") { // left out, or no such twin
		return ""
	}
	return "model: " + twin
}

func shown(v verdict) string {
	if v.unreached {
		return "NOT REACHED"
	}
	if v.by == "" && v.none == "" {
		return "SURVIVED"
	}
	return v.by + v.none
}

func report(all []mutant, got []verdict, reasons map[string]string) (status int) {
	type sum struct{ made, caught, equivalent, none int }
	sums := map[string]*sum{"orders": {}, "c": {}, "go": {}}
	for i, v := range got {
		m := all[i]
		s := sums[m.kind]
		reason, is := reasons[m.key]
		if v.none != "" {
			s.none++
			continue
		}
		s.made++
		switch {
		case is && v.by != "":
			s.caught++
			fmt.Printf("NOTICED     %s:%d %s: by %s, but equivalent.txt has it\n",
				m.file, m.line, m.key, v.by)
			status = 1
		case is:
			s.equivalent++
			fmt.Printf("equivalent  %s:%d %s: %s\n", m.file, m.line, m.key, reason)
		case v.by != "":
			s.caught++
		default:
			fmt.Printf("%-11s %s:%d %s\n", shown(v), m.file, m.line, m.key)
			status = 1
		}
	}
	fmt.Println()
	var total sum
	for _, kind := range []string{"orders", "c", "go"} {
		s := sums[kind]
		fmt.Printf("%-7s %4d mutants, %4d caught, %3d explained as equivalent; "+
			"%3d more change nothing, or do not compile\n", kind, s.made, s.caught, s.equivalent, s.none)
		total.made += s.made
		total.caught += s.caught
		total.equivalent += s.equivalent
	}
	by := map[string]int{}
	for _, v := range got {
		if v.race {
			by["race detector"]++
		} else if v.by != "" {
			what, _, _ := strings.Cut(v.by, " Test")
			if strings.HasPrefix(v.by, "model: ") {
				what = "a model's twin"
			}
			by[what]++
		}
	}
	var names []string
	for what, n := range by {
		names = append(names, fmt.Sprintf("%4d by %s", n, what))
	}
	slices.Sort(names)
	slices.Reverse(names)
	fmt.Println(strings.Join(names, "\n"))
	if tally := os.Getenv("PROOF_TALLY"); tally != "" {
		f, err := os.OpenFile(tally, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		tool.Check(err)
		fmt.Fprintf(f, "mutants\t%d\tmutate\ncaught\t%d\tmutate\nequivalent\t%d\tmutate\n",
			total.made, total.caught, total.equivalent)
		tool.Check(f.Close())
	}
	return status
}

// patience is how long a run of a mutant may take if the unedited code takes that long. Beyond it
// the mutant hangs, even on a busy machine.
func patience(took time.Duration) time.Duration { return 2*time.Second + 8*took }

// command runs a command for at most limit; noticed: it failed, or did not end.
func command(
	limit time.Duration, dir string, env []string, name string, arg ...string,
) (noticed bool, out string) {
	bounded := []string{"-k", "1", fmt.Sprintf("%.1f", limit.Seconds()), name}
	cmd := exec.Command("timeout", append(bounded, arg...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	return err != nil, string(text)
}
