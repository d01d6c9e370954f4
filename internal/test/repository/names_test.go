package repository_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// This file checks that each name or pattern of a test in the scripts, the proof and the pages
// matches a test: a test that was renamed would otherwise be left out without a word.

// named is a test or a subtest, with those of its subtests whose names the source says.
type named struct {
	name     string
	children []*named
	// any says that there are subtests whose names only a run shows.
	any bool
	// literals are the strings that names of further subtests are taken from, such as keys of a
	// map.
	literals map[string]bool
}

// suite is what is tested in each folder, and which functions that are no tests have such names.
type suite struct {
	tests map[string][]*named
	other map[string]bool
}

var testName = regexp.MustCompile(`^(?:Test|Fuzz|Example|Benchmark)(?:[^a-z]|$)`)

func readSuite(t *testing.T, r tree) suite {
	t.Helper()
	s := suite{tests: map[string][]*named{}, other: map[string]bool{}}
	type folder struct {
		functions map[string][]*ast.FuncDecl
		literals  map[string]bool
		tests     []*ast.FuncDecl
	}
	folders := map[string]*folder{}
	for _, file := range r.with("*.go") {
		if strings.Contains(file, "testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, r.read(t, file), 0)
		require.NoError(t, err)
		f := folders[path.Dir(file)]
		if f == nil {
			f = &folder{map[string][]*ast.FuncDecl{}, map[string]bool{}, nil}
			folders[path.Dir(file)] = f
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if text, ok := literal(n); ok {
				f.literals[rewritten(text)] = true
			}
			return true
		})
		for _, d := range parsed.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
				f.functions[d.Name.Name] = append(f.functions[d.Name.Name], d)
				switch {
				case d.Recv != nil || !testName.MatchString(d.Name.Name):
				case strings.HasSuffix(file, "_test.go"):
					f.tests = append(f.tests, d)
				default:
					s.other[d.Name.Name] = true
				}
			}
		}
	}
	for dir, f := range folders {
		for _, d := range f.tests {
			n := &named{name: d.Name.Name, literals: map[string]bool{}}
			c := collector{functions: f.functions, folder: f.literals}
			if kit := folders["wakertest"]; kit != nil {
				c.kit = kit.literals
			}
			c.into(n, d.Body, map[string]bool{d.Name.Name: true})
			s.tests[dir] = append(s.tests[dir], n)
		}
	}
	return s
}

// literal is the value of a string literal.
func literal(n ast.Node) (string, bool) {
	if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		text, err := strconv.Unquote(lit.Value)
		return text, err == nil
	}
	return "", false
}

// rewritten is what package testing makes of a subtest's name.
func rewritten(name string) string { return strings.ReplaceAll(name, " ", "_") }

type collector struct {
	functions   map[string][]*ast.FuncDecl
	folder, kit map[string]bool
}

// into adds to n the subtests that body runs, by itself or by a function of its folder that it
// calls.
func (c collector) into(n *named, body ast.Node, seen map[string]bool) {
	follow := func(n *named, name string) {
		if len(c.functions[name]) > 0 && !seen[name] {
			seen[name] = true
			for _, d := range c.functions[name] {
				c.into(n, d.Body, seen)
			}
			delete(seen, name)
		}
	}
	ast.Inspect(body, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, isMethod := call.Fun.(*ast.SelectorExpr)
		if isMethod && selector.Sel.Name == "Run" && len(call.Args) == 2 {
			if _, ok := selector.X.(*ast.Ident); !ok {
				return true
			}
			var child *named
			switch arg := call.Args[0].(type) {
			case *ast.BasicLit:
				name, ok := literal(arg)
				if !ok {
					return true
				}
				child = &named{name: rewritten(name), literals: map[string]bool{}}
				n.children = append(n.children, child)
			case *ast.Ident, *ast.SelectorExpr:
				child = &named{literals: c.folder} // any name that the folder has as a literal
				n.children = append(n.children, child)
			default:
				n.any = true
				return false
			}
			switch f := call.Args[1].(type) {
			case *ast.FuncLit:
				c.into(child, f.Body, seen)
			case *ast.Ident:
				follow(child, f.Name)
			default:
				child.any = child.name == ""
			}
			return false
		}
		passesT := slices.ContainsFunc(call.Args, func(arg ast.Expr) bool {
			id, ok := arg.(*ast.Ident)
			return ok && (id.Name == "t" || id.Name == "tb" || id.Name == "f" || id.Name == "b")
		})
		if !passesT {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			follow(n, f.Name)
		case *ast.SelectorExpr:
			pkg, ok := f.X.(*ast.Ident)
			if ok && pkg.Name == "wakertest" && testName.MatchString(f.Sel.Name) {
				n.children = append(n.children, &named{literals: c.kit})
			} else {
				follow(n, f.Sel.Name)
			}
		}
		return true
	})
}

