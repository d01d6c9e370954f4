package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// abiProbe has one function. It is compiled and read, not run.
//
//go:embed probe/clone.c
var abiProbe string

// platform is a calling convention.
type platform struct {
	name     string
	by       [][]string // compilers for it: the first that is installed is used
	recorded string     // the result with gcc 12.2.0
	register *regexp.Regexp
}

const inMemory = "in memory: the caller passes its address first, "

var platforms = []platform{
	{"x86-64, System V: Linux, macOS, BSD", [][]string{{"x86_64-linux-gnu-gcc"}, {"gcc", "-m64"}},
		"in registers: data in rax, vtable in rdx", regexp.MustCompile(`%([a-z0-9]+)`)},
	{"x86-64, Windows", [][]string{{"x86_64-w64-mingw32-gcc"}},
		inMemory + "in rcx", regexp.MustCompile(`%([a-z0-9]+)`)},
	{"AArch64: Linux, macOS, Windows", [][]string{{"aarch64-linux-gnu-gcc"}},
		"in registers: data in x0, vtable in x1", regexp.MustCompile(`\b([xw][0-9]+)\b`)},
	{"ARM, EABI", [][]string{{"arm-linux-gnueabihf-gcc"}},
		inMemory + "in r0", regexp.MustCompile(`\b(r[0-9]+)\b`)},
	{"i386, System V", [][]string{{"i686-linux-gnu-gcc"}, {"gcc", "-m32"}},
		inMemory + "on the stack", regexp.MustCompile(`%([a-z]+)`)},
}

// abi prints how clone returns its struct.
func abi(out io.Writer) error {
	ctx, dir, done, err := scratch(30 * time.Minute)
	if err != nil {
		return err
	}
	defer done()
	source := filepath.Join(dir, "probe.c")
	if err := os.WriteFile(source, []byte(abiProbe), 0o600); err != nil {
		return err
	}
	line(out, "The slot clone returns a struct of two words by value:\n\n"+
		"    rawwaker clone(void *data) { return (rawwaker){(void *)0x11, (void *)0x22}; }\n")
	for _, p := range platforms {
		code, compiler, err := p.compile(ctx, source)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		line(out, "%s", p.name)
		if err != nil {
			line(out, "    %s", p.recorded)
			line(out, "    recorded from gcc 12.2.0; not checked now: %v\n", err)
			continue
		}
		line(out, "    %s", p.read(code))
		line(out, "    found now, in the code of %s:", compiler)
		for _, instruction := range code {
			line(out, "        %s", instruction)
		}
		line(out, "")
	}
	line(out, `In memory: data is then clone's second argument. Rust's extern "C" fn and Go's cgo do
the same. A language that cannot receive a struct by value calls rawwaker_clone_into instead.`)
	return nil
}

// compile returns the function's instructions, one in each line.
func (p platform) compile(
	ctx context.Context, source string,
) (code []string, compiler string, err error) {
	for _, by := range p.by {
		path, lookErr := exec.LookPath(by[0])
		if lookErr != nil {
			if err == nil {
				err = fmt.Errorf("no %s on the PATH", by[0])
			}
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		args := append(by[1:], "-O1", "-S", "-o", "-",
			"-fno-asynchronous-unwind-tables", "-fno-stack-protector")
		if strings.Contains(by[0], "x86_64") || strings.Contains(by[0], "i686") || by[0] == "gcc" {
			args = append(args, "-fcf-protection=none") // other machines have no such option
		}
		args = append(args, filepath.Base(source))
		text, runErr := outputOf(ctx, filepath.Dir(source), path, args...)
		if runErr != nil {
			err = runErr
			continue
		}
		version, _ := outputOf(ctx, filepath.Dir(source), path, "-dumpversion")
		return instructions(text), strings.Join(by, " ") + " " + strings.TrimSpace(version), nil
	}
	return nil, "", err
}

// instructions returns those between the label clone and the function's end.
func instructions(text string) (code []string) {
	inside := false
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\n")
		word := strings.TrimSpace(l)
		switch {
		case strings.HasSuffix(word, ":"):
			inside = inside || word == "clone:" || word == "_clone:"
		case inside && strings.HasPrefix(word, "."):
		case inside:
			// @ begins a comment for ARM's assembler.
			if word, _, _ = strings.Cut(word, "@"); strings.TrimSpace(word) == "" {
				continue
			}
			code = append(code, strings.Join(strings.Fields(word), " "))
			if strings.HasPrefix(word, "ret") || strings.HasPrefix(word, "bx") {
				return code
			}
		}
	}
	return code
}

// read describes where the two constants end up: each in a register, or in memory.
func (p platform) read(code []string) string {
	const data, vtable = "17", "34" // 0x11, 0x22
	registers := map[string]string{}
	memory, first := false, ""
	for _, c := range code {
		for _, constant := range []string{data, vtable} {
			if !regexp.MustCompile(`[$#]?\b` + constant + `\b`).MatchString(c) {
				continue
			}
			if r := p.register.FindAllStringSubmatch(c, -1); len(r) > 0 {
				registers[constant] = r[len(r)-1][1]
				if strings.HasPrefix(c, "mov") && p.name[0] == 'A' { // ARM's destination is the first operand
					registers[constant] = r[0][1]
				}
			}
		}
		if strings.Contains(c, "(%") && !strings.Contains(c, "(%esp)") ||
			strings.HasPrefix(c, "str") || strings.HasPrefix(c, "stm") || strings.HasPrefix(c, "stp") {
			memory = true
			if first == "" {
				r := p.register.FindAllStringSubmatch(c, -1)
				first = r[len(r)-1][1]
				if strings.HasPrefix(c, "stm") {
					first = r[0][1]
				}
			}
		}
	}
	switch {
	case memory && strings.HasPrefix(p.name, "i386"):
		return inMemory + "on the stack"
	case memory:
		return inMemory + "in " + first
	case len(registers) == 2:
		return fmt.Sprintf("in registers: data in %s, vtable in %s",
			whole(registers[data]), whole(registers[vtable]))
	}
	return "in a way that wakelab cannot read"
}

// whole returns the name of the whole register, given perhaps its lower half: setting that clears
// the rest.
func whole(r string) string {
	if strings.HasPrefix(r, "e") {
		return "r" + r[1:]
	}
	if strings.HasPrefix(r, "w") {
		return "x" + r[1:]
	}
	return r
}
