package executor_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// What one task, Drop, waker or context of a user's does wrong must stay its own.

// gone is pending until it is dropped, and does drop then.
type gone struct{ drop func() }

func (gone) Poll(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Pending[int]() }
func (g gone) Drop()                                   { g.drop() }

// panicsThenGoes panics in its poll and calls Goexit in its Drop.
type panicsThenGoes struct{}

func (panicsThenGoes) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic("first") }
func (panicsThenGoes) Drop()                                     { runtime.Goexit() }

// forever is always runnable, until stop is set.
func forever(stop *atomic.Bool) rawwaker.Future[struct{}] {
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
		if stop.Load() {
			return rawwaker.Ready(struct{}{})
		}
		cx.Waker().WakeByRef()
		return rawwaker.Pending[struct{}]()
	})
}

// bad is a context whose waker does what.
func bad(what func()) *rawwaker.Context { return rawwaker.NewContext(rawwaker.FromFunc(what)) }

// apart runs f on a goroutine of its own, which may end by runtime.Goexit, and says whether f
// returned.
func apart(f func()) (returned bool) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer func() { recover() }()
		f()
		returned = true
	}()
	<-over
	return returned
}

// runner is an Executor or a Local, whose tasks are asleep when run has returned.
type runner struct {
	on    executor.Spawner
	spawn func(f rawwaker.Future[int]) *executor.JoinHandle[int]
	run   func()
	close func() error
	len   func() int
}

func onEachRunner(t *testing.T, test func(t *testing.T, h runner)) {
	t.Run("Executor", func(t *testing.T) {
		balance.Check(t)
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		test(
			t,
			runner{
				ex,
				func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.Spawn(ex, f) },
				func() { settle(ex) },
				ex.Close,
				ex.Len,
			},
		)
	})
	t.Run("Local", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		test(
			t,
			runner{
				l,
				func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.SpawnLocal(l, f) },
				func() {
					for l.Tick() {
					}
				},
				l.Close,
				l.Len,
			},
		)
	})
}

func TestClose(t *testing.T) {
	const n = 300
	t.Run("drops_each_task_once_though_Drops_call_Goexit", func(t *testing.T) {
		onEachRunner(t, func(t *testing.T, h runner) {
			var drops atomic.Int32
			for range n {
				h.spawn(gone{func() { drops.Add(1); runtime.Goexit() }})
			}
			h.run()
			for range n / 2 { // queued, for a Local
				h.spawn(gone{func() { drops.Add(1); runtime.Goexit() }})
			}
			require.False(t, apart(func() { h.close() }), "its goroutine ends")
			require.NoError(t, h.close()) // what a worker had in hand
			for h.len() > 0 {
				runtime.Gosched()
			}
			require.EqualValues(t, n+n/2, drops.Load())
		})
	})
	t.Run("drops_each_task_once_though_Drops_panic", func(t *testing.T) {
		onEachRunner(t, func(t *testing.T, h runner) {
			var drops atomic.Int32
			var hs []*executor.JoinHandle[int]
			for range n {
				hs = append(hs, h.spawn(gone{func() { drops.Add(1); panic("in Drop") }}))
			}
			h.run()
			require.True(t, apart(func() { h.close() }))
			require.Zero(t, h.len())
			require.EqualValues(t, n, drops.Load())
			_, err := outcome(hs[0])
			require.ErrorAs(t, err, new(*executor.PanicError))
		})
	})
	for name, does := range map[string]func(){"panic": func() { panic("the waker's own") }, "call_Goexit": runtime.Goexit} {
		t.Run("drops_each_task_once_though_wakers_"+name, func(t *testing.T) {
			onEachRunner(t, func(t *testing.T, h runner) {
				var drops atomic.Int32
				s := executor.NewScope(context.Background(), h.on)
				executor.SpawnIn[int](s, gone{func() { drops.Add(1) }})
				for range n {
					awaited := h.spawn(gone{func() { drops.Add(1) }})
					awaited.Outcome().Poll(bad(does))
				}
				for range 3 {
					s.Done().Poll(bad(does))
				}
				h.run()
				apart(func() { h.close() })
				for h.len() > 0 {
					runtime.Gosched()
				}
				require.EqualValues(t, n+1, drops.Load())
				require.NoError(t, s.Wait())
			})
		})
	}
	t.Run("waits_for_the_Close_beside_it", func(t *testing.T) {
		onEachRunner(t, func(t *testing.T, h runner) {
			var drops atomic.Int32
			began, goOn := make(chan struct{}), make(chan struct{})
			var first sync.Once
			for range 5 {
				h.spawn(gone{func() {
					first.Do(func() { close(began); <-goOn })
					drops.Add(1)
				}})
			}
			h.run()
			var wg sync.WaitGroup
			wg.Go(func() { h.close() })
			<-began
			for range 3 {
				wg.Go(func() {
					h.close()
					if got := drops.Load(); got != 5 {
						t.Errorf("a Close has returned when %d of 5 were dropped", got)
					}
				})
			}
			for range 1000 {
				runtime.Gosched()
			}
			close(goOn)
			wg.Wait()
		})
	})
	t.Run("inside_a_Drop_waits_for_none", func(t *testing.T) {
		onEachRunner(t, func(t *testing.T, h runner) {
			// In the Drop itself, in one that a panic calls, and in what the Drop of an Async
			// runs, which is another goroutine.
			h.spawn(gone{func() { h.close() }})
			h.spawn(future.Async(func(aw *future.Awaiter) int {
				defer h.close()
				return future.Await[int](aw, gone{func() { h.close() }})
			}))
			h.run()
			require.NoError(t, h.close())
			require.Zero(t, h.len())
		})
	})
	t.Run("inside_the_Drops_of_two_that_close_each_other", func(t *testing.T) {
		a, b := executor.New(), executor.NewLocal()
		var both sync.WaitGroup
		both.Add(2)
		executor.Spawn[int](a, gone{func() { both.Done(); both.Wait(); b.Close() }})
		executor.SpawnLocal[int](b, gone{func() { both.Done(); both.Wait(); a.Close() }})
		settle(a)
		for b.Tick() {
		}
		var wg sync.WaitGroup
		wg.Go(func() { a.Close() })
		wg.Go(func() { b.Close() })
		wg.Wait()
		require.Zero(t, a.Len()+b.Len())
	})
}