// matches says whether a test, and below it subtests, match a regular expression for each level.
func (n *named) matches(levels []*regexp.Regexp) bool {
	if n.name != "" {
		if !levels[0].MatchString(n.name) {
			return false
		}
	} else {
		found := false
		for text := range n.literals {
			found = found || levels[0].MatchString(text)
		}
		if !found {
			return false
		}
	}
	if len(levels) == 1 || n.any {
		return true
	}
	return slices.ContainsFunc(n.children, func(c *named) bool { return c.matches(levels[1:]) })
}

// find says whether a test in the folders (everywhere if there are none) matches.
func (s suite) find(folders []string, levels []*regexp.Regexp) bool {
	for dir, tests := range s.tests {
		in := len(folders) == 0 || slices.ContainsFunc(folders, func(f string) bool {
			sub, all := strings.CutSuffix(f, "/...")
			return f == dir || all && (sub == "." || dir == sub || strings.HasPrefix(dir, sub+"/"))
		})
		if in && slices.ContainsFunc(tests, func(n *named) bool { return n.matches(levels) }) {
			return true
		}
	}
	return false
}

// unmatched returns the alternatives of a pattern of go test's -run that match no test.
func (s suite) unmatched(folders []string, pattern string) []string {
	var none []string
	for _, alternative := range alternatives(pattern) {
		var levels []*regexp.Regexp
		for _, level := range split(alternative, '/') {
			re, err := regexp.Compile(level)
			if err != nil {
				return []string{pattern + " (" + err.Error() + ")"}
			}
			levels = append(levels, re)
		}
		if !s.find(folders, levels) {
			none = append(none, alternative)
		}
	}
	return none
}

// exact says whether a name as go test prints it is that of a test.
func (s suite) exact(folders []string, name string) bool {
	var levels []*regexp.Regexp
	for level := range strings.SplitSeq(name, "/") {
		levels = append(levels, regexp.MustCompile("^"+regexp.QuoteMeta(level)+"$"))
	}
	return s.find(folders, levels)
}

// split splits at a separator outside of brackets and parentheses, as package testing does.
func split(pattern string, at byte) []string {
	var parts []string
	brackets, parens, from := 0, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			brackets++
		case c == ']':
			brackets = max(brackets-1, 0)
		case c == '(' && brackets == 0:
			parens++
		case c == ')' && brackets == 0:
			parens--
		case c == at && brackets == 0 && parens == 0:
			parts = append(parts, pattern[from:i])
			from = i + 1
		}
	}
	return append(parts, pattern[from:])
}

var grouped = regexp.MustCompile(`^(\^?)\(([^()]*)\)(\$?)$`)

// alternatives also takes ^(A|B)$ apart, to check each.
func alternatives(pattern string) []string {
	var all []string
	for _, part := range split(pattern, '|') {
		if m := grouped.FindStringSubmatch(part); m != nil {
			for inner := range strings.SplitSeq(m[2], "|") {
				all = append(all, m[1]+inner+m[3])
			}
		} else {
			all = append(all, part)
		}
	}
	return all
}

