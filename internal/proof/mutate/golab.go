//go:build unix

package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

// goLab holds the test programs, which contain every edit. Each is built when it first runs.
type goLab struct {
	dir, overlay string

	built map[string]*suite
}

// suite is the tests of one package.
type suite struct {
	once    sync.Once
	Hash    string
	Skipped []string // tests that fail without an edit: of collected objects, which the edits keep
	Tests   []goTest // the quickest first
	Reached [][]int  // by each of Tests: the numbers of the edits
}

// goTest is a test, or a subtest of one.
type goTest struct {
	Name string
	Took time.Duration
}

func newGoLab(temp string, all []mutant) *goLab {
	l := &goLab{dir: filepath.Join(temp, "go"), built: map[string]*suite{}}
	for _, p := range testsGo {
		l.built[p] = new(suite)
	}
	if !slices.ContainsFunc(all, func(m mutant) bool { return m.kind == "go" }) {
		return l
	}
	tool.Check(os.MkdirAll(l.dir, 0o755))
	here, err := os.Getwd()
	tool.Check(err)
	replace := map[string]string{}
	for _, m := range inGo() {
		to := filepath.Join(l.dir, strings.ReplaceAll(m.file, "/", "_"))
		if replace[filepath.Join(here, m.file)] == "" {
			tool.Check(os.WriteFile(to, m.text, 0o644))
			replace[filepath.Join(here, m.file)] = to
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	tool.Check(err)
	l.overlay = filepath.Join(l.dir, "overlay.json")
	tool.Check(os.WriteFile(l.overlay, overlay, 0o644))
	return l
}

// suite returns a package's tests, built and measured. With -keep, it reads what an earlier run has
// left, unless a source has changed since.
func (l *goLab) suite(p string) *suite {
	s := l.built[p]
	s.once.Do(func() {
		state := l.program(p) + ".json"
		hash := hashOf(p)
		if text, err := os.ReadFile(state); err == nil && json.Unmarshal(text, s) == nil &&
			s.Hash == hash {
			return
		}
		s.Hash, s.Skipped, s.Tests, s.Reached = hash, nil, nil, nil
		l.build(p, s)
		text, err := json.Marshal(s)
		tool.Check(err)
		tool.Check(os.WriteFile(state, text, 0o644))
	})
	return s
}

// hashOf is of everything that a package's test program is made of, and of what edits it.
func hashOf(p string) string {
	h := sha256.New()
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard", "*.go", "*.c", "*.h",
		"go.mod", "go.sum")
	out, err := list.Output()
	tool.Check(err)
	for _, f := range strings.Fields(string(out)) {
		other := strings.HasSuffix(f, "_test.go") && filepath.Dir(f) != p ||
			strings.HasPrefix(f, "internal/proof/") && !strings.HasSuffix(f, "/mutate/go.go") &&
				!strings.HasPrefix(f, "internal/proof/mutate/switches/")
		if text, err := os.ReadFile(f); err == nil && !other {
			fmt.Fprintf(h, "%s %d\n%s", f, len(text), text)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (l *goLab) build(p string, s *suite) {
	began := time.Now()
	failed, out := command(10*time.Minute, ".", nil, "go", "test", "-race", "-c", "-vet=off",
		"-overlay", l.overlay, "-o", l.program(p), "./"+p)
	if failed {
		tool.Check(fmt.Errorf("%s: %s", p, out))
	}
	// The tests must pass without an edit.
	r := l.run(p, 0, "", 2*time.Minute)
	for tries := 1; r.failed && tries < 6; tries++ {
		if tries%2 == 0 { // else it was perhaps for the machine's load
			s.Skipped = append(s.Skipped, r.test)
			fmt.Printf("%s: left out: %s fails without an edit\n", p, r.test)
		}
		r = l.run(p, 0, "", 2*time.Minute)
	}
	if r.failed {
		tool.Check(fmt.Errorf("%s fails without an edit, in %s: %s", p, r.test, r.out))
	}
	passed := regexp.MustCompile(`(?m)^ *--- PASS: (\S+) \(([\d.]+s)\)`)
	parents, whole := map[string]bool{}, map[string]bool{}
	for _, m := range passed.FindAllStringSubmatch(r.out, -1) {
		name := subject(m[1])
		if whole[name] {
			continue // one of its subtests, whose lines follow
		}
		took, err := time.ParseDuration(m[2])
		tool.Check(err)
		whole[name] = name == m[1]
		// A subtest whose name has a slash has no line of what precedes the slash: all count.
		if i := slices.IndexFunc(s.Tests, func(t goTest) bool { return t.Name == name }); i >= 0 {
			s.Tests[i].Took += took
			continue
		}
		s.Tests = append(s.Tests, goTest{name, took})
		if before, _, is := strings.Cut(name, "/"); is {
			parents[before] = true
		}
	}
	s.Tests = slices.DeleteFunc(s.Tests, func(t goTest) bool { return parents[t.Name] })
	slices.SortStableFunc(s.Tests, func(a, b goTest) int { return cmp.Compare(a.Took, b.Took) })
	s.Reached = make([][]int, len(s.Tests))
	next := make(chan int)
	var wg sync.WaitGroup
	for job := range *jobs {
		wg.Go(func() {
			file := fmt.Sprintf("%s.reached.%d", l.program(p), job)
			for i := range next {
				tool.Check(os.WriteFile(file, nil, 0o644))
				l.run(p, 0, pattern(s.Tests[i].Name), time.Minute, "MUTANT_REACHED="+file)
				text, err := os.ReadFile(file)
				tool.Check(err)
				for k := 0; k+1 < len(text); k += 2 {
					s.Reached[i] = append(s.Reached[i], int(text[k])|int(text[k+1])<<8)
				}
				slices.Sort(s.Reached[i])
				s.Reached[i] = slices.Compact(s.Reached[i])
			}
		})
	}
	for i := range s.Tests {
		next <- i
	}
	close(next)
	wg.Wait()
	fmt.Printf("%s: %d tests, built and measured in %.0f s\n", p, len(s.Tests),
		time.Since(began).Seconds())
}

func (l *goLab) program(p string) string {
	return filepath.Join(l.dir, strings.ReplaceAll(p, "/", "_")+".test")
}

type goRun struct {
	failed, race bool
	test         string // in which it failed, or hung
	out          string
}

// run runs a package's tests that match a pattern, with one edit on, until one fails or hangs. They
// usually take the time took.
func (l *goLab) run(
	p string, number int, run string, took time.Duration, env ...string,
) (r goRun) {
	arg := []string{"-test.v", "-test.short", "-test.failfast", "-test.timeout=0"}
	if run != "" {
		arg = append(arg, "-test.run="+run)
	}
	if skipped := l.built[p].Skipped; len(skipped) > 0 {
		arg = append(arg, "-test.skip="+pattern(skipped...))
	}
	cmd := exec.Command(l.program(p), arg...)
	cmd.Dir = p
	cmd.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", number), "GORACE=halt_on_error=1",
		"GOTRACEBACK=single")
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // tests have children
	out, err := cmd.StdoutPipe()
	tool.Check(err)
	cmd.Stderr = cmd.Stdout
	tool.Check(cmd.Start())
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var hung bool
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		if hung = hangs(cmd.Process.Pid, took, ended); hung {
			kill()
		}
	})
	var text strings.Builder
	begun := ""
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		text.WriteString(line)
		if name, ok := strings.CutPrefix(line, "=== RUN   "); ok && r.test == "" {
			begun = subject(strings.TrimSpace(name))
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			if name = subject(name); r.test == "" || strings.HasPrefix(name, r.test+"/") {
				r.test = name // the line of a test precedes those of its subtests
			}
		}
		r.race = r.race || strings.Contains(line, "WARNING: DATA RACE")
		if text.Len() > 1<<24 { // it never stops printing
			r.failed = true
			kill()
		}
	}
	err = cmd.Wait()
	close(ended)
	watching.Wait()
	kill()
	r.failed = r.failed || hung || err != nil
	r.test = cmp.Or(r.test, begun) // or the last one that began
	r.out = text.String()
	return r
}

