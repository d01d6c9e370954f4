//go:build cgo

package rawwaker_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

const (
	ready    = 0
	pending  = 1
	panicked = 2
)

// later is a number after two awaits, one of which needs a goroutine and one a timer.
func later() rawwaker.Future[uint64] {
	return future.Async(func(aw *future.Awaiter) uint64 {
		future.Await(aw, future.Sleep(time.Millisecond))
		r := future.Await(aw, future.Go(func(context.Context) (uint64, error) { return 41, nil }))
		return r.Value + 1
	})
}

func TestGoFuture(t *testing.T) {
	t.Run("is_polled_by_C_until_it_is_ready", func(t *testing.T) {
		for name, f := range map[string]func() rawwaker.Future[uint64]{
			"Ready": func() rawwaker.Future[uint64] { return future.Ready[uint64](42) },
			"Async": later,
			"Yield": func() rawwaker.Future[uint64] {
				return future.Async(func(aw *future.Awaiter) uint64 {
					for range 10 {
						future.Await(aw, future.Yield())
					}
					return 42
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				balance.Check(t)
				code, v := ctest.BlockOn(rawwaker.FutureIntoRaw(f()))
				require.EqualValues(t, ready, code)
				require.EqualValues(t, 42, v)
				code, v, polls := ctest.Hop(rawwaker.FutureIntoRaw(f()))
				require.EqualValues(t, ready, code)
				require.EqualValues(t, 42, v)
				require.GreaterOrEqual(t, polls, 1)
				// And Go's, through C.
				require.EqualValues(
					t,
					42,
					blockon.BlockOn(
						rawwaker.Future[uint64](rawwaker.FutureFromRaw[uint64](rawwaker.FutureIntoRaw(f()))),
					),
				)
			})
		}
		require.Zero(t, ffiLive())
	})
	t.Run("that_is_a_CFuture_goes_back_as_itself", func(t *testing.T) {
		withoutAudit(t)
		s := script(t, "r")
		f := fromScript(s)
		require.Equal(t, s.Raw(), rawwaker.FutureIntoRaw[uint64](f))
		f.Drop() // it holds nothing any more
		require.Zero(t, s.Drops())
		ctest.DropFuture(s.Raw())
		g := fromScript(script(t, "r"))
		blockon.BlockOn[uint64](g)
		require.PanicsWithValue(
			t,
			"rawwaker: FutureIntoRaw of a CFuture that has ended or is being polled",
			func() { rawwaker.FutureIntoRaw[uint64](g) },
		)
	})
	t.Run("that_panics_gives_C_its_text", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		runtime.LockOSThread() // the text is the thread's
		defer runtime.UnlockOSThread()
		w := ctest.NewTask()
		defer w.Free()
		raw := w.Waker()
		defer ctest.Drop(raw)
		for want, v := range map[string]any{
			"a string": "a string", "an error": errors.New("an error"),
			"of C": &rawwaker.ForeignPanic{Message: "of C"}, "12": 12, "": "",
			strings.Repeat("x", 1024): strings.Repeat("x", 5000),
		} {
			var dropped atomic.Int32
			f := rawwaker.FutureIntoRaw[uint64](
				&dropping[uint64]{&dropped, func(*rawwaker.Context) rawwaker.Poll[uint64] { panic(v) }},
			)
			code, _ := ctest.PollOnce(f, raw)
			require.EqualValues(t, panicked, code)
			require.Equal(t, want, ctest.LastPanic())
			require.EqualValues(t, 1, dropped.Load(), "who gives it up after a panic drops it")
			code, _ = ctest.PollOnce(f, raw)
			require.EqualValues(t, panicked, code)
			require.Equal(t, "future polled after completion", ctest.LastPanic())
			ctest.DropFuture(f)
			require.EqualValues(t, 1, dropped.Load())
		}
		f := rawwaker.FutureIntoRaw[uint64](future.Ready[uint64](3))
		code, _ := ctest.PollOnce(f, raw)
		require.EqualValues(t, ready, code)
		code, _ = ctest.PollOnce(f, raw)
		require.EqualValues(t, panicked, code)
		require.Equal(t, rawwaker.PolledAfterCompletion, ctest.LastPanic())
		ctest.DropFuture(f)
		code, _ = ctest.BlockOn(
			rawwaker.FutureIntoRaw[uint64](
				future.PollFn(func(*rawwaker.Context) rawwaker.Poll[uint64] { panic(1) }),
			),
		)
		require.EqualValues(t, panicked, code)
		// Through C and back it is a Go panic again.
		require.PanicsWithError(t, "rawwaker: a C future panicked: there", func() {
			blockon.BlockOn[uint64](rawwaker.FutureFromRaw[uint64](rawwaker.FutureIntoRaw(
				future.PollFn(func(*rawwaker.Context) rawwaker.Poll[uint64] { panic("there") }))))
		})
	})
	t.Run("dropped_early_is_cancelled", func(t *testing.T) {
		balance.Check(t)
		task := newTask(t)
		w := task.Waker()
		unwound, ended := make(chan string, 1), make(chan error, 1)
		body := future.Async(func(aw *future.Awaiter) uint64 {
			defer func() { unwound <- "the body's defer" }()
			future.Await(aw, future.Go(func(ctx context.Context) (int, error) {
				<-ctx.Done()
				ended <- ctx.Err()
				return 0, nil
			}))
			return 1
		})
		f := rawwaker.FutureIntoRaw(body)
		code, _ := ctest.PollOnce(f, w)
		require.EqualValues(t, pending, code)
		ctest.DropFuture(f)
		require.Equal(t, "the body's defer", <-unwound)
		require.ErrorIs(t, <-ended, context.Canceled)
		ctest.DropFuture(rawwaker.FutureIntoRaw(later())) // never polled
		ctest.Drop(w)
	})
	t.Run("may_use_the_waker_that_C_lends_for_one_poll", func(t *testing.T) {
		withoutAudit(t)
		task := newTask(t)
		w := task.Waker()
		var kept *rawwaker.Waker
		polls := 0
		f := rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			if polls++; polls == 1 {
				require.PanicsWithValue(
					t,
					"rawwaker: Wake of a borrowed waker: Clone it first",
					func() { cx.Waker().Wake() },
				)
				require.PanicsWithValue(
					t,
					"rawwaker: Drop of a borrowed waker: Clone it first",
					func() { cx.Waker().Drop() },
				)
				require.Equal(t, w, cx.Waker().AsRaw())
				cx.Waker().WakeByRef()
				kept = cx.Waker()
			}
			return rawwaker.Pending[uint64]()
		}))
		ctest.PollOnce(f, w)
		require.Equal(t, "r", task.Log())
		require.PanicsWithValue(
			t,
			"rawwaker: WakeByRef of a borrowed waker whose task or poll has ended: Clone it to keep it",
			func() { kept.WakeByRef() },
		)
		// Of C's noop too, and of a Go task's.
		ctest.PollOnce(f, rawwaker.Noop().IntoRaw())
		ctest.PollOnce(f, w)
		ctest.DropFuture(f)
		ctest.Drop(w)
	})
	// A slot that another goroutine is in belongs to a waker that C may drop as soon as the poll
	// has returned.
	t.Run("ends_a_poll_when_other_calls_on_its_waker_have_returned", func(t *testing.T) {
		task := newTask(t)
		w := task.Waker()
		task.Hold()
		inside, woken := make(chan struct{}), make(chan struct{})
		f := rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			lent := cx.Waker()
			go func() { lent.WakeByRef(); close(woken) }()
			task.AwaitInside(1)
			close(inside)
			return rawwaker.Pending[uint64]()
		}))
		var released atomic.Bool
		polled := make(chan bool)
		go func() {
			ctest.PollOnce(f, w)
			polled <- released.Load()
		}()
		<-inside
		for range 10_000 { // time for a poll that does not wait
			runtime.Gosched()
		}
		released.Store(true)
		task.Release()
		require.True(t, <-polled)
		<-woken
		ctest.DropFuture(f)
		ctest.Drop(w)
	})
	t.Run("keeps_one_clone_over_many_polls", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		w := ctest.FnWaker()
		defer ctest.Drop(w)
		calls := func(poll func(cx *rawwaker.Context)) int64 {
			f := rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
				poll(cx)
				return rawwaker.Pending[uint64]()
			}))
			defer ctest.DropFuture(f)
			ctest.PollOnce(f, w)
			before := runtime.NumCgoCall()
			for range 100 {
				ctest.PollOnce(f, w)
			}
			return runtime.NumCgoCall() - before
		}
		var a future.AtomicWaker
		require.Equal(
			t,
			calls(func(*rawwaker.Context) {}),
			calls(func(cx *rawwaker.Context) { a.Register(cx.Waker()) }),
		)
		require.Greater(
			t,
			calls(func(cx *rawwaker.Context) { cx.Waker().Clone().Drop() }),
			calls(func(*rawwaker.Context) {})+100,
		)
		a.Drop()
	})
	t.Run("of_a_Go_task_polled_through_C_is_woken_as_itself", func(t *testing.T) {
		balance.Check(t)
		before := runtime.NumCgoCall()
		polls := 0
		inner := rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			if polls++; polls == 10 {
				return rawwaker.Ready[uint64](42)
			}
			w := cx.Waker().Clone()
			go w.Wake() // Go to Go, although the poll came through C
			return rawwaker.Pending[uint64]()
		}))
		require.EqualValues(t, 42, blockon.BlockOn[uint64](rawwaker.FutureFromRaw[uint64](inner)))
		if !strings.Contains(os.Getenv("FFIWAKERDEBUG"), "trace=") { // it looks at boxes in C
			require.Less(t, runtime.NumCgoCall()-before, int64(100))
		}
	})
	// Each death is a child: this test binary, told by the environment to do only that.
	t.Run("aborts_with_one_line_for_misuse_by_C", func(t *testing.T) {
		withoutAudit(t)
		pollFn := func(f func()) rawwaker.RawFuture {
			return rawwaker.FutureIntoRaw(
				future.PollFn(
					func(*rawwaker.Context) rawwaker.Poll[uint64] { f(); return rawwaker.Pending[uint64]() },
				),
			)
		}
		noop := rawwaker.Noop().AsRaw
		deaths := map[string]struct {
			want string
			do   func()
		}{
			"poll after drop": {"rawwaker: poll: this Go future was dropped before", func() {
				f := pollFn(func() {})
				ctest.DropFuture(f)
				pollFn(func() {}) // another one in its place has another number
				ctest.PollOnce(f, noop())
			}},
			"drop twice": {"rawwaker: drop: this Go future was dropped before", func() {
				f := pollFn(func() {})
				ctest.DropFuture(f)
				ctest.DropFuture(f)
			}},
			"drop during poll": {"rawwaker: drop: another thread is in a slot of this Go future", func() {
				var f rawwaker.RawFuture
				f = pollFn(func() { ctest.DropFuture(f) })
				ctest.PollOnce(f, noop())
			}},
			"poll during poll": {"rawwaker: poll: another thread is in a slot of this Go future", func() {
				var f rawwaker.RawFuture
				f = pollFn(func() { ctest.PollOnce(f, noop()) })
				ctest.PollOnce(f, noop())
			}},
			"Goexit in poll": {"rawwaker: poll: runtime.Goexit in a Go future that C polls", func() {
				ctest.BlockOn(pollFn(runtime.Goexit))
			}},
			"panic in drop": {"rawwaker: drop: panic in a Go future's Drop: no", func() {
				ctest.DropFuture(rawwaker.FutureIntoRaw[uint64](dropPanics{}))
			}},
		}
		if name, ok := os.LookupEnv("FFIWAKER_DEATH"); ok {
			deaths[name].do()
			os.Exit(0)
		}
		for name, d := range deaths {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				cmd := exec.Command(
					os.Args[0],
					"-test.run=^TestGoFuture$/^aborts_with_one_line_for_misuse_by_C$",
				)
				cmd.Env = append(os.Environ(), "FFIWAKER_DEATH="+name)
				out, err := cmd.CombinedOutput()
				require.Error(t, err)
				require.Equal(t, d.want, firstLine(out), "%s", out)
				require.True(t, aborted(out), "%s", out)
			})
		}
	})
	// Go futures driven by C threads, each poll on another one, while goroutines wake them.
	t.Run("completes_once_in_a_storm_of_C_threads", func(t *testing.T) {
		n := 400
		if testing.Short() {
			n = 50
		}
		balance.Check(t)
		var wg sync.WaitGroup
		var sum atomic.Uint64
		for i := range n {
			wg.Go(func() {
				f := future.Async(func(aw *future.Awaiter) uint64 {
					for j := range i % 7 {
						if j%2 == 0 {
							future.Await(aw, future.Yield())
						} else {
							future.Await(aw, future.Go(func(context.Context) (int, error) { return 0, nil }))
						}
					}
					return uint64(i)
				})
				if i%5 == 0 {
					raw := rawwaker.FutureIntoRaw(f)
					ctest.PollOnce(raw, rawwaker.Noop().AsRaw())
					ctest.DropFuture(raw)
					sum.Add(uint64(i))
					return
				}
				code, v, _ := ctest.Hop(rawwaker.FutureIntoRaw(f))
				require.EqualValues(t, ready, code)
				sum.Add(v)
			})
		}
		wg.Wait()
		require.EqualValues(t, n*(n-1)/2, sum.Load())
	})
	t.Run("keeps_no_waker_that_C_has_lent", func(t *testing.T) {
		var kept future.AtomicWaker
		live := executor.NewLocal()
		defer live.Close()
		var raws [2]rawwaker.RawWaker
		polls := [2]int{}
		for i := range raws {
			executor.SpawnLocal(live, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if polls[i]++; polls[i] == 1 {
					raws[i] = cx.Waker().Clone().IntoRaw()
				}
				return rawwaker.Pending[int]()
			}))
		}
		for live.Tick() {
		}
		// One future, polled under the wakers of both, by turns: the Context that is lent is the
		// same.
		var other future.AtomicWaker
		turn := &kept
		f := rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			turn.Register(cx.Waker())
			return rawwaker.Pending[uint64]()
		}))
		ctest.PollOnce(f, raws[0])
		turn = &other
		ctest.PollOnce(f, raws[1])
		kept.Wake()
		for live.Tick() {
		}
		require.Equal(t, [2]int{2, 1}, polls)
		other.Wake()
		for live.Tick() {
		}
		require.Equal(t, [2]int{2, 2}, polls)
		ctest.DropFuture(f)
		for _, raw := range raws {
			ctest.Drop(raw)
		}
	})
}