func TestGoexit(t *testing.T) {
	// In a Poll, in the Drop after it, in the Drop of an aborted task.
	t.Run("leaves_the_workers_to_the_other_tasks", func(t *testing.T) {
		balance.Check(t)
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		for range 50 {
			in := gone{runtime.Goexit}
			h := executor.Spawn[int](ex, in)
			p := executor.Spawn(
				ex,
				future.PollFn(
					func(*rawwaker.Context) rawwaker.Poll[int] { runtime.Goexit(); panic("not here") },
				),
			)
			settle(ex)
			h.Abort()
			for _, h := range []*executor.JoinHandle[int]{h, p} {
				_, err := outcome(h)
				require.EqualError(t, err, "rawwaker: a future called runtime.Goexit")
			}
		}
		require.NoError(t, ex.Wait(t.Context()))
		require.Zero(t, ex.Len())
		settle(ex)
		require.Contains(t, ex.String(), "0 of 2 workers awake")
	})
	for name, f := range map[string]func(l *executor.Local){
		"in_a_Poll": func(l *executor.Local) {
			executor.SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { runtime.Goexit(); panic("not here") }))
		},
		"in_a_Drop": func(l *executor.Local) { executor.SpawnLocal[int](l, gone{runtime.Goexit}).Abort() },
		"in_a_Drop_after_a_panic": func(l *executor.Local) {
			executor.SpawnLocal[int](l, &probe{poll: func(*rawwaker.Context) { panic("first") }})
			executor.SpawnLocal[int](l, gone{runtime.Goexit}).Abort()
		},
		"in_the_Drop_after_a_panic_of_the_same_task": func(l *executor.Local) {
			executor.SpawnLocal[int](l, panicsThenGoes{})
		},
		"before_a_panic": func(l *executor.Local) {
			executor.SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				defer panic("second")
				runtime.Goexit()
				panic("not here")
			}))
		},
	} {
		t.Run("leaves_a_Local_to_be_ticked_elsewhere/"+name, func(t *testing.T) {
			balance.Check(t)
			l := executor.NewLocal()
			defer l.Close()
			hooks := 0
			l.OnWake(func() { hooks++ })
			f(l)
			left := executor.SpawnLocal(l, future.Ready(1)) // queued behind it
			hooks = 0
			require.False(t, apart(func() {
				for l.Tick() {
				}
			}), "the goroutine that ticks ends")
			require.Equal(t, 1, hooks, "what is left to tick is announced")
			for l.Tick() {
			}
			require.True(t, left.IsDone())
			h := executor.SpawnLocal(l, future.Ready(2))
			require.Equal(t, 2, hooks)
			l.Run()
			require.True(t, h.IsDone())
			require.Zero(t, l.Len())
		})
	}
}

