//go:build cgo

package rawwaker_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// until collects garbage until ok says so: what never comes fails by the test's timeout.
func until(ok func() bool) {
	for !ok() {
		runtime.GC()
		runtime.Gosched()
	}
}

func never[T any]() rawwaker.Future[T] {
	return future.PollFn(func(*rawwaker.Context) rawwaker.Poll[T] { return rawwaker.Pending[T]() })
}

// pollOnce polls f under a BlockOn of its own, and lets go of it.
func pollOnce[T any](f rawwaker.Future[T]) {
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		f.Poll(cx)
		return rawwaker.Ready(0)
	}))
}

// What C holds of a waker that only passes wakes on keeps nothing of Go's alive.
func TestForgotten(t *testing.T) {
	inside := map[string]func(f rawwaker.Future[uint64]) rawwaker.Future[uint64]{
		"Race": func(f rawwaker.Future[uint64]) rawwaker.Future[uint64] {
			return future.Race(f, never[uint64]())
		},
		"Join": func(f rawwaker.Future[uint64]) rawwaker.Future[uint64] {
			return future.Map(
				future.Join(f, never[int]()),
				func(p future.Pair[uint64, int]) uint64 { return p.First },
			)
		},
		"JoinAll": func(f rawwaker.Future[uint64]) rawwaker.Future[uint64] {
			return future.Map(
				future.JoinAll(f, never[uint64]()),
				func(all []uint64) uint64 { return all[0] },
			)
		},
		"Race in Race": func(f rawwaker.Future[uint64]) rawwaker.Future[uint64] {
			return future.Race(future.Race(f, never[uint64]()), never[uint64]())
		},
	}
	for name, in := range inside {
		t.Run(name+"/is_dropped_before_C_has_completed", func(t *testing.T) {
			balance.Check(t)
			var ops []ctest.Op
			dropped := ctest.OpsDropped()
			for range 10 {
				op := ctest.NewOp()
				pollOnce(in(rawwaker.FutureFromRaw[uint64](op.Raw())))
				ops = append(ops, op)
			}
			until(func() bool { return ctest.OpsDropped() == dropped+10 })
			for _, op := range ops {
				op.Complete(1)
			}
			require.Zero(t, ctest.OpsLive())
		})
		t.Run(name+"/by_a_task_that_goes_on", func(t *testing.T) {
			balance.Check(t)
			ex := executor.New()
			defer ex.Close()
			op, goOn := ctest.NewOp(), new(rawwaker.AtomicWaker)
			var over atomic.Bool
			dropped := ctest.OpsDropped()
			f := in(rawwaker.FutureFromRaw[uint64](op.Raw()))
			h := executor.Spawn(ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if f != nil {
					f.Poll(cx)
					f = nil
				}
				goOn.Register(cx.Waker())
				if !over.Load() {
					return rawwaker.Pending[int]()
				}
				return rawwaker.Ready(1)
			}))
			until(func() bool { return ctest.OpsDropped() == dropped+1 })
			op.Complete(1)
			over.Store(true)
			goOn.Wake()
			blockon.BlockOn[int](h)
		})
		if !strings.HasPrefix(name, "Race") {
			continue // it is never ready
		}
		t.Run(name+"/an_executor_that_nobody_holds_runs_on", func(t *testing.T) {
			balance.Check(t)
			op := ctest.NewOp()
			polled, got := make(chan struct{}), make(chan uint64, 1)
			func() {
				f := in(rawwaker.FutureFromRaw[uint64](op.Raw()))
				executor.Detach(
					executor.New(),
					future.Map(once(f, polled), func(v uint64) struct{} { got <- v; return struct{}{} }),
				)
			}()
			<-polled
			for range 10 {
				runtime.GC()
				runtime.Gosched()
			}
			op.Complete(42)
			require.EqualValues(t, 42, <-got)
		})
	}

	t.Run("with_a_Go_future_inside_the_C_future", func(t *testing.T) {
		balance.Check(t)
		for _, in := range inside {
			var kept [3]rawwaker.AtomicWaker // as a connection keeps them, say
			dropped := new(atomic.Int32)
			for i := range kept {
				polls := 0
				raw := rawwaker.FutureIntoRaw[uint64](
					&dropping[uint64]{dropped, func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
						polls++
						kept[i].Register(cx.Waker())
						return rawwaker.Pending[uint64]()
					}},
				)
				f := in(rawwaker.FutureFromRaw[uint64](raw))
				blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
					f.Poll(cx)
					if polls == 2 { // by then C's waker is known as Go's
						return rawwaker.Ready(0)
					}
					kept[i].Wake()
					return rawwaker.Pending[int]()
				}))
			}
			until(func() bool { return dropped.Load() == 3 })
			kept[0].Wake()
			kept[1].Drop()
			kept[2].Wake()
		}
	})

	t.Run("a_branch_whose_waker_C_keeps", func(t *testing.T) {
		balance.Check(t)
		var kept rawwaker.RawWaker
		var gone atomic.Bool
		func() {
			var s rawwaker.WakerSet
			s.Init(1)
			held := &struct{ s *rawwaker.WakerSet }{&s}
			runtime.AddCleanup(held, func(int) { gone.Store(true) }, 0)
			blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[*int] {
				for _, cx := range held.s.Woken(cx) {
					kept = cx.Waker().Clone().IntoRaw()
				}
				return rawwaker.Ready[*int](nil)
			}))
		}()
		other := ctest.Clone(kept)
		until(gone.Load)
		for range 3 { // before, while, and after its boxes are closed
			ctest.WakeByRef(other)
			runtime.GC()
		}
		again := rawwaker.FromRaw(ctest.Clone(other))
		again.WakeByRef()
		again.Clone().Wake()
		again.Drop()
		ctest.Start(kept, "cwrd").Join()
		ctest.Drop(other)
	})

	t.Run("a_Local_whose_waker_C_keeps", func(t *testing.T) {
		balance.Check(t)
		var wakers []rawwaker.RawWaker
		for range 5 {
			l := executor.NewLocal()
			executor.DetachLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
				wakers = append(wakers, cx.Waker().Clone().IntoRaw())
				return rawwaker.Pending[struct{}]()
			}))
			for l.Tick() {
			}
		}
		for i := range 20 {
			ctest.WakeByRef(wakers[i%5])
			runtime.GC()
		}
		for _, w := range wakers {
			ctest.Start(w, "rcdw").Join()
		}
	})

	t.Run("a_Local_that_polls_a_Go_future_through_C", func(t *testing.T) {
		balance.Check(t)
		var gone, dropped atomic.Int32
		func() {
			l, kept, polls := executor.NewLocal(), new(rawwaker.AtomicWaker), 0
			runtime.AddCleanup(l, func(int) { gone.Add(1) }, 0)
			executor.DetachLocal(l, future.Map(throughC(&dropped, func(cx *rawwaker.Context) {
				polls++
				kept.Register(cx.Waker())
			}), func(uint64) struct{} { return struct{}{} }))
			for l.Tick(); polls < 2; l.Tick() { // by then C's waker is known as Go's
				kept.Wake()
			}
		}()
		until(func() bool { return gone.Load() == 1 && dropped.Load() == 1 })
	})

	for how, keep := range map[string]func(w *rawwaker.Waker) any{
		"a_clone":                     func(w *rawwaker.Waker) any { return w.Clone() },
		"a_clone_that_C_has_seen":     func(w *rawwaker.Waker) any { return seen(w.Clone()) },
		"a_CloneFrom_that_C_has_seen": func(w *rawwaker.Waker) any { return seen(cloneFrom(w)) },
		"a_reference_of_C_taken_back": func(w *rawwaker.Waker) any {
			return rawwaker.FromRaw(w.Clone().IntoRaw())
		},
		"a_clone_of_one_C_has_seen": func(w *rawwaker.Waker) any { return seen(w.Clone()).Clone() },
		"a_context_of_one_C_has_seen": func(w *rawwaker.Waker) any {
			return rawwaker.NewContext(seen(w.Clone()))
		},
		"one_of_many_in_an_AtomicWaker": func(w *rawwaker.Waker) any {
			var a rawwaker.AtomicWaker
			a.Register(seen(w.Clone()))
			return &a
		},
	} {
		t.Run("a_Local_whose_future_keeps_its_own_waker/"+how, func(t *testing.T) {
			balance.Check(t)
			var gone atomic.Bool
			func() {
				l := executor.NewLocal()
				runtime.AddCleanup(l, func(int) { gone.Store(true) }, 0)
				var kept any
				executor.DetachLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
					kept = keep(cx.Waker())
					return rawwaker.Pending[struct{}]()
				}))
				for l.Tick() {
				}
				runtime.KeepAlive(kept)
			}()
			until(gone.Load)
		})
	}

	t.Run("a_waker_of_FromFunc_whose_function_keeps_it", func(t *testing.T) {
		balance.Check(t)
		var gone atomic.Bool
		func() {
			o := &struct{ w *rawwaker.Waker }{}
			runtime.AddCleanup(o, func(int) { gone.Store(true) }, 0)
			o.w = rawwaker.FromFunc(func() { runtime.KeepAlive(o) })
		}()
		until(gone.Load)
	})

	t.Run("a_user's_executor_is_kept_by_what_C_holds", func(t *testing.T) {
		balance.Check(t)
		op := ctest.NewOp()
		got := make(chan uint64, 1)
		startOwn(future.Race[uint64](rawwaker.FutureFromRaw[uint64](op.Raw()), never[uint64]()), got)
		for range 10 {
			runtime.GC()
			runtime.Gosched()
		}
		op.Complete(42)
		require.EqualValues(t, 42, <-got)
	})
}

