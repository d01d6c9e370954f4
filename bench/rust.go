package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// rustPeers is bench/rust, running: it is asked for a peer by a line and answers by one.
type rustPeers struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startRust builds the peers, where cargo and its registry are there.
func startRust() (*rustPeers, error) {
	if _, err := exec.LookPath("cargo"); err != nil {
		return nil, errors.New("no cargo")
	}
	dir := "bench/rust"
	if _, err := os.Stat(dir); err != nil {
		dir = "rust"
	}
	build := exec.Command("cargo", "build", "--release", "--quiet", "--manifest-path", filepath.Join(dir, "Cargo.toml"))
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

// ask returns nanoseconds for each of n operations, or the count that the name says.
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

// peer samples f's peer, or the faster of its two.
func (r *rustPeers) peer(f figure) func() float64 {
	sample := func(name string) float64 {
		return several(max(f.runs, 1), func() float64 { return r.ask(name, f.rustN) })()
	}
	if f.rise {
		return func() float64 { return rise(func(n int) float64 { return r.ask(f.rust, n) }) }
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
