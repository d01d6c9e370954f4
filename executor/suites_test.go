package executor_test

import (
	"errors"
	"fmt"
	"runtime"
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
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// What the executors of Rust are tested for, asked of these. Each test says which suite it
// answers to; those for block_on are in package blockon, those for layout and ownership of a
// single waker in rawwaker and in safety_test.go.

// machine is an executor that does nothing until it is told to.
type machine struct {
	spawn func(f rawwaker.Future[int]) *executor.JoinHandle[int]
	run   func() // until nothing is runnable
	close func()

	workers int // that poll at the same time as the test; 0: it polls itself
}

// onEach runs a test on a Local that is ticked, and on executors of one worker and of four.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Run("Local", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		test(t, machine{
			spawn: func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.SpawnLocal(l, f) },
			run: func() {
				for l.Tick() {
				}
			},
			close: func() { l.Close() },
		})
	})
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprintf("Executor of %d", workers), func(t *testing.T) {
			balance.Check(t)
			ex := executor.New(executor.Workers(workers))
			defer ex.Close()
			test(t, machine{
				spawn: func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.Spawn(ex, f) },
				run:   func() { settle(ex) },
				close: func() { ex.Close() },

				workers: workers,
			})
		})
	}
}

// settle returns when no worker is awake: it says so in its name.
func settle(ex *executor.Executor) {
	for {
		if strings.Contains(ex.String(), " 0 of ") {
			return
		}
		runtime.Gosched()
	}
}

