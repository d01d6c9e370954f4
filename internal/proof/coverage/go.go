//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

// measuredGo are the packages whose statements count.
var measuredGo = []string{"rawwaker", "blockon", "future", "executor"}

type build struct {
	name     string
	env      []string
	flags    []string
	packages []string
}

// builds are the ways in which the tests run. Under the trace those that count allocations and cgo
// calls fail.
var builds = []build{
	{"plain", nil, nil, []string{"rawwaker", "blockon", "future", "executor", "internal/wake",
		"wakertest", "internal/proof/fuzz", "cmd/wakelab"}},
	{"audit", []string{"FFIWAKERDEBUG=audit=1"}, nil,
		[]string{"rawwaker", "blockon", "future", "executor", "wakertest"}},
	{"trace", []string{"FFIWAKERDEBUG=trace=/dev/null"}, nil,
		[]string{"rawwaker", "blockon", "future", "executor"}},
	{"debug", []string{"GOGC=1"}, []string{"-tags", "ffiwakerdebug"},
		[]string{"rawwaker", "blockon"}},
	{"nocgo", []string{"CGO_ENABLED=0"}, nil,
		[]string{"rawwaker", "blockon", "future", "executor", "wakertest"}},
}

func measureGo(dir string) measured {
	each(builds, func(_ int, b build) {
		profile := filepath.Join(dir, b.name+".out")
		var cover []string
		for _, p := range measuredGo {
			cover = append(cover, "./"+p)
		}
		arg := append([]string{"test", "-short", "-count=1", "-covermode=atomic", "-p=1", "-vet=off",
			"-coverpkg=" + strings.Join(cover, ","),
			"-coverprofile=" + profile}, b.flags...)
		for _, p := range b.packages {
			arg = append(arg, "./"+p)
		}
		cmd := exec.Command("go", arg...)
		cmd.Env = append(os.Environ(), b.env...)
		out, err := cmd.CombinedOutput()
		if _, failed := os.Stat(profile); failed != nil {
			fatal("go test, "+b.name, out, err)
		}
		for _, line := range strings.Split(string(out), "\n") {
			if strings.Contains(line, "--- FAIL") {
				fmt.Printf("note: build %s: %s\n", b.name, strings.TrimSpace(line))
			}
		}
	})
	m := measured{}
	module, err := exec.Command("go", "list", "-m").Output()
	tool.Check(err)
	prefix := strings.TrimSpace(string(module)) + "/"
	for _, b := range builds {
		f, err := os.Open(filepath.Join(dir, b.name+".out"))
		tool.Check(err)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			file, rest, ok := strings.Cut(strings.TrimPrefix(lines.Text(), prefix), ".go:")
			if !ok {
				continue
			}
			p := place{file: file + ".go"}
			var n, count int
			_, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &p.line, &p.column, &p.to, &p.end, &n, &count)
			tool.Check(err)
			if n > 0 {
				m.add(p, n, min(count, 1))
			}
		}
		tool.Check(f.Close())
	}
	return m
}