var (
	inPattern = `[\w^$|()/\[\].*?+\\-]`
	patterns  = regexp.MustCompile(
		inPattern + `*\b(?:Test|Fuzz|Example|Benchmark)[A-Z_]` + inPattern + `*`,
	)
	runFlag = regexp.MustCompile(`-(?:run|skip)[= ]('[^']*'|"[^"]*"|[^\s'"]+)`)
	names   = regexp.MustCompile(`\b(?:Test|Fuzz|Example|Benchmark)[A-Z]\w*(?:/[\w.,:+*'()-]+)*`)
	hint    = regexp.MustCompile(`^(\S+) ((?:Test|Fuzz|Example|Benchmark)\S*)$`)
	shebang = regexp.MustCompile(`^#!.*\b(?:ba)?sh\n`)
)

// stale returns each name and pattern that matches no test.
func stale(t *testing.T, r tree) []string {
	t.Helper()
	s := readSuite(t, r)
	var found []string
	say := func(file, what string) { found = append(found, file+": "+what) }
	check := func(file, line string) { // a line of a script
		var folders []string
		for word := range strings.FieldsSeq(line) {
			if word = strings.Trim(word, "'\"`)"); word == "." || strings.HasPrefix(word, "./") {
				folders = append(folders, path.Clean(word))
			}
		}
		if len(folders) > 0 && !strings.Contains(line, "go test") && !strings.Contains(line, "go_tests") {
			folders = nil
		}
		tokens := patterns.FindAllString(line, -1)
		if strings.Contains(line, "go test") || strings.Contains(line, ") test") {
			for _, m := range runFlag.FindAllStringSubmatch(line, -1) {
				if p := strings.Trim(m[1], `'"`); p != "^$" && !strings.Contains(p, "$skip") &&
					!strings.Contains(p, "$1") &&
					!slices.Contains(tokens, p) {
					tokens = append(tokens, p)
				}
			}
		}
		for _, p := range tokens {
			if strings.Contains(p, "testdata/") {
				continue
			}
			for _, none := range s.unmatched(folders, placeholder.ReplaceAllString(p, "")) {
				say(file, none+" matches no test")
			}
		}
	}
	prose := func(file, text string) {
		for _, name := range names.FindAllString(text, -1) {
			name = placeholder.ReplaceAllString(strings.TrimRight(name, ".,:*()'-/"), "")
			top, _, _ := strings.Cut(name, "/")
			switch {
			case s.exact(nil, name), s.other[name]:
			case strings.Contains(text, "func "+top+"("): // the page's own example
			default:
				say(file, name+" is no test")
			}
		}
	}
	for _, file := range r.files {
		inside := func(folders ...string) bool {
			return slices.ContainsFunc(
				folders,
				func(f string) bool { return strings.HasPrefix(file, f+"/") },
			)
		}
		ext := path.Ext(file)
		switch {
		case strings.Contains(file, "testdata/"), inside("internal/test/repository"):
		case path.Base(file) == "noticed.txt":
			for line := range strings.Lines(r.read(t, file)) {
				key, by, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
				if m := hint.FindStringSubmatch(by); m != nil && !s.exact([]string{m[1]}, m[2]) {
					say(file, key+": "+by+" is no test")
				}
			}
		case ext == ".md":
			prose(file, r.read(t, file))
		case inside("docs", "internal/proof") && (ext == ".txt" || ext == ".dot" || ext == ".pml"):
			prose(file, r.read(t, file))
		case ext == ".go" && inside("internal/proof"):
			parsed, err := parser.ParseFile(token.NewFileSet(), file, r.read(t, file), 0)
			require.NoError(t, err)
			ast.Inspect(parsed, func(n ast.Node) bool {
				if text, ok := literal(n); ok {
					check(file, text)
				}
				return true
			})
		case path.Base(file) == "Makefile",
			inside(".ci", ".github"),
			ext == "" && inside("internal", "hosts", "interop", "docs"):
			text := r.read(t, file)
			if path.Base(file) != "Makefile" && !inside(".github") && !shebang.MatchString(text) {
				continue
			}
			for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
				check(file, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return found
}

// placeholder is what stands for a name: TestX/NAME.
var placeholder = regexp.MustCompile(`/[A-Z]+$`)

func TestName(t *testing.T) {
	t.Run("that_a_script_or_a_page_has_is_that_of_a_test", func(t *testing.T) {
		for _, s := range stale(t, repository(t)) {
			t.Error(s)
		}
	})
	t.Run("of_no_test_is_found", func(t *testing.T) {
		files := fstest.MapFS{
			"a/a_test.go": {Data: []byte(`package a

func TestOne(t *testing.T) {
	t.Run("first part", func(t *testing.T) {
		t.Run("deeper", shared)
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { helper(t) })
	}
}

var cases = []struct{ name string }{{"from a table"}}

func shared(t *testing.T) { t.Run("in_shared", nil) }
func helper(t *testing.T) { t.Run("in_helper", nil) }

func TestAny(t *testing.T) { t.Run(fmt.Sprint(1), nil) }
func FuzzTwo(f *testing.F) {}
func ExampleThree() {}
func Testament() {}
`)},
			"b/b_test.go": {
				Data: []byte("package b\n\nfunc TestB(t *testing.T) { wakertest.TestKit(t, nil) }\n"),
			},
			"wakertest/kit.go": {
				Data: []byte("package wakertest\n\nfunc TestKit(t T) {}\n\nvar rules = []string{\"a_rule\"}\n"),
			},
			"docs/ok.md": {
				Data: []byte(
					"`TestOne/first_part/deeper/in_shared`, TestB/a_rule, TestAny/7; `TestKit`. FuzzTwo/NAME\n",
				),
			},
			"docs/wrong.md": {
				Data: []byte("TestOne/second, `TestMissing`, TestB/no_rule, TestOne/from_a_table/deeper\n"),
			},
			"internal/proof/go": {
				Data: []byte("#!/bin/sh\ngo test -run 'TestOne/^from_a_table$/in_helper|^FuzzTw' ./a\n"),
			},
			"internal/proof/wrong": {
				Data: []byte("#!/bin/bash\ngo test -skip '^(TestOne|TestB)$' \\\n  ./a\n" +
					"go test -run Wo ./a\nsay TestO TestNone\n"),
			},
			"Makefile": {
				Data: []byte("x:\n\t$(GO) test -run 'Bench' ./...\n\t$(GO) test -run TestOne/first ./...\n"),
			},
			"internal/proof/m/noticed.txt": {
				Data: []byte("k: x\ta TestOne/first_part\nk: y\tb TestOne\nk: z\tunit under asan\n"),
			},
			"internal/proof/m/main.go": {
				Data: []byte("package main\n\nvar x, y = \"^TestAny$\", \"^TestAn$\"\n"),
			},
			"internal/test/repository/some_test.go": {Data: []byte("package house\n")},
		}
		require.Equal(t, []string{
			"Makefile: Bench matches no test",
			"docs/wrong.md: TestOne/second is no test",
			"docs/wrong.md: TestMissing is no test",
			"docs/wrong.md: TestB/no_rule is no test",
			"docs/wrong.md: TestOne/from_a_table/deeper is no test",
			"internal/proof/m/main.go: ^TestAn$ matches no test",
			"internal/proof/m/noticed.txt: k: y: b TestOne is no test",
			"internal/proof/wrong: ^TestB$ matches no test",
			"internal/proof/wrong: Wo matches no test",
			"internal/proof/wrong: TestNone matches no test",
		}, stale(t, readTree(t, files)))
	})
}