type dropping[T any] struct {
	dropped *atomic.Int32
	poll    func(cx *rawwaker.Context) rawwaker.Poll[T]
}

func (d *dropping[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] { return d.poll(cx) }
func (d *dropping[T]) Drop()                                      { d.dropped.Add(1) }

// What a Go future that C holds keeps of the waker of a Local's task.
func TestWakerLentToAFutureInC(t *testing.T) {
	// start returns a Local whose task polls such a future, which has kept a clone in its last poll.
	start := func() (l *executor.Local, kept **rawwaker.Waker, polls *int) {
		l, kept, polls = executor.NewLocal(), new(*rawwaker.Waker), new(int)
		f := throughC(new(atomic.Int32), func(cx *rawwaker.Context) {
			*polls++
			if *kept != nil {
				(*kept).Drop()
			}
			*kept = cx.Waker().Clone()
		})
		executor.DetachLocal(l, future.Map(f, func(uint64) struct{} { return struct{}{} }))
		l.Tick()
		(*kept).WakeByRef()
		l.Tick() // by now C's waker is known as Go's
		return l, kept, polls
	}
	t.Run("wakes_the_task_from_Go_and_from_C", func(t *testing.T) {
		balance.Check(t)
		l, kept, polls := start()
		defer l.Close()
		for n, wakes := range []func(w *rawwaker.Waker){
			(*rawwaker.Waker).WakeByRef,
			func(w *rawwaker.Waker) { w.Clone().Wake() },
			func(w *rawwaker.Waker) { ctest.WakeByRef(w.AsRaw()) },
			func(w *rawwaker.Waker) { ctest.Start(w.Clone().IntoRaw(), "cwrd").Join() },
			func(w *rawwaker.Waker) { rawwaker.FromRaw(w.Clone().IntoRaw()).Wake() },
			func(w *rawwaker.Waker) { cloneFrom(w).Wake() },
			func(w *rawwaker.Waker) {
				var a rawwaker.AtomicWaker
				a.Register(w)
				a.Wake()
			},
		} {
			require.False(t, l.Tick())
			wakes(*kept)
			for l.Tick() {
			}
			require.Equal(t, 3+n, *polls)
		}
		(*kept).Drop()
	})
	t.Run("is_the_same_waker_in_each_poll", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		l, kept, _ := start()
		defer l.Close()
		before := (*kept).Clone()
		before.WakeByRef()
		l.Tick()
		require.True(t, before.WillWake(*kept))
		before.Drop()
		(*kept).Drop()
	})
	t.Run("does_nothing_after_the_end_of_its_task", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		l, kept, polls := start()
		l.Close()
		(*kept).WakeByRef()
		require.Equal(t, rawwaker.Noop().IntoRaw(), (*kept).AsRaw())
		require.Equal(t, rawwaker.Noop().IntoRaw(), (*kept).Clone().IntoRaw())
		(*kept).Wake()
		require.Equal(t, 2, *polls)
	})
	t.Run("does_nothing_after_its_Local_was_collected", func(t *testing.T) {
		withoutAudit(t)
		balance.Check(t)
		var gone atomic.Bool
		kept := func() *rawwaker.Waker {
			l, kept, _ := start()
			runtime.AddCleanup(l, func(int) { gone.Store(true) }, 0)
			return *kept
		}()
		until(gone.Load)
		kept.WakeByRef()
		require.Equal(t, rawwaker.Noop().IntoRaw(), kept.Clone().IntoRaw())
		kept.Wake()
	})
	// For the race detector, too.
	t.Run("wakes_beside_the_collection_of_its_Local", func(t *testing.T) {
		balance.Check(t)
		for range 20 {
			kept := func() *rawwaker.Waker {
				_, kept, _ := start()
				return *kept
			}()
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					for range 50 {
						kept.WakeByRef()
						c := rawwaker.FromRaw(kept.Clone().IntoRaw())
						c.AsRaw()
						c.Wake()
					}
				})
			}
			runtime.GC()
			all.Wait()
			kept.Drop()
		}
	})
}

