package repository_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// groups are the groups of lanes that .ci/run has.
func groups(t *testing.T, r tree) []string {
	t.Helper()
	script := r.read(t, ".ci/run")
	all := regexp.MustCompile(`(?m)^all="([\w ]+)"$`).FindStringSubmatch(script)
	require.NotNil(t, all)
	names := strings.Fields(all[1])
	for _, name := range names {
		require.Regexp(t, `(?m)^`+name+`\(\) \{`, script, "a group without a function")
	}
	return names
}

// What CI does must be what .ci/run does, so that it can be run anywhere.
func TestWorkflow(t *testing.T) {
	r := repository(t)
	list := regexp.MustCompile(`^\s*group: \[([\w, ]+)\]$`)
	allowed := regexp.MustCompile(
		`^(actions/checkout|actions/setup-go|actions/setup-node|dtolnay/rust-toolchain)@`,
	)
	files := append(r.with(".github/workflows/*.yml"), r.with(".github/workflows/*.yaml")...)
	require.NotEmpty(t, files)
	for _, file := range files {
		runs, lists := 0, 0
		for line := range strings.Lines(r.read(t, file)) {
			line = strings.TrimRight(line, "\n")
			step := strings.TrimPrefix(strings.TrimSpace(line), "- ")
			if m := list.FindStringSubmatch(line); m != nil {
				lists++
				t.Run("has_every_group_of_the_script", func(t *testing.T) {
					require.Equal(t, groups(t, r), strings.Split(m[1], ", "), file)
				})
			}
			if what, ok := strings.CutPrefix(step, "run:"); ok {
				runs++
				t.Run("runs_the_script_and_nothing_else", func(t *testing.T) {
					require.Equal(t, ".ci/run ${{ matrix.group }}", strings.TrimSpace(what), file)
				})
			}
			if what, ok := strings.CutPrefix(step, "uses:"); ok {
				t.Run("uses_only_what_sets_a_language_up", func(t *testing.T) {
					require.Regexp(t, allowed, strings.TrimSpace(what), file)
				})
			}
			never := []string{"if:", "continue-on-error:", "exclude:", "include:", "services:"}
			for _, never := range never {
				require.False(t, strings.HasPrefix(step, never), "%s: %s leaves something out", file, line)
			}
		}
		require.Equal(t, [2]int{1, 1}, [2]int{runs, lists}, file)
	}
}

// The library and Go's runtime read these variables before main, where the test cache does not see
// it: a lane that sets one would be answered from a run without it.
func TestLane(t *testing.T) {
	t.Run("that_sets_a_variable_of_the_process_runs_uncached", func(t *testing.T) {
		r := repository(t)
		sets := regexp.MustCompile(`\b(FFIWAKERDEBUG|FFIWAKER_SOAK|GOGC|GODEBUG)=.*(go|\$\(GO\)) test\b`)
		lanes := 0
		for _, file := range []string{".ci/run", "Makefile", "internal/proof/run"} {
			for line := range strings.Lines(r.read(t, file)) {
				if sets.MatchString(line) {
					lanes++
					require.Contains(t, line, " -count=1 ", "%s: %s", file, line)
				}
			}
		}
		require.GreaterOrEqual(t, lanes, 5)
	})
}

func TestMake(t *testing.T) {
	t.Run("help_has_each_target_and_is_the_default", func(t *testing.T) {
		need(t, "make")
		text := repository(t).read(t, "Makefile")
		phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(text)
		require.NotNil(t, phony)
		help, err := run(t, "make", "-s", "help")
		require.NoError(t, err, help)
		for target := range strings.FieldsSeq(phony[1]) {
			comment := regexp.MustCompile(`(?m)^` + target + `: .*## (.*)$`).FindStringSubmatch(text)
			require.NotNil(t, comment, "%s has no ## comment", target)
			line := regexp.MustCompile(`(?m)^ *(?:make )?` + target + ` +(.*)$`).FindStringSubmatch(help)
			require.NotNil(t, line, "%s is not in make help", target)
			require.Equal(t, comment[1], line[1])
		}
		targets := regexp.MustCompile(`(?m)^([\w-]+):(?:[^=]|$)`).FindAllStringSubmatch(text, -1)
		for _, target := range targets {
			require.Contains(t, strings.Fields(phony[1]), target[1])
		}
		alone, err := run(t, "make", "-s")
		require.NoError(t, err, alone)
		require.Equal(t, help, alone)
	})
}
