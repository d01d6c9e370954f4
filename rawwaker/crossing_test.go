//go:build cgo

package rawwaker_test

import (
	"runtime"
	"strings"
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
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func newTask(t *testing.T) *ctest.Task {
	balance.Check(t)
	task := ctest.NewTask()
	t.Cleanup(func() {
		c := task.Counts()
		require.Equal(t, c.Made+c.Clones, c.Wakes+c.Drops, "made + clones = wakes + drops: %+v", c)
		require.Zero(t, c.Live)
		require.Zero(t, c.Foul)
		task.Free()
	})
	return task
}

func TestForeignWaker(t *testing.T) {
	t.Run("calls_the_slot_of_each_method_once_and_no_other", func(t *testing.T) {
		task := newTask(t)
		w := rawwaker.FromRaw(task.Waker())
		c := w.Clone()
		w.WakeByRef()
		w.WillWake(c)
		w.AsRaw()
		c.Drop()
		w.Wake()
		require.Equal(t, "crdw", task.Log())
	})
	t.Run("may_have_any_integer_as_data_and_change_it_with_each_clone", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		w := rawwaker.FromRaw(ctest.NumberWaker(42))
		c := w.Clone()
		runtime.GC() // a pointer variable that held 42 would abort the program here
		require.EqualValues(t, 42, w.AsRaw().Data)
		require.EqualValues(t, 43, c.AsRaw().Data)
		require.False(t, w.WillWake(c))
		var kept rawwaker.Waker
		kept.CloneFrom(c)
		kept.WakeByRef()
		kept.Drop()
		w.WakeByRef()
		w.Drop()
		c.Wake()
		require.Zero(t, ctest.NumberFaults())
		require.Zero(t, ctest.NumberRefs())
	})
	t.Run("CloneFrom_clones_then_stores_then_drops_the_old", func(t *testing.T) {
		a, b := newTask(t), ctest.NewTask()
		defer b.Free()
		w := rawwaker.FromRaw(a.Waker())
		src := rawwaker.FromRaw(b.Waker())
		w.CloneFrom(src)
		require.Equal(t, "d", a.Log())
		require.Equal(t, "c", b.Log())
		w.WakeByRef()
		w.Drop()
		src.Drop()
		require.Equal(t, "crdd", b.Log())
	})
	t.Run("CloneFrom_of_a_waker_in_a_field_drops_the_old_at_once", func(t *testing.T) {
		a, b := newTask(t), ctest.NewTask()
		defer b.Free()
		src, next := rawwaker.FromRaw(a.Waker()), rawwaker.FromRaw(b.Waker())
		var field struct{ w rawwaker.Waker }
		field.w.CloneFrom(src)
		field.w.CloneFrom(next)
		require.Equal(t, "cd", a.Log())
		field.w.Drop()
		src.Drop()
		next.Drop()
		require.Equal(t, "cdd", b.Log())
	})
	t.Run("that_is_forgotten_is_dropped_by_the_collector", func(t *testing.T) {
		task := newTask(t) // its cleanup waits for the collector, then wants as many drops as references
		func() {
			w := rawwaker.FromRaw(task.Waker())
			_ = w.Clone()
			var field struct{ w rawwaker.Waker }
			field.w.CloneFrom(w)
		}()
		for task.Counts().Live > 0 {
			runtime.GC()
			runtime.Gosched()
		}
		require.Equal(t, "ccddd", task.Log())
	})
	t.Run("dropped_during_a_call_is_dropped_when_the_last_returns", func(t *testing.T) {
		task := newTask(t)
		w := rawwaker.FromRaw(task.Waker())
		task.Hold()
		var inside sync.WaitGroup
		for range 2 {
			inside.Go(w.WakeByRef)
		}
		task.AwaitInside(2)
		require.PanicsWithValue(
			t,
			"rawwaker: IntoRaw during another call on the same Waker",
			func() { w.IntoRaw() },
		)
		require.PanicsWithValue(t, "rawwaker: CloneFrom during another call on the same Waker",
			func() { w.CloneFrom(rawwaker.Noop()) })
		w.Drop()
		require.Equal(t, "rr", task.Log(), "not dropped while it is in use")
		require.PanicsWithValue(t, "rawwaker: WakeByRef after Drop", w.WakeByRef)
		task.Release()
		inside.Wait()
		require.Equal(t, "rrd", task.Log())
	})
	t.Run("woken_during_a_call_is_woken_when_the_last_returns", func(t *testing.T) {
		task := newTask(t)
		w := rawwaker.FromRaw(task.Waker())
		task.Hold()
		var inside sync.WaitGroup
		inside.Go(w.WakeByRef)
		task.AwaitInside(1)
		w.Wake()
		task.Release()
		inside.Wait()
		require.Equal(t, "rw", task.Log())
	})
	for name, at := range map[string]wake.Place{
		"worker": wake.Worker, "dispatcher": wake.Dispatcher,
	} {
		t.Run("whose_wake_blocks_delays_no_"+name, func(t *testing.T) {
			balance.Check(t)
			task := ctest.NewTask()
			defer task.Free()
			a := kept(rawwaker.FromRaw(task.Waker()))
			task.Hold()
			wake.WakeAll([]*rawwaker.AtomicWaker{a}, at)
			task.AwaitInside(1)
			task.Release()
			for task.Counts().Live > 0 {
				runtime.Gosched()
			}
			require.Equal(t, 1, task.Counts().Wakes)
		})
	}
	t.Run("whose_drop_blocks_delays_no_finalizer", func(t *testing.T) {
		task := newTask(t)
		task.Hold()
		func() { rawwaker.FromRaw(task.Waker()) }()
		inside := make(chan struct{})
		go func() { task.AwaitInside(1); close(inside) }()
		collectUntil(inside)
		finalized := make(chan struct{})
		func() { runtime.SetFinalizer(new([16]byte), func(*[16]byte) { close(finalized) }) }()
		collectUntil(finalized)
		task.Release()
		for task.Counts().Live > 0 {
			runtime.Gosched()
		}
	})
	t.Run("consumed_by_many_at_once_reaches_the_slot_once", func(t *testing.T) {
		task := newTask(t)
		rounds := 3000
		if testing.Short() {
			rounds = 300
		}
		all := []func(w *rawwaker.Waker){
			(*rawwaker.Waker).Drop, (*rawwaker.Waker).Wake, (*rawwaker.Waker).WakeByRef,
			func(w *rawwaker.Waker) { w.Clone().Drop() },
			func(w *rawwaker.Waker) { ctest.Drop(w.IntoRaw()) },
			func(w *rawwaker.Waker) { w.WillWake(w) },
		}
		for range rounds {
			w := rawwaker.FromRaw(task.Waker())
			var consumed atomic.Int64
			var wg sync.WaitGroup
			for i, call := range all {
				wg.Go(func() {
					defer func() {
						if r := recover(); r == nil && (i < 2 || i == 4) {
							consumed.Add(1)
						} else if r != nil {
							require.Regexp(t, "^rawwaker: ", r)
						}
					}()
					call(w)
				})
			}
			wg.Wait()
			require.EqualValues(t, 1, consumed.Load())
		}
		require.Zero(t, task.Counts().Live)
	})
}

