package blockon_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type poll func(cx *rawwaker.Context) rawwaker.Poll[int]

func (p poll) Poll(cx *rawwaker.Context) rawwaker.Poll[int] { return p(cx) }

// held is a future that must be dropped. It logs p for each poll and d for the drop.
type held struct {
	log  strings.Builder
	poll poll
}

func (f *held) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	f.log.WriteString("p")
	return f.poll(cx)
}

func (f *held) Drop() { f.log.WriteString("d") }

func pending(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Pending[int]() }

// drives tests what holds for all three ways to drive a future.
func drives(t *testing.T, drive func(f rawwaker.Future[int]) int) {
	t.Run("polls_a_ready_future_once_and_does_not_drop_it", func(t *testing.T) {
		balance.Check(t)
		f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(42) }}
		require.Equal(t, 42, drive(f))
		require.Equal(t, "p", f.log.String())
	})
	t.Run("polls_once_for_each_wake", func(t *testing.T) {
		n := 3
		f := &held{poll: func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if n == 0 {
				return rawwaker.Ready(0)
			}
			n--
			cx.Waker().WakeByRef()
			return rawwaker.Pending[int]()
		}}
		drive(f)
		require.Equal(t, "pppp", f.log.String())
	})
	t.Run("drops_a_future_that_panics_once_and_panics", func(t *testing.T) {
		balance.Check(t)
		f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] { panic("boom") }}
		require.PanicsWithValue(t, "boom", func() { drive(f) })
		require.Equal(t, "pd", f.log.String())
	})
	t.Run("drops_a_future_that_calls_Goexit_once_and_ends", func(t *testing.T) {
		f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] {
			runtime.Goexit()
			return rawwaker.Ready(0)
		}}
		ended := make(chan struct{})
		go func() { defer close(ended); drive(f) }()
		<-ended
		require.Equal(t, "pd", f.log.String())
	})
}

func TestBlockOn(t *testing.T) {
	drives(t, blockon.BlockOn[int])
	t.Run("sleeps_until_it_is_woken", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var waker future.AtomicWaker
			var open atomic.Bool
			polls := 0
			go func() {
				synctest.Wait() // returns when BlockOn is asleep
				waker.Wake()
				synctest.Wait()
				open.Store(true)
				waker.Wake()
			}()
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				polls++
				waker.Register(cx.Waker())
				if open.Load() {
					return rawwaker.Ready(0)
				}
				return rawwaker.Pending[int]()
			}))
			require.Equal(t, 3, polls)
		})
	})
	t.Run("nested_has_a_parker_of_its_own", func(t *testing.T) {
		balance.Check(t)
		polls := 0
		blockon.BlockOn(poll(func(outer *rawwaker.Context) rawwaker.Poll[int] {
			if polls++; polls == 2 {
				return rawwaker.Ready(0)
			}
			blockon.BlockOn(poll(func(inner *rawwaker.Context) rawwaker.Poll[int] {
				require.False(t, inner.Waker().WillWake(outer.Waker()))
				inner.Waker().WakeByRef() // a wake that must not be left to the outer one
				return rawwaker.Ready(0)
			}))
			outer.Waker().WakeByRef()
			return rawwaker.Pending[int]()
		}))
		require.Equal(t, 2, polls)
	})
	t.Run("leaves_no_wake_for_the_next", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for range 3 {
				blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
					cx.Waker().WakeByRef()
					return rawwaker.Ready(0)
				}))
				start := time.Now()
				blockon.BlockOn(future.Sleep(time.Second))
				require.Equal(t, time.Second, time.Since(start))
			}
		})
	})
	t.Run("works_before_inside_and_after_a_bubble", func(t *testing.T) {
		balance.Check(t)
		work := func(t *testing.T) {
			for range 3 {
				blockon.BlockOn(future.Ready(1))
				blockon.BlockOn(future.Yield())
				blockon.BlockOn(future.Sleep(time.Millisecond))
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				_, err := blockon.Await(ctx, rawwaker.Future[int](poll(pending)))
				cancel()
				require.Error(t, err)
			}
		}
		work(t)
		synctest.Test(t, work)
		work(t)
		synctest.Test(t, work)
	})
	t.Run("works_on_a_goroutine_locked_to_its_thread", func(t *testing.T) {
		done := make(chan int)
		go func() {
			runtime.LockOSThread()
			blockon.BlockOn(future.Sleep(time.Millisecond))
			done <- blockon.BlockOn(future.Async(func(aw *future.Awaiter) int {
				future.Await(aw, future.Yield())
				return 42
			}))
		}()
		require.Equal(t, 42, <-done)
	})
	t.Run("that_parks_makes_no_cgo_call", func(t *testing.T) {
		balance.Check(t)
		parked := make(chan *rawwaker.Waker)
		go func() {
			for w := range parked {
				w.Wake()
			}
		}()
		defer close(parked)
		before := runtime.NumCgoCall()
		for range 10_000 {
			first := true
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if first {
					first = false
					parked <- cx.Waker().Clone()
					return rawwaker.Pending[int]()
				}
				return rawwaker.Ready(0)
			}))
		}
		require.Equal(t, before, runtime.NumCgoCall())
	})
	t.Run("of_a_ready_future_allocates_nothing", func(t *testing.T) {
		if !exact {
			t.Skip("this build may not reuse a frame")
		}
		var f rawwaker.Future[int] = readyAlways{}
		require.Zero(t, testing.AllocsPerRun(1000, func() { blockon.BlockOn(f) }))
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			_, _ = blockon.Await(context.Background(), f)
		}))
	})
	t.Run("of_nil_panics", func(t *testing.T) {
		require.PanicsWithValue(t, "blockon: BlockOn: nil future", func() { blockon.BlockOn[int](nil) })
	})
}