func TestFutureIntoRawFunc(t *testing.T) {
	balance.Check(t)
	f := func() rawwaker.Future[rawwaker.Result[string]] {
		return future.Go(func(context.Context) (string, error) { return "hello", errors.New("no") })
	}
	require.PanicsWithValue(
		t,
		"rawwaker: FutureIntoRaw of rawwaker.Result[string], which has Go pointers: "+
			"use FutureIntoRawFunc",
		func() { rawwaker.FutureIntoRaw(f()) },
	)
	require.PanicsWithValue(
		t,
		"rawwaker: FutureIntoRawFunc of a nil function",
		func() { rawwaker.FutureIntoRawFunc(f(), nil) },
	)
	require.PanicsWithValue(t, "rawwaker: FutureIntoRaw of a nil future",
		func() { rawwaker.FutureIntoRaw[int](nil) })
	require.PanicsWithValue(t, "rawwaker: FutureIntoRawFunc of a nil future",
		func() { rawwaker.FutureIntoRawFunc(nil, func(unsafe.Pointer, int) {}) })
	code, v := ctest.BlockOn(
		rawwaker.FutureIntoRawFunc(f(), func(out unsafe.Pointer, r rawwaker.Result[string]) {
			*(*uint64)(out) = uint64(len(r.Value)*100 + len(r.Err.Error()))
		}),
	)
	require.EqualValues(t, ready, code)
	require.EqualValues(t, 502, v)
	code, _ = ctest.BlockOn(
		rawwaker.FutureIntoRawFunc(f(), func(unsafe.Pointer, rawwaker.Result[string]) { panic("put") }),
	)
	require.EqualValues(t, panicked, code)
	code, _ = ctest.BlockOn(rawwaker.FutureIntoRaw(future.Sleep(0)))
	require.EqualValues(t, ready, code, "an empty result is not written")
}

// firstLine is without the carriage return that C writes before a newline on Windows.
func firstLine(out []byte) string {
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSuffix(line, "\r")
}

// aborted reports whether a program's output shows that it has ended by C's abort.
func aborted(out []byte) bool {
	return runtime.GOOS == "windows" || strings.Contains(string(out), "SIGABRT")
}

func ffiLive() int { return ctest.OpsLive() }

type dropPanics struct{}

func (dropPanics) Poll(
	*rawwaker.Context,
) rawwaker.Poll[uint64] {
	return rawwaker.Pending[uint64]()
}
func (dropPanics) Drop() { panic("no") }
