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

// filesGo are the Go files that hold a state word, and the packages whose tests run for each, in
// this order.
var filesGo = []struct {
	file  string
	tests []string
}{
	{"internal/wake/core.go",
		[]string{"internal/wake", "blockon", "executor", "rawwaker", "future", "wakertest"}},
	{"internal/wake/crossing.go",
		[]string{"internal/wake", "rawwaker", "executor", "future", "wakertest"}},
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

// edit replaces a text by another. At one place, edits that close come first, inner before outer,
// then those that open, outer before inner.
type edit struct {
	from, to int
	with     string
	opens    bool
	other    int // the place of its other half
}

// inGo finds the edits. switches.On[n] turns each one on, so one build has them all.
func inGo() []mutant {
	var all []mutant
	edited := map[string][]byte{}
	for _, f := range filesGo {
		text, err := os.ReadFile(f.file)
		check(err)
		w := &walker{
			text: text, file: f.file, atomics: atomicsIn(filepath.Dir(f.file)),
			first: len(all) + 1, keys: map[string]int{},
		}
		w.walk()
		all = append(all, w.found...)
		edited[f.file] = w.apply()
	}
	for i := range all {
		all[i].text = edited[all[i].file]
	}
	return all
}

// atomicsIn returns the names of a package's fields and variables whose type is of sync/atomic.
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
		if i.Path.Value == `"sync/atomic"` { // the edits may have removed its last use
			end := len(w.text)
			w.edits = append(w.edits, edit{from: end, to: end, with: "\nvar _ atomic.Bool\n"})
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
	// On the line of the package clause, so that all line numbers stay.
	at := w.offset(tree.Name.End())
	imports := `; import "` + module() + `/internal/proof/mutate/switches"`
	if !unsafe && w.unsafe {
		imports += `; import "unsafe"`
	}
	w.edits = append(w.edits, edit{from: at, to: at, with: imports})
}

func (w *walker) offset(p token.Pos) int { return w.set.Position(p).Offset }

// mutant records an edit and returns its switch.
func (w *walker) mutant(n ast.Node, what string) string {
	from, to := w.offset(n.Pos()), w.offset(n.End())
	code, _, _ := strings.Cut(string(w.text[from:to]), "\n")
	code = strings.TrimSuffix(strings.TrimSpace(code), " {")
	key := fmt.Sprintf("%s: %s: %s: %s", filepath.Base(w.file), w.function, code, what)
	if w.keys[key]++; w.keys[key] > 1 {
		key += fmt.Sprintf(" (%d)", w.keys[key])
	}
	number := w.first + len(w.found)
	w.found = append(w.found, mutant{
		kind: "go", file: w.file, key: key, line: w.set.Position(n.Pos()).Line, number: number,
	})
	return fmt.Sprintf("switches.On[%d]", number)
}

// around inserts text before and after a node.
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
		c := string(w.text[w.offset(n.Cond.Pos()):w.offset(n.Cond.End())])
		if strings.HasSuffix(c, "Tracing()") && !strings.Contains(c, "||") {
			return false // tracing is not a step: wakelab's tests check it
		}
		w.condition(n.Cond)
	case *ast.CallExpr:
		w.call(n)
	}
	return true
}

// condition negates an expression that is not a comparison: visit finds those itself.
func (w *walker) condition(e ast.Expr) {
	switch e := e.(type) {
	case *ast.Ident, *ast.SelectorExpr, *ast.UnaryExpr, *ast.CallExpr:
		w.negate(e)
	case *ast.ParenExpr:
		w.condition(e.X)
	}
}

func (w *walker) negate(n ast.Expr) { w.around(n, "((", ") != "+w.mutant(n, "negated")+")") }

// notLeftOut are calls that no edit removes: a function may have to end with one, and tests of
// their own check the messages.
var notLeftOut = []string{"panic", "misuse", "debugGC", "debugHandles"}

func (w *walker) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if c, ok := s.X.(*ast.CallExpr); ok {
				if f, ok := c.Fun.(*ast.Ident); ok && slices.Contains(notLeftOut, f.Name) {
					continue
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

var methods = []string{"Load", "Store", "Swap", "CompareAndSwap", "Add", "Or"}

// call replaces a step of sync/atomic by a plain one.
func (w *walker) call(c *ast.CallExpr) {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if x, ok := s.X.(*ast.Ident); ok && x.Name == "atomic" {
		w.callee(c, fmt.Sprintf("switches.%s(%s, ", s.Sel.Name, w.mutant(c, "plain")))
		return
	}
	if !slices.Contains(methods, s.Sel.Name) || !w.atomics[last(s.X)] {
		return
	}
	w.unsafe = true
	recv := string(w.text[w.offset(s.X.Pos()):w.offset(s.X.End())])
	with := fmt.Sprintf("switches.%s(%s, &%s, unsafe.Pointer(&%s)", s.Sel.Name, w.mutant(c, "plain"),
		recv, recv)
	if len(c.Args) > 0 {
		with += ", "
	}
	w.callee(c, with)
}

// callee replaces what precedes the arguments of a call.
func (w *walker) callee(c *ast.CallExpr, with string) {
	w.edits = append(w.edits, edit{
		from: w.offset(c.Pos()), to: w.offset(c.Lparen) + 1, with: with,
		opens: true, other: w.offset(c.End()),
	})
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
		case a.to != b.to: // an edit that replaces something is the innermost
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

// goLab holds the test programs, which contain every edit, and how long each may print nothing.
// Each is built when it first runs.
type goLab struct {
	dir, overlay string

	mu    sync.Mutex
	built map[string]*sync.Once
	quiet map[string]time.Duration // of a package, or of one of its tests
}

func newGoLab(temp string, all []mutant) *goLab {
	l := &goLab{
		dir: filepath.Join(temp, "go"), built: map[string]*sync.Once{}, quiet: map[string]time.Duration{},
	}
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

// patient returns how long a package's tests, or one of them, may print nothing; 0: there is no
// such test.
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
	failed, out := command(5*time.Minute, ".", nil, "go", "test", "-race", "-c", "-vet=off",
		"-overlay", l.overlay, "-o", l.program(p), "./"+p)
	if failed {
		check(fmt.Errorf("%s: %s", p, out))
	}
	// The tests must pass without an edit.
	r := l.run(p, 0, "", 2*time.Minute)
	if r.failed {
		check(fmt.Errorf("%s fails without an edit, in %s: %s", p, r.test, r.out))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiet[p] = patience(r.longest)
	passed := regexp.MustCompile(`(?m)^ *--- PASS: (\S+) \(([\d.]+s)\)`)
	for _, m := range passed.FindAllStringSubmatch(r.out, -1) {
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
	longest      time.Duration // in which it printed nothing
	out          string
}

// run runs a package's tests, or only one, with one edit on, until one fails, or the program prints
// nothing for the time quiet.
func (l *goLab) run(p string, number int, test string, quiet time.Duration) (r goRun) {
	arg := []string{"-test.v", "-test.short", "-test.failfast", "-test.timeout=0"}
	if test != "" {
		arg = append(arg, "-test.run="+pattern(test))
	}
	cmd := exec.Command(l.program(p), arg...)
	cmd.Dir = p
	cmd.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", number), "GORACE=halt_on_error=1",
		"GOTRACEBACK=single")
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
		if text.Len() > 1<<24 { // it never stops printing
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
		r.test = r.out // the last one that began
	}
	r.out = text.String()
	return r
}

// subject returns the first two parts of a test's name: Test, or Test/subtest.
func subject(test string) string {
	parts := strings.SplitN(test, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// pattern returns the -run pattern that matches exactly that test.
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
