package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// probe finds the fields of Rust's wakers; its first lines describe how.
//
//go:embed probe.rs
var probe string

// recorded is what the probe printed with recordedBy. Another rustc may choose another layout.
const (
	recordedBy = "rustc 1.95.0 for x86_64-unknown-linux-gnu"
	recorded   = `RawWaker 16 8
RawWaker.data 8 8
RawWaker.vtable 0 8
RawWakerVTable 32 8
RawWakerVTable.clone 0 8
RawWakerVTable.wake 8 8
RawWakerVTable.wake_by_ref 16 8
RawWakerVTable.drop 24 8
Context 32 8
Context.waker 0|8 8
`
)

// rust returns Rust's layout and its source: the probe, if rustc is installed, else the record.
func rust() (figures, string) {
	printed, version, err := runProbe()
	if err != nil {
		return parse(recorded), fmt.Sprintf("recorded by %s; not checked now: %v", recordedBy, err)
	}
	return parse(printed), "found now by a probe that " + version + " compiled"
}

// runProbe compiles the probe in a temporary folder, and returns what it prints.
func runProbe() (printed, version string, err error) {
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		return "", "", errors.New("no rustc on the PATH")
	}
	ctx, dir, done, err := scratch(30 * time.Minute)
	if err != nil {
		return "", "", err
	}
	defer done()
	if err := os.WriteFile(filepath.Join(dir, "probe.rs"), []byte(probe), 0o600); err != nil {
		return "", "", err
	}
	full, err := outputOf(ctx, dir, rustc, "--version")
	if err != nil {
		return "", "", err
	}
	program := filepath.Join(dir, "probe.exe") // Windows needs the extension
	_, err = outputOf(ctx, dir, rustc, "--edition", "2021", "-o", program, "probe.rs")
	if err != nil {
		return "", "", err
	}
	printed, err = outputOf(ctx, dir, program)
	version, _, _ = strings.Cut(full, " (") // without the commit
	return printed, strings.TrimSpace(version), err
}

// outputOf runs a command and returns what it prints. The error has one line.
func outputOf(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err == nil {
		return string(out), nil
	}
	err = fmt.Errorf("%s: %w", filepath.Base(name), err)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, firstLine(string(exit.Stderr)))
	}
	return "", err
}

// firstLine returns the first line of a program's output, for an error of one line.
func firstLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return first
}

// parse reads what the probe prints.
func parse(text string) figures {
	f := make(figures)
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); len(w) == 3 {
			if strings.Contains(w[0], ".") {
				f[w[0]] = figure{offset: w[1], size: w[2]}
			} else {
				f[w[0]] = figure{size: w[1]}
			}
		}
	}
	return f
}