// What C holds of a waker that only passes wakes on keeps the task alive that polled last.
func TestRoot(t *testing.T) {
	wakes := func(t *testing.T, raw rawwaker.RawWaker, woken chan struct{}) {
		for range 3 {
			runtime.GC()
		}
		ctest.Wake(raw)
		<-woken
	}
	t.Run("of_a_branch_is_the_task_of_the_latest_poll", func(t *testing.T) {
		balance.Check(t)
		woken := make(chan struct{})
		wakes(t, func() (raw rawwaker.RawWaker) {
			s := new(rawwaker.WakerSet)
			s.Init(1)
			for _, cx := range s.Woken(rawwaker.NewContext(rawwaker.FromFunc(func() {}))) {
				raw = cx.Waker().Clone().IntoRaw()
			}
			task := rawwaker.FromFunc(func() { s.Drop(); close(woken) })
			for range s.Woken(rawwaker.NewContext(task)) {
				t.Error("nothing has woken it")
			}
			return raw
		}(), woken)
	})
	t.Run("of_a_Broadcast_is_a_task_that_still_waits", func(t *testing.T) {
		balance.Check(t)
		woken := make(chan struct{})
		wakes(t, func() rawwaker.RawWaker {
			b := new(rawwaker.Broadcast)
			b.Init()
			var left, wait rawwaker.BroadcastWaiter
			cx := rawwaker.NewContext(rawwaker.FromFunc(func() {}))
			left.Register(cx.Waker())
			raw := b.Enter(&left, cx).Waker().Clone().IntoRaw()
			b.Exit(false)
			cx = rawwaker.NewContext(rawwaker.FromFunc(func() { b.End(); close(woken) }))
			wait.Register(cx.Waker())
			require.Nil(t, b.Enter(&wait, cx))
			b.Leave(&left)
			return raw
		}(), woken)
	})
}

