//go:build unix

package main

import (
	"go/ast"
	"go/token"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
)

// The rules by which an edit of Go is not run, although each test program contains it. What is left
// out is noticed by each test that reaches it, or is the easier of two edits of the same step. The
// strings below are the names of the rules; docs/PROOF.md has what each leaves out, and why.

// diagnostics are files that only print.
var diagnostics = []string{"diagnose.go", "dump.go"}

// thin finds the nodes of a function that a rule leaves out.
func thin(f *ast.FuncDecl) map[ast.Node]string {
	why := map[ast.Node]string{}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if n.Op == token.LAND || n.Op == token.LOR {
				for _, e := range operands(n.X) {
					why[e] = "operand"
				}
			}
			if x, ok := n.X.(*ast.Ident); ok && (x.Name == "err" || x.Name == "ok") {
				why[n] = "fatal"
			}
		case *ast.IfStmt:
			all := operands(n.Cond)
			switch {
			case onlyDies(n.Body):
				why[all[len(all)-1]] = "fatal"
			case slices.ContainsFunc(n.Body.List, step):
				why[all[len(all)-1]] = "body"
			}
		case *ast.ForStmt:
			if n.Cond != nil {
				all := operands(n.Cond)
				why[all[len(all)-1]] = "loop"
			}
		case *ast.BlockStmt:
			thinSteps(n.List, why)
		case *ast.CaseClause:
			thinSteps(n.Body, why)
		case *ast.CommClause:
			thinSteps(n.Body, why)
		}
		return true
	})
	return why
}

// thinSteps finds the statements of a block that a rule leaves out.
func thinSteps(list []ast.Stmt, why map[ast.Node]string) {
	follows := 0 // how many edited steps follow without anything else between
	for _, s := range slices.Backward(list) {
		switch d, deferred := s.(*ast.DeferStmt); {
		case !edited(s):
			follows = 0
		case !step(s), deferred && locks(d.Call):
			why[s] = "lock"
		case empties(s):
			why[s] = "zero"
		case traces(s):
			why[s] = "text"
		default:
			if follows%2 == 1 {
				why[s] = "neighbour"
			}
			follows++
		}
	}
}

// traces reports whether s is a call that writes to the trace.
func traces(s ast.Stmt) bool {
	name := strings.ToLower(called(s))
	ends := []string{"reportlost", "trace", "tracemore", "tracebox", "tracecollected"}
	return slices.ContainsFunc(ends,
		func(end string) bool { return strings.HasSuffix(name, end) })
}

// empties reports whether s assigns nothing but nil or empty values.
func empties(s ast.Stmt) bool {
	if e, ok := s.(*ast.ExprStmt); ok {
		c, ok := e.X.(*ast.CallExpr)
		if !ok || len(c.Args) != 1 {
			return false
		}
		f, ok := c.Fun.(*ast.SelectorExpr)
		arg, is := c.Args[0].(*ast.Ident)
		return ok && is && f.Sel.Name == "Store" && arg.Name == "nil"
	}
	a, ok := s.(*ast.AssignStmt)
	if !ok || a.Tok != token.ASSIGN {
		return false
	}
	return !slices.ContainsFunc(a.Rhs, func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return e.Name != "nil"
		case *ast.CompositeLit:
			return len(e.Elts) != 0
		}
		return true
	})
}

// sampled reports whether an edit of Go or of the auditor is in the sample; all others are. It
// depends on nothing but the key.
func sampled(m mutant) bool {
	if m.kind == "orders" || m.kind == "c" && !fileC(m.file).diagnoses {
		return true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.key))
	return h.Sum32()>>16%2 == 0
}

// operands are the expressions that visit negates.
func operands(e ast.Expr) []ast.Expr {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return operands(e.X)
	case *ast.BinaryExpr:
		if e.Op == token.LAND || e.Op == token.LOR {
			return append(operands(e.X), operands(e.Y)...)
		}
	}
	return []ast.Expr{e}
}

// step reports whether s is edited and is no call that locks.
func step(s ast.Stmt) bool {
	e, ok := s.(*ast.ExprStmt)
	return edited(s) && !(ok && locks(e.X))
}

func locks(e ast.Expr) bool {
	c, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	s, ok := c.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"Lock", "Unlock", "RLock", "RUnlock"}, s.Sel.Name)
}

func onlyDies(b *ast.BlockStmt) bool {
	if len(b.List) == 0 {
		return false
	}
	name := called(b.List[len(b.List)-1])
	return name == "panic" || name == "misuse" || strings.HasSuffix(name, ".Die")
}

// printing are the functions and calls of the auditor that only print or build a text.
var printing = regexp.MustCompile(`^(add\w*|vaddf|vfind|report|log_event|log_and_report|` +
	`record_place|copied|va_start|va_end|sender_used_again|write_stderr)$`)

// storing are those that only manage the auditor's memory, which it keeps as long as the process
// lives.
var storing = regexp.MustCompile(`^(pool_\w+|pin|unpin|unmap|mark_reachable|quarantine\w*|` +
	`family_leave|memset|free)$`)

var firstCall = regexp.MustCompile(`^\s*(?:if \(.*\) )?(\w+)\(`)

var comparison = regexp.MustCompile(` (==|!=|>|<|>=) `)

// thinC returns the rule by which an edit of a tool that prints is not run. As in Go: text, fatal,
// body, and operand, by which in a condition of several operands only the last comparison is
// edited, and no operator. And memory: nothing that only manages the tool's own memory is edited.
func thinC(edit, function, code string, at int) string {
	call := firstCall.FindStringSubmatch(code)
	switch {
	case printing.MatchString(function), call != nil && printing.MatchString(call[1]):
		return "text"
	case storing.MatchString(function), call != nil && storing.MatchString(call[1]):
		return "memory"
	case strings.Contains(code, "die("):
		return "fatal"
	case edit == "always":
		return "body"
	case edit == "&& to ||":
		return "operand"
	case strings.Contains(edit, " to ") && comparison.MatchString(code[at+2:]) &&
		!strings.Contains(code, "?"):
		return "operand"
	}
	return ""
}
