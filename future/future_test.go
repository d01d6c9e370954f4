package future_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// polled counts the polls of f.
type polled[T any] struct {
	f rawwaker.Future[T]
	n int
}

func (p *polled[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	p.n++
	return p.f.Poll(cx)
}

// gate is pending until it is opened; it writes a letter for each thing that befalls it.
type gate struct {
	log   *letters
	open  atomic.Bool
	waker future.AtomicWaker
}

func (g *gate) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	g.log.add("p")
	g.waker.Register(cx.Waker())
	if g.open.Load() {
		g.waker.Drop()
		return rawwaker.Ready(7)
	}
	return rawwaker.Pending[int]()
}

func (g *gate) Open() {
	g.open.Store(true)
	g.waker.Wake()
}

func (g *gate) Drop() {
	g.log.add("d")
	g.waker.Drop()
}

// letters is an order of events, one letter each.
type letters struct {
	mu sync.Mutex
	s  string
}

func (l *letters) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s += s
}

func (l *letters) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s
}

func poll[T any](f rawwaker.Future[T]) rawwaker.Poll[T] {
	return f.Poll(rawwaker.NewContext(rawwaker.Noop()))
}

func drop[T any](f rawwaker.Future[T]) { f.(rawwaker.Dropper).Drop() }

func TestEveryFuturePolledAfterCompletionPanicsWithTheSameWords(t *testing.T) {
	for name, run := range map[string]func(){
		"Ready":      again(future.Ready(1)),
		"PollFn":     again(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(1) })),
		"Sleep":      again(future.Sleep(0)),
		"Yield":      again(future.Yield()),
		"Go":         again(future.Go(func(context.Context) (int, error) { return 1, nil })),
		"Async":      again(future.Async(func(*future.Awaiter) int { return 1 })),
		"Map":        again(future.Map(future.Ready(1), func(v int) int { return v })),
		"Then":       again(future.Then(future.Ready(1), func(v int) rawwaker.Future[int] { return future.Ready(v) })),
		"CatchPanic": again(future.CatchPanic(future.Ready(1))),
		"Shared":     again[int](future.Shared(future.Ready(1))),
		"Next":       again(future.Next(future.Values(1))),
		"Collect":    again(future.Collect(future.Values(1))),
		"ForEach":    again(future.ForEach(future.Values(1), func(int) {})),
	} {
		t.Run(name, func(t *testing.T) { require.PanicsWithValue(t, "future polled after completion", run) })
	}
}

func again[T any](f rawwaker.Future[T]) func() {
	return func() {
		blockon.BlockOn(f)
		poll(f)
	}
}

func TestNilFunctionsAreRefusedWhereTheyAreGiven(t *testing.T) {
	require.PanicsWithValue(t, "future: PollFn: nil function", func() { future.PollFn[int](nil) })
	require.PanicsWithValue(t, "future: Go: nil function", func() { future.Go[int](nil) })
	require.PanicsWithValue(t, "future: Async: nil body", func() { future.Async[int](nil) })
}

func TestYieldIsPendingOnce(t *testing.T) {
	f := &polled[struct{}]{f: future.Yield()}
	blockon.BlockOn(f)
	require.Equal(t, 2, f.n)
}

func TestSleepTakesItsTimeFromCreationAndTwoPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := &polled[struct{}]{f: future.Sleep(100 * time.Millisecond)}
		time.Sleep(40 * time.Millisecond)
		blockon.BlockOn(f)
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		require.Equal(t, 2, f.n)
	})
}

func TestSleepOfNothingIsReadyAtOnce(t *testing.T) {
	for _, d := range []time.Duration{0, -time.Second} {
		require.True(t, poll(future.Sleep(d)).IsReady())
	}
}

func TestADroppedSleepWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wakes := 0
		f := future.Sleep(time.Second)
		f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { wakes++ })))
		drop(f)
		time.Sleep(2 * time.Second)
		require.Zero(t, wakes)
	})
}

func TestSleepWakesTheWakerOfTheLatestPollOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log letters
		f := future.Sleep(time.Second)
		f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { log.add("a") })))
		f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { log.add("b") })))
		time.Sleep(2 * time.Second)
		require.Equal(t, "b", log.String())
	})
}