// hangs returns true when a process that usually takes the time took hangs, and false when it has
// ended. A process hangs if it uses no processor for long, or very much of it: on a busy machine
// the time that passes is no measure.
func hangs(pid int, took time.Duration, ended <-chan struct{}) bool {
	began := time.Now()
	last, since := time.Duration(-1), began
	usual := min(took, 3*time.Second) // what was measured on a busy machine was mostly waiting
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case <-ended:
			tick.Stop()
			return false
		case <-tick.C:
		}
		used, ok := processor(pid)
		switch {
		case !ok:
			if time.Since(began) > 20*time.Second+10*took {
				return true
			}
		case used > 4*time.Second+4*usual:
			return true
		case used > last+10*time.Millisecond:
			last, since = used, time.Now()
		case time.Since(since) > 3*time.Second+5*usual:
			return true
		}
	}
}

// processor returns how long the threads of a process have run. Only Linux reports it.
func processor(pid int) (used time.Duration, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	var user, system int64 // in 1/100 s
	fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	return time.Duration(user+system) * 10 * time.Millisecond, err == nil
}

// subject returns the first two parts of a test's name: Test, or Test/subtest.
func subject(test string) string {
	parts := strings.SplitN(test, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// pattern returns a -run pattern that matches those tests, and perhaps some more.
func pattern(tests ...string) string {
	var parts [2][]string
	for _, t := range tests {
		for i, part := range strings.Split(t, "/") {
			parts[i] = append(parts[i], regexp.QuoteMeta(part))
		}
	}
	var all []string
	for _, p := range parts {
		if len(p) > 0 {
			slices.Sort(p)
			all = append(all, "^("+strings.Join(slices.Compact(p), "|")+")$")
		}
	}
	return strings.Join(all, "/")
}

// try runs the tests that reach the edit, until one notices: the one of the hint first, then the
// quickest, then more and more of them in one process.
func (l *goLab) try(m mutant, hint string) verdict {
	own := filepath.Dir(m.file)
	packages := append([]string{own}, slices.DeleteFunc(slices.Clone(testsGo),
		func(p string) bool { return p == own })...)
	if p, test, ok := strings.Cut(hint, " "); ok && slices.Contains(packages, p) {
		for _, t := range l.suite(p).Tests {
			if t.Name != test && !strings.HasPrefix(test, t.Name+"/") {
				continue
			}
			for range *rounds {
				if r := l.run(p, m.number, pattern(t.Name), t.Took); r.failed {
					return verdict{by: hint, race: r.race}
				}
			}
		}
	}
	reached := 0
	for range *rounds {
		for _, p := range packages {
			s := l.suite(p)
			var chunk []string
			var took time.Duration
			size := 1
			try := func() (v verdict) {
				if len(chunk) > 0 {
					if r := l.run(p, m.number, pattern(chunk...), took); r.failed {
						v = verdict{by: p + " " + r.test, race: r.race}
					}
				}
				chunk, took, size = nil, 0, 2*size
				return v
			}
			for i, t := range s.Tests {
				if _, does := slices.BinarySearch(s.Reached[i], m.number); !does {
					continue
				}
				reached++
				chunk, took = append(chunk, t.Name), took+t.Took
				if len(chunk) == size {
					if v := try(); v.by != "" {
						return v
					}
				}
			}
			if v := try(); v.by != "" {
				return v
			}
			if *alone && reached > 0 {
				break
			}
		}
		if reached == 0 {
			return verdict{unreached: true}
		}
	}
	return verdict{}
}