func TestIntoRaw(t *testing.T) {
	withoutAudit(t)
	task := newTask(t)
	raw := task.Waker()
	require.Equal(t, raw, rawwaker.FromRaw(raw).IntoRaw())
	words := [3]uintptr{2: 7} // as C's memory
	raw.Put(unsafe.Pointer(&words))
	require.Equal(t, raw, rawwaker.RawWakerOf(words[0], words[1]))
	require.EqualValues(t, 7, words[2])
	ctest.Drop(raw)
	require.Equal(t, "d", task.Log())
}

func TestAsRaw(t *testing.T) {
	t.Run("lends_the_same_two_words", func(t *testing.T) {
		withoutAudit(t)
		task := newTask(t)
		raw := task.Waker()
		w := rawwaker.FromRaw(raw)
		require.Equal(t, raw, w.AsRaw())
		w.Drop()
	})
	// What AsRaw made the handle hold is given up once: by Drop, and not once more by the finalizer
	// that AsRaw has set.
	t.Run("holds_one_reference_and_gives_it_up_once", func(t *testing.T) {
		balance.Check(t)
		for range 20 {
			w := rawwaker.FromFunc(func() {})
			raw := w.Clone().IntoRaw()
			w.AsRaw()
			w.Drop()
			w = nil
			for range 3 {
				runtime.GC()
				runtime.Gosched()
			}
			done := make(chan struct{})
			runtime.SetFinalizer(new(*int), func(**int) { close(done) })
			runtime.GC()
			<-done // finalizers run in order on one goroutine: the handle's, if it has one, has run
			ctest.WakeByRef(raw)
			ctest.Drop(raw)
		}
	})
	t.Run("of_a_Go_waker_gives_its_box_back_however_it_ends", func(t *testing.T) {
		for name, end := range map[string]func(w *rawwaker.Waker){
			"Drop":      (*rawwaker.Waker).Drop,
			"Wake":      (*rawwaker.Waker).Wake,
			"IntoRaw":   func(w *rawwaker.Waker) { ctest.Drop(w.IntoRaw()) },
			"CloneFrom": func(w *rawwaker.Waker) { w.CloneFrom(rawwaker.Noop()) },
			"forgotten": func(*rawwaker.Waker) {},
		} {
			t.Run(name, func(t *testing.T) {
				balance.Check(t) // collects garbage until no box is left
				w := rawwaker.FromFunc(func() {})
				require.True(t, ctest.IsBox(w.AsRaw()))
				end(w)
			})
		}
	})
}

