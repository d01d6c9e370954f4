package repository_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// brokenModules checks the modules below examples/: each uses this checkout, and nothing internal.
// Go itself does not check the second, because their paths begin with this module's.
func brokenModules(t *testing.T, r tree) []string {
	t.Helper()
	var broken []string
	say := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	for _, file := range r.with("go.mod") {
		dir := path.Dir(file)
		if dir == "." {
			continue
		}
		if !strings.HasPrefix(dir, "examples/") {
			say("%s: a nested module outside examples/", file)
		}
		parsed, err := modfile.Parse(file, []byte(r.read(t, file)), nil)
		if err != nil {
			say("%v", err)
			continue
		}
		back := strings.TrimSuffix(strings.Repeat("../", strings.Count(dir, "/")+1), "/")
		replaced := false
		for _, re := range parsed.Replace {
			replaced = replaced || re.Old.Path == module && re.Old.Version == "" && re.New.Path == back
		}
		if !replaced {
			say("%s: no replace %s => %s", file, module, back)
		}
		for _, source := range r.files {
			if !strings.HasPrefix(source, dir+"/") || path.Ext(source) != ".go" {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), source, r.read(t, source), parser.ImportsOnly)
			if err != nil {
				say("%v", err)
				continue
			}
			for _, spec := range f.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				own := strings.HasPrefix(imported, parsed.Module.Mod.Path+"/")
				if strings.HasPrefix(imported, module+"/") && !own &&
					strings.Contains(imported+"/", "/internal/") {
					say("%s imports %s", source, imported)
				}
			}
		}
	}
	return broken
}

func TestNestedModule(t *testing.T) {
	t.Run("uses_this_checkout_and_nothing_internal", func(t *testing.T) {
		for _, broken := range brokenModules(t, repository(t)) {
			t.Error(broken)
		}
	})
	t.Run("that_breaks_a_rule_is_found", func(t *testing.T) {
		good := "module " + module + "/examples/good\n\nreplace " + module + " => ../..\n"
		deep := "module example.com/deep\n\nreplace " + module + " => ../../..\n"
		files := fstest.MapFS{
			"go.mod":               {Data: []byte("module " + module + "\n")},
			"examples/good/go.mod": {Data: []byte(good)},
			"examples/good/a.go": {
				Data: []byte("package a\nimport _ \"" + module + "/rawwaker\"\n"),
			},
			"examples/good/internal/b/b.go": {Data: []byte("package b\n")},
			"examples/good/c/c.go": {Data: []byte("package c\nimport _ \"" + module +
				"/examples/good/internal/b\"\n")},
			"examples/x/deep/go.mod": {Data: []byte(deep)},
		}
		require.Empty(t, brokenModules(t, readTree(t, files)))

		files["examples/good/a.go"].Data = []byte(
			"package a\nimport _ \"" + module + "/internal/wake\"\n",
		)
		files["examples/x/deep/go.mod"].Data = []byte(strings.Replace(deep, "../../..", "../..", 1))
		files["bench/go.mod"] = &fstest.MapFile{
			Data: []byte("module bench\nreplace " + module + " => ..\n"),
		}
		require.Equal(t, []string{
			"bench/go.mod: a nested module outside examples/",
			"examples/good/a.go imports " + module + "/internal/wake",
			"examples/x/deep/go.mod: no replace " + module + " => ../../..",
		}, brokenModules(t, readTree(t, files)))
	})
}

// A go.work changes what every go command in the repository builds.
func TestGoWork(t *testing.T) {
	t.Run("is_not_committed", func(t *testing.T) {
		need(t, "git")
		index, err := run(t, "git", "rev-parse", "--git-path", "index")
		if err != nil {
			t.Skip("no checkout")
		}
		index = strings.TrimSpace(index)
		if !filepath.IsAbs(index) {
			index = filepath.Join(root, index)
		}
		_, err = os.ReadFile(index) // so that the test cache sees a commit
		require.NoError(t, err)
		listed, err := run(t, "git", "ls-files", "go.work", "**/go.work", "go.work.sum", "**/go.work.sum")
		require.NoError(t, err, listed)
		require.Empty(t, listed)
	})
}
