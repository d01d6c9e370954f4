package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

func needCgo(t *testing.T) {
	t.Helper()
	if !capi.HasCgo {
		t.Skip("needs cgo")
	}
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("no " + program)
	}
}

func TestTrace(t *testing.T) {
	t.Run("of_the_countdown_has_four_polls_and_three_wakes", func(t *testing.T) {
		out, errs, status := lab("trace", "countdown")
		require.Zero(t, status, errs)
		require.Empty(t, errs)
		require.Contains(t, out, "Poll #3\n      Poll #2\n      Poll #1\n      Poll #0\n")
		require.Equal(t, 4, strings.Count(out, "polls CountdownFuture"), out)
		require.Equal(t, 3, strings.Count(out, "wakes CountdownFuture by reference"))
		require.Equal(t, 3, strings.Count(out, "└─> Pending"))
		require.Equal(t, 1, strings.Count(out, "└─> Ready"))
		require.Contains(t, out, "\n4 polls, 3 wakes\n")
		require.NotContains(t, out, "\x1b", "not to a terminal")
	})
	// Each example has at least a poll, and all but those that fail have a result.
	t.Run("exists_for_each_example", func(t *testing.T) {
		for _, d := range demos() {
			t.Run(d.name, func(t *testing.T) {
				if d.inC {
					needCgo(t)
				}
				out, errs, status := lab("trace", d.name, "--json")
				require.Zero(t, status, errs)
				polls, ready := 0, 0
				for l := range strings.Lines(out) {
					var e struct{ What, Text string }
					require.NoError(t, json.Unmarshal([]byte(l), &e))
					require.NotEmpty(t, e.Text)
					switch e.What {
					case "poll":
						polls++
					case "ready":
						ready++
					}
				}
				require.Positive(t, polls)
				if !strings.HasPrefix(d.name, "after-completion") && d.name != "await-cancelled" {
					require.Positive(t, ready)
				}
			})
		}
	})
	t.Run("shows_a_wake_by_a_C_thread_up_to_the_poll", func(t *testing.T) {
		needCgo(t)
		out, errs, status := lab("trace", "c-thread")
		require.Zero(t, status, errs)
		// The first poll starts the thread, which may wake before that poll has returned.
		require.Regexp(t, `(?s)polls CFuture.*thread \d+ in C +wakes CFuture, and consumes reference`+
			`.*polls CFuture.*└─> Ready`, out)
		require.Contains(t, out, "└─> Pending")
		require.Contains(t, out, "\n2 polls, 1 wake\n")
		require.Equal(t, 2, strings.Count(out, "├─> polls CFuture"),
			"C's poll inside Go's: both languages read the same clock\n%s", out)
	})
	// The trace knows the wakers of JoinAll from the start, so what C reports of their boxes is
	// assigned to them.
	t.Run("shows_a_waker_for_each_joined_future", func(t *testing.T) {
		needCgo(t)
		out, errs, status := lab("trace", "join")
		require.Zero(t, status, errs)
		for _, name := range []string{"short timer", "long timer"} {
			// It has one poll if the machine is slower than the timer.
			require.Regexp(t, `waker \d, `+name+`: [12] polls?, 1 wake, in C 0x`, out)
			require.Regexp(t, `thread \d+ in C +wakes `+name+", and consumes", out)
		}
		require.NotContains(t, out, "of  ", "each has a name")
	})
	t.Run("of_a_storm_ends_with_an_exact_count", func(t *testing.T) {
		out, errs, status := lab("trace", "storm", "--size", "403")
		require.Zero(t, status, errs)
		require.Contains(t, out, "Woken 403 times, and once to end\n")
		require.Regexp(t, `stormy: \d+ polls, 404 wakes`, out)
	})
	t.Run("of_another_program_is_shown", func(t *testing.T) {
		needCgo(t)
		dir := t.TempDir()
		file := filepath.Join(dir, "mine.%p.trace")
		exe := program(t)
		cmd := exec.Command(exe, "demo", "countdown", "0")
		cmd.Env = append(os.Environ(), "FFIWAKERDEBUG=trace="+file)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		files, err := filepath.Glob(filepath.Join(dir, "mine.*.trace"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.Regexp(t, `mine\.\d+\.trace$`, files[0])
		perfetto := filepath.Join(dir, "perfetto.json")
		text, errs, status := lab("trace", "--from", files[0], "--perfetto", perfetto)
		require.Zero(t, status, errs)
		require.Empty(t, text)
		require.Regexp(t, `^wakelab: .*perfetto\.json: \d+ events\n$`, errs)
		b, err := os.ReadFile(perfetto)
		require.NoError(t, err)
		require.True(t, json.Valid(b))

		refused(t, statusFailed, "no such file", "trace", "--from", filepath.Join(dir, "none"))
		refused(t, statusFailed, "no trace", "trace", "--from", exe)
	})
	// The program continues, and one line reports why there is no trace.
	t.Run("that_cannot_be_written_is_one_line", func(t *testing.T) {
		exe := program(t)
		for setting, message := range map[string]string{
			"trace=/none/x": `^ffiwaker: FFIWAKERDEBUG: no trace: open /none/x: .*\n$`,
			"trcae=x":       `^ffiwaker: FFIWAKERDEBUG: no key "trcae" \(use audit, tasks, trace\)\n$`,
			"trace=/dev/full": `^ffiwaker: FFIWAKERDEBUG: the trace has gaps: ` +
				`write /dev/full: no space left on device\n` +
				`(ffiwaker: FFIWAKERDEBUG: the trace has gaps in C's events: ` +
				`No space left on device\n)?$`,
		} {
			if _, err := os.Stat("/dev/full"); err != nil && strings.HasSuffix(setting, "/dev/full") {
				continue
			}
			cmd := exec.Command(exe, "demo", "simple", "0")
			cmd.Env = append(os.Environ(), "FFIWAKERDEBUG="+setting)
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			require.NoError(t, err)
			require.Equal(t, "Result: 42\n", string(out))
			require.Regexp(t, message, errs.String())
		}
	})
	t.Run("is_refused_in_a_build_without_traces", func(t *testing.T) {
		exe := program(t, "-tags", "ffiwakernotrace")
		out, err := exec.Command(exe, "trace", "countdown").CombinedOutput()
		require.Error(t, err)
		require.Equal(t, "wakelab: trace: this build has no trace: "+
			"it was made with the tag ffiwakernotrace\n", string(out))
	})
}

// ---- layout

func TestLayoutLive(t *testing.T) {
	if !capi.HasCgo {
		refused(t, statusFailed, noCgo, "layout", "--live")
		return
	}
	out, errs, status := lab("layout", "--live")
	require.Zero(t, status, errs)
	counts := regexp.MustCompile(`refs .* 2 x (\d+) \+ 1: `).FindAllStringSubmatch(out, -1)
	var got []string
	for _, m := range counts {
		got = append(got, m[1])
	}
	require.Equal(t, "1 2 3 2 2 1 0", strings.Join(got, " "), out)
	require.Contains(t, out, "rawwaker_box_vtable in ")
	require.Contains(t, out, "rawwaker_box's wake_by_ref in ")
	require.Contains(t, out, "WOKEN")
	require.Contains(t, out, "the task was polled 3 times")
	require.Contains(t, out, "0 counted wakers of C are alive")
}

func TestABI(t *testing.T) {
	out, errs, status := lab("layout", "--abi")
	require.Zero(t, status, errs)
	for _, p := range platforms {
		at := strings.Index(out, p.name+"\n")
		require.GreaterOrEqual(t, at, 0, p.name)
		second := strings.Split(out[at:], "\n")[1]
		require.Equal(t, "    "+p.recorded, second, out) // found now or recorded: the same
	}
	t.Setenv("PATH", "")
	out, _, status = lab("layout", "--abi")
	require.Zero(t, status)
	recorded := strings.Count(out, "recorded from gcc 12.2.0; not checked now: no ")
	require.Equal(t, len(platforms), recorded)
}

// ---- break, race

func TestBreak(t *testing.T) {
	t.Run("lists_each_misuse", func(t *testing.T) {
		needCgo(t)
		out, errs, status := lab("break")
		require.Zero(t, status, errs)
		for _, e := range faulty() {
			require.Contains(t, out, "  "+e.Name+" ")
		}
		require.Greater(t, len(faulty()), 70)
	})
	t.Run("names_the_rule_its_contract_and_the_tool_that_reports_it", func(t *testing.T) {
		needCgo(t)
		need(t, "gcc")
		out, errs, status := lab("break", "wakes_then_drops")
		require.Zero(t, status, errs)
		require.Contains(t, out, "The rule that the kit names, wakes_when_it_can_go_on:\n")
		require.Regexp(t, `The contract, rawwaker\.h:\d+\n    Promises `, out)
		require.Contains(t, out, "The conformance kit (wakertest/c) reports:\n    not ok ")
		require.Contains(t, out,
			"The auditor (rawwaker_audit) reports:\n    rawwaker audit: double_drop: ")
		require.NotContains(t, out, os.TempDir())

		out, errs, status = lab("break", "go_never_wakes")
		require.Zero(t, status, errs)
		require.Contains(t, out, "The conformance kit (package wakertest) reports:\n")
		require.Contains(t, out, "the rule: a future that returned PENDING wakes when it can continue")

		t.Setenv("PATH", "")
		refused(t, statusFailed, "no gcc on the PATH", "break", "wakes_then_drops")
	})
	t.Run("has_a_paragraph_of_the_contract_for_each_rule", func(t *testing.T) {
		for _, e := range faulty() {
			word := paragraph[e.Kit]
			if word == "" {
				word = paragraph[e.Audit]
			}
			number, text := contract(word)
			require.Positive(t, number, "%s: %s %s", e.Name, e.Kit, e.Audit)
			require.Contains(t, text, word)
		}
	})
}

func TestRace(t *testing.T) {
	if testing.Short() {
		t.Skip("builds with -race")
	}
	needCgo(t)
	out, errs, status := lab("race")
	if status != 0 && strings.Contains(errs, "-race") {
		t.Skip("no race detector here: " + errs)
	}
	require.Zero(t, status, errs)
	require.Contains(t, out, "reported in 5 of 5 runs")
	require.Contains(t, out, "| reported in 0 of 5 runs")
	require.Contains(t, out, "| (silence)")
	require.Len(t, regexp.MustCompile(`(?m)^correct: .* reported in 0 of 5 runs$`).
		FindAllString(out, -1), 2, out)
}

// ---- bench

func TestBench(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.tsv")
	require.NoError(t, os.WriteFile(file, []byte(
		"# go1.26.8 linux/amd64, 2 CPUs, 2026-11-27, 9 pairs\n"+
			"# name\tours\tpeer\tratio\tgoal\n"+
			"quick <one>, ns\t5\t10\t0.5\t1\n"+
			"slow one, ns\t30\t10\t3\t1.5\n"+
			"# left out: a third: no cargo\n"), 0o644))
	out, errs, status := lab("bench", "--from", file)
	require.Zero(t, status, errs)
	require.Regexp(t, `quick <one>, ns +█{7} {6}▌ +0\.5 of 1 met`, out)
	require.Regexp(t, `slow one, ns +█{20}▌█{19} +3 of 1\.5 MISSED`, out)
	require.Contains(t, out, "2 figures, 1 goals met\nleft out: a third: no cargo\n")
	require.NotContains(t, out, "\x1b")

	svg := filepath.Join(filepath.Dir(file), "figures.svg")
	_, errs, status = lab("bench", "--from", file, "--svg", svg)
	require.Zero(t, status, errs)
	b, err := os.ReadFile(svg)
	require.NoError(t, err)
	require.Contains(t, string(b), "quick &lt;one&gt;")
	require.Contains(t, string(b), "3 of 1.5 missed")
	refused(t, statusFailed, "no such file", "bench", "--from", file+"x")
	require.NoError(t, os.WriteFile(file, []byte("nonsense\n"), 0o644))
	refused(t, statusFailed, `not a line of make bench: "nonsense"`, "bench", "--from", file)
	refused(t, statusFailed, "no such file", "bench", "--from", svg+"x", "--svg", svg)
	for _, v := range []string{"NaN", "-1", "+Inf"} {
		require.NoError(t, os.WriteFile(file, []byte("# head\na, ns\t1\t1\t"+v+"\t1\n"), 0o644))
		refused(t, statusFailed, "a figure that cannot be drawn", "bench", "--from", file)
	}
}

// ---- check

// library compiles a shared library, and returns its path.
func library(t *testing.T, source string, more ...string) string {
	t.Helper()
	need(t, "gcc")
	dir := t.TempDir()
	c, so := filepath.Join(dir, "mine.c"), filepath.Join(dir, "libmine.so")
	require.NoError(t, os.WriteFile(c, []byte(source), 0o644))
	args := []string{"-shared", "-fPIC", "-std=gnu11", "-w", "-I../..", "-I../../wakertest/c"}
	args = append(append(args, "-o", so, c), more...)
	out, err := exec.Command("gcc", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return so
}

const task = `
#include "rawwaker_test.h"
#include <stdatomic.h>
#include <stdlib.h>
typedef struct task { atomic_size_t wakes; atomic_long live; } task;
static rawwaker clone(void *data);
static void by_ref(void *data) { atomic_fetch_add(&((task *)data)->wakes, 1); }
static void drop(void *data) { atomic_fetch_sub(&((task *)data)->live, 1); }
static void wake(void *data) { by_ref(data); BROKEN drop(data); }
static const rawwaker_vtable vtable = {clone, wake, by_ref, drop};
static rawwaker clone(void *data) {
  atomic_fetch_add(&((task *)data)->live, 1);
  return (rawwaker){data, &vtable};
}
static size_t wakes(void *arg) { return ((task *)arg)->wakes; }
static long live(void *arg) { return ((task *)arg)->live; }
rawwaker_test_waker NAME(void *unused) {
  task *t = calloc(1, sizeof *t);
  t->live = 1;
  return (rawwaker_test_waker){
      .waker = {t, &vtable}, .arg = t, .wakes = wakes, .live = live, .free = free, .exact = true};
}
`

// faultyTask is task with a name, and with a fault in its wake.
func faultyTask(name, fault string) string {
	return strings.NewReplacer("NAME", name, "BROKEN", fault).Replace(task)
}

func TestCheck(t *testing.T) {
	t.Run("passes_a_library_that_keeps_the_contract", func(t *testing.T) {
		needCgo(t)
		so := library(t, faultyTask("rawwaker_check_waker", ""))
		out, errs, status := lab("check", so)
		require.Zero(t, status, errs+out)
		require.Contains(t, out, "ok 1 - complete_vtable")
		require.NotContains(t, out, "not ok")
	})
	t.Run("names_the_rule_that_a_library_breaks", func(t *testing.T) {
		needCgo(t)
		so := library(t, faultyTask("my_waker", "return;"))
		out, errs, status := lab("check", so, "--waker", "my_waker")
		require.Equal(t, statusBroken, status, errs+out)
		require.Equal(t, "wakelab: check: "+so+" breaks the contract\n", errs)
		require.Regexp(t, `not ok \d+ - wake_consumes`, out)
	})
	t.Run("fails_the_scenario_in_which_a_library_crashes", func(t *testing.T) {
		needCgo(t)
		so := library(t, faultyTask("rawwaker_check_waker", "*(volatile int *)8 = 1;"))
		out, errs, status := lab("check", so)
		require.Equal(t, statusBroken, status, errs+out)
		require.Regexp(t, `(?s)not ok \d+ - .*expected: no signal; signal 11 came`, out)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	})
	t.Run("fails_if_a_library_ends_the_process", func(t *testing.T) {
		needCgo(t)
		so := library(t, "#include <unistd.h>"+faultyTask("rawwaker_check_waker", "_exit(0);"))
		out, errs, status := lab("check", so)
		require.NotZero(t, status, errs+out)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	})
	t.Run("reports_a_constructor_that_crashes_in_one_line", func(t *testing.T) {
		needCgo(t)
		so := library(t, `__attribute__((constructor)) static void at_load(void) {
  *(volatile int *)8 = 1;
}
void rawwaker_check_waker(void) {}
`)
		out, errs, status := lab("check", so)
		require.Equal(t, statusFailed, status, out)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		require.Contains(t, errs, "it has ended the process")
	})
	t.Run("reports_a_file_that_is_no_library_in_one_line", func(t *testing.T) {
		needCgo(t)
		dir := t.TempDir()
		text := filepath.Join(dir, "text.so")
		require.NoError(t, os.WriteFile(text, []byte("hello"), 0o644))
		refused(t, statusFailed, "is not a library that this system loads", "check", text)
		refused(t, statusFailed, "no such file", "check", filepath.Join(dir, "none.so"))
		refused(t, statusFailed, "is a folder", "check", dir)
		without := library(t, "int other_name(void) { return 0; }")
		refused(t, statusFailed, "exports none of "+
			"rawwaker_check_waker, rawwaker_check_future, rawwaker_check_executor", "check", without)
		refused(t, statusUsage, `exports no function othername; did you mean "other_name"?`,
			"check", without, "--waker", "othername")
		unresolved := library(t, "void elsewhere(void); void rawwaker_check_waker(void) { elsewhere(); }")
		refused(t, statusFailed, "undefined symbol: elsewhere", "check", unresolved)
	})
}
