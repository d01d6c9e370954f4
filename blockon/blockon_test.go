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

// held is a future that must be dropped; it logs p for a poll and d for the drop.
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

// drivers are the three ways to drive a future, as one.
var drivers = map[string]func(f rawwaker.Future[int]) int{
	"BlockOn": blockon.BlockOn[int],
	"Spin":    blockon.Spin[int],
	"Await": func(f rawwaker.Future[int]) int {
		v, err := blockon.Await(context.Background(), f)
		if err != nil {
			panic(err)
		}
		return v
	},
}

func TestAReadyFutureIsPolledOnceAndNotDropped(t *testing.T) {
	for name, drive := range drivers {
		t.Run(name, func(t *testing.T) {
			balance.Check(t)
			f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(42) }}
			require.Equal(t, 42, drive(f))
			require.Equal(t, "p", f.log.String())
		})
	}
}

func TestAFutureIsPolledOnceForEachWakeOfItsOwn(t *testing.T) {
	for name, drive := range drivers {
		t.Run(name, func(t *testing.T) {
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
	}
}

func TestBlockOnSleepsUntilItIsWokenAndPollsNoMoreThanThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waker future.AtomicWaker
		var open atomic.Bool
		polls := 0
		go func() {
			synctest.Wait() // BlockOn is asleep: nothing else could let this return
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
}

func TestAPanicInPollDropsTheFutureOnceAndGoesOn(t *testing.T) {
	for name, drive := range drivers {
		t.Run(name, func(t *testing.T) {
			balance.Check(t)
			f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] { panic("boom") }}
			require.PanicsWithValue(t, "boom", func() { drive(f) })
			require.Equal(t, "pd", f.log.String())
		})
	}
}

func TestGoexitInPollDropsTheFutureOnceAndGoesOn(t *testing.T) {
	for name, drive := range drivers {
		t.Run(name, func(t *testing.T) {
			f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] { runtime.Goexit(); return rawwaker.Ready(0) }}
			ended := make(chan struct{})
			go func() { defer close(ended); drive(f) }()
			<-ended
			require.Equal(t, "pd", f.log.String())
		})
	}
}

func TestEachNestedBlockOnHasAParkerOfItsOwn(t *testing.T) {
	balance.Check(t)
	polls := 0
	blockon.BlockOn(poll(func(outer *rawwaker.Context) rawwaker.Poll[int] {
		if polls++; polls == 2 {
			return rawwaker.Ready(0)
		}
		blockon.BlockOn(poll(func(inner *rawwaker.Context) rawwaker.Poll[int] {
			require.False(t, inner.Waker().WillWake(outer.Waker()))
			inner.Waker().WakeByRef() // a token that must not be left to the outer one
			return rawwaker.Ready(0)
		}))
		outer.Waker().WakeByRef()
		return rawwaker.Pending[int]()
	}))
	require.Equal(t, 2, polls)
}

func TestNoTokenIsLeftForTheNextBlockOn(t *testing.T) {
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
}

func TestAwaitReturnsItsContextsErrorAndDropsTheFutureOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f := &held{poll: pending}
		_, err := blockon.Await(ctx, f)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, "pd", f.log.String())
	})
}

func TestAwaitUnderAnEndedContextDropsTheFutureUnpolled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := &held{poll: pending}
	_, err := blockon.Await(ctx, f)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "d", f.log.String())
}

func TestAwaitReturnsWhatAPollThatSawTheCancelGave(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &held{poll: func(*rawwaker.Context) rawwaker.Poll[int] { cancel(); return rawwaker.Ready(42) }}
	v, err := blockon.Await(ctx, f)
	require.NoError(t, err)
	require.Equal(t, 42, v)
	require.Equal(t, "p", f.log.String())
}

func TestAwaitReturnsAfterThePollInProgress(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &held{}
	f.poll = func(cx *rawwaker.Context) rawwaker.Poll[int] {
		cancel()
		cx.Waker().WakeByRef() // that it may be polled again does not matter any more
		f.log.WriteString(".")
		return rawwaker.Pending[int]()
	}
	_, err := blockon.Await(ctx, f)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "p.d", f.log.String())
}

func TestWakesAfterACancelDoNothing(t *testing.T) {
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
}

// Cancel and wakes race; whatever comes first, one drop unless ready, and never both results.
func TestCancelAndWakeMayMeet(t *testing.T) {
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
}

func TestBlockOnWorksBeforeInsideAndAfterABubble(t *testing.T) {
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
}

func TestBlockOnWorksOnAGoroutineLockedToItsThread(t *testing.T) {
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
}

func TestTenThousandBlockOnsThatParkMakeNoCgoCall(t *testing.T) {
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
}

type readyAlways struct{}

func (readyAlways) Poll(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(1) }

func TestBlockOnOfAReadyFutureAllocatesNothing(t *testing.T) {
	if !exact {
		t.Skip("this build keeps no frame for certain")
	}
	var f rawwaker.Future[int] = readyAlways{}
	require.Zero(t, testing.AllocsPerRun(1000, func() { blockon.BlockOn(f) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = blockon.Await(context.Background(), f) }))
}

func TestNilIsRefusedWhereItIsGiven(t *testing.T) {
	require.PanicsWithValue(t, "blockon: BlockOn of a nil future", func() { blockon.BlockOn[int](nil) })
	require.PanicsWithValue(t, "blockon: Spin of a nil future", func() { blockon.Spin[int](nil) })
	require.PanicsWithValue(t, "blockon: Await of a nil future", func() { _, _ = blockon.Await[int](t.Context(), nil) })
	require.PanicsWithValue(t, "blockon: Await under a nil context", func() {
		var none context.Context
		_, _ = blockon.Await(none, rawwaker.Future[int](poll(pending)))
	})
}

// fails is held, and its Drop ends otherwise than by a return.
type fails struct {
	held
	drop func()
}

func (f *fails) Drop() { f.held.Drop(); f.drop() }

// However the poll and the Drop end, there is one Drop, and the waker that was given out has ended.
func TestDropIsCalledOnceHoweverItEnds(t *testing.T) {
	ends := map[string]func(){
		"returns": func() {}, "panics": func() { panic("boom") }, "calls Goexit": runtime.Goexit,
	}
	drivers := map[string]func(f rawwaker.Future[int]) int{"Await under a context that is over": func(f rawwaker.Future[int]) int {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		v, _ := blockon.Await(ctx, f)
		return v
	}, "Await that is cancelled": func(f rawwaker.Future[int]) int {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		v, _ := blockon.Await(ctx, f)
		return v
	}, "BlockOn": blockon.BlockOn[int], "Spin": blockon.Spin[int]}
	for driver, drive := range drivers {
		for polled, inPoll := range ends {
			if polled == "returns" && (driver == "BlockOn" || driver == "Spin") {
				continue // it would never end
			}
			for dropped, inDrop := range ends {
				t.Run(driver+", a poll that "+polled+", a Drop that "+dropped, func(t *testing.T) {
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
						kept.Wake() // of a call that is over: nothing happens
					}
				})
			}
		}
	}
}