func TestFromRaw(t *testing.T) {
	require.PanicsWithValue(
		t,
		"rawwaker: FromRaw of a nil vtable",
		func() { rawwaker.FromRaw(rawwaker.RawWaker{Data: 1}) },
	)
	for slot, name := range []string{"clone", "wake", "wake_by_ref", "drop"} {
		require.PanicsWithValue(t, "rawwaker: FromRaw of a vtable with an empty slot "+name,
			func() { rawwaker.FromRaw(ctest.Holed(slot)) })
	}
}

func TestBox(t *testing.T) {
	t.Run("comes_back_as_the_waker_that_it_was", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		w := taskWakerOf(t, func(w *rawwaker.Waker) {
			raw := w.Clone().IntoRaw()
			require.True(t, ctest.IsBox(raw))
			same := w.Clone().IntoRaw()
			require.True(t, ctest.WillWake(raw, same), "clones are equal in C too")
			require.Equal(t, raw, w.AsRaw())
			back := rawwaker.FromRaw(raw)
			require.True(t, back.WillWake(w))
			before := runtime.NumCgoCall()
			back.WakeByRef()
			require.Equal(t, before, runtime.NumCgoCall(), "on Go memory again")
			back.Drop()
			ctest.Drop(same)
		})
		w.Drop()
	})
	t.Run("of_a_task_that_has_ended_is_a_no_op", func(t *testing.T) {
		balance.Check(t)
		w := taskWakerOf(t, func(*rawwaker.Waker) {})
		raw := w.IntoRaw()
		require.True(t, ctest.WillWake(raw, rawwaker.Noop().IntoRaw()))
		ctest.WakeByRef(raw)
		ctest.Drop(raw)
	})
	t.Run("is_not_needed_for_Noop", func(t *testing.T) {
		raw := rawwaker.Noop().IntoRaw()
		require.Zero(t, raw.Data)
		require.Equal(t, capi.Noop(), capi.Raw{Data: raw.Data, VTable: capi.Noop().VTable})
		require.True(t, rawwaker.FromRaw(raw).WillWake(rawwaker.Noop()))
	})
}

// taskWakerOf gives use a clone of a live task's waker, and returns it after that task has ended.
func taskWakerOf(t *testing.T, use func(w *rawwaker.Waker)) (w *rawwaker.Waker) {
	t.Helper()
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		w = cx.Waker().Clone()
		use(w)
		return rawwaker.Ready(0)
	}))
	return w
}

