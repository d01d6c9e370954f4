//go:build cgo

package rawwaker_test

import (
	"context"
	"fmt"
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
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// script is a C future that must have been dropped exactly once when the test ends.
func script(t *testing.T, letters string) *ctest.Script {
	balance.Check(t)
	s := ctest.NewScript(letters)
	t.Cleanup(func() {
		for deadline := time.Now().Add(time.Minute); s.Drops() == 0 && time.Now().Before(deadline); {
			runtime.GC() // a forgotten one is the collector's
		}
		require.Equal(t, 1, s.Drops())
		s.Free()
	})
	return s
}

func fromScript(s *ctest.Script) *rawwaker.CFuture[uint64] {
	return rawwaker.FutureFromRaw[uint64](s.Raw())
}

// counted counts the polls that reach a future from Go.
type counted[T any] struct {
	rawwaker.Future[T]
	polls int
}

func (c *counted[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	c.polls++
	return c.Future.Poll(cx)
}

func TestCFuture(t *testing.T) {
	t.Run("is_awaited_by_every_driver_and_combinator", func(t *testing.T) {
		await := map[string]func(f rawwaker.Future[uint64]) uint64{
			"BlockOn": blockon.BlockOn[uint64],
			"Spin":    blockon.Spin[uint64],
			"Await": func(f rawwaker.Future[uint64]) uint64 {
				v, err := blockon.Await(t.Context(), f)
				require.NoError(t, err)
				return v
			},
			"executor": func(f rawwaker.Future[uint64]) uint64 {
				ex := executor.New()
				defer ex.Close()
				return blockon.BlockOn[uint64](executor.Spawn(ex, f))
			},
			"Local": func(f rawwaker.Future[uint64]) (v uint64) {
				l := executor.NewLocal()
				defer l.Close()
				h := executor.SpawnLocal(l, f)
				l.Run()
				return blockon.BlockOn[uint64](h)
			},
			"NewContext": func(f rawwaker.Future[uint64]) uint64 {
				woken := make(chan struct{}, 8)
				w := rawwaker.FromFunc(func() { woken <- struct{}{} })
				defer w.Drop()
				for cx := rawwaker.NewContext(w); ; <-woken {
					if p := f.Poll(cx); p.IsReady() {
						return p.Value()
					}
				}
			},
			"Async": func(f rawwaker.Future[uint64]) uint64 {
				return blockon.BlockOn(
					future.Async(func(aw *future.Awaiter) uint64 { return future.Await(aw, f) }),
				)
			},
			"Join": func(f rawwaker.Future[uint64]) uint64 {
				return blockon.BlockOn(future.Join(future.Sleep(time.Millisecond), f)).Second
			},
			"JoinAll": func(f rawwaker.Future[uint64]) uint64 {
				return blockon.BlockOn(future.JoinAll(future.Ready(uint64(1)), f))[1]
			},
			"Race": func(f rawwaker.Future[uint64]) uint64 {
				return blockon.BlockOn(future.Race(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[uint64] {
					return rawwaker.Pending[uint64]()
				}), f))
			},
			"Timeout": func(f rawwaker.Future[uint64]) uint64 {
				r := blockon.BlockOn(future.Timeout(f, time.Minute))
				require.NoError(t, r.Err)
				return r.Value
			},
		}
		for name, await := range await {
			for _, letters := range []string{"r", "ssr", "tttr", "ststr"} {
				t.Run(name+"/"+letters, func(t *testing.T) {
					s := script(t, letters)
					require.EqualValues(t, 42, await(fromScript(s)))
					require.Equal(t, 1, s.Drops())
				})
			}
		}
	})
	t.Run("that_wakes_itself_is_polled_again_without_a_return_to_Go", func(t *testing.T) {
		for range 100 { // a slow machine may need 100 us for each poll
			s := script(t, strings.Repeat("s", 30)+"r")
			f := &counted[uint64]{Future: fromScript(s)}
			before := runtime.NumCgoCall()
			require.EqualValues(t, 42, blockon.BlockOn[uint64](f))
			require.LessOrEqual(t, runtime.NumCgoCall()-before, int64(1+f.polls))
			require.Equal(t, 31, s.Polls())
			if f.polls < 31 {
				return
			}
		}
		t.Fatal("each poll of 100 futures has returned to Go")
	})
	t.Run("that_wakes_itself_permanently_returns_to_Go", func(t *testing.T) {
		s := script(t, "*")
		f := &counted[uint64]{Future: fromScript(s)}
		ctx, cancel := context.WithCancel(t.Context())
		polls := future.Race[uint64](f, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			if f.polls == 10 {
				cancel()
			}
			cx.Waker().WakeByRef()
			return rawwaker.Pending[uint64]()
		}))
		_, err := blockon.Await(ctx, polls)
		require.ErrorIs(t, err, context.Canceled)
		require.LessOrEqual(t, s.Polls(), 64*f.polls)
		require.Equal(t, 1, f.dropped(s))
	})
	// The wake that is meant for b comes while a is being polled under the waker that both share,
	// and a's loop takes it.
	t.Run("loses_no_wake_for_a_sibling_during_the_loop", func(t *testing.T) {
		join := map[string]func(a, b rawwaker.Future[uint64]) rawwaker.Future[uint64]{
			"Join": func(a, b rawwaker.Future[uint64]) rawwaker.Future[uint64] {
				return future.Async(func(aw *future.Awaiter) uint64 {
					p := future.Await(aw, future.Join(a, b))
					return p.First + p.Second
				})
			},
			"JoinAll": func(a, b rawwaker.Future[uint64]) rawwaker.Future[uint64] {
				return future.Async(func(aw *future.Awaiter) uint64 {
					vs := future.Await(aw, future.JoinAll(a, b))
					return vs[0] + vs[1]
				})
			},
			"a user's own": func(a, b rawwaker.Future[uint64]) rawwaker.Future[uint64] { return &siblings{a: a, b: b} },
		}
		for name, join := range join {
			t.Run(name, func(t *testing.T) {
				for _, bFirst := range []bool{true, false} {
					letters := "kb.r"
					if name == "JoinAll" {
						letters = "kbr" // no other waker wakes it for the sibling: it must wake itself
					}
					s, op := ctest.NewScript(letters), ctest.NewOp()
					var a, b rawwaker.Future[uint64] = fromScript(s), rawwaker.FutureFromRaw[uint64](op.Raw())
					if name != "JoinAll" {
						// b's wake may poll a once or, by a's loop, twice: the task is woken again
						// when b is ready, and only by b.
						c := b
						b = future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
							p := c.Poll(cx)
							if p.IsReady() {
								cx.Waker().WakeByRef()
							}
							return p
						})
					}
					if bFirst {
						a, b = b, a
					}
					s.Hold()
					polled := make(chan struct{})
					var once sync.Once
					joined := join(a, b)
					all := future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
						defer once.Do(func() { close(polled) })
						return joined.Poll(cx)
					})
					go func() {
						<-polled // both
						s.Wake()
						s.AwaitInside()
						op.Complete(100) // wakes b on this thread, while a is in its poll
						if name == "JoinAll" {
							s.Wake()
						}
						s.Release()
					}()
					require.EqualValues(t, 142, blockon.BlockOn(all))
					require.Equal(t, 1, s.Drops())
					s.Free()
				}
				require.Zero(t, ctest.OpsLive())
			})
		}
	})
	// The first poll of a task makes a box for the C future; meanwhile another goroutine lends the
	// same task to C.
	t.Run("of_a_task_with_two_boxes_is_woken_by_both", func(t *testing.T) {
		s := script(t, "h.r")
		s.Hold()
		lent := make(chan rawwaker.RawWaker, 1)
		polls := 0
		f := fromScript(s)
		require.EqualValues(
			t,
			42,
			blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
				polls++
				switch polls {
				case 1:
					w := cx.Waker().Clone()
					go func() {
						s.AwaitInside()
						lent <- w.IntoRaw()
						s.Release()
					}()
					p := f.Poll(cx)
					go s.Wake() // by the box that the poll has made
					return p
				case 2:
					p := f.Poll(cx)
					other := <-lent
					go ctest.Wake(other)
					return p
				}
				return f.Poll(cx)
			})),
		)
		require.Equal(t, 3, polls)
	})
	t.Run("is_dropped_once_if_cancelled_and_late_wakes_do_nothing", func(t *testing.T) {
		balance.Check(t)
		before := ctest.OpsDropped()
		op := ctest.NewOp()
		ctx, cancel := context.WithCancel(t.Context())
		f := &counted[uint64]{Future: rawwaker.FutureFromRaw[uint64](op.Raw())}
		cancelling := future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			p := f.Poll(cx)
			cancel()
			return p
		})
		_, err := blockon.Await(ctx, cancelling)
		require.ErrorIs(t, err, context.Canceled)
		f.Future.(rawwaker.Dropper).Drop()
		f.Future.(rawwaker.Dropper).Drop()
		require.Equal(t, before+1, ctest.OpsDropped())
		op.Complete(1)
		require.Zero(t, ctest.OpsLive())
		second := ctest.NewOp()
		_, err = blockon.Await[uint64](ctx, rawwaker.FutureFromRaw[uint64](second.Raw()))
		second.Complete(2)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(
			t,
			before+2,
			ctest.OpsDropped(),
			"a context that has ended before drops too, without a poll",
		)
	})
	t.Run("dropped_during_a_poll_is_dropped_when_the_poll_returns", func(t *testing.T) {
		s := script(t, "b")
		s.Hold()
		f := fromScript(s)
		var wg sync.WaitGroup
		wg.Go(func() {
			w := rawwaker.Noop()
			require.False(t, f.Poll(rawwaker.NewContext(w)).IsReady())
		})
		s.AwaitInside()
		require.PanicsWithValue(
			t,
			"rawwaker: Poll of a CFuture that is being polled",
			func() { f.Poll(nil) },
		)
		f.Drop()
		require.Zero(t, s.Drops())
		s.Release()
		wg.Wait()
		require.Equal(t, 1, s.Drops())
		require.PanicsWithValue(t, "rawwaker: Poll of a CFuture after Drop", func() { f.Poll(nil) })
	})
	t.Run("that_is_forgotten_is_dropped_by_the_collector", func(t *testing.T) {
		s := script(t, "r")
		fromScript(s)
	})
	t.Run("panics_for_an_unknown_code", func(t *testing.T) {
		noop := rawwaker.NewContext(rawwaker.Noop())
		drivers := map[string]func(f rawwaker.Future[uint64]){
			"alone":   func(f rawwaker.Future[uint64]) { f.Poll(noop) },
			"BlockOn": func(f rawwaker.Future[uint64]) { blockon.BlockOn(f) },
		}
		for name, drive := range drivers {
			t.Run(name, func(t *testing.T) {
				require.PanicsWithValue(
					t,
					"rawwaker: slot poll of a C future returned 9, which is not a rawwaker_poll",
					func() { drive(fromScript(script(t, "9"))) },
				)
				for letters, want := range map[string]string{"p": "why not", "q": ""} {
					func() {
						defer func() { require.Equal(t, &rawwaker.ForeignPanic{Message: want}, recover()) }()
						drive(fromScript(script(t, letters)))
					}()
				}
				f := fromScript(script(t, "r"))
				drive(f)
				require.PanicsWithValue(t, "future polled after completion", func() { drive(f) })
				f.Drop() // too late, and harmless
			})
		}
		require.EqualError(t, &rawwaker.ForeignPanic{Message: "x"}, "rawwaker: a C future panicked: x")
		require.EqualError(t, &rawwaker.ForeignPanic{}, "rawwaker: a C future panicked without a message")
	})
	t.Run("gives_zero_if_the_result_was_not_written", func(t *testing.T) {
		require.Zero(t, blockon.BlockOn[uint64](fromScript(script(t, "z"))))
	})
	t.Run("is_polled_with_the_same_waker_each_time", func(t *testing.T) {
		withoutAudit(t)
		s := script(t, strings.Repeat("t", 200)+"r")
		require.EqualValues(t, 42, blockon.BlockOn[uint64](fromScript(s)))
		require.Equal(t, 1, s.Misses(), "the first time there was nothing kept")
	})
	// Each race: the future was polled once and keeps its waker; then a C thread completes it while
	// one goroutine drops it and, at times, another polls it. Whoever wins, the slot drop is called
	// once.
	t.Run("is_dropped_once_in_a_storm_of_cancel_and_completion", func(t *testing.T) {
		races := 1_000_000
		if testing.Short() {
			races = 20_000
		}
		if testing.Short() && wake.FreshContexts { // each use of a C pointer collects garbage
			races = 4_000
		}
		const batch = 1000
		balance.Check(t)
		before := ctest.OpsDropped()
		var ready, cancelled, wakes atomic.Int64
		w := rawwaker.FromFunc(func() { wakes.Add(1) })
		defer w.Drop()
		blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			for range races / batch {
				ops, fs := make([]ctest.Op, batch), make([]*rawwaker.CFuture[uint64], batch)
				for i := range ops {
					ops[i] = ctest.NewOp()
					fs[i] = rawwaker.FutureFromRaw[uint64](ops[i].Raw())
					require.False(t, fs[i].Poll(cx).IsReady())
				}
				var wg sync.WaitGroup
				wg.Go(func() { ctest.CompleteAll(ops, 2) })
				wg.Go(func() {
					for i := range fs {
						if i%3 != 0 {
							fs[i].Drop()
						}
					}
				})
				for i := range fs { // on the task's own goroutine, as it must be
					if i%3 == 2 {
						continue
					}
					for {
						p, over := pollUnlessDropped(fs[i], cx)
						if over {
							cancelled.Add(1)
							break
						}
						if p.IsReady() {
							require.EqualValues(t, i, p.Value())
							ready.Add(1)
							break
						}
					}
				}
				wg.Wait()
				for i := 2; i < batch; i += 3 {
					cancelled.Add(1)
				}
			}
			return rawwaker.Ready(0)
		}))
		require.Zero(t, ctest.OpsLive())
		require.Equal(t, before+races, ctest.OpsDropped())
		require.EqualValues(t, races, ready.Load()+cancelled.Load())
		t.Logf("%d races: %d ready, %d cancelled", races, ready.Load(), cancelled.Load())
	})
	t.Run("that_was_ready_at_once_may_keep_its_waker", func(t *testing.T) {
		var kept *rawwaker.Waker
		atOnce := rawwaker.FutureFromRaw[int](
			rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				kept = cx.Waker().Clone()
				return rawwaker.Ready(1)
			})),
		)
		var set atomic.Bool
		started := false
		blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if !started {
				started = true
				require.True(t, atOnce.Poll(cx).IsReady())
				go func() { set.Store(true); kept.Wake() }()
			}
			if set.Load() {
				return rawwaker.Ready(1)
			}
			return rawwaker.Pending[int]()
		}))
	})
	t.Run("whose_poll_could_not_begin_is_dropped", func(t *testing.T) {
		s := ctest.NewScript("k")
		defer s.Free()
		f := rawwaker.FutureFromRaw[uint64](s.Raw())
		w := rawwaker.FromFunc(func() {})
		cx := rawwaker.NewContext(w)
		w.Drop()
		require.PanicsWithValue(t, "rawwaker: AsRaw after Drop", func() { f.Poll(cx) })
		f.Drop()
		require.Equal(t, [2]int{0, 1}, [2]int{s.Polls(), s.Drops()})
	})
}