type readyAlways struct{}

func (readyAlways) Poll(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(1) }

func TestAwait(t *testing.T) {
	drives(t, func(f rawwaker.Future[int]) int {
		v, err := blockon.Await(context.Background(), f)
		if err != nil {
			panic(err)
		}
		return v
	})
	t.Run("returns_the_error_of_its_context_and_drops_the_future_once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			f := &held{poll: pending}
			_, err := blockon.Await(ctx, f)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, "pd", f.log.String())
		})
	})
	t.Run("under_an_ended_context_drops_the_future_unpolled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f := &held{poll: pending}
		_, err := blockon.Await(ctx, f)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, "d", f.log.String())
	})
	t.Run("returns_the_result_of_a_poll_that_cancelled_it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] {
			cancel()
			return rawwaker.Ready(42)
		}}
		v, err := blockon.Await(ctx, f)
		require.NoError(t, err)
		require.Equal(t, 42, v)
		require.Equal(t, "p", f.log.String())
	})
	t.Run("returns_after_the_poll_in_progress", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &held{}
		f.poll = func(cx *rawwaker.Context) rawwaker.Poll[int] {
			cancel()
			cx.Waker().WakeByRef() // no poll follows it all the same
			f.log.WriteString(".")
			return rawwaker.Pending[int]()
		}
		_, err := blockon.Await(ctx, f)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, "p.d", f.log.String())
	})
	t.Run("that_was_cancelled_ignores_wakes", func(t *testing.T) {
		balance.Check(t)
		ctx, cancel := context.WithCancel(t.Context())
		var kept *rawwaker.Waker
		f := &held{poll: func(cx *rawwaker.Context) rawwaker.Poll[int] {
			kept = cx.Waker().Clone()
			cancel()
			return rawwaker.Pending[int]()
		}}
		_, err := blockon.Await(ctx, f)
		require.ErrorIs(t, err, context.Canceled)
		kept.WakeByRef()
		kept.Wake()
		require.Equal(t, "pd", f.log.String())
	})
	// Whichever of cancel and wake comes first, there is one drop unless f was ready, and one
	// result.
	t.Run("cancelled_beside_a_wake_does_one_of_the_two", func(t *testing.T) {
		balance.Check(t)
		rounds := 3000
		if testing.Short() {
			rounds = 300
		}
		for range rounds {
			ctx, cancel := context.WithCancel(context.Background())
			var waker future.AtomicWaker
			var open atomic.Bool
			f := &held{poll: func(cx *rawwaker.Context) rawwaker.Poll[int] {
				waker.Register(cx.Waker())
				if open.Load() {
					return rawwaker.Ready(1)
				}
				return rawwaker.Pending[int]()
			}}
			var wg sync.WaitGroup
			wg.Go(cancel)
			wg.Go(func() { open.Store(true); waker.Wake() })
			v, err := blockon.Await(ctx, f)
			wg.Wait()
			waker.Drop()
			drops := strings.Count(f.log.String(), "d")
			if err == nil {
				require.Equal(t, 1, v)
				require.Zero(t, drops)
			} else {
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, 1, drops)
			}
		}
	})
	t.Run("of_nil_panics", func(t *testing.T) {
		require.PanicsWithValue(t, "blockon: Await: nil future",
			func() { _, _ = blockon.Await[int](t.Context(), nil) })
		require.PanicsWithValue(t, "blockon: Await: nil context", func() {
			var none context.Context
			_, _ = blockon.Await(none, rawwaker.Future[int](poll(pending)))
		})
	})
}

func TestSpin(t *testing.T) {
	drives(t, blockon.Spin[int])
	t.Run("of_nil_panics", func(t *testing.T) {
		require.PanicsWithValue(t, "blockon: Spin: nil future", func() { blockon.Spin[int](nil) })
	})
}

// fails is a held whose Drop ends with drop.
type fails struct {
	held
	drop func()
}

func (f *fails) Drop() { f.held.Drop(); f.drop() }

