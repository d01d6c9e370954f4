//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The Go files that hold a state word, and the packages whose tests are asked of each, in this order.
var filesGo = []struct {
	file  string
	tests []string
}{
	{"internal/wake/core.go", []string{"internal/wake", "blockon", "executor", "rawwaker", "future", "wakertest"}},
	{"internal/wake/crossing.go", []string{"internal/wake", "rawwaker", "executor", "future", "wakertest"}},
	{"internal/wake/group.go", []string{"internal/wake", "rawwaker", "future", "executor"}},
	{"internal/wake/parker.go", []string{"internal/wake", "blockon", "rawwaker", "wakertest"}},
	{"internal/wake/inbox.go", []string{"internal/wake", "executor", "wakertest"}},
	{"internal/wake/call.go", []string{"internal/wake", "rawwaker", "executor", "future"}},
	{"rawwaker/handle.go", []string{"rawwaker", "wakertest", "blockon", "future", "executor"}},
	{"rawwaker/state.go", []string{"rawwaker", "wakertest", "blockon", "future", "executor"}},
	{"rawwaker/atomic_waker.go", []string{"rawwaker", "future", "wakertest"}},
	{"rawwaker/wakerset.go", []string{"rawwaker", "future", "wakertest"}},
	{"executor/task.go", []string{"executor", "wakertest", "future"}},
}

// edit is a text put in place of another.
type edit struct {
	from, to int
	with     string
	opens    bool // of two at one place: those that close come first, inner before outer; then those that open, outer before inner
	other    int  // where its other half is
}

// inGo finds the edits. Each is written so that switches.On[n] turns it on, and so they do not exclude each other.
func inGo() []mutant {
	var all []mutant
	edited := map[string][]byte{}
	for _, f := range filesGo {
		text, err := os.ReadFile(f.file)
		check(err)
		w := &walker{text: text, file: f.file, atomics: atomicsIn(filepath.Dir(f.file)), first: len(all) + 1, keys: map[string]int{}}
		w.walk()
		all = append(all, w.found...)
		edited[f.file] = w.apply()
	}
	for i := range all {
		all[i].text = edited[all[i].file]
	}
	return all
}

// atomicsIn are the names of the fields and variables of a package whose type is of sync/atomic.
func atomicsIn(dir string) map[string]bool {
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	check(err)
	for _, f := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		check(err)
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				if ofAtomic(n.Type) {
					for _, name := range n.Names {
						names[name.Name] = true
					}
				}
			case *ast.ValueSpec:
				if ofAtomic(n.Type) {
					for _, name := range n.Names {
						names[name.Name] = true
					}
				}
			}
			return true
		})
	}
	return names
}

func ofAtomic(t ast.Expr) bool {
	if index, ok := t.(*ast.IndexExpr); ok {
		t = index.X
	}
	s, ok := t.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "atomic"
}

type walker struct {
	text     []byte
	file     string
	set      *token.FileSet
	atomics  map[string]bool
	first    int
	function string
	found    []mutant
	edits    []edit
	keys     map[string]int
	unsafe   bool
}

func (w *walker) walk() {
	w.set = token.NewFileSet()
	tree, err := parser.ParseFile(w.set, w.file, w.text, parser.ParseComments)
	check(err)
	unsafe := false
	for _, i := range tree.Imports {
		unsafe = unsafe || i.Path.Value == `"unsafe"`
		if i.Path.Value == `"sync/atomic"` { // it may be used no more
			w.edits = append(w.edits, edit{from: len(w.text), to: len(w.text), with: "\nvar _ atomic.Bool\n"})
		}
	}
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil || f.Name.Name == "Error" || f.Name.Name == "Unwrap" {
			continue
		}
		w.function = f.Name.Name
		ast.Inspect(f.Body, w.visit)
	}
	// On the line of the package clause, so that every line keeps its number.
	at := w.offset(tree.Name.End())
	imports := `; import "` + module() + `/internal/proof/mutate/switches"`
	if !unsafe && w.unsafe {
		imports += `; import "unsafe"`
	}
	w.edits = append(w.edits, edit{from: at, to: at, with: imports})
}

func (w *walker) offset(p token.Pos) int { return w.set.Position(p).Offset }

// mutant writes an edit down and returns its switch.
func (w *walker) mutant(n ast.Node, what string) string {
	from, to := w.offset(n.Pos()), w.offset(n.End())
	code, _, _ := strings.Cut(string(w.text[from:to]), "\n")
	key := fmt.Sprintf("%s: %s: %s: %s", filepath.Base(w.file), w.function, strings.TrimSuffix(strings.TrimSpace(code), " {"), what)
	if w.keys[key]++; w.keys[key] > 1 {
		key += fmt.Sprintf(" (%d)", w.keys[key])
	}
	w.found = append(w.found, mutant{kind: "go", file: w.file, key: key, line: w.set.Position(n.Pos()).Line, number: w.first + len(w.found)})
	return fmt.Sprintf("switches.On[%d]", w.first+len(w.found)-1)
}