// A future that needs n wakes and gets each from where send sends it.
type needs struct {
	n    int
	log  strings.Builder
	send func(w *rawwaker.Waker)
}

func (f *needs) Poll(cx *rawwaker.Context) rawwaker.Poll[string] {
	f.log.WriteString("p")
	if f.n == 0 {
		return rawwaker.Ready(f.log.String())
	}
	f.n--
	f.send(cx.Waker().Clone())
	return rawwaker.Pending[string]()
}

// wakes is every way by which a waker can be woken once.
var wakes = map[string]func(w *rawwaker.Waker) (join func()){
	"by the polling goroutine": func(w *rawwaker.Waker) func() {
		w.Wake()
		return func() {}
	},
	"by another goroutine": func(w *rawwaker.Waker) func() {
		done := make(chan struct{})
		go func() { defer close(done); w.Wake() }()
		return func() { <-done }
	},
	"by a C thread, wake":        byThread("w"),
	"by a C thread, wake_by_ref": byThread("rd"),
	"by a C thread, clones":      byThread("ccwdw"),
}

func byThread(letters string) func(w *rawwaker.Waker) func() {
	return func(w *rawwaker.Waker) func() { return ctest.Start(w.IntoRaw(), letters).Join }
}

func TestWakeFromC(t *testing.T) {
	t.Run("during_a_poll_leads_to_one_more", func(t *testing.T) {
		for name, wake := range wakes {
			t.Run(name, func(t *testing.T) {
				balance.Check(t)
				// Joined before the poll returns: the wake came during it, for certain.
				require.Equal(
					t,
					"pppp",
					blockon.BlockOn(&needs{n: 3, send: func(w *rawwaker.Waker) { wake(w)() }}),
				)
			})
		}
	})
	t.Run("after_a_poll_leads_to_one_more", func(t *testing.T) {
		for name, wake := range wakes {
			t.Run(name, func(t *testing.T) {
				balance.Check(t)
				var wg sync.WaitGroup
				f := &needs{n: 3, send: func(w *rawwaker.Waker) {
					pending := make(chan struct{})
					wg.Go(func() { <-pending; wake(w)() })
					runtime.Gosched()
					// The poll under way may still not have returned when the wake comes; 200 rounds
					// see both.
					close(pending)
				}}
				for range 200 {
					f.n, f.log = 3, strings.Builder{}
					require.Equal(t, "pppp", blockon.BlockOn(f))
				}
				wg.Wait()
			})
		}
	})
	t.Run("before_a_poll_is_harmless", func(t *testing.T) {
		for name, wake := range wakes {
			t.Run(name, func(t *testing.T) {
				balance.Check(t)
				w := taskWakerOf(t, func(*rawwaker.Waker) {})
				wake(w)() // of a task that has ended, before the next one's first poll
				require.Equal(t, "p", blockon.BlockOn(&needs{}))
			})
		}
	})
	t.Run("after_the_task_has_ended_does_nothing", func(t *testing.T) {
		balance.Check(t)
		var kept []rawwaker.RawWaker
		taskWakerOf(t, func(w *rawwaker.Waker) {
			for range 4 {
				kept = append(kept, w.Clone().IntoRaw())
			}
		})
		for i, letters := range []string{"w", "d", "rd", "cwrd"} {
			ctest.Start(kept[i], letters).Join()
		}
	})
	t.Run("coalesces_with_others_before_the_same_poll", func(t *testing.T) {
		balance.Check(t)
		polls := 0
		blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if polls++; polls > 1 {
				return rawwaker.Ready(0)
			}
			var threads []*ctest.Thread
			for range 8 {
				threads = append(threads, ctest.Start(cx.Waker().Clone().IntoRaw(), "rrrrrw"))
				cx.Waker().WakeByRef()
			}
			for _, th := range threads {
				th.Join()
			}
			return rawwaker.Pending[int]()
		}))
		require.Equal(t, 2, polls)
	})
	t.Run("by_a_cell_wakes_the_waker_of_the_latest_poll", func(t *testing.T) {
		balance.Check(t)
		cell := ctest.NewCell()
		defer cell.Free()
		polls := 0
		blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			cell.Register(cx.Waker().AsRaw())
			if polls++; polls == 4 {
				return rawwaker.Ready(0)
			}
			cell.Wake()
			cell.Wake() // empty now
			return rawwaker.Pending[int]()
		}))
		require.Equal(t, 4, polls)
	})
}

