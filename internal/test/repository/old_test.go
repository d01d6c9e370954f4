package repository_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each patch of internal/proof/old brings a fault of earlier code back. It is of use only while it
// applies.
func TestOldFault(t *testing.T) {
	const folder = "internal/proof/old"
	r := repository(t)
	patches := r.with(folder + "/*.patch")
	require.NotEmpty(t, patches)
	header := regexp.MustCompile(`\Afault: .+\.
section: (executor and futures|hosts|wakes|C, Rust, tools|suspicions)
generator: (compose|hosts|fuzz|none \(.+\))
noticed by: .+

diff --git a/`)
	seen := make(map[string]string)
	for _, patch := range patches {
		name := path.Base(patch)
		require.Regexp(t, `^\d\d_[a-z0-9_]+\.patch$`, name)
		other := seen[name[:2]]
		require.Empty(t, other, "%s has the same number", name)
		seen[name[:2]] = name
		require.Regexp(t, header, r.read(t, patch), name)
	}

	t.Run("applies", func(t *testing.T) {
		need(t, "git")
		above, err := filepath.Abs(root + "/..")
		require.NoError(t, err)
		changed := regexp.MustCompile(`(?m)^\+\+\+ b/(.+)$`)
		for _, patch := range patches {
			for _, file := range changed.FindAllStringSubmatch(r.read(t, patch), -1) {
				read(t, file[1]) // so that the test runs again if it changes
			}
			cmd := exec.CommandContext(t.Context(), "git", "apply", "--check", patch)
			cmd.Dir = root
			// In a module cache, a repository around it is not meant.
			cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+above)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s no longer applies: write it anew on this code\n%s", patch, out)
		}
	})

	t.Run("is_in_the_table", func(t *testing.T) {
		need(t, "bash")
		table, err := run(t, "bash", folder+"/run", "-list")
		require.NoError(t, err, table)
		require.Equal(t, len(patches)+2, strings.Count(table, "\n"))
		readme := r.read(t, folder+"/README.md")
		for line := range strings.Lines(table) {
			require.True(t, strings.Contains(readme, line), "not in the table: run %s/run -list\n%s", folder,
				line)
		}
	})
}