func TestNestedTick(t *testing.T) {
	for name, nest := range map[string]func(l *executor.Local){
		"Tick":     func(l *executor.Local) { l.Tick() },
		"Run":      (*executor.Local).Run,
		"RunUntil": func(l *executor.Local) { executor.RunUntil(l, future.Ready(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			balance.Check(t)
			l := executor.NewLocal()
			text := "executor: " + name + " inside a task of the same Local, or beside another Tick (await there instead)"
			closes := executor.SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				require.PanicsWithValue(t, text, func() { nest(l) })
				return rawwaker.Ready(1)
			}))
			aborted := executor.SpawnLocal[int](
				l,
				gone{func() { require.PanicsWithValue(t, text, func() { nest(l) }) }},
			)
			body := executor.SpawnLocal(l, future.Async(func(*future.Awaiter) int {
				require.PanicsWithValue(t, text, func() { nest(l) })
				return 1
			}))
			last := executor.SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				defer l.Close()
				nest(l)
				return rawwaker.Ready(1)
			}))
			aborted.Abort()
			l.Run()
			for _, h := range []*executor.JoinHandle[int]{closes, body} {
				_, err := outcome(h)
				require.NoError(t, err)
			}
			_, err := outcome(aborted)
			require.ErrorIs(t, err, executor.ErrAborted)
			_, err = outcome(last)
			require.ErrorAs(
				t,
				err,
				new(*executor.PanicError),
				"closed from inside, and the panic is its outcome",
			)
		})
	}
}

func TestRunUntil(t *testing.T) {
	t.Run("returns_beside_a_task_that_is_always_runnable", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		var stop atomic.Bool
		executor.DetachLocal(l, forever(&stop))
		require.Equal(t, 42, executor.RunUntil(l, future.Ready(42)))
		require.Equal(
			t,
			43,
			executor.RunUntil(l, future.Map(future.Yield(), func(struct{}) int { return 43 })),
		)
		require.Equal(t, 1, l.Len())
		stop.Store(true)
		l.Run()
	})
	t.Run("leaves_what_is_runnable_announced", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		hooks := 0
		l.OnWake(func() { hooks++ })
		var stop atomic.Bool
		executor.DetachLocal(l, forever(&stop))
		hooks = 0
		executor.RunUntil(l, future.Ready(1))
		require.Equal(t, 1, hooks, "the host is to tick")
		stop.Store(true)
		l.Run()
		hooks = 0
		executor.SpawnLocal(l, future.Ready(1))
		require.Equal(t, 1, hooks, "Run has left it armed")
		executor.RunUntil(l, future.Ready(1))
		hooks = 0
		executor.SpawnLocal(l, future.Ready(1))
		require.Equal(t, 1, hooks, "and RunUntil")
	})
	t.Run("of_a_closed_Local_panics_with_ErrClosed", func(t *testing.T) {
		l := executor.NewLocal()
		l.Close()
		var drops atomic.Int32
		require.PanicsWithError(
			t,
			executor.ErrClosed.Error(),
			func() { executor.RunUntil[int](l, held{&drops}) },
		)
		require.EqualValues(t, 1, drops.Load())
	})
}

func TestNilFuture(t *testing.T) {
	ex, l := executor.New(), executor.NewLocal()
	defer ex.Close()
	defer l.Close()
	s := executor.NewScope(context.Background(), ex)
	for call, f := range map[string]func(){
		"Spawn":       func() { executor.Spawn[int](ex, nil) },
		"SpawnLocal":  func() { executor.SpawnLocal[int](l, nil) },
		"SpawnIn":     func() { executor.SpawnIn[int](s, nil) },
		"RunUntil":    func() { executor.RunUntil[int](l, nil) },
		"Detach":      func() { executor.Detach(ex, nil) },
		"DetachLocal": func() { executor.DetachLocal(l, nil) },
	} {
		require.PanicsWithValue(t, "executor: "+call+": nil future", f)
	}
	require.PanicsWithValue(
		t,
		"executor: NewScope: nil context",
		//lint:ignore SA1012 the test is of a nil context
		func() { executor.NewScope(nil, ex) },
	)
	require.PanicsWithValue(
		t,
		"executor: NewScope: nil Spawner",
		func() { executor.NewScope(context.Background(), nil) },
	)
	require.PanicsWithValue(
		t,
		"executor: Workers: more than 65536",
		func() { executor.Workers(1 << 30) },
	)
	require.Zero(t, ex.Len()+l.Len())
}

