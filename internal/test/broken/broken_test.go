//go:build cgo && unix

package broken_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// TestGoKitChild is run by TestGoKit in a process of its own. It fails unless the entry is sound.
func TestGoKitChild(t *testing.T) {
	e, ok := find(os.Getenv("BROKEN_KIT"))
	if !ok {
		t.Skip("TestGoKit runs it")
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
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[uint64] {
			return broken.GoFuture(e)
		})
	case e.Kind == "future":
		wakertest.TestFuture(t, func(t testing.TB) wakertest.Future[uint64] {
			return broken.Future(t, e)
		})
	case e.Kind == "stream":
		wakertest.TestStream(t, func(testing.TB) wakertest.Stream[uint64] {
			return broken.GoStream(e)
		})
	case e.Kind == "executor" && e.Go:
		wakertest.TestExecutor(t, func(testing.TB) wakertest.Executor {
			return broken.GoExecutor(e)
		})
	}
}

// TestGoAuditorChild is run by TestGoAuditor in a process of its own. It prints the rules of the
// auditor's findings.
func TestGoAuditorChild(t *testing.T) {
	e, ok := find(os.Getenv("BROKEN_AUDIT"))
	if !ok {
		t.Skip("TestGoAuditor runs it")
	}
	switch e.Kind {
	case "user":
		broken.Use(e)
	case "future":
		broken.UseFuture(e)
	case "stream":
		broken.UseStream(e)
	}
	wakertest.Leaks()
	for _, f := range wakertest.Findings() {
		fmt.Printf("found %s\n", f.Rule)
	}
}

// child runs one test of this binary in a process of its own, for one entry. It returns the
// scenarios that failed, and the rules that TestGoAuditorChild printed.
func child(t *testing.T, test, variable, name string) (r result) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.v",
		"-test.timeout=100s")
	cmd.Env = append(os.Environ(), variable+"="+name)
	text, err := cmd.CombinedOutput()
	r.out = string(text)
	parts := strings.Split(r.out, "=== RUN   "+test+"/")
	for i, part := range parts[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		// A scenario that ends the process is the last one, and the test has no result.
		endedIt := err != nil && i == len(parts)-2 && !strings.Contains(r.out, "\n--- FAIL: "+test)
		if strings.Contains(rest, "the rule: ") || endedIt {
			r.failed = append(r.failed, name)
		}
	}
	// A finding that is printed and not in the list: the auditor has ended the process.
	found := regexp.MustCompile(`(?m)^(?:found |rawwaker audit: )(\w+)(?:$|: )`)
	for _, m := range found.FindAllStringSubmatch(r.out, -1) {
		r.found = append(r.found, m[1])
	}
	return r
}

type result struct {
	failed, found []string
	out           string
}

// each calls run for each entry, eight at a time because they mostly wait, and then verify in a
// subtest for each.
func each[R any](t *testing.T, entries []broken.Entry,
	run func(e broken.Entry) R, verify func(t *testing.T, e broken.Entry, got R),
) {
	got := make([]R, len(entries))
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, e := range entries {
		slots <- struct{}{}
		all.Go(func() {
			got[i] = run(e)
			<-slots
		})
	}
	all.Wait()
	for i, e := range entries {
		t.Run(subtest(e), func(t *testing.T) { verify(t, e, got[i]) })
	}
}

func isSound(e broken.Entry) bool { return strings.HasPrefix(e.Name, "sound_") }

// subtest names what a kit or the auditor does with the entry.
func subtest(e broken.Entry) string {
	if isSound(e) {
		return "passes_" + e.Name
	}
	return "reports_" + e.Name
}

func some(entries []broken.Entry, want func(e broken.Entry) bool) (some []broken.Entry) {
	for _, e := range entries {
		if want(e) {
			some = append(some, e)
		}
	}
	return some
}

// onlyInC are the entries that the kit in Go cannot report. The kit in C reports them.
var onlyInC = map[string]string{
	"writes_early":          "a Go result is not written to memory that C sees",
	"clones_under_its_lock": "a clone of a Go waker calls no user code",
}