// around puts something before and after a node.
func (w *walker) around(n ast.Node, before, after string) {
	from, to := w.offset(n.Pos()), w.offset(n.End())
	w.edits = append(w.edits, edit{from, from, before, true, to}, edit{to, to, after, false, from})
}

func (w *walker) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BlockStmt:
		w.statements(n.List)
	case *ast.CaseClause:
		w.statements(n.Body)
	case *ast.CommClause:
		w.statements(n.Body)
	case *ast.BinaryExpr:
		switch n.Op {
		case token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
			w.negate(n)
		case token.LAND, token.LOR:
			w.condition(n.X)
			w.condition(n.Y)
		}
	case *ast.IfStmt:
		if c := string(w.text[w.offset(n.Cond.Pos()):w.offset(n.Cond.End())]); strings.HasSuffix(c, "Tracing()") && !strings.Contains(c, "||") {
			return false // what is written down is no step: the lab's tests read it
		}
		w.condition(n.Cond)
	case *ast.CallExpr:
		w.call(n)
	}
	return true
}

// condition negates what is no comparison: those are found anyway.
func (w *walker) condition(e ast.Expr) {
	switch e := e.(type) {
	case *ast.Ident, *ast.SelectorExpr, *ast.UnaryExpr, *ast.CallExpr:
		w.negate(e)
	case *ast.ParenExpr:
		w.condition(e.X)
	}
}

func (w *walker) negate(n ast.Expr) { w.around(n, "((", ") != "+w.mutant(n, "negated")+")") }

func (w *walker) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if c, ok := s.X.(*ast.CallExpr); ok {
				if f, ok := c.Fun.(*ast.Ident); ok && (f.Name == "panic" || f.Name == "misuse" || f.Name == "debugGC" || f.Name == "debugHandles") {
					continue // as the end of a function it is a must; the messages have tests of their own
				}
			}
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
		case *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt:
		default:
			continue
		}
		w.around(s, "if !"+w.mutant(s, "left out")+" { ", " }")
	}
}

var methods = map[string]bool{"Load": true, "Store": true, "Swap": true, "CompareAndSwap": true, "Add": true, "Or": true}

// call makes a step of sync/atomic a plain one.
func (w *walker) call(c *ast.CallExpr) {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if x, ok := s.X.(*ast.Ident); ok && x.Name == "atomic" {
		from, to := w.offset(c.Pos()), w.offset(c.Lparen)+1
		w.edits = append(w.edits, edit{from: from, to: to, with: "switches." + s.Sel.Name + "(" + w.mutant(c, "plain") + ", ", opens: true, other: w.offset(c.End())})
		return
	}
	if !methods[s.Sel.Name] || !w.atomics[last(s.X)] {
		return
	}
	w.unsafe = true
	recv := string(w.text[w.offset(s.X.Pos()):w.offset(s.X.End())])
	with := fmt.Sprintf("switches.%s(%s, &%s, unsafe.Pointer(&%s)", s.Sel.Name, w.mutant(c, "plain"), recv, recv)
	if len(c.Args) > 0 {
		with += ", "
	}
	w.edits = append(w.edits, edit{from: w.offset(c.Pos()), to: w.offset(c.Lparen) + 1, with: with, opens: true, other: w.offset(c.End())})
}

func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func (w *walker) apply() []byte {
	sort.SliceStable(w.edits, func(i, j int) bool {
		a, b := w.edits[i], w.edits[j]
		switch {
		case a.from != b.from:
			return a.from < b.from
		case a.opens != b.opens:
			return !a.opens
		case a.to != b.to: // what replaces something is the innermost
			return a.to < b.to
		}
		return a.other > b.other
	})
	var out []byte
	at := 0
	for _, e := range w.edits {
		out = append(out, w.text[at:e.from]...)
		out = append(out, e.with...)
		at = e.to
	}
	return append(out, w.text[at:]...)
}

func module() string { return "github.com/seed-8a1b3254/ffiwaker" }

// goLab holds the test programs, with every edit in them, and how long each may say nothing. Each is built when it is first asked.
type goLab struct {
	dir, overlay string

	mu    sync.Mutex
	built map[string]*sync.Once
	quiet map[string]time.Duration // of a package, or of one of its tests
}