// valued is a future that is ready with a value; freed counts the values that the collector has
// found.
func valued(freed *atomic.Int32, poll func(cx *rawwaker.Context)) rawwaker.Future[*[1 << 12]byte] {
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[*[1 << 12]byte] {
		v := new([1 << 12]byte)
		runtime.AddCleanup(v, func(int) { freed.Add(1) }, 0)
		if poll != nil {
			poll(cx)
		}
		return rawwaker.Ready(v)
	})
}

func TestTakenResult(t *testing.T) {
	for how, take := range map[string]func(h *executor.JoinHandle[*[1 << 12]byte]){
		"by_the_handle":     func(h *executor.JoinHandle[*[1 << 12]byte]) { blockon.BlockOn[*[1 << 12]byte](h) },
		"by_its_Outcome":    func(h *executor.JoinHandle[*[1 << 12]byte]) { blockon.BlockOn(h.Outcome()) },
		"with_the_handle's": func(h *executor.JoinHandle[*[1 << 12]byte]) { blockon.BlockOn(future.Shared[*[1 << 12]byte](h)) },
	} {
		t.Run("is_not_kept_by_a_clone_of_the_waker/"+how, func(t *testing.T) {
			ex := executor.New()
			defer ex.Close()
			var freed atomic.Int32
			var kept *rawwaker.Waker
			h := executor.Spawn(ex, valued(&freed, func(cx *rawwaker.Context) { kept = cx.Waker().Clone() }))
			take(h)
			collected(t, func() bool { return freed.Load() == 1 })
			runtime.KeepAlive(h)
			kept.Drop()
		})
	}
	t.Run("of_RunUntil_is_not_kept_by_a_clone_of_the_waker", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		var freed atomic.Int32
		var kept *rawwaker.Waker
		executor.RunUntil(l, valued(&freed, func(cx *rawwaker.Context) { kept = cx.Waker().Clone() }))
		collected(t, func() bool { return freed.Load() == 1 })
		kept.Drop()
	})
	t.Run("is_an_error_that_is_not_kept", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		var freed atomic.Int32
		var kept *rawwaker.Waker
		h := executor.Spawn(ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			kept = cx.Waker().Clone()
			v := new([1 << 12]byte)
			runtime.AddCleanup(v, func(int) { freed.Add(1) }, 0)
			panic(v)
		}))
		require.Error(t, blockon.BlockOn(h.Outcome()).Err)
		collected(t, func() bool { return freed.Load() == 1 })
		runtime.KeepAlive(h)
		kept.Drop()
	})
}

// Results that were not taken, beside a task that keeps the only worker busy.
func TestFinishedTask(t *testing.T) {
	t.Run("leaves_its_list_beside_a_busy_task", func(t *testing.T) {
		for _, on := range []string{"Executor", "Local"} {
			var stop atomic.Bool
			var freed atomic.Int32
			const n = 40
			if on == "Executor" {
				ex := executor.New(executor.Workers(1))
				defer ex.Close()
				executor.Detach(ex, forever(&stop))
				for range n {
					executor.Spawn(ex, valued(&freed, nil))
				}
				collected(t, func() bool { return freed.Load() == n })
			} else {
				l := executor.NewLocal()
				defer l.Close()
				executor.DetachLocal(l, forever(&stop))
				for range n {
					executor.SpawnLocal(l, valued(&freed, nil))
				}
				collected(t, func() bool { return l.Tick() && freed.Load() == n })
			}
			stop.Store(true)
		}
	})
	t.Run("leaves_the_list_of_another_worker_beside_a_poll_that_lasts", func(t *testing.T) {
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		var freed, ran atomic.Int32
		goOn := make(chan struct{})
		var inside sync.WaitGroup
		blocks := func(then func()) rawwaker.Future[int] {
			return future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				then()
				inside.Done()
				<-goOn
				return rawwaker.Ready(0)
			})
		}
		inside.Add(2)
		const n = 20
		executor.Spawn(ex, blocks(func() {
			for range n { // on this worker's list: the other one steals them
				executor.Spawn(ex, valued(&freed, func(*rawwaker.Context) { ran.Add(1) }))
			}
			executor.Spawn(ex, blocks(func() {})) // stolen with those before it, so no search is between
			for range n {
				executor.Detach(ex, future.Ready(struct{}{}))
			}
		}))
		inside.Wait() // nothing runs any more; the race detector's sync.Pool may have sent some behind the second
		collected(t, func() bool { return freed.Load() == ran.Load() })
		close(goOn)
	})
}

