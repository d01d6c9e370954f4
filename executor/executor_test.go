package executor_test

import (
	"context"
	"errors"
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
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// probe is a future that is pending until it is told; it counts polls and drops.
type probe struct {
	waker        future.AtomicWaker
	done         atomic.Bool
	polls, drops atomic.Int32
	poll         func(cx *rawwaker.Context)
}

func (p *probe) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	p.polls.Add(1)
	p.waker.Register(cx.Waker())
	if p.poll != nil {
		p.poll(cx)
	}
	if !p.done.Load() {
		return rawwaker.Pending[int]()
	}
	p.waker.Drop()
	return rawwaker.Ready(42)
}

func (p *probe) Drop() {
	p.drops.Add(1)
	p.waker.Drop()
}

func (p *probe) finish() {
	p.done.Store(true)
	p.waker.Wake()
}

func pendingInt(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Pending[int]() }

// collected waits for what the collector and the library's goroutine still have to do.
func collected(t *testing.T, done func() bool) {
	require.Eventually(
		t,
		func() bool { runtime.GC(); return done() },
		time.Minute,
		time.Millisecond,
	)
}

func outcome[T any](h *executor.JoinHandle[T]) (T, error) {
	r := blockon.BlockOn(h.Outcome())
	return r.Value, r.Err
}

func TestTask(t *testing.T) {
	t.Run("is_polled_once_for_each_wake", func(t *testing.T) {
		balance.Check(t)
		synctest.Test(t, func(t *testing.T) {
			ex := executor.New(executor.Workers(2))
			var p probe
			h := executor.Spawn[int](ex, &p)
			synctest.Wait()
			require.EqualValues(t, 1, p.polls.Load())
			for i := range 3 {
				p.waker.Wake()
				synctest.Wait()
				require.EqualValues(t, i+2, p.polls.Load())
			}
			p.finish()
			require.Equal(t, 42, blockon.BlockOn[int](h))
			require.Zero(t, p.drops.Load(), "it was ready")
			require.PanicsWithValue(t, "future polled after completion", func() { blockon.BlockOn[int](h) })
			require.NoError(t, ex.Wait(t.Context()))
		})
	})
	t.Run("woken_during_its_poll_is_polled_once_more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ex := executor.New(executor.Workers(1))
			var p probe
			p.poll = func(cx *rawwaker.Context) {
				if p.polls.Load() <= 3 {
					cx.Waker().WakeByRef()
					cx.Waker().WakeByRef()
				}
			}
			h := executor.Spawn[int](ex, &p)
			synctest.Wait()
			require.EqualValues(t, 4, p.polls.Load())
			h.Abort()
			_, err := outcome(h)
			require.ErrorIs(t, err, executor.ErrAborted)
			require.EqualValues(t, 1, p.drops.Load())
		})
	})
	t.Run("that_wakes_itself_is_queued_behind_the_others", func(t *testing.T) {
		ex := executor.New(executor.Workers(1))
		var order []string
		var hs []rawwaker.Future[int]
		task := func(name string) rawwaker.Future[int] {
			return future.Async(func(aw *future.Awaiter) int {
				for range 3 {
					order = append(order, name)
					future.Await(aw, future.Yield())
				}
				return 0
			})
		}
		started := executor.Spawn(ex, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			for _, name := range []string{"a", "b", "c"} { // queued together, behind this one
				hs = append(hs, executor.Spawn(ex, task(name)))
			}
			return rawwaker.Ready(0)
		}))
		blockon.BlockOn[int](started)
		blockon.BlockOn(future.JoinAll(hs...))
		require.Equal(t, "abcabcabc", strings.Join(order, ""))
	})
}