// However the Poll and the Drop end, there is one Drop, and the waker that has escaped has ended.
func TestDrop(t *testing.T) {
	ends := map[string]func(){
		"returns": func() {}, "panics": func() { panic("boom") }, "calls Goexit": runtime.Goexit,
	}
	drivers := map[string]func(f rawwaker.Future[int]) int{
		"BlockOn": blockon.BlockOn[int], "Spin": blockon.Spin[int],
		"Await under an ended context": func(f rawwaker.Future[int]) int {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			v, _ := blockon.Await(ctx, f)
			return v
		},
		"Await that is cancelled": func(f rawwaker.Future[int]) int {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			v, _ := blockon.Await(ctx, f)
			return v
		},
	}
	for driver, drive := range drivers {
		for polled, inPoll := range ends {
			if polled == "returns" && (driver == "BlockOn" || driver == "Spin") {
				continue // it never returns
			}
			for dropped, inDrop := range ends {
				name := "is_called_once/" + driver + "/" + polled + "_in_Poll_and_" + dropped + "_in_Drop"
				t.Run(name, func(t *testing.T) {
					balance.Check(t)
					var kept *rawwaker.Waker
					f := &fails{held: held{poll: func(cx *rawwaker.Context) rawwaker.Poll[int] {
						kept = cx.Waker().Clone()
						inPoll()
						return rawwaker.Pending[int]()
					}}, drop: inDrop}
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						defer func() { _ = recover() }()
						drive(f)
					}()
					<-ended
					require.Equal(t, 1, strings.Count(f.log.String(), "d"))
					if kept != nil {
						kept.Wake() // its call has ended: this does nothing
					}
				})
			}
		}
	}
}

func TestAwaitCancel(t *testing.T) {
	// operation is ready when it is completed, also if that is after cancel.
	operation := func(events *string) (f *watched, complete func(int)) {
		tx, rx := future.Oneshot[int]()
		return &watched{f: rx, events: events}, func(v int) { tx.Send(v) }
	}
	t.Run("gives_the_value_of_a_future_that_is_ready_first", func(t *testing.T) {
		balance.Check(t)
		events := ""
		f, complete := operation(&events)
		complete(7)
		v, err := blockon.AwaitCancel(t.Context(), f, func() { events += "c" })
		require.NoError(t, err)
		require.Equal(t, 7, v)
		require.Equal(t, "r", events)
	})
	t.Run("calls_cancel_once_between_two_polls_and_waits_on", func(t *testing.T) {
		balance.Check(t)
		ctx, stop := context.WithCancel(t.Context())
		events := ""
		f, complete := operation(&events)
		f.first = func() { go stop() }
		v, err := blockon.AwaitCancel(ctx, f, func() {
			events += "c"
			go complete(7)
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 7, v, "the value is the operation's all the same")
		require.Regexp(t, "^pcp*r$", events)
	})
	t.Run("gives_no_error_if_the_poll_in_which_the_context_ends_is_ready", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		v, err := blockon.AwaitCancel(ctx, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			stop()
			return rawwaker.Ready(7)
		}), func() { t.Error("cancelled") })
		require.NoError(t, err)
		require.Equal(t, 7, v)
	})
	t.Run("drops_a_future_unpolled_if_the_context_has_ended_before", func(t *testing.T) {
		balance.Check(t)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		events := ""
		f, _ := operation(&events)
		_, err := blockon.AwaitCancel(ctx, f, func() { events += "c" })
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, "d", events)
	})
	t.Run("drops_the_future_if_cancel_panics_or_calls_Goexit", func(t *testing.T) {
		for _, leave := range []func(){func() { panic("bug") }, runtime.Goexit} {
			balance.Check(t)
			ctx, stop := context.WithCancel(t.Context())
			events := ""
			f, _ := operation(&events)
			done := make(chan any)
			go func() {
				defer close(done)
				defer func() {
					if v := recover(); v != nil {
						done <- v
					}
				}()
				f.first = stop
				blockon.AwaitCancel(ctx, f, func() { events += "c"; leave() })
				t.Error("it returned")
			}()
			if v := <-done; v != nil {
				require.Equal(t, "bug", v)
				<-done
			}
			require.Equal(t, "pcd", events)
		}
	})
	t.Run("panics_for_nil", func(t *testing.T) {
		nothing := func() {}
		for want, f := range map[string]func(){
			"blockon: AwaitCancel: nil future": func() {
				blockon.AwaitCancel[int](t.Context(), nil, nothing)
			},
			"blockon: AwaitCancel: nil context": func() {
				var none context.Context
				blockon.AwaitCancel(none, future.Ready(1), nothing)
			},
			"blockon: AwaitCancel: nil function": func() {
				blockon.AwaitCancel(t.Context(), future.Ready(1), nil)
			},
		} {
			require.PanicsWithValue(t, want, f)
		}
	})
}

// watched writes what is done with a future of a oneshot: p pending, r ready, d dropped.
type watched struct {
	f      rawwaker.Future[rawwaker.Result[int]]
	events *string
	first  func() // called in the first poll that is pending
}

func (w *watched) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	p := w.f.Poll(cx)
	if !p.IsReady() {
		*w.events += "p"
		if first := w.first; first != nil {
			w.first = nil
			first()
		}
		return rawwaker.Pending[int]()
	}
	*w.events += "r"
	return rawwaker.Ready(p.Value().Value)
}

func (w *watched) Drop() {
	*w.events += "d"
	if d, ok := w.f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}
