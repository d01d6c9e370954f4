package fuzz

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
)

// operations counts what this process has executed. TestMain reports it to the script.
var operations atomic.Int64

func TestMain(m *testing.M) {
	status := m.Run()
	// To a file: go test does not print the output of its fuzzing processes.
	if to := os.Getenv("FUZZ_OPERATIONS"); to != "" {
		if f, err := os.OpenFile(to, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666); err == nil {
			fmt.Fprintf(f, "operations %d\n", operations.Load())
			f.Close()
		}
	}
	os.Exit(status)
}

// seeds adds the corpus of the other targets to f, because a program is the same for all; go test
// adds f's own. It also checks, by package balance, that nothing is left at the end.
func seeds(f *testing.F) {
	// A fuzzing process has goroutines and descriptors of its own.
	if flag.Lookup("test.fuzz").Value.String() == "" {
		balance.Check(f)
	}
	names, err := filepath.Glob("testdata/fuzz/*/*")
	if err != nil || len(names) == 0 {
		f.Fatal("no corpus: ", err)
	}
	for _, name := range names {
		if filepath.Base(filepath.Dir(name)) == f.Name() {
			continue
		}
		data, err := ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzWakersOfGo makes no cgo call, so the race detector sees everything.
func FuzzWakersOfGo(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { run(t, Decode(data), false) })
}

func run(t *testing.T, p Program, c bool) {
	var err error
	if p.Mode&Together != 0 {
		err = together(p, c)
	} else {
		err = sequence(p, c)
	}
	if err != nil {
		t.Fatalf("%v\nthe program:\n%s", err, p)
	}
}

func TestProgram(t *testing.T) {
	if done := new(world).table(); len(done) != len(Names) {
		t.Errorf("%d operations are in the table, and %d are implemented", len(Names), len(done))
	}
	data := []byte{3}
	for i := range Names {
		data = append(data, byte(i), byte(i%3), byte(i*7), byte(255-i))
	}
	list := Decode(data).String()
	if again, err := Parse(list); err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v: got %v, want %v", err, again, data)
	}
	for _, c := range []struct{ data, list string }{
		{"", "mode 0\n"},
		{"\xff\x1a", "mode 7\nclone 0 0 0\n"}, // a missing byte is 0; a large one is reduced
	} {
		if got := Decode([]byte(c.data)).String(); got != c.list {
			t.Errorf("%q: got %q, want %q", c.data, got, c.list)
		}
	}
	if n := len(Decode(make([]byte, 4000)).Ops); n != Most {
		t.Errorf("%d operations", n)
	}
}