func TestWake(t *testing.T) {
	// 1. async-task, waker_pending::wake_during_run.
	t.Run("during_a_poll_schedules_once_after_it", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			p := new(probe)
			p.poll = func(cx *rawwaker.Context) {
				if p.polls.Load() == 1 {
					w := cx.Waker().Clone()
					for range 3 {
						w.WakeByRef()
					}
					w.Wake()
				}
			}
			m.spawn(p)
			m.run()
			require.EqualValues(t, 2, p.polls.Load())
		})
	})
	// 5. tokio, failed_wake_synchronizes: what was written before a wake that found the task
	// woken is visible to the poll. The race detector is the judge.
	t.Run("of_a_woken_task_publishes_writes", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			for range 300 {
				var waker *rawwaker.Waker
				var values [4]int // plain
				var flags [4]atomic.Bool
				sum := 0
				h := m.spawn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
					if waker == nil {
						waker = cx.Waker().Clone()
					}
					all := true
					sum = 0
					for i := range flags {
						if !flags[i].Load() {
							all = false
							continue
						}
						sum += values[i]
					}
					if !all {
						return rawwaker.Pending[int]()
					}
					return rawwaker.Ready(sum)
				}))
				m.run()
				var wg sync.WaitGroup
				for i := range values {
					wg.Go(func() {
						values[i] = i + 1
						flags[i].Store(true)
						waker.WakeByRef()
					})
				}
				wg.Wait()
				m.run()
				v, err := outcome(h)
				require.NoError(t, err)
				require.Equal(t, 10, v)
			}
		})
	})
	// 6. async-task, wake_completed and wake_dropped; embassy,
	// waking_after_completion_does_not_poll.
	t.Run("after_the_task_has_ended_does_nothing", func(t *testing.T) {
		for _, end := range []string{"ready", "aborted", "closed"} {
			t.Run(end, func(t *testing.T) {
				onEach(t, func(t *testing.T, m machine) {
					p := new(probe)
					var w *rawwaker.Waker
					p.poll = func(cx *rawwaker.Context) {
						if w == nil {
							w = cx.Waker().Clone()
						}
					}
					h := m.spawn(p)
					m.run()
					switch end {
					case "ready":
						p.finish()
					case "aborted":
						h.Abort()
					case "closed":
						m.close()
					}
					m.run()
					polls := p.polls.Load()
					w.WakeByRef()
					w.Clone().Wake()
					w.Wake()
					m.run()
					require.Equal(t, polls, p.polls.Load())
					require.Equal(t, end == "ready", p.drops.Load() == 0)
				})
			})
		}
	})
	// 7. async-task, drop_last_waker, drop_last_task, cancel_last_task. There the last reference
	// of a task that is asleep has it scheduled once more, so that its executor drops the future.
	// Here references are the collector's: the task stays until it is aborted or its executor is
	// closed, and the watchdog names it (TestWatchdog/names_a_task_that_nothing_can_wake).
	t.Run("is_not_needed_to_end_a_task_by_its_handle_or_executor", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			var drops atomic.Int32
			aborted := m.spawn(held{&drops})
			m.spawn(held{&drops}) // detached
			m.run()
			require.Zero(t, drops.Load())
			aborted.Abort()
			m.run()
			require.EqualValues(t, 1, drops.Load())
			m.close()
			require.EqualValues(t, 2, drops.Load())
		})
	})
	// 8. tokio, wake_while_rt_is_dropping, and async-executor#163, where schedule touched the
	// executor after the task was gone.
	t.Run("during_Close_does_nothing", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			probes := make([]probe, 64)
			wakers := make([]*rawwaker.Waker, len(probes))
			for i := range probes {
				probes[i].poll = func(cx *rawwaker.Context) {
					if wakers[i] == nil {
						wakers[i] = cx.Waker().Clone()
					}
				}
				m.spawn(&probes[i])
			}
			m.run()
			start := make(chan struct{})
			var wg sync.WaitGroup
			for i := range wakers {
				wg.Go(func() { <-start; wakers[i].WakeByRef(); wakers[i].Wake() })
			}
			close(start)
			m.close()
			held := 0
			for i := range probes {
				if probes[i].drops.Load() == 0 {
					held++
				}
			}
			require.LessOrEqual(
				t,
				held,
				m.workers,
				"Close drops before it returns all but what a worker holds to poll it",
			)
			wg.Wait()
			for i := range probes {
				require.Eventually(
					t,
					func() bool { return probes[i].drops.Load() > 0 },
					time.Minute,
					time.Millisecond,
				)
				require.EqualValues(t, 1, probes[i].drops.Load())
			}
		})
	})
	// The first one's Drop, under Close, wakes the second, whose token so comes to a queue that
	// is shut. Another goroutine ends it, but a Local's Close ends it itself, as the thread that
	// drops a C host's executor does.
	t.Run("late_has_Close_wait_for_the_drop_of_its_task", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			var order string // -race tells, if nothing orders it
			begun := make(chan struct{})
			closer, dropper := capi.Goroutine(), uint64(0)
			second := &waits{dropped: func() {
				dropper = capi.Goroutine()
				close(begun)
				for range 1000 {
					runtime.Gosched()
				}
				order += "d"
			}}
			first := &waits{dropped: func() {
				woken := make(chan struct{})
				go func() { second.waker.Wake(); close(woken) }()
				<-woken
				if m.workers > 0 {
					<-begun
				}
			}}
			m.spawn(first)
			m.spawn(second)
			m.run()
			m.close()
			order += "c"
			require.Equal(t, "dc", order)
			if m.workers == 0 {
				require.Equal(t, closer, dropper)
			}
		})
	})
	// 8. tokio, wake_in_drop_after_panic: the drop of a future that has panicked wakes its own
	// task.
	t.Run("in_the_Drop_after_a_panic_does_nothing", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			f := &wakesInDrop{}
			h := m.spawn(f)
			other := m.spawn(future.Ready(1))
			m.run()
			_, err := outcome(h)
			require.ErrorContains(t, err, "in the poll")
			require.Equal(t, 1, f.drops)
			_, err = outcome(other)
			require.NoError(t, err)
		})
	})
	// 9. embassy, executor_task_self_wake_twice.
	t.Run("twice_during_a_poll_leads_to_one_more", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			p := new(probe)
			p.poll = func(cx *rawwaker.Context) {
				if p.polls.Load() == 1 {
					cx.Waker().WakeByRef()
					cx.Waker().WakeByRef()
				}
			}
			m.spawn(p)
			m.run()
			require.EqualValues(t, 2, p.polls.Load())
		})
	})
	// 9. embassy, waking_with_old_waker_after_respawn: there it may wake the new task; here never.
	t.Run("of_a_task_that_has_ended_wakes_no_other", func(t *testing.T) {
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		var old []*rawwaker.Waker
		for range 100 {
			done := make(chan struct{})
			executor.Detach(ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
				old = append(old, cx.Waker().Clone())
				close(done)
				return rawwaker.Ready(struct{}{})
			}))
			<-done
		}
		settle(ex)
		probes := make([]probe, 200)
		for i := range probes {
			executor.Detach(ex, future.Map[int](&probes[i], func(int) struct{} { return struct{}{} }))
		}
		settle(ex)
		for _, w := range old {
			w.Wake()
		}
		settle(ex)
		for i := range probes {
			require.EqualValues(t, 1, probes[i].polls.Load())
		}
	})
}

// waits is pending until it is given up.
type waits struct {
	waker   future.AtomicWaker
	dropped func()
}

func (h *waits) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	h.waker.Register(cx.Waker())
	return rawwaker.Pending[int]()
}

func (h *waits) Drop() {
	h.dropped()
	h.waker.Drop()
}

type wakesInDrop struct {
	w     *rawwaker.Waker
	drops int
}

func (f *wakesInDrop) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	f.w = cx.Waker().Clone()
	panic("in the poll")
}
func (f *wakesInDrop) Drop() { f.drops++; f.w.Wake() }