func TestGoKit(t *testing.T) {
	entries := some(append(broken.Entries(), broken.InGo()...), func(e broken.Entry) bool {
		return e.Kind != "user" && (e.Kind != "executor" && e.Kind != "stream" || e.Go) &&
			!e.Detector && onlyInC[e.Name] == ""
	})
	require.Greater(t, len(entries), 50)
	each(t, entries, func(e broken.Entry) result {
		return child(t, "TestGoKitChild", "BROKEN_KIT", e.Name)
	}, func(t *testing.T, e broken.Entry, got result) {
		if e.Kit == "" {
			require.Empty(t, got.failed, got.out)
			require.Contains(t, got.out, "--- PASS: TestGoKitChild")
			return
		}
		require.Contains(t, got.failed, e.Kit, "%s: %s\n%s", e.Name, e.Does, got.out)
	})
}

// notInGo are the entries whose fault no use by Go brings out.
var notInGo = map[string]string{
	"done_then_pending": "a CStream is dropped with its first DONE",
}

func TestGoAuditor(t *testing.T) {
	entries := some(broken.Entries(), func(e broken.Entry) bool {
		return e.Name == "sound_future" || e.Name == "sound_stream" ||
			e.Audit != "" && e.Kind != "executor" && e.Kind != "waker" && notInGo[e.Name] == ""
	})
	each(t, entries, func(e broken.Entry) result {
		return child(t, "TestGoAuditorChild", "BROKEN_AUDIT", e.Name)
	}, func(t *testing.T, e broken.Entry, got result) {
		if e.Audit == "" {
			require.Empty(t, got.found, got.out)
			require.Contains(t, got.out, "--- PASS")
			return
		}
		require.Contains(t, got.found, e.Audit, "%s: %s\n%s", e.Name, e.Does, got.out)
	})
}

// build compiles run/main.c and returns the path of the program.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	for _, pattern := range []string{
		"*.c", "*.h", "run/*", "../../../rawwaker.?", "../../../audit/*", "../../../wakertest/c/*",
	} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			_, err := os.ReadFile(f) // so that an edit invalidates a cached test result
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
	if !strings.HasPrefix(arg[len(arg)-1], "sound_") { // the others may hang, and get less time
		cmd.Env = append(os.Environ(), "RAWWAKER_TEST_SECONDS=1")
	}
	out, _ := cmd.CombinedOutput() // the status is 0 only if the entry is sound
	return string(out)
}

var notOK = regexp.MustCompile(`(?m)^not ok \d+ - (\w+)`)

func failures(tap string) (names []string) {
	for _, m := range notOK.FindAllStringSubmatch(tap, -1) {
		names = append(names, m[1])
	}
	return names
}

func TestCKit(t *testing.T) {
	run := build(t)
	entries := some(broken.Entries(), func(e broken.Entry) bool {
		return e.Kind != "user" && !e.Detector
	})
	each(t, entries, func(e broken.Entry) string {
		return runC(t, run, "kit", e.Name)
	}, func(t *testing.T, e broken.Entry, out string) {
		if e.Kit == "" {
			require.Empty(t, failures(out), out)
			require.Contains(t, out, "ok 8", out)
			return
		}
		require.Contains(t, failures(out), e.Kit, "%s: %s\n%s", e.Name, e.Does, out)
		require.Regexp(t, `# the rule: .+\n# expected: .+\n# in order: .+`, out)
	})
}

func TestCAuditor(t *testing.T) {
	run := build(t)
	for _, e := range broken.Entries() {
		if e.Audit == "" && !isSound(e) {
			continue
		}
		t.Run(subtest(e), func(t *testing.T) {
			out := runC(t, run, "audit", e.Name)
			if e.Audit == "" {
				require.Empty(t, out)
				return
			}
			if e.Audit == "sender_use_after" { // the auditor ends the process
				require.Contains(t, out, "rawwaker audit: sender_use_after: ")
				return
			}
			require.Contains(t, strings.Split(out, "\n"), e.Audit, "%s: %s\n%s", e.Name, e.Does, out)
		})
	}
}