func TestJoinHandle(t *testing.T) {
	t.Run("holds_a_panic_or_Goexit_of_its_task", func(t *testing.T) {
		balance.Check(t)
		ex := executor.New(executor.Workers(1))
		boom := errors.New("boom")
		var p, q probe
		p.poll = func(*rawwaker.Context) { panic(boom) }
		q.poll = func(*rawwaker.Context) { runtime.Goexit() }
		h, g := executor.Spawn[int](ex, &p), executor.Spawn[int](ex, &q)
		_, err := outcome(h)
		var panicked *executor.PanicError
		require.ErrorAs(t, err, &panicked)
		require.ErrorIs(t, err, boom)
		require.Contains(t, err.Error(), "executor_test.go", "the task's own stack")
		_, err = outcome(g)
		require.EqualError(t, err, "rawwaker: a future called runtime.Goexit")
		require.EqualValues(t, 1, p.drops.Load())
		require.EqualValues(t, 1, q.drops.Load())
		v, err := outcome(executor.Spawn(ex, future.Ready(7)))
		require.NoError(t, err)
		require.Equal(t, 7, v, "the worker was replaced")
		raised := executor.Spawn[int](ex, &probe{poll: func(*rawwaker.Context) { panic("no") }})
		require.Panics(t, func() { blockon.BlockOn[int](raised) })
	})
	t.Run("gives_its_outcome_if_the_task_ends_during_its_poll", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		n := 50_000
		if testing.Short() {
			n = 5_000
		}
		for range n {
			v, err := outcome(executor.Spawn(ex, future.Ready(1)))
			require.NoError(t, err)
			require.Equal(t, 1, v)
		}
	})
}

func TestAbort(t *testing.T) {
	balance.Check(t)
	ex := executor.New(executor.Workers(2))
	inPoll, release := make(chan struct{}), make(chan struct{})
	var idle, aborted, busy probe
	busy.poll = func(*rawwaker.Context) { close(inPoll); <-release }
	hs := []*executor.JoinHandle[int]{
		executor.Spawn[int](ex, &idle),
		executor.Spawn[int](ex, &aborted),
		executor.Spawn[int](ex, &busy),
	}
	<-inPoll
	hs[1].Abort()
	hs[1].Abort()
	_, err := outcome(hs[1])
	require.ErrorIs(t, err, executor.ErrAborted)
	require.NoError(t, ex.Close())
	require.EqualValues(t, 1, idle.drops.Load())
	require.Zero(t, busy.drops.Load(), "it is being polled")
	close(release)
	for _, h := range []*executor.JoinHandle[int]{hs[0], hs[2]} {
		_, err := outcome(h)
		require.ErrorIs(t, err, executor.ErrClosed)
	}
	require.EqualValues(t, 1, busy.drops.Load())
	var late probe
	h := executor.Spawn[int](ex, &late)
	require.EqualValues(t, 1, late.drops.Load())
	_, err = outcome(h)
	require.ErrorIs(t, err, executor.ErrClosed)
	require.Zero(t, late.polls.Load())
	idle.waker.Wake()
	hs[0].Abort()
	require.NoError(t, ex.Close())
	require.NoError(t, ex.Wait(t.Context()))
	require.EqualValues(t, 1, aborted.drops.Load()+0)
}

func TestExecutorClose(t *testing.T) {
	t.Run("inside_a_task_does_not_deadlock", func(t *testing.T) {
		balance.Check(t)
		ex := executor.New()
		var p probe
		p.poll = func(*rawwaker.Context) { ex.Close() }
		_, err := outcome(executor.Spawn[int](ex, &p))
		require.ErrorIs(t, err, executor.ErrClosed)
		require.EqualValues(t, 1, p.drops.Load())
	})
	// Spawns, wakes, aborts and a Close, all at once: every future ends in exactly one way.
	t.Run("completes_each_task_once_in_a_storm_of_spawns_wakes_and_aborts", func(t *testing.T) {
		balance.Check(t)
		rounds := 200
		if testing.Short() {
			rounds = 30
		}
		var spawned, ready, dropped int
		for r := range rounds {
			ex := executor.New(executor.Workers(1 + r%4))
			const n = 64
			ps, hs := make([]*probe, n), make([]*executor.JoinHandle[int], n)
			var wg sync.WaitGroup
			for i := range ps {
				ps[i] = new(probe)
				hs[i] = executor.Spawn[int](ex, ps[i])
			}
			wg.Go(func() {
				for i := range ps {
					ps[i].waker.Wake()
					if i%2 == 0 {
						ps[i].finish()
					}
				}
			})
			wg.Go(func() {
				for i := n - 1; i >= 0; i -= 3 {
					hs[i].Abort()
				}
			})
			wg.Go(func() {
				if r%2 == 0 {
					runtime.Gosched()
				}
				ex.Close()
			})
			wg.Wait()
			for i, h := range hs {
				_, err := outcome(h)
				spawned++
				if err == nil {
					ready++
					require.Zero(t, ps[i].drops.Load())
				} else {
					dropped++
					require.EqualValues(t, 1, ps[i].drops.Load())
				}
			}
		}
		require.Equal(t, spawned, ready+dropped)
		t.Logf("%d tasks: %d ready, %d dropped", spawned, ready, dropped)
	})
	t.Run("inside_a_Drop_does_not_deadlock", func(t *testing.T) {
		for _, abort := range []bool{false, true} {
			ex := executor.New()
			l := executor.NewLocal()
			a := executor.Spawn[int](ex, closesInDrop{ex.Close})
			b := executor.SpawnLocal[int](l, closesInDrop{l.Close})
			var drops atomic.Int32
			executor.Spawn[int](ex, held{&drops})
			executor.SpawnLocal[int](l, held{&drops})
			settle(ex)
			for l.Tick() {
			}
			if abort {
				a.Abort()
				b.Abort()
				l.Tick()
				_, err := outcome(a)
				require.ErrorIs(t, err, executor.ErrAborted)
			}
			ex.Close()
			l.Close()
			require.EqualValues(t, 2, drops.Load())
		}
	})
}

