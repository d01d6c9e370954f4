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

// operations executed by this process; said at its end, and counted by the script.
var operations atomic.Int64

func TestMain(m *testing.M) {
	status := m.Run()
	if to := os.Getenv("FUZZ_OPERATIONS"); to != "" { // a file: fuzzing has processes of its own, whose output go test keeps
		if f, err := os.OpenFile(to, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666); err == nil {
			fmt.Fprintf(f, "operations %d\n", operations.Load())
			f.Close()
		}
	}
	os.Exit(status)
}

// seeds holds f to balance's rule, and gives it what is in the folders of the other targets: a program is one for all. Its own
// go test adds by itself.
func seeds(f *testing.F) {
	if flag.Lookup("test.fuzz").Value.String() == "" { // who fuzzes has goroutines and descriptors of its own
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

// FuzzWakersOfGo makes no cgo call at all, so that under -race the detector sees everything.
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
		t.Errorf("%d operations are in the table, and %d are done", len(Names), len(done))
	}
	data := []byte{3}
	for i := range Names {
		data = append(data, byte(i), byte(i%3), byte(i*7), byte(255-i))
	}
	list := Decode(data).String()
	if again, err := Parse(list); err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v: %v and not %v", err, again, data)
	}
	for _, c := range []struct{ data, list string }{
		{"", "mode 0\n"},
		{"\xff\x1a", "mode 7\nclone 0 0 0\n"}, // what is missing is 0, what is too much is reduced
	} {
		if got := Decode([]byte(c.data)).String(); got != c.list {
			t.Errorf("%q is %q and not %q", c.data, got, c.list)
		}
	}
	if n := len(Decode(make([]byte, 4000)).Ops); n != Most {
		t.Errorf("%d operations count", n)
	}
}
