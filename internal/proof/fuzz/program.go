// Package fuzz runs programs of operations on wakers and futures against a reference model.
//
// The model counts references and wakes. README.md describes a program; fuzz.c runs the same in C.
package fuzz

import (
	_ "embed"
	"fmt"
	"os"
	"strconv"
	"strings"
)

//go:embed operations.def
var table string

// Names lists the operations by number.
var Names = func() (names []string) {
	for line := range strings.Lines(table) {
		if name, ok := strings.CutPrefix(line, "OP("); ok {
			name, _, _ = strings.Cut(name, ",")
			names = append(names, name)
		}
	}
	return names
}()

// The bits of a program's first byte.
const (
	Together = 1 << iota // the threads run their parts at once
	Early                // the runtime ends before the wakers that are left, which are then woken
	Hooked               // in C, the sink has a hook
)

// Most is the maximum number of operations; the bytes after them are ignored.
const Most = 128

// Threads is the number of threads of a program.
const Threads = 3

// Operation is decoded from four bytes, each reduced to its range.
type Operation struct {
	Name string
	Who  int
	X, Y int
}

// Program is decoded from any bytes.
type Program struct {
	Mode int
	Ops  []Operation
}

// Decode reads a program.
func Decode(data []byte) (p Program) {
	if len(data) == 0 {
		return p
	}
	p.Mode = int(data[0] & 7)
	for data = data[1:]; len(data) > 0 && len(p.Ops) < Most; {
		var b [4]byte
		data = data[copy(b[:], data):]
		op := Operation{Names[int(b[0])%len(Names)], int(b[1] % Threads), int(b[2]), int(b[3])}
		p.Ops = append(p.Ops, op)
	}
	return p
}

// String lists the program in the format of fuzz.c.
func (p Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode %d\n", p.Mode)
	for _, o := range p.Ops {
		fmt.Fprintf(&b, "%s %d %d %d\n", o.Name, o.Who, o.X, o.Y)
	}
	return b.String()
}

// Parse returns the bytes of a program that String has listed.
func Parse(list string) (data []byte, err error) {
	lines := strings.Split(strings.TrimSpace(list), "\n")
	var mode uint8
	if _, err := fmt.Sscanf(lines[0], "mode %d", &mode); err != nil {
		return nil, fmt.Errorf("%q: %w", lines[0], err)
	}
	data = append(data, mode)
	for _, line := range lines[1:] {
		var name string
		var who, x, y uint8
		if _, err := fmt.Sscanf(line, "%s %d %d %d", &name, &who, &x, &y); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		code := -1
		for i, n := range Names {
			if n == name {
				code = i
			}
		}
		if code < 0 {
			return nil, fmt.Errorf("%q is not an operation", name)
		}
		data = append(data, uint8(code), who, x, y)
	}
	return data, nil
}

// Header begins a file of Go's corpus; a quoted string and a parenthesis follow.
const Header = "go test fuzz v1\n[]byte("

// ReadFile reads a program from a file in the format of Go's corpus.
func ReadFile(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	quoted, ok := strings.CutPrefix(strings.TrimSpace(string(text)), Header)
	quoted, closed := strings.CutSuffix(quoted, ")")
	data, err := strconv.Unquote(quoted)
	if !ok || !closed || err != nil {
		return nil, fmt.Errorf("%s is not a program", name)
	}
	return []byte(data), nil
}
