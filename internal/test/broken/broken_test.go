//go:build cgo && unix

package broken_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/broken"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

func find(name string) (broken.Entry, bool) {
	for _, e := range append(broken.Entries(), broken.InGo()...) {
		if e.Name == name {
			return e, true
		}
	}
	return broken.Entry{}, false
}

// TestTheKit is run by the others, in a process of its own: it fails, as it must.
func TestTheKit(t *testing.T) {
	e, ok := find(os.Getenv("BROKEN_KIT"))
	if !ok {
		t.Skip("of the other tests")
	}
	if e.Kit != "" {
		wakertest.Patience = time.Second
	}
	switch {
	case e.Kind == "waker" && e.Go:
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker { return broken.GoWaker(e) })
	case e.Kind == "waker":
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker { return broken.Waker(e) })
	case e.Kind == "future" && e.Go:
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[uint64] { return broken.GoFuture(e) })
	case e.Kind == "future":
		wakertest.TestFuture(t, func(t testing.TB) wakertest.Future[uint64] { return broken.Future(t, e) })
	case e.Kind == "executor" && e.Go:
		wakertest.TestExecutor(t, func(testing.TB) wakertest.Executor { return broken.GoExecutor(e) })
	}
}

// TestTheAuditor likewise: it prints the rules that were found.
func TestTheAuditor(t *testing.T) {
	e, ok := find(os.Getenv("BROKEN_AUDIT"))
	if !ok {
		t.Skip("of the other tests")
	}
	switch e.Kind {
	case "user":
		broken.Use(e)
	case "future":
		broken.UseFuture(e)
	}
	wakertest.Leaks()
	for _, f := range wakertest.Findings() {
		fmt.Printf("found %s\n", f.Rule)
	}
}

// child runs this test binary again, and returns the scenarios that have failed, or what was found.
func child(t *testing.T, test, variable, name string) (failed, found []string, out string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.v", "-test.timeout=100s")
	cmd.Env = append(os.Environ(), variable+"="+name)
	text, err := cmd.CombinedOutput()
	out = string(text)
	parts := strings.Split(out, "=== RUN   "+test+"/")
	for i, part := range parts[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		endedIt := err != nil && i == len(parts)-2 && !strings.Contains(out, "\n--- FAIL: "+test)
		if strings.Contains(rest, "the rule: ") || endedIt {
			failed = append(failed, name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^found (\w+)$`).FindAllStringSubmatch(out, -1) {
		found = append(found, m[1])
	}
	return failed, found, out
}

// each runs one child for each entry, eight at a time, for they mostly wait; then looks, a subtest for each.
func each[R any](t *testing.T, entries []broken.Entry, run func(e broken.Entry) R, look func(t *testing.T, e broken.Entry, got R)) {
	got := make([]R, len(entries))
	var all sync.WaitGroup
	room := make(chan struct{}, 8)
	for i, e := range entries {
		room <- struct{}{}
		all.Go(func() {
			got[i] = run(e)
			<-room
		})
	}
	all.Wait()
	for i, e := range entries {
		t.Run(e.Name, func(t *testing.T) { look(t, e, got[i]) })
	}
}

func some(entries []broken.Entry, want func(e broken.Entry) bool) (some []broken.Entry) {
	for _, e := range entries {
		if want(e) {
			some = append(some, e)
		}
	}
	return some
}

type result struct {
	failed, found []string
	out           string
}

// Those of which the kit in Go cannot know: each is named by the kit in C.
var ofC = map[string]string{
	"all_tasks_are_equal":   "", // the same words, of which the latest maker is woken: found there and here
	"writes_early":          "a result of Go is not written to memory that C sees",
	"clones_under_its_lock": "a clone of Go's calls nobody",
}

func TestTheKitInGoNamesTheRuleThatEachBreaks(t *testing.T) {
	entries := some(append(broken.Entries(), broken.InGo()...), func(e broken.Entry) bool {
		return e.Kind != "user" && (e.Kind != "executor" || e.Go) && !e.Detector && ofC[e.Name] == ""
	})
	require.Greater(t, len(entries), 50)
	each(t, entries, func(e broken.Entry) (r result) {
		r.failed, r.found, r.out = child(t, "TestTheKit", "BROKEN_KIT", e.Name)
		return r
	}, func(t *testing.T, e broken.Entry, got result) {
		if e.Kit == "" {
			require.Empty(t, got.failed, got.out)
			require.Contains(t, got.out, "--- PASS: TestTheKit")
			return
		}
		require.Contains(t, got.failed, e.Kit, "%s: %s\n%s", e.Name, e.Does, got.out)
	})
}

func TestTheAuditorInGoNamesTheRuleThatEachBreaks(t *testing.T) {
	entries := some(broken.Entries(), func(e broken.Entry) bool {
		return e.Name == "sound_future" || e.Audit != "" && (e.Kind == "user" || e.Kind == "future")
	})
	each(t, entries, func(e broken.Entry) (r result) {
		r.failed, r.found, r.out = child(t, "TestTheAuditor", "BROKEN_AUDIT", e.Name)
		return r
	}, func(t *testing.T, e broken.Entry, got result) {
		if e.Audit == "" {
			require.Empty(t, got.found, got.out)
			require.Contains(t, got.out, "--- PASS")
			return
		}
		require.Contains(t, got.found, e.Audit, "%s: %s\n%s", e.Name, e.Does, got.out)
	})
}

// build compiles the runner in C.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	for _, pattern := range []string{"*.c", "*.h", "run/*", "../../../rawwaker.?", "../../../audit/*", "../../../wakertest/c/*"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			_, err := os.ReadFile(f) // so that the test cache sees an edit
			require.NoError(t, err)
		}
	}
	out := filepath.Join(t.TempDir(), "run")
	text, err := exec.Command("run/build", append([]string{out}, flags...)...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	return out
}

func runC(t *testing.T, name string, arg ...string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, arg...)
	if !strings.HasPrefix(arg[len(arg)-1], "sound_") { // those may hang, and get less time
		cmd.Env = append(os.Environ(), "RAWWAKER_TEST_SECONDS=1")
	}
	out, _ := cmd.CombinedOutput() // its status is not 0, as it must
	return string(out)
}

var notOK = regexp.MustCompile(`(?m)^not ok \d+ - (\w+)`)

func failures(tap string) (names []string) {
	for _, m := range notOK.FindAllStringSubmatch(tap, -1) {
		names = append(names, m[1])
	}
	return names
}

func TestTheKitInCNamesTheRuleThatEachBreaks(t *testing.T) {
	run := build(t)
	entries := some(broken.Entries(), func(e broken.Entry) bool { return e.Kind != "user" && !e.Detector })
	each(t, entries, func(e broken.Entry) string { return runC(t, run, "kit", e.Name) }, func(t *testing.T, e broken.Entry, out string) {
		if e.Kit == "" {
			require.Empty(t, failures(out), out)
			require.Contains(t, out, "ok 8", out)
			return
		}
		require.Contains(t, failures(out), e.Kit, "%s: %s\n%s", e.Name, e.Does, out)
		require.Regexp(t, `# the rule: .+\n# expected: .+\n# in order: .+`, out)
	})
}

func TestTheAuditorInCNamesTheRuleThatEachBreaks(t *testing.T) {
	run := build(t)
	for _, e := range broken.Entries() {
		if e.Audit == "" && !strings.HasPrefix(e.Name, "sound") {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			out := runC(t, run, "audit", e.Name)
			if e.Audit == "" {
				require.Empty(t, out)
				return
			}
			require.Contains(t, strings.Split(out, "\n"), e.Audit, "%s: %s\n%s", e.Name, e.Does, out)
		})
	}
}