func TestAwaitGivenUp(t *testing.T) {
	t.Run("leaves_no_waker_in_the_handle", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		var drops atomic.Int32
		long := executor.Spawn[int](ex, held{&drops})
		for how, awaits := range map[string]func() rawwaker.Future[int]{
			"Outcome": func() rawwaker.Future[int] {
				return future.Map(future.Timeout(long.Outcome(), 0), func(rawwaker.Result[rawwaker.Result[int]]) int { return 0 })
			},
			"handle": func() rawwaker.Future[int] {
				return future.Map(future.Timeout[int](long, 0), func(rawwaker.Result[int]) int { return 0 })
			},
		} {
			var freed atomic.Int32
			blockon.BlockOn(
				executor.Spawn(ex, future.Then(awaits(), func(int) rawwaker.Future[*[1 << 20]byte] {
					v := new([1 << 20]byte)
					runtime.AddCleanup(v, func(int) { freed.Add(1) }, 0)
					return future.Ready(v)
				})).Outcome(),
			)
			collected(t, func() bool { return freed.Load() == 1 })
			require.False(t, long.IsDone(), how)
		}
		require.Zero(t, drops.Load(), "the task goes on")
	})
	t.Run("leaves_nothing_that_its_waker_keeps", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		var drops, freed atomic.Int32
		long := executor.Spawn[int](ex, held{&drops})
		awaits := func(poll func(cx *rawwaker.Context), wait any) {
			v := new([1 << 20]byte)
			runtime.AddCleanup(v, func(int) { freed.Add(1) }, 0)
			poll(bad(func() { runtime.KeepAlive(v) }))
			wait.(rawwaker.Dropper).Drop()
		}
		o := long.Outcome()
		awaits(func(cx *rawwaker.Context) { o.Poll(cx) }, o)
		collected(t, func() bool { return freed.Load() == 1 })
		awaits(func(cx *rawwaker.Context) { long.Poll(cx) }, long)
		collected(t, func() bool { return freed.Load() == 2 })
		require.Zero(t, drops.Load(), "the task goes on")
		require.False(t, long.IsDone())
	})
	t.Run("takes_no_other_wait_with_it", func(t *testing.T) {
		l := executor.NewLocal()
		defer l.Close()
		for _, order := range []string{"first is given up", "second is given up"} {
			p := new(probe)
			h := executor.SpawnLocal[int](l, p)
			for l.Tick() {
			}
			var woken [2]atomic.Int32
			a, b := h.Outcome(), rawwaker.Future[rawwaker.Result[int]](h.Outcome())
			poll := func(f rawwaker.Future[rawwaker.Result[int]], i int) {
				f.Poll(bad(func() { woken[i].Add(1) }))
			}
			poll(a, 0)
			poll(b, 1)
			given := a
			if order == "second is given up" {
				given = b
			}
			given.(rawwaker.Dropper).Drop()
			h.Drop() // which has registered nothing
			p.finish()
			for l.Tick() {
			}
			if order == "first is given up" {
				collected(t, func() bool { return woken[1].Load() == 1 })
			}
			require.Zero(t, woken[0].Load(), order)
			if order != "first is given up" {
				require.Zero(t, woken[1].Load(), order)
			}
			require.Equal(t, 42, blockon.BlockOn[int](h))
		}
	})
}

