//go:build cgo

package rawwaker_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// A poll of a C future under NewContext(w) uses w until it returns, whatever is done to w
// meanwhile.
func TestNewContext(t *testing.T) {
	function := func(*testing.T) *rawwaker.Waker { return rawwaker.FromFunc(func() {}) }
	kinds := map[string]func(t *testing.T) *rawwaker.Waker{
		"function": function,
		"C":        func(t *testing.T) *rawwaker.Waker { return rawwaker.FromRaw(newTask(t).Waker()) },
		"clone of C's": func(t *testing.T) *rawwaker.Waker {
			w := rawwaker.FromRaw(newTask(t).Waker())
			defer w.Drop()
			return w.Clone()
		},
		"task": func(*testing.T) (w *rawwaker.Waker) {
			blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				w = cx.Waker().Clone()
				return rawwaker.Ready(0)
			}))
			return w
		},
		"held": func(t *testing.T) *rawwaker.Waker {
			w, src := new(rawwaker.Waker), rawwaker.FromRaw(newTask(t).Waker())
			w.CloneFrom(src)
			src.Drop()
			return w
		},
		"held function": func(t *testing.T) *rawwaker.Waker {
			w, src := new(rawwaker.Waker), function(t)
			w.CloneFrom(src)
			src.Drop()
			return w
		},
	}
	ends := map[string]func(t *testing.T, w *rawwaker.Waker){
		"Drop": func(t *testing.T, w *rawwaker.Waker) { w.Drop() },
		"Wake": func(t *testing.T, w *rawwaker.Waker) { w.Wake() },
		"IntoRaw": func(t *testing.T, w *rawwaker.Waker) {
			func() {
				defer func() {
					if v := recover(); v != nil {
						require.Equal(t, "rawwaker: IntoRaw during another call on the same Waker", v)
						w.Drop()
					}
				}()
				ctest.Drop(w.IntoRaw())
			}()
		},
		"CloneFrom": func(t *testing.T, w *rawwaker.Waker) {
			other := function(t)
			defer other.Drop()
			defer func() {
				if v := recover(); v != nil {
					require.Equal(t, "rawwaker: CloneFrom during another call on the same Waker", v)
				}
				w.Drop()
			}()
			w.CloneFrom(other)
		},
		"AtomicWaker.Register": func(t *testing.T, w *rawwaker.Waker) {
			var a rawwaker.AtomicWaker
			a.Register(w)
			w.Drop()
			a.Drop()
		},
	}
	for kind, made := range kinds {
		for end, misuse := range ends {
			t.Run(kind+"/"+end+"_takes_effect_after_the_poll", func(t *testing.T) {
				balance.Check(t)
				w, s := made(t), script(t, "h")
				s.Hold()
				f := fromScript(s)
				var wg sync.WaitGroup
				cx := rawwaker.NewContext(w)
				wg.Go(func() { require.False(t, f.Poll(cx).IsReady()) })
				s.AwaitInside()
				live := alive()
				misuse(t, w)
				for range 3 {
					runtime.GC()
					runtime.Gosched()
				}
				require.Equal(t, live, alive(), "the reference that the poll uses is there")
				s.Release() // it clones the waker
				wg.Wait()
				s.Wake()
				f.Drop()
				require.Panics(t, func() { w.WakeByRef() })
				require.Panics(t, func() { f.Poll(cx) })
			})
		}
	}

	t.Run("of_a_borrowed_waker_outlives_its_task", func(t *testing.T) {
		balance.Check(t)
		s := script(t, "h")
		s.Hold()
		f := fromScript(s)
		var wg sync.WaitGroup
		blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			within := rawwaker.NewContext(cx.Waker())
			wg.Go(func() { f.Poll(within) })
			s.AwaitInside()
			return rawwaker.Ready(1)
		}))
		require.Equal(t, 1, alive())
		s.Release()
		wg.Wait()
		s.Wake()
		f.Drop()
	})
	t.Run("of_a_task_that_has_ended", func(t *testing.T) {
		balance.Check(t)
		w, s := kinds["task"](t), script(t, "k.")
		f := fromScript(s)
		require.False(t, f.Poll(rawwaker.NewContext(w)).IsReady())
		s.Wake()
		f.Drop()
		w.Drop()
	})
}

// alive is how many counted references of C there are: boxes, and those of ctest's tasks.
func alive() int { return capi.Live() }