// What only ThreadSanitizer sees: what a wake publishes.
func TestThreadSanitizerAndTheKitSeeAWakeThatPublishesNothing(t *testing.T) {
	run := build(t, "-fsanitize=thread")
	prefix := []string{run}
	if setarch, err := exec.LookPath("setarch"); err == nil {
		prefix = []string{setarch, "-R", run} // it wants its addresses where some kernels put others
	}
	if out := runC(t, prefix[0], append(prefix[1:], "list")...); !strings.Contains(out, "sound_waker") {
		t.Skipf("ThreadSanitizer does not run here: %.200s", out)
	}
	for _, e := range broken.Entries() {
		if !e.Detector && !strings.HasPrefix(e.Name, "sound") {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			out := runC(t, prefix[0], append(prefix[1:], "kit", e.Name)...)
			require.Equal(t, e.Detector, strings.Contains(out, "WARNING: ThreadSanitizer: data race"), out)
		})
	}
}

// Every scenario and every rule has something that breaks it: so no check is one that cannot fail.
func TestEachScenarioAndEachRuleIsBrokenBySomething(t *testing.T) {
	var kit, audit []string
	for _, e := range append(broken.Entries(), broken.InGo()...) {
		kit, audit = append(kit, e.Kit), append(audit, e.Audit)
	}
	for _, rules := range [][]wakertest.Rule{wakertest.WakerRules(), wakertest.FutureRules(), wakertest.ExecutorRules()} {
		for _, r := range rules {
			require.Contains(t, kit, r.Name)
		}
	}
	header, err := os.ReadFile("../../../audit/rawwaker_audit.h")
	require.NoError(t, err)
	table, _, _ := strings.Cut(string(header), "A call that breaks a rule")
	rules := regexp.MustCompile(`(?m)^ \*   ([a-z_]+)  +[a-z]`).FindAllStringSubmatch(table, -1)
	require.Len(t, rules, 17) // "rule" is the table's head
	for _, r := range rules[1:] {
		require.Contains(t, audit, r[1])
	}
}

// Scenarios of both kits have the same names and rules, in the same order.
func TestBothKitsHaveTheSameScenarios(t *testing.T) {
	text, err := os.ReadFile("../../../wakertest/c/rawwaker_test.c")
	require.NoError(t, err)
	var inC, inGo []wakertest.Rule
	row := regexp.MustCompile(`(?m)^    \{"(\w+)", \w+,\s+"([^{}]+)"\},$`)
	parts := regexp.MustCompile(`"\s+"`)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		inC = append(inC, wakertest.Rule{Name: m[1], Rule: parts.ReplaceAllString(m[2], "")})
	}
	inGo = slices.Concat(wakertest.WakerRules(), wakertest.FutureRules(), wakertest.ExecutorRules())
	require.Equal(t, inC, inGo)
}