func TestScope(t *testing.T) {
	var ran atomic.Int32
	runs := func() rawwaker.Future[int] {
		return future.PollFn(
			func(*rawwaker.Context) rawwaker.Poll[int] { ran.Add(1); return rawwaker.Ready(1) },
		)
	}
	t.Run("of_a_context_that_is_over_runs_nothing", func(t *testing.T) {
		onEachRunner(t, func(t *testing.T, h runner) {
			ran.Store(0)
			why := errors.New("called off")
			for _, when := range []string{"before the scope", "before the spawn", "before the poll", "before Wait"} {
				ctx, cancel := context.WithCancelCause(context.Background())
				if when == "before the scope" {
					cancel(why)
				}
				s := executor.NewScope(unheard{ctx}, h.on)
				if when == "before the spawn" {
					cancel(why)
				}
				var first *executor.JoinHandle[int]
				if when == "before the poll" {
					// Queued behind one that ends the context, on the same worker or not.
					h.spawn(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
						first = executor.SpawnIn(s, runs())
						cancel(why)
						return rawwaker.Ready(0)
					}))
				} else if when != "before Wait" {
					first = executor.SpawnIn(s, runs())
				}
				h.run()
				cancel(why)
				require.ErrorIs(t, s.Wait(), context.Canceled, when)
				require.ErrorIs(t, blockon.BlockOn(s.Done()), context.Canceled, when)
				if when != "before Wait" && when != "before the poll" {
					_, err := outcome(first)
					require.ErrorIs(t, err, executor.ErrAborted, when)
				}
			}
			if _, local := h.on.(*executor.Local); ran.Load() > 1 ||
				local && ran.Load() > 0 { // an Executor's other worker may have been faster than the end
				t.Errorf("%d tasks ran", ran.Load())
			}
		})
	})
	t.Run("whose_Done_is_given_up_keeps_nothing_of_it", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		var drops, freed atomic.Int32
		s := executor.NewScope(context.Background(), ex)
		executor.SpawnIn[int](s, held{&drops})
		const n = 100
		for range n {
			v := new([1 << 12]byte)
			runtime.AddCleanup(v, func(int) { freed.Add(1) }, 0)
			d := s.Done()
			d.Poll(bad(func() { v[0]++ }))
			d.(rawwaker.Dropper).Drop()
		}
		collected(t, func() bool { return freed.Load() == n })
		s.Abort()
		require.NoError(t, s.Wait())
	})
	for how, end := range map[string]func(s *executor.Scope){
		"aborted":    func(s *executor.Scope) { s.Context(); s.Abort() },
		"waited_for": func(s *executor.Scope) { s.Context(); s.Wait() },
		"forgotten":  func(*executor.Scope) {},
	} {
		t.Run("that_is_"+how+"_leaves_nothing_on_its_context", func(t *testing.T) {
			ex := executor.New()
			defer ex.Close()
			parent, cancel := context.WithCancel(context.Background())
			defer cancel()
			counts := &counted{Context: parent}
			var kept []*executor.Scope
			for range 20 {
				s := executor.NewScope(counts, ex)
				executor.SpawnIn(s, future.Ready(1))
				if end(s); how != "forgotten" {
					kept = append(kept, s)
				}
			}
			require.NoError(t, ex.Wait(t.Context()))
			require.Positive(t, counts.ever.Load(), "the test tests something")
			collected(t, func() bool { return counts.left.Load() == 0 })
			runtime.KeepAlive(kept)
		})
	}
	t.Run("with_a_task_that_lives_ends_with_its_context_though_it_is_forgotten", func(t *testing.T) {
		var drops atomic.Int32
		ctx, cancel := context.WithCancel(context.Background())
		func() { executor.SpawnIn[int](executor.NewScope(ctx, executor.New()), held{&drops}) }()
		for range 5 {
			runtime.GC()
		}
		cancel()
		collected(t, func() bool { return drops.Load() == 1 })
	})
	for name, does := range map[string]func(){"panic": func() { panic("the waker's own") }, "call_Goexit": runtime.Goexit} {
		for _, ends := range []string{"a_result", "a_panic"} {
			t.Run("wakes_the_others_though_wakers_"+name+"_after_"+ends, func(t *testing.T) {
				balance.Check(t)
				ex := executor.New(executor.Workers(1))
				defer ex.Close()
				s := executor.NewScope(context.Background(), ex)
				tx, rx := future.Oneshot[int]()
				executor.SpawnIn(s, future.Map[rawwaker.Result[int]](rx, func(rawwaker.Result[int]) int {
					if ends == "a_panic" {
						panic("the task's own")
					}
					return 1
				}))
				waits := make(chan error)
				for i := range 10 {
					s.Done().Poll(bad(does))
					registered := make(chan struct{})
					if i%5 == 0 {
						done := s.Done()
						go func() {
							waits <- blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[error] {
								p := done.Poll(cx)
								select {
								case <-registered:
								default:
									close(registered)
								}
								return p
							}))
						}()
						<-registered
					}
				}
				settle(ex)
				tx.Send(1)
				for range 2 {
					err := <-waits
					require.Equal(t, ends == "a_panic", errors.As(err, new(*executor.PanicError)))
				}
				_, err := outcome(executor.Spawn(ex, future.Ready(1)))
				require.NoError(t, err, "the worker goes on")
			})
		}
	}
}

