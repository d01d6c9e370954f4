//go:build cgo && linux

package main

import (
	"cmp"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// thisMachine is the header of a run that starts now.
func thisMachine(command string) header {
	h := header{
		command:   command,
		date:      time.Now().Format(time.DateOnly),
		cpu:       runtime.GOARCH,
		cpus:      strconv.Itoa(runtime.NumCPU()),
		machine:   "physical",
		system:    runtime.GOOS + "/" + runtime.GOARCH,
		kernel:    "unknown",
		goVersion: runtime.Version(),
		rustc:     versionOf("rustc"),
	}
	cc := cmp.Or(os.Getenv("CC"), "gcc")
	h.compiler = cc + " " + versionOf(cc)
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.kernel = strings.TrimSpace(string(text))
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "model name":
			h.cpu = value
		case "flags":
			if strings.Contains(" "+value+" ", " hypervisor ") {
				h.machine = "virtual"
			}
		}
	}
	return h
}

// versionOf is the first word with a digit, not in parentheses, of what `program --version` prints.
// It is "none" if there is no such word or program.
func versionOf(program string) string {
	text, err := exec.Command(program, "--version").Output()
	if err != nil {
		return "none"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	depth := 0
	for _, word := range strings.Fields(line) {
		opened := strings.Count(word, "(")
		if depth+opened == 0 && strings.ContainsAny(word, "0123456789") {
			return word
		}
		depth += opened - strings.Count(word, ")")
	}
	return "none"
}