func TestFromFuncInC(t *testing.T) {
	t.Run("runs_on_another_goroutine_and_is_freed_with_the_last_reference", func(t *testing.T) {
		balance.Check(t)
		called := make(chan struct{}, 1)
		var depth atomic.Int32
		w := rawwaker.FromFunc(func() {
			require.EqualValues(t, 1, depth.Add(1), "never two at once from C")
			depth.Add(-1)
			select {
			case called <- struct{}{}:
			default:
			}
		})
		ctest.Start(w.Clone().IntoRaw(), "rcwd").Join()
		<-called
		ctest.Start(w.IntoRaw(), "w").Join() // and once more, after its entry may have been given back
		<-called
	})
	t.Run("that_blocks_delays_no_other_wake", func(t *testing.T) {
		balance.Check(t)
		entered, leave := make(chan struct{}), make(chan struct{})
		w := rawwaker.FromFunc(func() { close(entered); <-leave })
		ctest.Start(w.IntoRaw(), "w").Join()
		<-entered
		require.Equal(
			t,
			"pp",
			blockon.BlockOn(&needs{n: 1, send: func(w *rawwaker.Waker) { byThread("w")(w)() }}),
		)
		close(leave)
	})
	t.Run("lent_by_AsRaw_is_given_back_with_its_handle", func(t *testing.T) {
		balance.Check(t)
		w := rawwaker.FromFunc(func() {})
		raw := w.AsRaw()
		require.True(t, ctest.IsBox(raw))
		require.Equal(t, raw, w.AsRaw())
		c := ctest.Clone(raw)
		w.Drop()
		ctest.Drop(c)
	})
}

func TestBroadcastInC(t *testing.T) {
	t.Run("wakes_all_waiters_until_the_future_has_ended", func(t *testing.T) {
		balance.Check(t)
		b, wakes := new(rawwaker.Broadcast), make(chan string, 8)
		b.Init()
		var wait [2]rawwaker.BroadcastWaiter
		var cxs [2]*rawwaker.Context
		for i, letter := range []string{"a", "b"} {
			w := rawwaker.FromFunc(func() { wakes <- letter })
			defer w.Drop()
			cxs[i] = rawwaker.NewContext(w)
			wait[i].Register(cxs[i].Waker())
		}
		inner := b.Enter(&wait[0], cxs[0])
		raw := inner.Waker().Clone().IntoRaw()
		b.Exit(false)
		require.Nil(t, b.Enter(&wait[1], cxs[1]))
		ctest.WakeByRef(raw)
		require.ElementsMatch(t, []string{"a", "b"}, []string{<-wakes, <-wakes})
		wait[0].Register(cxs[0].Waker())
		require.NotNil(t, b.Enter(&wait[0], cxs[0]))
		b.Exit(true)
		require.Equal(t, "a", <-wakes)
		ctest.Wake(raw)
		b.End()
		for i := range wait {
			b.Leave(&wait[i])
		}
		require.Empty(t, wakes)
	})
}

// collectUntil collects garbage until done is closed.
func collectUntil(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
			runtime.GC()
		}
	}
}

func TestAtomicWaker(t *testing.T) {
	t.Run("drops_what_it_kept_for_another", func(t *testing.T) {
		task := ctest.NewTask()
		defer task.Free()
		var kept future.AtomicWaker
		blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			c := rawwaker.FromRaw(task.Waker())
			kept.Register(c)
			c.Drop()
			require.Equal(t, 1, task.Counts().Live)
			kept.Register(cx.Waker())
			require.Zero(t, task.Counts().Live)
			return rawwaker.Ready(0)
		}))
		kept.Register(rawwaker.Noop()) // after the task's end
		kept.Wake()
	})
}
