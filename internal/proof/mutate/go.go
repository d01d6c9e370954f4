//go:build unix

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

// packagesGo are the packages that are edited. The tests of an edited one run first.
var packagesGo = []string{"internal/wake", "rawwaker", "blockon", "executor", "future"}

// testsGo are the packages whose tests run.
var testsGo = append(slices.Clone(packagesGo), "wakertest")

// notEdited are files of tracing and debugging: wakelab's tests and the debug modes check them.
var notEdited = []string{"doc.go", "trace.go", "labels.go", "debug_off.go"}

// filesGo returns the files of those packages that are compiled here.
func filesGo() (all []string) {
	for _, p := range packagesGo {
		out, err := exec.Command("go", "list", "-f", `{{join .GoFiles "\n"}}`, "./"+p).Output()
		tool.Check(err)
		for _, f := range strings.Fields(string(out)) {
			if !slices.Contains(notEdited, f) {
				all = append(all, filepath.Join(p, f))
			}
		}
	}
	return all
}

// edit replaces a text by another. At one place, edits that close come first, inner before outer,
// then those that open, outer before inner.
type edit struct {
	from, to int
	with     string
	opens    bool
	other    int // the place of its other half
}

// inGo finds the edits. switches.On(n) turns each one on, so one build has them all.
var inGo = sync.OnceValue(func() []mutant {
	var all []mutant
	edited, keys := map[string][]byte{}, map[string]int{}
	for _, f := range filesGo() {
		text, err := os.ReadFile(f)
		tool.Check(err)
		w := &walker{
			text: text, file: f, atomics: atomicsIn(filepath.Dir(f)), first: len(all) + 1, keys: keys,
		}
		w.walk()
		all = append(all, w.found...)
		edited[f] = w.apply()
	}
	for i := range all {
		all[i].text = edited[all[i].file]
	}
	return all
})

// atomicsIn returns the names of a package's fields and variables whose type is of sync/atomic.
func atomicsIn(dir string) map[string]bool {
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	tool.Check(err)
	for _, f := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		tool.Check(err)
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
	why      map[ast.Node]string // of the function: the rule that leaves out the edit of a node
}

func (w *walker) walk() {
	w.set = token.NewFileSet()
	tree, err := parser.ParseFile(w.set, w.file, w.text, parser.ParseComments)
	tool.Check(err)
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
		w.function, w.why = f.Name.Name, thin(f)
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
	why := w.why[n]
	if slices.Contains(diagnostics, filepath.Base(w.file)) {
		why = "text"
	}
	w.found = append(w.found, mutant{
		kind: "go", file: w.file, key: key, line: w.set.Position(n.Pos()).Line, number: number,
		thinned: why,
	})
	return fmt.Sprintf("switches.On(%d)", number)
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
		if slices.ContainsFunc(debugging, func(d string) bool { return strings.HasSuffix(c, d) }) &&
			!strings.Contains(c, "||") {
			return false // not a step: wakelab's tests and the debug modes check it
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

// debugging are conditions that hold only in a debug mode, and what a build decides.
var debugging = []string{"Tracing()", "auditAll", "FreshContexts", "capi.HasCgo"}

// notLeftOut are calls that no edit removes: a function may have to end with one, tests of their
// own check the messages, and no test notices that a loop does not yield or that an object is
// collected a little earlier.
var notLeftOut = []string{"panic", "misuse", "debugGC", "debugHandles", "runtime.Gosched",
	"runtime.KeepAlive", "capi.Die", "report", "needCgo"}

func (w *walker) statements(list []ast.Stmt) {
	for _, s := range list {
		if edited(s) {
			w.around(s, "if !"+w.mutant(s, "left out")+" { ", " }")
		}
	}
}

// edited reports whether an edit leaves s out.
func edited(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt:
		return !slices.Contains(notLeftOut, called(s))
	case *ast.AssignStmt:
		return s.Tok != token.DEFINE
	case *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt:
		return true
	}
	return false
}

// called is the name of the function that a statement calls, after a dot if it is longer than x.f.
func called(s ast.Stmt) string {
	e, ok := s.(*ast.ExprStmt)
	if !ok {
		return ""
	}
	c, ok := e.X.(*ast.CallExpr)
	if !ok {
		return ""
	}
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
		return "." + f.Sel.Name
	}
	return ""
}

var methods = []string{"Load", "Store", "Swap", "CompareAndSwap", "Add", "Or", "And"}

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
	if !isPointer(s.X) {
		recv = "&" + recv
	}
	with := fmt.Sprintf("switches.%s(%s, %s, unsafe.Pointer(%s)", s.Sel.Name, w.mutant(c, "plain"),
		recv, recv)
	if len(c.Args) > 0 {
		with += ", "
	}
	w.callee(c, with)
}

// isPointer reports whether e is a local variable that is defined by :=, with an address.
func isPointer(e ast.Expr) bool {
	x, ok := e.(*ast.Ident)
	if !ok || x.Obj == nil {
		return false
	}
	_, defined := x.Obj.Decl.(*ast.AssignStmt)
	return defined
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
