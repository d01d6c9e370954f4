// Package tool is what the commands mutate and coverage share: their folder, errors and lists.
package tool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Run goes to the module's root and exits with the status of f. dir is keep, made if it is not
// there; or, if keep is empty, a folder that is removed again. A relative keep is below the root.
func Run(keep string, f func(dir string) (status int)) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	Check(err)
	Check(os.Chdir(strings.TrimSpace(string(root))))
	if keep != "" {
		dir, err := filepath.Abs(keep)
		Check(err)
		Check(os.MkdirAll(dir, 0o755))
		os.Exit(f(dir))
	}
	dir, err := os.MkdirTemp("", name())
	Check(err)
	status := f(dir)
	Check(os.RemoveAll(dir))
	os.Exit(status)
}

// Check ends the command with status 2 if there is an error.
func Check(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name(), err)
		os.Exit(2)
	}
}

func name() string { return filepath.Base(os.Args[0]) }

// Table reads a list: lines of two columns, and comments that begin with #.
func Table(text, between string) map[string]string {
	t := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, between); ok && !strings.HasPrefix(line, "#") {
			t[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return t
}