func TestWait(t *testing.T) {
	ex := executor.New()
	var p probe
	executor.Spawn[int](ex, &p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, ex.Wait(ctx), context.Canceled)
	p.finish()
	require.NoError(t, ex.Wait(t.Context()))
	require.Panics(t, func() { executor.Workers(0) })
}

func TestLocal(t *testing.T) {
	t.Run("is_the_executor_of_the_article", func(t *testing.T) {
		balance.Check(t)
		synctest.Test(t, func(t *testing.T) {
			l := executor.NewLocal()
			defer l.Close()
			start := time.Now()
			var order []int
			for i := range 3 {
				executor.SpawnLocal(l, future.Async(func(aw *future.Awaiter) int {
					future.Await(aw, future.Sleep(time.Duration(3-i)*time.Second))
					order = append(order, i)
					return i
				}))
			}
			l.Run()
			require.Equal(t, 3*time.Second, time.Since(start))
			require.Equal(t, []int{2, 1, 0}, order)
		})
	})
	t.Run("calls_its_hook_for_the_first_wake_that_finds_it_armed", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		calls := 0
		l.OnWake(func() { calls++ })
		require.Zero(t, calls)
		var p probe
		h := executor.SpawnLocal[int](l, &p) // armed at creation
		require.Equal(t, 1, calls)
		p.waker.Wake()
		require.Equal(t, 1, calls)
		require.True(t, l.Tick())
		p.waker.Wake()
		require.Equal(t, 1, calls, "no Tick has returned false yet")
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		p.waker.Wake()
		require.Equal(t, 2, calls)
		l.OnWake(func() { calls += 10 }) // something is runnable
		require.Equal(t, 12, calls)
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		h.Abort()
		require.Equal(t, 22, calls)
		l.OnWake(nil)
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		require.EqualValues(t, 1, p.drops.Load())
	})
	t.Run("refuses_a_spawn_after_Close", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		var p, q probe
		executor.SpawnLocal[int](l, &p)
		require.True(t, l.Tick())
		require.NoError(t, l.Close())
		require.EqualValues(t, 1, p.drops.Load())
		_, err := outcome(executor.SpawnLocal[int](l, &q))
		require.ErrorIs(t, err, executor.ErrClosed)
		p.waker.Wake()
		require.False(t, l.Tick())
		require.Equal(t, -1, l.FD())
		require.NoError(t, l.Close())
		l.Run()
	})
	t.Run("that_is_forgotten_gives_its_descriptor_back", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		l.FD()
		executor.SpawnLocal[int](l, new(probe))
		l.OnWake(func() {})
		require.True(t, l.Tick())
		require.False(t, l.Tick())
	})
	t.Run("runs_the_other_tasks_during_RunUntil", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		p := new(probe)
		other := executor.SpawnLocal(l, p)
		tx, rx := future.Oneshot[int]()
		executor.SpawnLocal(l, future.Map(future.Yield(), func(struct{}) int { tx.Send(3); return 0 }))
		require.Equal(t, 3, executor.RunUntil(l, rx).Value)
		require.False(t, other.IsDone())
		require.PanicsWithError(t, executor.ErrClosed.Error(), func() {
			executor.RunUntil(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				l.Close()
				return rawwaker.Pending[int]()
			}))
		})
	})
}