func TestGoStartsAtTheFirstPollAndDeliversValueAndError(t *testing.T) {
	var started atomic.Bool
	boom := errors.New("boom")
	f := future.Go(func(context.Context) (int, error) {
		started.Store(true)
		return 3, boom
	})
	runtime.Gosched()
	require.False(t, started.Load())
	require.Equal(t, rawwaker.Result[int]{Value: 3, Err: boom}, blockon.BlockOn(f))
}

func TestDroppingGoCancelsItsContextAndDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		f := future.Go(func(ctx context.Context) (int, error) {
			<-ctx.Done()
			cause = ctx.Err()
			return 0, nil
		})
		require.False(t, poll(f).IsReady())
		drop(f)
		synctest.Wait()
		require.ErrorIs(t, cause, context.Canceled)
	})
}

func TestGoDroppedBeforeItsFirstPollNeverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := future.Go(func(context.Context) (int, error) { panic("ran") })
		drop(f)
		synctest.Wait()
	})
}

func TestAPanicOnTheOtherGoroutineComesOutOfThePollUnchanged(t *testing.T) {
	boom := &struct{ int }{1}
	require.PanicsWithValue(t, boom, func() {
		blockon.BlockOn(future.Go(func(context.Context) (int, error) { panic(boom) }))
	})
	require.PanicsWithValue(t, boom, func() {
		blockon.BlockOn(future.Async(func(*future.Awaiter) int { panic(boom) }))
	})
}

func TestGoexitOnTheOtherGoroutineEndsThePollerLikewise(t *testing.T) {
	for name, f := range map[string]rawwaker.Future[int]{
		"Async": future.Async(func(*future.Awaiter) int { runtime.Goexit(); return 0 }),
		"Go": future.PollFn(pollInner(future.Go(func(context.Context) (int, error) {
			runtime.Goexit()
			return 0, nil
		}))),
	} {
		t.Run(name, func(t *testing.T) {
			returned, ended := false, make(chan struct{})
			go func() {
				defer close(ended)
				blockon.BlockOn(f)
				returned = true
			}()
			<-ended
			require.False(t, returned)
		})
	}
}

func pollInner[T any](f rawwaker.Future[rawwaker.Result[T]]) func(*rawwaker.Context) rawwaker.Poll[T] {
	return func(cx *rawwaker.Context) rawwaker.Poll[T] {
		if p := f.Poll(cx); p.IsReady() {
			return rawwaker.Ready(p.Value().Value)
		}
		return rawwaker.Pending[T]()
	}
}

func TestAsyncRunsOnlyWhileItIsPolled(t *testing.T) {
	var log letters
	g := &gate{log: &log}
	f := future.Async(func(aw *future.Awaiter) int {
		log.add("a")
		v := future.Await(aw, g)
		log.add("b")
		return v
	})
	require.False(t, poll(f).IsReady())
	g.Open()
	log.add("|")
	require.Equal(t, 7, poll(f).Value())
	require.Equal(t, "ap|pb", log.String())
}

func TestDroppingAnAsyncInAnAwaitDropsTheAwaitedFutureOnceAndUnwindsTheBody(t *testing.T) {
	var log letters
	outer := future.Async(func(aw *future.Awaiter) int {
		defer log.add("1")
		return future.Await(aw, future.Async(func(aw *future.Awaiter) int {
			defer log.add("2")
			defer func() {
				defer log.add("4")
				future.Await(aw, &gate{log: &log}) // gives up at once: dropped, not polled
				log.add("!")
			}()
			v := future.Await(aw, &gate{log: &log})
			log.add("!")
			return v
		}))
	})
	require.False(t, poll(outer).IsReady())
	drop(outer)
	require.Equal(t, "pdd421", log.String())
	drop(outer)
	require.Equal(t, "pdd421", log.String(), "a second Drop does nothing")
}

func TestAPanicOfADeferredCallComesOutOfDrop(t *testing.T) {
	f := future.Async(func(aw *future.Awaiter) int {
		defer panic("boom")
		return future.Await(aw, &gate{log: new(letters)})
	})
	poll(f)
	require.PanicsWithValue(t, "boom", func() { drop(f) })
}

func TestAFutureThatPanicsInAnAwaitIsDroppedAndTheBodyMayGoOn(t *testing.T) {
	var log letters
	f := future.Async(func(aw *future.Awaiter) (got any) {
		defer func() { got = recover() }()
		return future.Await(aw, rawwaker.Future[int](&faulty{&log}))
	})
	require.Equal(t, "boom", blockon.BlockOn(f))
	require.Equal(t, "d", log.String())
}

type faulty struct{ log *letters }

