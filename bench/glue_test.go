package main

import (
	"errors"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGlue(t *testing.T) {
	t.Run("of_C_leaves_out_what_names_the_library", func(t *testing.T) {
		const text = `/* foo.c
 * lib_in_a_comment */
#include "foo.h" /* lib_ */

typedef struct op {
  int n; // lib_
  char *text;
} op;
static void done(lib_t *l) {
  puts("/* no comment */");
  puts("lib_ in a string");
  rawwaker_job_send(l);
}
/* The rest is lib. */
static void run(void) {
  lib_run(rawwaker_queue_fd(q));
  own();
}
`
		lines := cGlue(text, regexp.MustCompile(`\blib_`), oursWay)
		require.Equal(t, []string{
			`#include "foo.h"`,
			`typedef struct op {`,
			`int n;`,
			`char *text;`,
			`} op;`,
			`puts("/* no comment */");`,
			`rawwaker_job_send(l);`,
			`lib_run(rawwaker_queue_fd(q));`,
		}, lines)
	})
	t.Run("of_C_below_the_mark_is_what_leads_to_Go", func(t *testing.T) {
		const text = `/* The rest is lib. */
lib_open(l);
pthread_mutex_lock(&l->lock);
submit_all(l);
onLibReply(l->handle);
free(l);
`
		lines := cGlue(text, regexp.MustCompile(`\blib_`), callbackWay)
		require.Equal(t, []string{
			"pthread_mutex_lock(&l->lock);", "submit_all(l);", "onLibReply(l->handle);",
		}, lines)
	})
	t.Run("of_Go_has_the_preamble_and_no_comments", func(t *testing.T) {
		const text = `// Package foo is about C.
package foo

/*
#include "foo.h" // of C

#cgo pkg-config: foo
*/
import "C"

import (
	"fmt" // used
)

/* more
lines */
func f() {
	fmt.Println("// text", ` + "`\n/* raw */`" + `)
}
`
		lines, err := goGlue("foo.go", []byte(text))
		require.NoError(t, err)
		require.Equal(t, []string{
			`#include "foo.h"`, `#cgo pkg-config: foo`, `package foo`, `import "C"`, `import (`,
			`"fmt"`, `func f() {`, "fmt.Println(\"// text\", `", "/* raw */`)",
		}, lines)
	})
	t.Run("averages_the_bindings_that_exist", func(t *testing.T) {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"curl/a.c": "#include \"a.h\"\nint a;\n", "curl/callback/a.c": "int a;\nint b;\nint c;\n",
			"redis/a.go": "package a\n", "redis/a_test.go": "package a\n",
			"redis/callback/a.go": "package a\n\nvar b int\n", "redis/callback/b.h": "int b;\n",
		} {
			name = filepath.Join(dir, filepath.FromSlash(name))
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		}
		our, callback, err := glueLines(dir)
		require.NoError(t, err)
		require.Equal(t, 1.0, our)
		require.Equal(t, 2.5, callback)
		_, _, err = glueLines(t.TempDir())
		require.Error(t, err)
	})
}

// Thirty lines are the aim; these are the limits.
const mostC, mostGo = 40, 60

func TestBindings(t *testing.T) {
	for _, b := range bindings {
		dir := filepath.Join("..", "examples", b.name)
		t.Run(b.name, func(t *testing.T) {
			g, err := glueOf(dir, b.library, oursWay)
			if errors.Is(err, fs.ErrNotExist) {
				t.Skip("there is no " + dir)
			}
			require.NoError(t, err)
			require.NotZero(t, g.c)
			require.NotZero(t, g.goLines)
			require.LessOrEqual(t, g.c, mostC, "lines of C")
			require.LessOrEqual(t, g.goLines, mostGo, "lines of Go")
			for _, form := range []string{dir, filepath.Join(dir, "callback")} {
				requireFormatted(t, form)
			}
		})
	}
}

// requireFormatted fails if lines of dir were joined to have fewer.
func requireFormatted(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.*"))
	require.NoError(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		switch filepath.Ext(name) {
		case ".go":
			formatted, err := format.Source(text)
			require.NoError(t, err)
			require.Equal(t, string(formatted), string(text), name)
		case ".c":
			for _, line := range cCode(string(text)) {
				require.LessOrEqual(t, len(line), 100, "%s: %s", name, line)
				if !strings.HasPrefix(line, "for ") && !strings.HasPrefix(line, "case ") {
					require.NotRegexp(t, `;\s*[^\s}]`, line, "%s: two statements in a line", name)
				}
			}
		}
	}
}