// TestThreadSanitizer runs the entries whose wakes do not publish the writes before them: only a
// race detector sees that.
func TestThreadSanitizer(t *testing.T) {
	run := build(t, "-fsanitize=thread")
	prefix := []string{run}
	if setarch, err := exec.LookPath("setarch"); err == nil {
		// Without randomised addresses: with them, some kernels place mappings where
		// ThreadSanitizer needs its own.
		prefix = []string{setarch, "-R", run}
	}
	out := runC(t, prefix[0], append(prefix[1:], "list")...)
	if !strings.Contains(out, "sound_waker") {
		t.Skipf("ThreadSanitizer does not run here: %.200s", out)
	}
	for _, e := range broken.Entries() {
		if !e.Detector && !isSound(e) {
			continue
		}
		t.Run(subtest(e), func(t *testing.T) {
			out := runC(t, prefix[0], append(prefix[1:], "kit", e.Name)...)
			races := strings.Contains(out, "WARNING: ThreadSanitizer: data race")
			require.Equal(t, e.Detector, races, out)
		})
	}
}

// TestRaceDetector is TestThreadSanitizer for the entries in Go.
func TestRaceDetector(t *testing.T) {
	if !race {
		t.Skip("built without -race")
	}
	entries := some(broken.InGo(), func(e broken.Entry) bool { return e.Detector || isSound(e) })
	each(t, entries, func(e broken.Entry) result {
		return child(t, "TestGoKitChild", "BROKEN_KIT", e.Name)
	}, func(t *testing.T, e broken.Entry, got result) {
		races := strings.Contains(got.out, "WARNING: DATA RACE")
		require.Equal(t, e.Detector, races, got.out)
	})
}

// TestEntries makes sure that no check of the kits and the auditor always passes.
func TestEntries(t *testing.T) {
	var kit, audit []string
	for _, e := range append(broken.Entries(), broken.InGo()...) {
		kit, audit = append(kit, e.Kit), append(audit, e.Audit)
	}
	t.Run("break_each_scenario", func(t *testing.T) {
		inC := rulesInC(t)
		require.Greater(t, len(inC["streams"]), 15)
		for _, rules := range [][]wakertest.Rule{
			wakertest.WakerRules(), wakertest.FutureRules(), wakertest.ExecutorRules(),
			inC["streams"],
		} {
			for _, r := range rules {
				require.Contains(t, kit, r.Name)
			}
		}
		kit = nil // each rule of streams has a stream of its own
		for _, e := range broken.InGo() {
			if e.Kind == "stream" {
				kit = append(kit, e.Kit)
			}
		}
		for _, r := range wakertest.StreamRules() {
			if r.Name != "polls_on_any_thread" { // one in Go cannot notice
				require.Contains(t, kit, r.Name)
			}
		}
	})
	t.Run("break_each_audited_rule", func(t *testing.T) {
		header, err := os.ReadFile("../../../audit/rawwaker_audit.h")
		require.NoError(t, err)
		table, _, _ := strings.Cut(string(header), "A call that breaks a rule")
		row := regexp.MustCompile(`(?m)^ \*   ([a-z_]+)  +[a-z]`)
		rules := row.FindAllStringSubmatch(table, -1)
		require.Len(t, rules, 21) // with the head of the table
		for _, r := range rules[1:] {
			require.Contains(t, audit, r[1])
		}
	})
}

// rulesInC returns the scenarios of each table in the kit for C.
func rulesInC(t *testing.T) map[string][]wakertest.Rule {
	t.Helper()
	text, err := os.ReadFile("../../../wakertest/c/rawwaker_test.c")
	require.NoError(t, err)
	all := map[string][]wakertest.Rule{}
	table := regexp.MustCompile(`(?s)static const scenario (\w+)\[\] = \{\n(.*?)\n\};`)
	row := regexp.MustCompile(`(?m)^    \{"(\w+)", \w+,\s+"([^{}]+)"\},$`)
	parts := regexp.MustCompile(`"\s+"`)
	for _, of := range table.FindAllStringSubmatch(string(text), -1) {
		for _, m := range row.FindAllStringSubmatch(of[2], -1) {
			rule := wakertest.Rule{Name: m[1], Rule: parts.ReplaceAllString(m[2], "")}
			all[of[1]] = append(all[of[1]], rule)
		}
	}
	return all
}

// TestRules compares the scenarios of both kits: names, rules and order. Those for streams differ.
func TestRules(t *testing.T) {
	t.Run("are_the_same_in_both_kits", func(t *testing.T) {
		inC := rulesInC(t)
		delete(inC, "streams")
		require.Equal(t, map[string][]wakertest.Rule{
			"wakers": wakertest.WakerRules(), "futures": wakertest.FutureRules(),
			"executors": wakertest.ExecutorRules(),
		}, inC)
	})
}
