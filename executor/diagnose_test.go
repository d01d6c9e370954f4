package executor_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// diagnosed turns diagnosis on for a test.
func diagnosed(t *testing.T) {
	executor.Diagnose(true)
	t.Cleanup(func() { executor.Diagnose(false) })
}

func dumped(t *testing.T) string {
	var b bytes.Buffer
	require.NoError(t, executor.Dump(&b))
	return b.String()
}

// failing is a writer that takes that many lines.
type failing int

func (f *failing) Write(p []byte) (int, error) {
	if *f--; *f < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestDump(t *testing.T) {
	t.Run("lists_each_task_with_its_spawn_site_and_state", func(t *testing.T) {
		diagnosed(t)
		l := executor.NewLocal()
		defer l.Close()
		p := new(probe)
		asleep := executor.SpawnLocal(l, p)
		for l.Tick() {
		}
		p.waker.Wake()
		l.Tick()
		executor.SpawnLocal(l, future.Ready(1))
		text := dumped(t)
		require.Regexp(t, `Local 0x[0-9a-f]+: tasks 2\n`, text)
		require.Regexp(
			t,
			`  task \d+, spawned at .*/diagnose_test.go:\d+, asleep, polls 2, woken .*s ago, wakers 1\n`,
			text,
		)
		require.Regexp(
			t,
			`  task \d+, spawned at .*/diagnose_test.go:\d+, queued, polls 0, never woken, wakers 0\n`,
			text,
		)
		inside := ""
		executor.SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			inside = dumped(t)
			return rawwaker.Ready(0)
		}))
		for l.Tick() {
		}
		require.Contains(t, inside, ", being polled, polls 1")
		p.finish()
		for l.Tick() {
		}
		require.True(t, asleep.IsDone())
		require.NotContains(t, dumped(t), l.String())
	})
	t.Run("reports_a_writer_that_fails", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		executor.SpawnLocal(l, future.Ready(1))
		for lines := range 2 {
			full := failing(lines)
			require.ErrorIs(t, executor.Dump(&full), io.ErrShortWrite)
		}
	})
	t.Run("counts_the_wakers_of_a_detached_task", func(t *testing.T) {
		diagnosed(t)
		l := executor.NewLocal()
		defer l.Close()
		var kept *rawwaker.Waker
		executor.DetachLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
			kept = cx.Waker().Clone()
			return rawwaker.Pending[struct{}]()
		}))
		require.True(t, l.Tick())
		require.Contains(t, dumped(t), ", wakers 1\n")
		kept.Drop()
		require.Contains(t, dumped(t), ", wakers 0\n")
	})
	t.Run("lists_an_Executor_that_has_tasks", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		require.NotContains(t, dumped(t), ex.String())
		executor.Spawn[int](ex, new(probe))
		require.Contains(t, dumped(t), ex.String()+": tasks 1")
	})
	t.Run("lists_a_task_that_an_abort_has_not_ended_yet", func(t *testing.T) {
		diagnosed(t)
		l := executor.NewLocal()
		defer l.Close()
		h := executor.SpawnLocal(l, new(probe))
		for l.Tick() {
		}
		h.Abort()
		require.Contains(t, dumped(t), ", about to end, polls 1")
	})
	t.Run("knows_only_the_state_of_a_task_that_is_not_diagnosed", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		executor.SpawnLocal(l, future.Ready(1))
		text := dumped(t)
		require.Contains(t, text, "tasks 1 (where they were spawned, and more, is known with")
		require.Contains(t, text, "\n  a task: queued\n")
	})
	// For the race detector.
	t.Run("runs_while_tasks_are_woken_and_polled", func(t *testing.T) {
		diagnosed(t)
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		probes := make([]probe, 8)
		for i := range probes {
			executor.Spawn[int](ex, &probes[i])
		}
		// A wake and a Dump share locks, which order all but what lies between two of them: so
		// many of both.
		var dumps atomic.Int32
		var wg sync.WaitGroup
		for k := range 2 {
			wg.Go(func() {
				for i := k; dumps.Load() < 400; i++ {
					probes[i%len(probes)].waker.Wake()
				}
			})
		}
		for range 400 {
			require.NoError(t, executor.Dump(io.Discard))
			dumps.Add(1)
		}
		wg.Wait()
	})
}

// In a process of its own, because the watchdog speaks on standard error.
func inChild(t *testing.T, body func()) string {
	if os.Getenv("FFIWAKER_CHILD") == t.Name() {
		body()
		t.SkipNow() // the parent looks
	}
	cmd := exec.Command(
		os.Args[0],
		"-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$",
		"-test.v",
	)
	cmd.Env = append(os.Environ(), "FFIWAKER_CHILD="+t.Name(), "FFIWAKERDEBUG=audit=0,tasks=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, string(out))
	return stderr.String()
}

func TestWatchdog(t *testing.T) {
	t.Run("names_a_task_that_nothing_can_wake", func(t *testing.T) {
		said := inChild(t, func() {
			l := executor.NewLocal()
			defer l.Close()
			// These can be woken: by a clone, by themselves, by what a combinator keeps, by a
			// timer.
			var kept *rawwaker.Waker
			executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if kept == nil {
					kept = cx.Waker().Clone()
				}
				return rawwaker.Pending[int]()
			}))
			executor.SpawnLocal(l, future.Yield())
			executor.SpawnLocal(l, future.JoinAll[int](new(probe), new(probe)))
			executor.SpawnLocal(l, future.Sleep(time.Hour))
			_, rx := future.Oneshot[int]()
			executor.SpawnLocal(l, rx)
			// This one drops what it has kept.
			executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				w := cx.Waker().Clone()
				defer w.Drop()
				return rawwaker.Pending[int]()
			}))
			for l.Tick() {
			}
		})
		require.Regexp(
			t,
			`^executor: task 6, spawned at .*/diagnose_test.go:\d+, returned Pending, `+
				`no clone of its waker lives and no wake has come: nothing can wake it\n$`,
			said,
		)
	})
	t.Run("names_a_task_that_holds_its_worker", func(t *testing.T) {
		said := inChild(t, func() {
			synctest.Test(t, func(t *testing.T) { // its clock stands still while a goroutine runs
				ex := executor.New()
				executor.Spawn(ex, future.Ready(1))
				executor.Spawn(ex, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
					time.Sleep(250 * time.Millisecond)
					return rawwaker.Ready(1)
				}))
				require.NoError(t, ex.Wait(t.Context()))
			})
		})
		require.Regexp(
			t,
			`^executor: task 2, spawned at .*/diagnose_test.go:\d+, holds its worker for 110ms\n$`,
			said,
		)
	})
}