func TestWakerSet(t *testing.T) {
	yielded := func(s *rawwaker.WakerSet, cx *rawwaker.Context) (all []int) {
		for i := range s.Woken(cx) {
			all = append(all, i)
		}
		return all
	}
	t.Run("a_panic_in_a_poll_leaves_the_rest_woken", func(t *testing.T) {
		for _, first := range []bool{true, false} {
			var s rawwaker.WakerSet
			s.Init(4)
			wakes := 0
			parent := rawwaker.FromFunc(func() { wakes++ })
			cx := rawwaker.NewContext(parent)
			var keep [4]*rawwaker.Waker
			if !first {
				for i, cx := range s.Woken(cx) {
					keep[i] = cx.Waker().Clone()
				}
				for _, w := range keep {
					w.WakeByRef()
				}
				wakes = 0
			}
			require.PanicsWithValue(t, "bug", func() {
				for i, cx := range s.Woken(cx) {
					keep[i] = cx.Waker().Clone()
					if i == 1 {
						panic("bug")
					}
				}
			})
			require.Equal(t, 1, wakes, "it asks for the poll of the rest")
			require.Equal(t, []int{2, 3}, yielded(&s, cx))
			keep[1].Wake()
			require.Equal(t, []int{1}, yielded(&s, cx), "the one that panicked can be woken")
			s.Drop()
		}
	})
	t.Run("a_parent_that_panics_takes_no_wake", func(t *testing.T) {
		var s rawwaker.WakerSet
		s.Init(2)
		parent := rawwaker.FromFunc(func() { panic("bug") })
		cx := rawwaker.NewContext(parent)
		require.PanicsWithValue(t, "bug", func() {
			for _, cx := range s.Woken(cx) {
				cx.Waker().WakeByRef()
			}
		})
		quiet := rawwaker.NewContext(rawwaker.Noop())
		require.ElementsMatch(t, []int{0, 1}, yielded(&s, quiet))
		s.Drop()
	})
	t.Run("is_dropped_inside_a_poll", func(t *testing.T) {
		balance.Check(t)
		var s rawwaker.WakerSet
		s.Init(2)
		blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			var kept rawwaker.RawWaker
			for i, cx := range s.Woken(cx) {
				kept = cx.Waker().Clone().IntoRaw()
				before := wake.Registered()
				s.Done(i)
				require.Equal(t, before, wake.Registered(), "C may still be using it")
				ctest.Drop(kept)
				s.Drop()
			}
			require.Zero(t, wake.Registered())
			return rawwaker.Ready(0)
		}))
	})
}

// A waker's function that panics takes no reference of C's with it.
func TestWakerPanic(t *testing.T) {
	balance.Check(t)
	for _, wakes := range []func(w *rawwaker.Waker){
		(*rawwaker.Waker).Wake,
		func(w *rawwaker.Waker) { defer w.Drop(); w.WakeByRef() },
		func(w *rawwaker.Waker) { var a rawwaker.AtomicWaker; a.Register(w); w.Drop(); a.Wake() },
	} {
		w := rawwaker.FromFunc(func() { panic("bug") })
		w.AsRaw()
		require.PanicsWithValue(t, "bug", func() { wakes(w) })
	}
}

func TestFutureIntoRaw(t *testing.T) {
	runtime.LockOSThread() // LastPanic is the thread's
	defer runtime.UnlockOSThread()
	noop := rawwaker.Noop().AsRaw
	ready := func(dropped *atomic.Int32) *dropping[uint64] {
		return &dropping[uint64]{
			dropped,
			func(*rawwaker.Context) rawwaker.Poll[uint64] { return rawwaker.Ready[uint64](42) },
		}
	}
	t.Run("a_NULL_out_is_a_panic", func(t *testing.T) {
		if trace.AuditAll() {
			t.Skip("the auditor reports it, and passes no such poll on")
		}
		balance.Check(t)
		var dropped atomic.Int32
		d := ready(&dropped)
		f := rawwaker.FutureIntoRaw[uint64](d)
		require.EqualValues(t, capi.CodePanicked, ctest.PollNowhere(f, noop()))
		require.Equal(
			t,
			"rawwaker: poll: out is NULL, and the result has 8 bytes (give poll memory for it)",
			ctest.LastPanic(),
		)
		ctest.DropFuture(f)
		require.Zero(t, dropped.Load(), "it has been ready")
	})
	t.Run("a_NULL_out_does_for_nothing", func(t *testing.T) {
		balance.Check(t)
		f := rawwaker.FutureIntoRaw(future.Ready(struct{}{}))
		require.EqualValues(t, capi.CodeReady, ctest.PollNowhere(f, noop()))
		ctest.DropFuture(f)
	})
	t.Run("a_put_that_panics_drops_no_future_that_was_ready", func(t *testing.T) {
		balance.Check(t)
		var dropped atomic.Int32
		d := ready(&dropped)
		f := rawwaker.FutureIntoRawFunc(d, func(out unsafe.Pointer, v uint64) { panic("no room") })
		code, _ := ctest.PollOnce(f, noop())
		require.EqualValues(t, capi.CodePanicked, code)
		require.Equal(t, "no room", ctest.LastPanic())
		ctest.DropFuture(f)
		require.Zero(t, dropped.Load())
	})
	t.Run("put_gets_the_NULL", func(t *testing.T) {
		balance.Check(t)
		got := unsafe.Pointer(t)
		f := rawwaker.FutureIntoRawFunc(
			ready(new(atomic.Int32)),
			func(out unsafe.Pointer, v uint64) { got = out },
		)
		require.EqualValues(t, capi.CodeReady, ctest.PollNowhere(f, noop()))
		require.Nil(t, got)
		ctest.DropFuture(f)
	})
	t.Run("a_put_that_writes_to_NULL_panics", func(t *testing.T) {
		balance.Check(t)
		f := rawwaker.FutureIntoRawFunc(
			ready(new(atomic.Int32)),
			func(out unsafe.Pointer, v uint64) { *(*uint64)(out) = v },
		)
		require.EqualValues(t, capi.CodePanicked, ctest.PollNowhere(f, noop()))
		require.Contains(t, ctest.LastPanic(), "nil pointer")
		ctest.DropFuture(f)
	})
}