// The wakers of tasks that await tasks and a scope block, on an executor that has one goroutine
// for all.
func TestBlockedWaker(t *testing.T) {
	for _, on := range []string{"Executor", "Local"} {
		t.Run("delays_no_other_task_of_its_"+on, func(t *testing.T) {
			balance.Check(t)
			ex, l := executor.New(executor.Workers(1)), executor.NewLocal()
			defer ex.Close()
			defer l.Close()
			h := runner{
				on:    ex,
				spawn: func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.Spawn(ex, f) },
				run:   func() { settle(ex) },
			}
			if on == "Local" {
				h = runner{
					on:    l,
					spawn: func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.SpawnLocal(l, f) },
					run:   l.Run,
				}
			}
			goOn := make(chan struct{})
			blocks := func() *rawwaker.Context { return bad(func() { <-goOn }) }
			s := executor.NewScope(context.Background(), h.on)
			p := new(probe)
			first := executor.SpawnIn[int](s, p)
			first.Poll(blocks())
			s.Done().Poll(blocks())
			second := s.Done()
			second.Poll(rawwaker.NewContext(rawwaker.Noop()))
			p.finish()
			other := h.spawn(future.Ready(1))
			h.run()
			require.True(t, other.IsDone())
			require.NoError(t, blockon.BlockOn(second))
			close(goOn)
		})
	}
}

// unheard is a context whose end is not reported in time.
type unheard struct{ context.Context }

func (unheard) Value(any) any                { return nil }
func (unheard) AfterFunc(func()) func() bool { return func() bool { return true } }

// counted is a context that counts who is to be told of its end.
type counted struct {
	context.Context
	ever, left atomic.Int32
}

// Value hides the context inside, of which package context would ask otherwise.
func (*counted) Value(any) any { return nil }

func (c *counted) AfterFunc(f func()) func() bool {
	c.ever.Add(1)
	c.left.Add(1)
	stop := context.AfterFunc(c.Context, f)
	var once sync.Once
	return func() bool {
		once.Do(func() { c.left.Add(-1) })
		return stop()
	}
}

func TestDiagnosis(t *testing.T) {
	t.Run("gives_the_caller_of_Tick_its_profile_labels_back", func(t *testing.T) {
		diagnosed(t)
		labels := func() string { // they go to whom a goroutine starts
			var b bytes.Buffer
			var wg sync.WaitGroup
			wg.Go(func() { pprof.Lookup("goroutine").WriteTo(&b, 1) })
			wg.Wait()
			return b.String()
		}
		for name, f := range map[string]rawwaker.Future[int]{
			"ready":  future.Ready(1),
			"panics": future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { panic("in the poll") }),
			"drops":  gone{func() { panic("in the drop") }},
		} {
			pprof.Do(context.Background(), pprof.Labels("of-the-caller", name), func(context.Context) {
				l := executor.NewLocal()
				executor.SpawnLocal(l, f)
				for l.Tick() {
				}
				l.Close()
				require.Contains(t, labels(), `"of-the-caller":"`+name+`"`)
			})
		}
	})
	t.Run("takes_the_spawn_site_that_a_future_names", func(t *testing.T) {
		diagnosed(t)
		l := executor.NewLocal()
		defer l.Close()
		executor.SpawnLocal[int](l, sited("request.c:12"))
		executor.SpawnLocal[int](l, sited(""))
		require.Regexp(t, `  task \d+, spawned at request\.c:12, queued, `, dumped(t))
		require.Regexp(t, `  task \d+, spawned at .*/faults_test\.go:\d+, queued, `, dumped(t))
	})
}

type sited string

func (sited) Poll(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(1) }
func (s sited) SpawnSite() string                       { return string(s) }
