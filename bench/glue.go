package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A binding is one of examples/, with its callback form below it. Its lines are counted that a user
// writes to bring the library's answers to Go: see README.md for which those are.
type binding struct {
	name string
	// library matches the identifiers and headers of the bound library, and of the event loop that
	// drives it.
	library *regexp.Regexp
}

var bindings = []binding{
	{"curl", regexp.MustCompile(`\b(curl_|CURL|curl/)`)},
	{"redis", regexp.MustCompile(`hiredis|\b(redisAsync|redisReply|redisLibuv|REDIS_|uv_|UV_)`)},
	{"postgres", regexp.MustCompile(`libpq|\b(PQ|PG|CONNECTION_|ConnStatus|ExecStatus)`)},
	{"uring", regexp.MustCompile(`liburing|__kernel_timespec|\b(io_uring|IORING_|IOSQE_|[sc]qe->)`)},
}

// What leads to Go: in our form, and in the callback form, whose exported Go functions have names
// like onRedisReply, and whose C code has a list under a lock and a descriptor.
var (
	oursWay     = regexp.MustCompile(`rawwaker_`)
	callbackWay = regexp.MustCompile(
		`\bon[A-Z]|\bpthread_mutex_|\beventfd|_all\b|->(lock|first|last|closed|wakeup)\b`)
)

// glue is how many lines of each language one form of a binding has.
type glue struct{ c, goLines int }

func (g glue) all() int { return g.c + g.goLines }

// glues returns the lines of our form and of the callback form of the binding below dir. It fails
// with fs.ErrNotExist if there is no such binding.
func (b binding) glues(dir string) (our, callback glue, err error) {
	dir = filepath.Join(dir, b.name)
	if our, err = glueOf(dir, b.library, oursWay); err == nil {
		callback, err = glueOf(filepath.Join(dir, "callback"), b.library, callbackWay)
	}
	return our, callback, err
}

// glueOf counts the files of one folder, without tests.
func glueOf(dir string, library, way *regexp.Regexp) (g glue, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return g, err
	}
	for _, f := range files {
		name := f.Name()
		text, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case f.IsDir() || strings.HasSuffix(name, "_test.go"):
		case err != nil:
			return g, err
		case strings.HasSuffix(name, ".c"):
			// Without the include of its own header, which is not counted either.
			own := `#include "` + strings.TrimSuffix(name, "c") + "h\"\n"
			g.c += len(cGlue(strings.Replace(string(text), own, "", 1), library, way))
		case strings.HasSuffix(name, ".go"):
			lines, err := goGlue(name, text)
			if err != nil {
				return g, err
			}
			g.goLines += len(lines)
		}
	}
	return g, nil
}

var (
	cNonCode = regexp.MustCompile(`(?s)"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|/\*.*?\*/|//[^\n]*`)
	cRest    = regexp.MustCompile(`/\* The rest is .*?\*/`)
	braces   = regexp.MustCompile(`^[][(){};,]*$`)
)

// code returns the lines that are not blank and not of brackets alone.
func code(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !braces.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// cCode is code, of text without its comments.
func cCode(text string) []string {
	return code(cNonCode.ReplaceAllStringFunc(text, func(s string) string {
		if s[0] == '/' {
			return " " + strings.Repeat("\n", strings.Count(s, "\n"))
		}
		return s
	}))
}

// cGlue returns the lines of a C file that name nothing of the library, and, below the comment
// "The rest is …", those that also name a way to Go.
func cGlue(text string, library, way *regexp.Regexp) (lines []string) {
	before, rest := text, ""
	if at := cRest.FindStringIndex(text); at != nil {
		before, rest = text[:at[0]], text[at[1]:]
	}
	for _, line := range cCode(before) {
		if !library.MatchString(line) {
			lines = append(lines, line)
		}
	}
	for _, line := range cCode(rest) {
		if way.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// goGlue returns the lines of a Go file, also those of the C above import "C".
func goGlue(name string, text []byte) (lines []string, err error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, decl := range parsed.Decls {
		d := decl.(*ast.GenDecl)
		if d.Doc != nil && d.Specs[0].(*ast.ImportSpec).Path.Value == `"C"` {
			from, to := files.Position(d.Doc.Pos()).Offset, files.Position(d.Doc.End()).Offset
			lines = cCode(strings.TrimSuffix(strings.TrimPrefix(string(text[from:to]), "/*"), "*/"))
		}
	}
	var s scanner.Scanner
	file := token.NewFileSet().AddFile(name, -1, len(text))
	s.Init(file, text, nil, scanner.ScanComments)
	kept := append([]byte(nil), text...)
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return append(lines, code(string(kept))...), nil
		}
		if tok != token.COMMENT {
			continue
		}
		for i := range lit {
			if at := file.Offset(pos) + i; kept[at] != '\n' {
				kept[at] = ' '
			}
		}
	}
}

// glueLines returns the averages over the bindings below dir that exist: of our form and of the
// callback form, in lines.
func glueLines(dir string) (our, callback float64, err error) {
	n := 0.0
	for _, b := range bindings {
		o, c, err := b.glues(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		n++
		our += float64(o.all())
		callback += float64(c.all())
	}
	if n == 0 {
		return 0, 0, errors.New("no binding below " + dir)
	}
	return our / n, callback / n, nil
}