func TestDiagnose(t *testing.T) {
	t.Run("reports_the_panic_of_a_detached_task", func(t *testing.T) {
		said := inChild(t, func() {
			ex := executor.New()
			executor.Detach(
				ex,
				future.PollFn(func(*rawwaker.Context) rawwaker.Poll[struct{}] { panic("not awaited") }),
			)
			ex.Wait(t.Context())
		})
		require.Regexp(
			t,
			`(?s)^executor: task 1, spawned at .*/diagnose_test.go:\d+, detached: `+
				`rawwaker: a future panicked: not awaited\n`,
			said,
		)
	})
	t.Run("makes_polls_regions_of_a_trace", func(t *testing.T) {
		if trace.IsEnabled() {
			t.Skip("the tests are traced")
		}
		var b bytes.Buffer
		require.NoError(t, trace.Start(&b))
		l := executor.NewLocal()
		executor.SpawnLocal(l, future.Ready(1))
		l.Run()
		executor.Diagnose(true)
		executor.SpawnLocal(l, future.Ready(1))
		executor.Diagnose(false)
		l.Run()
		l.Close()
		trace.Stop()
		require.Contains(t, b.String(), "poll of the task spawned at ")
		require.Contains(
			t,
			b.String(),
			"\x04poll",
			"that of a task without diagnosis: a string of four bytes in the trace",
		)
	})
	t.Run("counts_a_waker_until_it_is_dropped_or_collected", func(t *testing.T) {
		diagnosed(t)
		l := executor.NewLocal()
		defer l.Close()
		var kept [3]*rawwaker.Waker
		executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			for i := range kept {
				kept[i] = cx.Waker().Clone()
			}
			return rawwaker.Pending[int]()
		}))
		l.Tick()
		counts := func(n string) { t.Helper(); require.Contains(t, dumped(t), ", wakers "+n+"\n") }
		counts("3")
		kept[0].Drop()
		kept[0] = nil
		counts("2")
		finalized(t)
		counts("2") // the collector does not count a dropped one again
		kept[1] = nil
		finalized(t)
		counts("1")
		if !capi.HasCgo {
			return
		}
		raw := kept[2].Clone().IntoRaw()
		require.Contains(t, dumped(t), ", wakers 1 and C's\n", "one is not Go's any more")
		rawwaker.FromRaw(raw).Drop()
		counts("1")
		kept[2].AsRaw()
		require.Contains(t, dumped(t), ", wakers 1 and C's\n")
		kept[2] = nil
		finalized(t)
		collected(
			t,
			func() bool { return !strings.Contains(dumped(t), "C's") },
		) // the box is dropped on a goroutine of the library
		counts("0")
	})
	t.Run("keeps_no_forgotten_Local_whose_future_keeps_its_waker", func(t *testing.T) {
		diagnosed(t)
		var freed atomic.Int32
		func() {
			l := executor.NewLocal()
			runtime.AddCleanup(l, func(int) { freed.Add(1) }, 0)
			var kept *rawwaker.Waker
			executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				kept = cx.Waker().Clone()
				return rawwaker.Pending[int]()
			}))
			for l.Tick() {
			}
			runtime.KeepAlive(kept)
		}()
		collected(t, func() bool { return freed.Load() == 1 })
	})
	// For the race detector, too.
	t.Run("allows_an_abort_during_a_panic", func(t *testing.T) {
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		for range 200 {
			h := executor.Spawn(
				ex,
				future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { panic("in the poll") }),
			)
			h.Abort()
			require.Error(t, blockon.BlockOn(h.Outcome()).Err)
		}
	})
	t.Run("labels_a_poll_with_the_spawn_site", func(t *testing.T) {
		diagnosed(t)
		l := executor.NewLocal()
		defer l.Close()
		var profile bytes.Buffer
		executor.SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			pprof.Lookup("goroutine").WriteTo(&profile, 1)
			return rawwaker.Ready(0)
		}))
		l.Run()
		require.Regexp(
			t,
			regexp.MustCompile(`labels: \{"task":".*/diagnose_test.go:\d+"\}`),
			profile.String(),
		)
	})
}

// finalized returns when the finalizers of all that was garbage before have run: they run one
// after the other.
func finalized(t *testing.T) {
	for range 2 {
		var over atomic.Bool
		runtime.SetFinalizer(&[4]*int{}, func(*[4]*int) { over.Store(true) })
		collected(t, over.Load)
	}
}