func TestHandleWaker(t *testing.T) {
	// 10. tokio, notify_clones_waker_before_lock and drop_from_wake: a waiter of a handle may
	// do as it likes in its waker, also use the very handle and executor.
	t.Run("may_use_the_executor", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			p := new(probe)
			h := m.spawn(p)
			m.run()
			var second *executor.JoinHandle[int]
			called := 0
			over := make(chan struct{})
			w := rawwaker.FromFunc(func() {
				called++
				h.Abort()
				second = m.spawn(future.Ready(5))
				close(over)
			})
			require.False(t, h.Poll(rawwaker.NewContext(w)).IsReady())
			p.finish()
			m.run()
			<-over // on a goroutine of its own: the worker does not wait for it
			m.run()
			require.Equal(t, 1, called)
			v, err := outcome(second)
			require.NoError(t, err)
			require.Equal(t, 5, v)
			require.True(t, h.Poll(rawwaker.NewContext(w)).IsReady())
		})
	})
	// 11. tokio, test_panicky_waker and atomic_waker_panic_safe: a waker that panics stops no other
	// else, and what it stood in still works.
	t.Run("that_panics_stops_no_other", func(t *testing.T) {
		onEach(t, func(t *testing.T, m machine) {
			bad := rawwaker.NewContext(rawwaker.FromFunc(func() { panic("a waker's panic") }))
			awaited := new(probe)
			h := m.spawn(awaited)
			// One of its task's wakes calls it: that task panics.
			var slot future.AtomicWaker
			slot.Register(bad.Waker())
			waking := m.spawn(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				slot.Wake()
				return rawwaker.Ready(0)
			}))
			m.run()
			_, err := outcome(waking)
			require.ErrorContains(t, err, "a waker's panic")
			calls := 0
			slot.Register(rawwaker.FromFunc(func() { calls++ }))
			slot.Wake()
			require.Equal(t, 1, calls)

			// It awaits a handle: that task has ended, and the rest run on.
			require.False(t, h.Poll(bad).IsReady())
			awaited.finish()
			other := m.spawn(future.Ready(3))
			m.run()
			v, err := outcome(h)
			require.NoError(t, err)
			require.Equal(t, 42, v)
			v, err = outcome(other)
			require.NoError(t, err)
			require.Equal(t, 3, v)
		})
	})
}

// 12. tokio, task_combinations: where it panics × when the handle is let go × when it is aborted,
// on each executor.
func TestEnd(t *testing.T) {
	panicsAt := []string{"nowhere", "the poll", "the drop", "both"}
	lets := []string{"never", "at once", "after the poll"}
	aborts := []string{"never", "before the poll", "in the poll", "after the poll"}
	onEach(t, func(t *testing.T, m machine) {
		for _, panicAt := range panicsAt {
			for _, let := range lets {
				for _, abort := range aborts {
					for _, pending := range []bool{false, true} {
						combination(t, m, panicAt, let, abort, pending)
					}
				}
			}
		}
	})
}

func combination(t *testing.T, m machine, panicAt, let, abort string, pending bool) {
	name := fmt.Sprintf(
		"panics at %s, handle gone %s, aborted %s, pending %v",
		panicAt,
		let,
		abort,
		pending,
	)
	f := &combined{panicAt: panicAt, pending: pending, abort: func() {}}
	gate := make(chan struct{})
	var h *executor.JoinHandle[int]
	f.in = gate
	h = m.spawn(f)
	if abort == "before the poll" {
		h.Abort()
	}
	if abort == "in the poll" {
		f.abort = h.Abort
	}
	kept := h
	if let == "at once" {
		h = nil
	}
	close(gate)
	m.run()
	if abort == "after the poll" && kept != nil {
		kept.Abort()
		kept.Abort()
	}
	m.run()
	over := kept.IsDone()
	if let == "after the poll" {
		h = nil
	}
	polled := f.polls == 1
	givenUp := polled && (pending || panicAt == "the poll" || panicAt == "both")
	require.LessOrEqual(t, f.polls, 1, name)
	switch {
	case !polled:
		require.Equal(t, "before the poll", abort, name)
		require.Equal(t, 1, f.drops, name)
	case givenUp && over:
		require.Equal(t, 1, f.drops, name)
	default:
		require.Zero(t, f.drops, name)
	}
	if h == nil {
		return
	}
	if !over {
		require.True(t, pending && abort == "never", name)
		kept.Abort()
		m.run()
		require.Equal(t, 1, f.drops, name)
	}
	v, err := outcome(h)
	var panicked *executor.PanicError
	switch {
	case polled && (panicAt == "the poll" || panicAt == "both"):
		require.ErrorAs(t, err, &panicked, name)
		require.Equal(t, "poll", panicked.Value, name)
		require.Contains(t, string(panicked.Stack), "(*combined).Poll", name)
	case f.drops == 1 && (panicAt == "the drop" || panicAt == "both"):
		require.ErrorAs(t, err, &panicked, name)
		require.Equal(t, "drop", panicked.Value, name)
	case f.drops == 1:
		require.ErrorIs(t, err, executor.ErrAborted, name)
	default:
		require.NoError(t, err, name)
		require.Equal(t, 9, v, name)
	}
	require.PanicsWithValue(
		t,
		"future polled after completion",
		func() { h.Poll(rawwaker.NewContext(rawwaker.Noop())) },
		name,
	)
}

