package repository_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edited copies files of the repository, each after edits, and returns their folder.
func edited(t *testing.T, files map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	for file, edits := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		changed := string(text)
		for i := 0; i < len(edits); i += 2 {
			require.Contains(t, changed, edits[i], file)
			changed = strings.ReplaceAll(changed, edits[i], edits[i+1])
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(changed), 0o644))
	}
	return dir
}

// oncePerRun skips the test in CI's lane without cgo: what it runs does not depend on the build.
func oncePerRun(t *testing.T) {
	t.Helper()
	if os.Getenv("CGO_ENABLED") == "0" {
		t.Skip("runs in the lane with cgo")
	}
}

// The check of the C ABI, on copies of rawwaker.h and rawwaker.c: a shared object of each is
// compared with api/rawwaker.abi.
func TestCABI(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("api/rawwaker.abi is for linux/amd64")
	}
	oncePerRun(t)
	need(t, "gcc")
	need(t, "abidiff")
	read(t, ".ci/api", "api/rawwaker.abi")
	const declared, defined = "rawwaker_abi_version(void)", "uint32_t rawwaker_abi_version(void)"
	for name, c := range map[string]struct {
		header, source []string
		says           string // "" if the change is compatible
	}{
		"that_did_not_change_passes": {},
		"with_an_added_function_passes": {
			source: []string{defined + " {", "int rawwaker_added(int);\n" +
				"int rawwaker_added(int n) { return n; }\n" + defined + " {"},
		},
		"with_an_added_parameter_fails": {
			header: []string{declared, "rawwaker_abi_version(int added)"},
			source: []string{defined + " {", "uint32_t rawwaker_abi_version(int added) {\n  (void)added;"},
			says:   "parameter 1 of type 'int' was added",
		},
		"with_another_result_fails": {
			header: []string{"uint32_t " + declared, "uint64_t " + declared},
			source: []string{defined, "uint64_t rawwaker_abi_version(void)"},
			says:   "return type changed",
		},
		"without_a_function_fails": {
			header: []string{declared, "rawwaker_abi_version_gone(void)"},
			source: []string{declared, "rawwaker_abi_version_gone(void)"},
			says:   "1 Removed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := edited(t, map[string][]string{"rawwaker.h": c.header, "rawwaker.c": c.source})
			out, err := run(t, ".ci/api", "c", "check", dir)
			if c.says == "" {
				require.NoError(t, err, out)
				require.Empty(t, out)
				return
			}
			require.Error(t, err)
			require.Contains(t, out, c.says)
			require.Contains(t, out, "CHANGELOG.md")
		})
	}
}

// The check of the Go API, on a module of its own.
func TestGoAPI(t *testing.T) {
	if testing.Short() {
		t.Skip("builds apidiff")
	}
	oncePerRun(t)
	read(t, ".ci/api")
	dir := t.TempDir()
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	baseline := filepath.Join(dir, "baseline")
	put("go.mod", "module example.com/api\n\ngo 1.26\n")
	put("p/p.go", "package p\n\nfunc F() {}\n\ntype T struct{ A int }\n")
	put("internal/q/q.go", "package q\n\nfunc G() {}\n")
	out, err := run(t, ".ci/api", "go", "write", dir, baseline)
	if err != nil && strings.Contains(out, "dial tcp") {
		t.Skip("apidiff cannot be downloaded")
	}
	require.NoError(t, err, out)
	put("internal/q/q.go", "package q\n") // no part of the API
	for _, c := range []struct{ name, p, says string }{
		{"that_did_not_change_passes", "func F() {}\ntype T struct{ A int }\n", ""},
		{"with_additions_passes", "func F() {}\nfunc H() {}\ntype T struct{ A, B int }\n", ""},
		{"with_an_added_parameter_fails", "func F(n int) {}\ntype T struct{ A int }\n", "F: changed"},
		{"without_a_field_fails", "func F() {}\ntype T struct{}\n", "T.A: removed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			put("p/p.go", "package p\n\n"+c.p)
			out, err := run(t, ".ci/api", "go", "check", dir, baseline)
			if c.says == "" {
				require.NoError(t, err, out)
				require.Empty(t, out)
				return
			}
			require.Error(t, err)
			require.Contains(t, out, c.says)
		})
	}
}
