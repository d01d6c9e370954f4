package repository_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/seed-8a1b3254/ffiwaker"
	root   = "../../.."
)

// tree is the repository, without what builds and package managers put there.
type tree struct {
	fsys  fs.FS
	files []string // by path, with slashes, from the root
}

func readTree(t *testing.T, fsys fs.FS) tree {
	t.Helper()
	r := tree{fsys: fsys}
	built := []string{".git", "target", "build", "node_modules"}
	require.NoError(t, fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(built, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular():
			r.files = append(r.files, path)
		}
		return nil
	}))
	return r
}

// repository is the checkout that this test lies in.
func repository(t *testing.T) tree {
	t.Helper()
	r := readTree(t, os.DirFS(root))
	require.Contains(t, r.files, "rawwaker.h")
	return r
}

// with returns the files that match a pattern of path.Match, in any folder if it has no slash.
func (r tree) with(pattern string) []string {
	var found []string
	for _, file := range r.files {
		name := file
		if !strings.Contains(pattern, "/") {
			name = path.Base(file)
		}
		if ok, _ := path.Match(pattern, name); ok {
			found = append(found, file)
		}
	}
	return found
}

func (r tree) has(path string) bool {
	_, err := fs.Stat(r.fsys, path)
	return err == nil
}

func (r tree) read(t *testing.T, path string) string {
	t.Helper()
	text, err := fs.ReadFile(r.fsys, path)
	require.NoError(t, err)
	return string(text)
}

// need skips the test if a program is not installed.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// run runs a command in the root and returns what it printed.
func run(t *testing.T, name string, arg ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, arg...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// read makes the test depend on files that a program reads.
func read(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		_, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
	}
}