func (f *faulty) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic("boom") }
func (f *faulty) Drop()                                     { f.log.add("d") }

func TestAwaitElsewhereThanInItsBodyPanics(t *testing.T) {
	require.PanicsWithValue(t, "future: Await: nil Awaiter (use the one that the body of an Async gets)", func() { future.Await(nil, future.Ready(1)) })
	var kept *future.Awaiter
	blockon.BlockOn(future.Async(func(aw *future.Awaiter) int { kept = aw; return 1 }))
	require.PanicsWithValue(t, "future: Await: outside the body of its Async", func() { future.Await(kept, future.Ready(1)) })
}

func TestAnAsyncPolledByItsOwnBodyPanics(t *testing.T) {
	var f rawwaker.Future[int]
	f = future.Async(func(aw *future.Awaiter) int { return future.Await(aw, f) })
	// Polling it panics, and then so does dropping it, which Await owes a future whose Poll has
	// panicked.
	require.PanicsWithValue(t, "future: Drop: this Async is being polled (drop it when the poll has returned)", func() { blockon.BlockOn(f) })
}

func TestAnAsyncBegunElsewhereRunsOnAGoroutineLockedToItsThread(t *testing.T) {
	g := &gate{log: new(letters)}
	f := future.Async(func(aw *future.Awaiter) int {
		future.Await(aw, future.Yield())
		return future.Await(aw, g)
	})
	require.False(t, poll(f).IsReady())
	done := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- blockon.BlockOn(f)
	}()
	g.Open()
	require.Equal(t, 7, <-done)
}

func TestAnAsyncMayBePolledByAnotherGoroutineEachTime(t *testing.T) {
	f := future.Async(func(aw *future.Awaiter) (sum int) {
		for i := range 100 {
			future.Await(aw, future.Yield())
			sum += i
		}
		return sum
	})
	var p rawwaker.Poll[int]
	for !p.IsReady() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			p = poll(f)
		}()
		<-done
	}
	require.Equal(t, 4950, p.Value())
}

func TestTheLeavesWorkInsideABubbleAndLeaveNothingInIt(t *testing.T) {
	work := func() int {
		return blockon.BlockOn(future.Async(func(aw *future.Awaiter) int {
			future.Await(aw, future.Sleep(time.Millisecond))
			future.Await(aw, future.Yield())
			return future.Await(aw, future.Go(func(context.Context) (int, error) { return 42, nil })).Value
		}))
	}
	require.Equal(t, 42, work())
	synctest.Test(t, func(t *testing.T) { require.Equal(t, 42, work()) })
	require.Equal(t, 42, work())
}

// Each round is woken by goroutines that also write what the poll must see; one lost wake and the
// test hangs.
func TestAtomicWakerLosesNoWakeInAStorm(t *testing.T) {
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	const wakers = 4
	var a future.AtomicWaker
	var sent, seen atomic.Int64
	var wg sync.WaitGroup
	for range wakers {
		wg.Go(func() {
			for range rounds {
				sent.Add(1)
				a.Wake()
			}
		})
	}
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		a.Register(cx.Waker())
		seen.Store(sent.Load())
		if seen.Load() == int64(wakers*rounds) {
			return rawwaker.Ready(0)
		}
		return rawwaker.Pending[int]()
	}))
	wg.Wait()
	a.Drop()
	require.EqualValues(t, wakers*rounds, seen.Load())
}

func TestAConsumedWakerRegistersNothingAndWhatWasKeptStays(t *testing.T) {
	woken := 0
	kept, gone := rawwaker.FromFunc(func() { woken++ }), rawwaker.Noop()
	gone.Drop()
	var a future.AtomicWaker
	a.Register(kept)
	require.PanicsWithValue(t, "rawwaker: Register after Drop", func() { a.Register(gone) })
	a.Wake()
	require.Equal(t, 1, woken)
	kept.Drop()
}

func TestAtomicWakerClonesOnlyForAnotherTask(t *testing.T) {
	var a future.AtomicWaker
	var log letters
	w := rawwaker.FromFunc(func() { log.add("w") })
	v := rawwaker.FromFunc(func() { log.add("v") })
	require.Zero(t, testing.AllocsPerRun(10, func() { a.Register(w) }))
	a.Register(v)
	a.Wake()
	a.Wake()
	require.Equal(t, "v", log.String())
	a.Register(w)
	a.Drop()
	a.Wake()
	require.Equal(t, "v", log.String())
}