func (c *counted[T]) dropped(s *ctest.Script) int {
	c.Future.(rawwaker.Dropper).Drop() // counted hides that it is a Dropper
	return s.Drops()
}

// siblings is a user's own Join: both with the context it was given.
type siblings struct {
	a, b         rawwaker.Future[uint64]
	sum          uint64
	aDone, bDone bool
}

func (f *siblings) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] {
	for _, of := range []struct {
		f    rawwaker.Future[uint64]
		done *bool
	}{{f.a, &f.aDone}, {f.b, &f.bDone}} {
		if *of.done {
			continue
		}
		if p := of.f.Poll(cx); p.IsReady() {
			f.sum += p.Value()
			*of.done = true
		}
	}
	if f.aDone && f.bDone {
		return rawwaker.Ready(f.sum)
	}
	return rawwaker.Pending[uint64]()
}

func TestFutureFromRaw(t *testing.T) {
	for want, f := range map[string]func(){
		"rawwaker: FutureFromRaw of a nil vtable":                     func() { rawwaker.FutureFromRaw[int](rawwaker.RawFuture{}) },
		"rawwaker: FutureFromRaw of a vtable with an empty slot poll": func() { rawwaker.FutureFromRaw[int](ctest.HoledFuture(0)) },
		"rawwaker: FutureFromRaw of a vtable with an empty slot drop": func() { rawwaker.FutureFromRaw[int](ctest.HoledFuture(1)) },
	} {
		require.PanicsWithValue(t, want, f)
	}
	s := ctest.NewScript("r")
	defer s.Free()
	for name, f := range map[string]func(){
		"string":                 func() { rawwaker.FutureFromRaw[string](s.Raw()) },
		"*int":                   func() { rawwaker.FutureFromRaw[*int](s.Raw()) },
		"[2][]uint8":             func() { rawwaker.FutureFromRaw[[2][]byte](s.Raw()) },
		"rawwaker_test.pointers": func() { rawwaker.FutureFromRaw[pointers](s.Raw()) },
		"unsafe.Pointer":         func() { rawwaker.FutureFromRaw[unsafe.Pointer](s.Raw()) },
		"error":                  func() { rawwaker.FutureFromRaw[error](s.Raw()) },
	} {
		for range 2 { // the second time it is remembered
			require.PanicsWithValue(
				t,
				"rawwaker: FutureFromRaw of "+name+", which has Go pointers: C cannot write those",
				f,
			)
		}
	}
	require.NotPanics(t, func() {
		rawwaker.FutureFromRaw[plain](s.Raw()).Drop()
		rawwaker.FutureFromRaw[[0]string](s.Raw()).Drop()
	})
}

type pointers struct {
	_ int
	_ struct{ m map[int]int }
}

type plain struct {
	_ uint8
	_ [3]struct{ c float32 }
}

// pollUnlessDropped polls a future that another goroutine may have dropped.
func pollUnlessDropped(
	f *rawwaker.CFuture[uint64],
	cx *rawwaker.Context,
) (p rawwaker.Poll[uint64], over bool) {
	defer func() {
		if v := recover(); v != nil {
			if fmt.Sprint(v) != "rawwaker: Poll of a CFuture after Drop" {
				panic(v)
			}
			over = true
		}
	}()
	return f.Poll(cx), false
}