// throughC is a Go future that C holds, as a C future. It is never ready.
func throughC(dropped *atomic.Int32, poll func(cx *rawwaker.Context)) *rawwaker.CFuture[uint64] {
	return rawwaker.FutureFromRaw[uint64](rawwaker.FutureIntoRaw[uint64](
		&dropping[uint64]{dropped, func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			poll(cx)
			return rawwaker.Pending[uint64]()
		}},
	))
}

// seen is w after it was lent to C.
func seen(w *rawwaker.Waker) *rawwaker.Waker {
	w.AsRaw()
	return w
}

func cloneFrom(src *rawwaker.Waker) *rawwaker.Waker {
	w := new(rawwaker.Waker)
	w.CloneFrom(src)
	return w
}

// once is f, which closes polled when it has been polled once.
func once[T any](f rawwaker.Future[T], polled chan struct{}) rawwaker.Future[T] {
	first := true
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[T] {
		p := f.Poll(cx)
		if first {
			first = false
			close(polled)
		}
		return p
	})
}

// ownTask is the smallest executor of a user's: nothing but its waker refers to it.
type ownTask struct {
	f   rawwaker.Future[uint64]
	w   *rawwaker.Waker
	got chan uint64
}

func startOwn(f rawwaker.Future[uint64], got chan uint64) {
	o := &ownTask{f: f, got: got}
	o.w = rawwaker.FromWake(o)
	o.Wake()
}

func (o *ownTask) Wake() {
	if p := o.f.Poll(rawwaker.NewContext(o.w)); p.IsReady() {
		o.got <- p.Value()
	}
}
