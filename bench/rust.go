package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// rustPeers is the running program of bench/rust. It answers each line with one line.
type rustPeers struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startRust builds and starts the peers. It fails if there is no cargo or the build fails.
func startRust() (*rustPeers, error) {
	if _, err := exec.LookPath("cargo"); err != nil {
		return nil, errors.New("no cargo")
	}
	dir, err := benchDir()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "rust")
	build := exec.Command("cargo", "build", "--release", "--quiet",
		"--manifest-path", filepath.Join(dir, "Cargo.toml"))
	if text, err := build.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return nil, fmt.Errorf("cargo build: %s", first)
	}
	cmd := exec.Command(filepath.Join(dir, "target", "release", "peers"))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &rustPeers{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

// ask measures n operations of the named peer. It returns nanoseconds per operation, or the count
// or the total that bench/rust documents for that name.
func (r *rustPeers) ask(name string, n int) float64 {
	fmt.Fprintf(r.in, "%s %d\n", name, n)
	line, err := r.out.ReadString('\n')
	if err != nil {
		panic("bench/rust: " + name + ": " + err.Error())
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	if err != nil {
		panic("bench/rust: " + name + ": " + line)
	}
	return v
}

// peer returns a function that takes one sample of f's peer, or of the faster of its two.
func (r *rustPeers) peer(f figure) func() float64 {
	sample := func(name string) float64 {
		return medianOf(max(f.runs, 1), func() float64 { return r.ask(name, f.rustN) })()
	}
	if f.growth {
		return func() float64 { return costGrowth(func(n int) float64 { return r.ask(f.rust, n) }) }
	}
	if f.rustOr == "" {
		return func() float64 { return sample(f.rust) }
	}
	return func() float64 { return min(sample(f.rust), sample(f.rustOr)) }
}

func (r *rustPeers) stop() {
	r.in.Close()
	r.cmd.Wait()
}
