package main

import (
	"bytes"
	"embed"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

//go:embed world.go build.go run.go rest.go long.go c.go nocgo.go readable_unix.go readable_other.go
var runtimeFiles embed.FS

// String is the program as the statements of a Go function.
func (p *Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "w := Start(%s)\n", strings.TrimPrefix(fmt.Sprintf("%#v", p.Config), "main."))
	for _, s := range p.all() {
		b.WriteString("w." + callText(reflect.TypeFor[*World](), s.Op, s.Ints, s.Acts, s.kids()))
		b.WriteString("\n")
	}
	head := "package p\nfunc main() {\n"
	out, err := format.Source([]byte(head + b.String() + "}\n"))
	if err != nil {
		return b.String()
	}
	text := strings.TrimSuffix(string(out[strings.IndexByte(string(out), '{')+2:]), "}\n")
	return text
}

const width = 90

func callText(of reflect.Type, op string, ints []int, acts []ActOf, kids []*Node) string {
	var args []string
	arguments(of, op, ints, kids, func(t reflect.Type, n int, kid *Node) {
		switch t {
		case typeInt:
			args = append(args, strconv.Itoa(n))
		case typeActs:
			args = append(args, actsText(acts))
		case typeLazy:
			args = append(args, lazyText(kid))
		default:
			args = append(args, nodeText(kid))
		}
	})
	return op + "(" + list(args) + ")"
}

// list is args on one line, or on one each.
func list(args []string) string {
	one := strings.Join(args, ", ")
	if len(one) < width && !strings.Contains(one, "\n") {
		return one
	}
	return "\n" + strings.Join(args, ",\n") + ",\n"
}

func nodeText(n *Node) string {
	return "e." + callText(reflect.TypeFor[*Task](), n.Op, n.Ints, n.Acts, n.Kids)
}

func lazyText(n *Node) string {
	text := nodeText(n)
	if len(text) < width-40 && !strings.Contains(text, "\n") {
		return "func(e *Task) F { return " + text + " }"
	}
	return "func(e *Task) F {\nreturn " + text + "\n}"
}

func actsText(acts []ActOf) string {
	if len(acts) == 0 {
		return "nil"
	}
	var all []string
	for _, a := range acts {
		text := fmt.Sprintf("{On: %d, At: %d, Do: %q, Arg: %d", a.On, a.At, a.Do, a.Arg)
		if a.Sub != nil {
			text += ", Sub: " + lazyText(a.Sub)
		}
		all = append(all, text+"}")
	}
	return "[]Act{" + list(all) + "}"
}

// Source is the program as a Go file that compiles by itself. It uses public names only. With cgo
// it needs the folders of rawwaker.h and rawwaker_channel.h in CGO_CFLAGS.
func (p *Program) Source(comment string) (string, error) {
	files := []string{"world.go", "build.go", "run.go", "long.go", "nocgo.go", "readable_unix.go",
		"rest.go"}
	if HasC {
		files[4] = "c.go"
	}
	if runtime.GOOS == "windows" {
		files[5] = "readable_other.go"
	}
	imports := map[string]string{}
	var preamble, bodies bytes.Buffer
	for _, name := range files {
		text, err := runtimeFiles.ReadFile(name)
		if err != nil {
			return "", err
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return "", err
		}
		end := 0
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.IMPORT {
				continue
			}
			end = set.Position(g.End()).Offset
			for _, s := range g.Specs {
				i := s.(*ast.ImportSpec)
				if i.Path.Value == `"C"` {
					preamble.WriteString(string(text[set.Position(g.Doc.Pos()).Offset:end]) + "\n")
					continue
				}
				line := i.Path.Value
				if i.Name != nil {
					line = i.Name.Name + " " + line
				}
				imports[line] = ""
			}
		}
		bodies.Write(text[end:])
		bodies.WriteString("\n")
	}
	var b bytes.Buffer
	b.WriteString(comment)
	b.WriteString("package main\n\n")
	cgo := strings.ReplaceAll(preamble.String(),
		"#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../../.. -I${SRCDIR}/../../../channel",
		"#cgo CFLAGS: -std=gnu11")
	b.WriteString(cgo)
	b.WriteString("\nimport (\n")
	lines := make([]string, 0, len(imports))
	for line := range imports {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, "\n") + "\n)\n\n")
	fmt.Fprintf(&b, `// program is what fails. What follows main is the same for all programs.
func program() []Violation {
	%s	time.AfterFunc(20*time.Second, w.hangs)
	return w.End(%d)
}

func main() {
	for range 1000 { // threads may have to meet
		for _, v := range program() {
			fmt.Println("violation:", v.Kind+":", v.Detail)
			os.Exit(1)
		}
	}
}

`, p.String(), p.Order)
	b.Write(bodies.Bytes())
	out, err := format.Source(b.Bytes())
	if err != nil {
		return b.String(), err
	}
	return string(out), nil
}