func TestDetach(t *testing.T) {
	t.Run("runs_a_task_whose_panic_reaches_no_other", func(t *testing.T) {
		balance.Check(t)
		type detacher = func(f rawwaker.Future[struct{}])
		for name, detach := range map[string]func() (detach detacher, run func(), end func()){
			"Executor": func() (func(f rawwaker.Future[struct{}]), func(), func()) {
				ex := executor.New()
				return func(f rawwaker.Future[struct{}]) { executor.Detach(ex, f) },
					func() { ex.Wait(t.Context()) }, func() { ex.Close() }
			},
			"Local": func() (func(f rawwaker.Future[struct{}]), func(), func()) {
				l := executor.NewLocal()
				return func(f rawwaker.Future[struct{}]) { executor.DetachLocal(l, f) },
					l.Run, func() { l.Close() }
			},
		} {
			t.Run(name, func(t *testing.T) {
				detach, run, end := detach()
				var polls, drops atomic.Int32
				for range 1500 { // more than fit into a queue
					detach(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
						if polls.Add(1)%3 == 0 {
							panic("one of them")
						}
						return rawwaker.Ready(struct{}{})
					}))
					detach(future.Yield())
				}
				run()
				require.EqualValues(t, 1500, polls.Load())
				require.Panics(t, func() { detach(nil) })
				unit := func(int) struct{} { return struct{}{} }
				detach(future.Map[int](held{&drops}, unit))
				end()
				detach(future.Map[int](held{&drops}, unit))
				require.EqualValues(t, 2, drops.Load(), "one by Close, one refused")
			})
		}
	})
	t.Run("reuses_a_task_that_is_counted_and_closed_like_any_other", func(t *testing.T) {
		ex := executor.New(executor.Workers(1))
		for range 100 {
			executor.Detach(ex, future.Ready(struct{}{}))
		}
		require.NoError(t, ex.Wait(t.Context()))
		settle(ex)
		var drops atomic.Int32
		for range 10 {
			executor.Detach(ex, future.Map[int](held{&drops}, func(int) struct{} { return struct{}{} }))
		}
		settle(ex)
		require.Equal(t, 10, ex.Len())
		ex.Close()
		require.EqualValues(t, 10, drops.Load())
	})
}

func TestExecutor(t *testing.T) {
	before := runtime.NumGoroutine()
	ex := executor.New(executor.Workers(8))
	defer ex.Close()
	probes := make([]probe, 100)
	for i := range probes {
		executor.Spawn[int](ex, &probes[i])
	}
	settle(ex)
	for runtime.NumGoroutine() > before {
		runtime.Gosched() // they are on their way out
	}
	for i := range probes {
		probes[i].finish()
	}
	require.NoError(t, ex.Wait(t.Context()))
	require.Zero(t, ex.Len())
}

// closesInDrop closes its executor when it is given up.
type closesInDrop struct{ close func() error }

func (closesInDrop) Poll(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Pending[int]() }
func (f closesInDrop) Drop()                                   { f.close() }

// For the race detector: nothing but the turn orders the two.
func TestOutcome(t *testing.T) {
	t.Run("is_dropped_beside_a_poll_of_another", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		for range 50 {
			h := executor.SpawnLocal[int](l, new(probe))
			first, second := h.Outcome(), h.Outcome()
			cx := rawwaker.NewContext(rawwaker.Noop())
			require.False(t, first.Poll(cx).IsReady())
			var wg sync.WaitGroup
			wg.Go(first.(rawwaker.Dropper).Drop)
			require.False(t, second.Poll(cx).IsReady())
			wg.Wait()
			second.(rawwaker.Dropper).Drop()
		}
	})
}
