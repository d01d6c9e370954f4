//go:build unix

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

// source is a file, and which function each line belongs to.
type source struct {
	lines     []string
	functions []string // of each line
}

var beginC = regexp.MustCompile(`^[a-zA-Z_].*?\b(\w+)\([^;{]*(\{|$)`)

func newSource(file string) *source {
	text, err := os.ReadFile(file)
	tool.Check(err)
	s := &source{lines: strings.Split(string(text), "\n")}
	s.functions = make([]string, len(s.lines)+1)
	if strings.HasSuffix(file, ".go") {
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, text, 0)
		tool.Check(err)
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				for i := set.Position(f.Pos()).Line; i <= set.Position(f.End()).Line; i++ {
					s.functions[i-1] = f.Name.Name
				}
			}
		}
		return s
	}
	function := ""
	for i, line := range s.lines {
		if m := beginC.FindStringSubmatch(line); m != nil {
			function = m[1]
		}
		s.functions[i] = function
	}
	return s
}

func (s *source) function(p place) string { return s.functions[p.line-1] }

// text returns the first line of a place's code.
func (s *source) text(p place) string {
	for i := p.line; i <= p.to; i++ {
		line := s.lines[i-1]
		if i == p.to {
			line = line[:min(p.end-1, len(line))]
		}
		if i == p.line {
			line = line[min(p.column-1, len(line)):]
		}
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "{"))
		line, _, _ = strings.Cut(line, " //")
		line, _, _ = strings.Cut(line, " /*")
		if strings.HasPrefix(line, "//") || strings.HasPrefix(line, "/*") || line == "" {
			continue
		}
		line = strings.TrimSpace(strings.TrimSuffix(line, "{"))
		return strings.TrimSpace(strings.TrimSuffix(line, " }"))
	}
	return "}"
}