type combined struct {
	panicAt      string
	pending      bool
	in           chan struct{}
	abort        func()
	polls, drops int
}

func (f *combined) Poll(*rawwaker.Context) rawwaker.Poll[int] {
	<-f.in
	f.polls++
	f.abort()
	if f.panicAt == "the poll" || f.panicAt == "both" {
		panic("poll")
	}
	if f.pending {
		return rawwaker.Pending[int]()
	}
	return rawwaker.Ready(9)
}

func (f *combined) Drop() {
	f.drops++
	if f.panicAt == "the drop" || f.panicAt == "both" {
		panic("drop")
	}
}

// 13. async-task, panic_and_poll: the handle of a task that has panicked panics too, with the
// task's own stack.
func TestHandlePoll(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		boom := errors.New("boom")
		h := m.spawn(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { return deep(boom) }))
		m.run()
		defer func() {
			err := recover().(error)
			require.ErrorIs(t, err, boom)
			require.Contains(t, err.Error(), "executor_test.deep")
		}()
		blockon.BlockOn[int](h)
	})
}

func deep(err error) rawwaker.Poll[int] { panic(err) }

func TestFairness(t *testing.T) {
	// 14. futures, tasks_are_scheduled_fairly; tokio, no_extra_poll. On one worker, so that the
	// order is one.
	t.Run("serves_tasks_that_yield_permanently_by_turns", func(t *testing.T) {
		const tasks, rounds = 50, 200
		for name, m := range map[string]func() (machine, func()){
			"Local": func() (machine, func()) {
				l := executor.NewLocal()
				return machine{spawn: func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.SpawnLocal(l, f) }}, l.Run
			},
			"Executor": func() (machine, func()) {
				ex := executor.New(executor.Workers(1))
				return machine{spawn: func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.Spawn(ex, f) }}, func() { ex.Wait(t.Context()) }
			},
		} {
			t.Run(name, func(t *testing.T) {
				m, run := m()
				var counts [tasks]int
				begun, most := 0, 0
				gate := make(chan struct{})
				m.spawn(
					future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { <-gate; return rawwaker.Ready(0) }),
				)
				for i := range counts {
					m.spawn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
						if counts[i]++; counts[i] == 1 {
							begun++
						}
						if begun == tasks { // from here on no task is further ahead of another than one turn
							for _, c := range counts {
								most = max(most, counts[i]-c)
							}
						}
						if counts[i] == rounds {
							return rawwaker.Ready(0)
						}
						cx.Waker().WakeByRef()
						return rawwaker.Pending[int]()
					}))
				}
				close(gate)
				run()
				for _, c := range counts {
					require.Equal(t, rounds, c)
				}
				require.LessOrEqual(t, most, 2)
			})
		}
	})
	// 14. futures, polled_only_once_at_most_per_iteration, in the large: a task that yields for
	// ever starves no other, though more tasks wait than a worker's queue has room for.
	t.Run("lets_tasks_that_yield_permanently_starve_no_other", func(t *testing.T) {
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		var stop atomic.Bool
		for range 2500 { // more than a queue has room for
			executor.Spawn(ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if stop.Load() {
					return rawwaker.Ready(0)
				}
				cx.Waker().WakeByRef()
				return rawwaker.Pending[int]()
			}))
		}
		for range 2000 {
			h := executor.Spawn(ex, future.Map(future.Yield(), func(struct{}) int { return 1 }))
			defer func() { require.True(t, h.IsDone()) }()
		}
		last := executor.Spawn(ex, future.Ready(1))
		_, err := outcome(last)
		require.NoError(t, err)
		stop.Store(true)
		require.NoError(t, ex.Wait(t.Context()))
	})
	// A worker that is held by a poll does not hold what waits behind it: another worker takes
	// that.
	t.Run("has_another_worker_run_what_waits_behind_a_blocked_poll", func(t *testing.T) {
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		synctest.Test(t, func(t *testing.T) { // whose timers end with it
			_, err := outcome(executor.Spawn(ex, future.Ready(1)))
			require.NoError(t, err)
		})
		ran := make(chan struct{})
		h := executor.Spawn(ex, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			executor.Detach(ex, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[struct{}] {
				close(ran)
				return rawwaker.Ready(struct{}{})
			}))
			<-ran
			return rawwaker.Ready(1)
		}))
		_, err := outcome(h)
		require.NoError(t, err)
	})
}