func newGoLab(temp string, all []mutant) *goLab {
	l := &goLab{dir: filepath.Join(temp, "go"), built: map[string]*sync.Once{}, quiet: map[string]time.Duration{}}
	if !slices.ContainsFunc(all, func(m mutant) bool { return m.kind == "go" }) {
		return l
	}
	check(os.MkdirAll(l.dir, 0o755))
	here, err := os.Getwd()
	check(err)
	replace := map[string]string{}
	for _, m := range inGo() {
		to := filepath.Join(l.dir, strings.ReplaceAll(m.file, "/", "_"))
		check(os.WriteFile(to, m.text, 0o644))
		replace[filepath.Join(here, m.file)] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	check(err)
	l.overlay = filepath.Join(l.dir, "overlay.json")
	check(os.WriteFile(l.overlay, overlay, 0o644))
	return l
}

// patient is how long a package's tests, or one of them, may say nothing; 0: there is no such test.
func (l *goLab) patient(p, test string) time.Duration {
	l.mu.Lock()
	once := l.built[p]
	if once == nil {
		once = new(sync.Once)
		l.built[p] = once
	}
	l.mu.Unlock()
	once.Do(func() { l.build(p) })
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quiet[strings.TrimSpace(p+" "+test)]
}

func (l *goLab) build(p string) {
	if failed, out := command(5*time.Minute, ".", nil, "go", "test", "-race", "-c", "-vet=off", "-overlay", l.overlay, "-o", l.program(p), "./"+p); failed {
		check(fmt.Errorf("%s: %s", p, out))
	}
	// The tests must not fail of themselves.
	r := l.run(p, 0, "", 2*time.Minute)
	if r.failed {
		check(fmt.Errorf("%s fails as it is, in %s: %s", p, r.test, r.out))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiet[p] = patience(r.longest)
	for _, m := range regexp.MustCompile(`(?m)^ *--- PASS: (\S+) \(([\d.]+s)\)`).FindAllStringSubmatch(r.out, -1) {
		took, err := time.ParseDuration(m[2])
		check(err)
		l.quiet[p+" "+m[1]] = patience(took)
	}
}

func (l *goLab) program(p string) string {
	return filepath.Join(l.dir, strings.ReplaceAll(p, "/", "_")+".test")
}

type goRun struct {
	failed, race bool
	test         string        // in which it failed, or hung
	longest      time.Duration // in which it said nothing
	out          string
}

// run runs a package's tests with one edit on, until one fails, or the program says nothing for so long.
func (l *goLab) run(p string, number int, test string, quiet time.Duration) (r goRun) {
	arg := []string{"-test.v", "-test.short", "-test.failfast", "-test.timeout=0"}
	if test != "" {
		arg = append(arg, "-test.run="+pattern(test))
	}
	cmd := exec.Command(l.program(p), arg...)
	cmd.Dir = p
	cmd.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", number), "GORACE=halt_on_error=1", "GOTRACEBACK=single")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // tests have children
	out, err := cmd.StdoutPipe()
	check(err)
	cmd.Stderr = cmd.Stdout
	check(cmd.Start())
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	said := time.Now()
	hung := time.AfterFunc(quiet, func() { r.failed = true; kill() })
	var text strings.Builder
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		hung.Reset(quiet)
		r.longest, said = max(r.longest, time.Since(said)), time.Now()
		if text.Len() < 1<<20 {
			text.WriteString(line)
		}
		if name, ok := strings.CutPrefix(line, "=== RUN   "); ok && r.test == "" {
			r.out = subject(strings.TrimSpace(name))
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			if name = subject(name); r.test == "" || strings.HasPrefix(name, r.test+"/") {
				r.test = name // the line of a test precedes those of its subtests
			}
		}
		r.race = r.race || strings.Contains(line, "WARNING: DATA RACE")
		if text.Len() > 1<<24 { // it prints for ever
			r.failed = true
			kill()
		}
	}
	err = cmd.Wait()
	if hung.Stop(); err != nil {
		r.failed = true
	}
	kill()
	if r.test == "" {
		r.test = r.out // the latest that began
	}
	r.out = text.String()
	return r
}

// subject is the first two parts of a test's name: Test, or Test/subtest.
func subject(test string) string {
	parts := strings.SplitN(test, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// pattern is the -run pattern of exactly that test.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

func (l *goLab) try(m mutant, hint string) verdict {
	if p, test, ok := strings.Cut(hint, " "); ok {
		if quiet := l.patient(p, test); quiet != 0 {
			for range *rounds {
				if l.run(p, m.number, test, quiet).failed {
					return verdict{by: hint}
				}
			}
		}
	}
	for range *rounds {
		for _, f := range filesGo {
			if f.file != m.file {
				continue
			}
			for _, p := range f.tests {
				if r := l.run(p, m.number, "", l.patient(p, "")); r.failed {
					return verdict{by: p + " " + r.test, race: r.race}
				}
			}
		}
	}
	return verdict{}
}
