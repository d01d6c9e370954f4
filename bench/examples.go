//go:build cgo && linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// values are the numbers of one program, or why there are none.
type values struct {
	of  map[string]float64
	why error
}

// measured has what each program has printed. It runs once.
var measured = map[string]values{}

func (e fromExamples) of(name string) values {
	v, known := measured[name]
	if !known {
		v.of, v.why = runExample(name)
		measured[name] = v
	}
	return v
}

// leftOut returns which of the examples cannot be measured, and why.
func (e fromExamples) leftOut() (parts []leftOut) {
	for _, name := range e.names {
		if why := e.of(name).why; why != nil {
			parts = append(parts, leftOut{name, why.Error()})
		}
	}
	return parts
}

// noneReason returns why none of the examples can be measured, or "".
func (e fromExamples) noneReason() string {
	parts := e.leftOut()
	if len(parts) < len(e.names) {
		return ""
	}
	var b strings.Builder
	for _, part := range parts {
		fmt.Fprintf(&b, "; %s: %s", part.name, part.reason)
	}
	return b.String()[len("; "):]
}

// sums returns both numbers.
func (e fromExamples) sums() (ours, other float64) {
	for _, name := range e.names {
		v := e.of(name)
		if v.why != nil {
			continue
		}
		for line, sum := range map[string]*float64{e.ours: &ours, e.other: &other} {
			value, printed := v.of[name+"."+line]
			if !printed {
				panic("bench: examples/" + name + "/measure prints no line " + name + "." + line)
			}
			*sum += value
		}
	}
	if other == 0 {
		panic(fmt.Sprintf("bench: examples/%s: there is nothing to compare with", e.names))
	}
	return ours, other
}

// notHere is the exit status of a measure program that lacks something, such as a server. It has
// printed what, on standard error.
const notHere = 3

// runExample builds examples/name/measure and runs it. It fails if the program cannot be built, as
// without the bound library, or cannot measure here. Any other failure panics.
func runExample(name string) (map[string]float64, error) {
	dir, err := benchDir()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "..", "examples", name)
	if _, err := os.Stat(filepath.Join(dir, "measure")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no examples/%s/measure", name)
	}
	exe := filepath.Join(buildsDir(), name)
	build := exec.Command("go", "build", "-C", dir, "-o", exe, "./measure")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, errors.New("go build: " + firstLine(text))
	}
	return runMeasure(exec.Command(exe), name)
}

func runMeasure(cmd *exec.Cmd, name string) (map[string]float64, error) {
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == notHere {
		return nil, errors.New(firstLine(errs.Bytes()))
	}
	if err != nil {
		panic(fmt.Sprintf("bench: examples/%s/measure: %v: %s", name, err, errs.Bytes()))
	}
	found, err := parseMeasured(string(out))
	if err != nil {
		panic(fmt.Sprintf("bench: examples/%s/measure: %v", name, err))
	}
	return found, nil
}

// parseMeasured reads lines of a name, a tab and a number.
func parseMeasured(text string) (map[string]float64, error) {
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, fmt.Errorf("not a name, a tab and a number: %q", line)
		}
		found[name] = value
	}
	return found, nil
}

// firstLine is the first line that is no comment of the go command.
func firstLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return "it printed no reason"
}

// glueFigure counts lines of the examples of this source tree.
func glueFigure() (ours, callback float64) {
	dir, err := benchDir()
	if err == nil {
		ours, callback, err = glueLines(filepath.Join(dir, "..", "examples"))
	}
	if err != nil {
		panic("bench: " + err.Error())
	}
	return ours, callback
}

const callbackForm = "the same with an exported callback, a cgo.Handle and a channel: examples/"

var examples = []figure{
	{
		name: "50,000 Redis GETs: CPU of the process, ms", goal: 0.85, slow: true, pairs: 1,
		peer:     callbackForm + "redis/callback",
		examples: fromExamples{[]string{"redis"}, "cpu.ours", "cpu.callback"},
	},
	{
		name: "50,000 Redis GETs: resident memory, kB", goal: 0.4, slow: true, pairs: 1,
		peer:     callbackForm + "redis/callback",
		examples: fromExamples{[]string{"redis"}, "rss.ours", "rss.callback"},
	},
	{
		name: "cancelled operations that ran all the same", goal: 0.05, slow: true, pairs: 1,
		peer:     callbackForm + "*/callback",
		examples: fromExamples{[]string{"curl", "uring", "postgres"}, "ran.ours", "ran.callback"},
	},
	{
		name: "10,000 libpq queries: OS threads", goal: 0.15, slow: true, pairs: 1,
		peer:     "a goroutine in PQexec for each of the 64 connections: examples/postgres/measure",
		examples: fromExamples{[]string{"postgres"}, "threads.ours", "threads.pqexec"},
	},
	{
		name: "glue: lines of C and Go per binding", goal: 0.5, pairs: 1,
		peer: "the callback form of the same bindings: examples/*/callback",
		both: glueFigure,
	},
}
