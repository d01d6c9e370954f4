//go:build cgo

package rawwaker_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// unseen is a flag that the race detector does not see: set comes before await returns, but for the
// detector nothing orders the two.
type unseen struct{ on bool }

//go:norace
func (u *unseen) set() { u.on = true }

//go:norace
func (u *unseen) await() {
	for !u.on {
		runtime.Gosched()
	}
}

// In these tests nothing but the state word orders the calls on a future: under the race detector a
// plain access to the word is reported in either order.
func TestCFutureState(t *testing.T) {
	const dropped = "rawwaker: Poll of a CFuture after Drop"
	// pend returns a C future that calls during in each poll, and stays pending.
	pend := func(t *testing.T, during func(f *rawwaker.CFuture[int])) *rawwaker.CFuture[int] {
		var f *rawwaker.CFuture[int]
		var kept *rawwaker.Waker
		t.Cleanup(func() {
			f.Drop()
			kept.Drop()
		})
		f = rawwaker.FutureFromRaw[int](rawwaker.FutureIntoRaw(future.PollFn(
			func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if kept == nil {
					kept = cx.Waker().Clone()
				}
				during(f)
				return rawwaker.Pending[int]()
			})))
		return f
	}
	balance.Check(t)
	t.Run("orders_the_end_of_a_poll_and_a_Drop", func(t *testing.T) {
		var wg sync.WaitGroup
		f := pend(t, func(f *rawwaker.CFuture[int]) { wg.Go(f.Drop) })
		require.Equal(t, "pending", pollEach(f))
		wg.Wait()
		require.Equal(t, dropped, pollEach(f))
	})
	t.Run("orders_the_end_of_a_poll_in_which_it_was_dropped_and_a_second_Drop", func(t *testing.T) {
		var wg sync.WaitGroup
		f := pend(t, func(f *rawwaker.CFuture[int]) {
			f.Drop()
			wg.Go(f.Drop)
		})
		require.Equal(t, "pending", pollEach(f))
		wg.Wait()
		require.Equal(t, dropped, pollEach(f))
	})
	t.Run("orders_a_poll_during_a_poll_and_a_Drop", func(t *testing.T) {
		for range 50 {
			var wg sync.WaitGroup
			inner := ""
			f := pend(t, func(f *rawwaker.CFuture[int]) {
				wg.Go(func() { inner = pollEach(f) })
				wg.Go(f.Drop)
				wg.Wait()
			})
			require.Equal(t, "pending", pollEach(f))
			require.Equal(t, "rawwaker: Poll of a CFuture that is being polled", inner)
		}
	})
	t.Run("orders_the_beginning_of_a_poll_and_a_Drop_inside_it", func(t *testing.T) {
		var wg sync.WaitGroup
		var begun unseen
		f := pend(t, func(*rawwaker.CFuture[int]) {
			begun.set()
			wg.Wait()
		})
		wg.Go(func() { begun.await(); f.Drop() })
		require.Equal(t, "pending", pollEach(f))
		require.Equal(t, dropped, pollEach(f))
	})
	t.Run("orders_a_Drop_and_a_later_poll", func(t *testing.T) {
		var wg sync.WaitGroup
		var over unseen
		f := pend(t, func(*rawwaker.CFuture[int]) {})
		require.Equal(t, "pending", pollEach(f))
		wg.Go(func() { f.Drop(); over.set() })
		over.await()
		require.Equal(t, dropped, pollEach(f))
		wg.Wait()
	})
	t.Run("leaves_the_order_of_a_poll_and_a_crossing_of_its_waker_to_the_task", func(t *testing.T) {
		for range 20 {
			s := script(t, "r")
			v := blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
				var wg sync.WaitGroup
				defer wg.Wait()
				w := cx.Waker().Clone()
				wg.Go(func() { rawwaker.FromRaw(w.IntoRaw()).Drop() })
				return fromScript(s).Poll(cx)
			}))
			require.EqualValues(t, 42, v)
		}
	})
	t.Run("does_not_depend_on_the_bits_of_the_futures_data", func(t *testing.T) {
		for range 16 { // the data of each has another number
			f := pend(t, func(*rawwaker.CFuture[int]) {})
			require.Equal(t, []string{"pending", "pending"}, []string{pollEach(f), pollEach(f)})
		}
	})
}

func TestCStreamState(t *testing.T) {
	const dropped = "rawwaker: PollNext of a CStream after Drop"
	t.Run("orders_the_read_of_an_item_that_was_read_ahead_and_a_Drop", func(t *testing.T) {
		replies(t)
		for range 20 {
			s := texts(feed(t, "iiii.", true))
			require.Equal(t, "1", next(s))
			var wg sync.WaitGroup
			wg.Go(func() { drop(s) })
			if got := next(s); got != dropped {
				require.Equal(t, "2", got)
			}
			wg.Wait()
			require.Equal(t, dropped, next(s))
		}
	})
	t.Run("orders_NextTaken_and_a_Drop", func(t *testing.T) {
		replies(t)
		s := texts(feed(t, "iiii.", true))
		require.Equal(t, "1", next(s))
		var wg sync.WaitGroup
		wg.Go(func() { drop(s) })
		taken := s.(interface{ NextTaken() *string })
		if v := taken.NextTaken(); v != nil {
			require.Equal(t, "2", *v)
		}
		wg.Wait()
		require.Nil(t, taken.NextTaken())
	})
}

// onlyRefuses calls intoRaw, and fails if that panics with anything but refused.
func onlyRefuses(t *testing.T, refused string, intoRaw func()) {
	t.Helper()
	defer func() {
		if v := recover(); v != nil {
			require.Equal(t, refused, v)
		}
	}()
	intoRaw()
}

// A C future or stream moves out of a Go one for one of two calls only.
func TestIntoRawState(t *testing.T) {
	t.Run("orders_FutureIntoRaw_and_a_Drop", func(t *testing.T) {
		for range 20 {
			f := fromScript(script(t, "r"))
			var wg sync.WaitGroup
			wg.Go(f.Drop)
			onlyRefuses(
				t,
				"rawwaker: FutureIntoRaw of a CFuture that has ended or is being polled",
				func() { ctest.DropFuture(rawwaker.FutureIntoRaw[uint64](f)) },
			)
			wg.Wait()
		}
	})
	t.Run("orders_StreamIntoRaw_and_a_Drop", func(t *testing.T) {
		for range 20 {
			s := rawwaker.StreamFromRaw[uint64](feed(t, "d", false).Raw())
			var wg sync.WaitGroup
			wg.Go(s.Drop)
			onlyRefuses(
				t,
				"rawwaker: StreamIntoRaw of a CStream that has ended or is being polled",
				func() { ctest.DropStream(rawwaker.StreamIntoRaw[uint64](s)) },
			)
			wg.Wait()
		}
	})
}

func TestWakerSetState(t *testing.T) {
	t.Run("orders_the_crossings_of_two_branches", func(t *testing.T) {
		balance.Check(t)
		for range 50 {
			var set rawwaker.WakerSet
			set.Init(2)
			blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				var wg sync.WaitGroup
				for _, cx := range set.Woken(cx) {
					w := cx.Waker().Clone()
					wg.Go(func() { rawwaker.FromRaw(w.IntoRaw()).Drop() })
				}
				wg.Wait()
				return rawwaker.Ready(0)
			}))
			set.Drop()
		}
	})
	t.Run("orders_a_poll_and_the_wake_of_a_branch", func(t *testing.T) {
		for range 50 {
			var set rawwaker.WakerSet
			set.Init(2)
			cx := rawwaker.NewContext(rawwaker.Noop())
			var wakers []*rawwaker.Waker
			for _, cx := range set.Woken(cx) {
				wakers = append(wakers, cx.Waker().Clone())
			}
			wakers[0].WakeByRef()
			var wg sync.WaitGroup
			wg.Go(wakers[1].WakeByRef)
			woken := 0
			for range set.Woken(cx) {
				woken++
			}
			require.NotZero(t, woken)
			wg.Wait()
			set.Drop()
			for _, w := range wakers {
				w.Drop()
			}
		}
	})
	t.Run("orders_a_poll_by_another_task_and_the_crossing_of_a_branch", func(t *testing.T) {
		balance.Check(t)
		for range 50 {
			var set rawwaker.WakerSet
			set.Init(1)
			var w *rawwaker.Waker
			a, b := rawwaker.FromFunc(func() {}), rawwaker.FromFunc(func() {})
			for _, cx := range set.Woken(rawwaker.NewContext(a)) {
				w = cx.Waker().Clone()
			}
			cx := rawwaker.NewContext(b)
			var wg sync.WaitGroup
			wg.Go(func() { rawwaker.FromRaw(w.IntoRaw()).Drop() })
			for range set.Woken(cx) { // none
			}
			wg.Wait()
			set.Drop()
			a.Drop()
			b.Drop()
		}
	})
	t.Run("wakes_for_no_branch_that_is_done", func(t *testing.T) {
		var set rawwaker.WakerSet
		set.Init(2)
		woken := 0
		parent := rawwaker.FromFunc(func() { woken++ })
		var wakers []*rawwaker.Waker
		for _, cx := range set.Woken(rawwaker.NewContext(parent)) {
			wakers = append(wakers, cx.Waker().Clone())
		}
		raw, known := wakers[0].Clone().IntoRaw(), wake.Registered()
		set.Done(0)
		require.Equal(t, known-1, wake.Registered(), "C's waker finds it no more")
		wakers[0].Wake()
		rawwaker.FromRaw(raw).Wake()
		require.Zero(t, woken)
		wakers[1].Wake()
		require.Equal(t, 1, woken)
		set.Drop()
		parent.Drop()
	})
}

func TestBroadcastState(t *testing.T) {
	t.Run("orders_the_leave_of_a_task_and_the_crossing_of_its_waker", func(t *testing.T) {
		balance.Check(t)
		for range 50 {
			var b rawwaker.Broadcast
			b.Init()
			parent := rawwaker.FromFunc(func() {})
			cx := rawwaker.NewContext(parent)
			var wait rawwaker.BroadcastWaiter
			wait.Register(cx.Waker())
			w := b.Enter(&wait, cx).Waker().Clone()
			b.Exit(false)
			var wg sync.WaitGroup
			wg.Go(func() { rawwaker.FromRaw(w.IntoRaw()).Drop() })
			b.Leave(&wait)
			wg.Wait()
			b.End()
			parent.Drop()
		}
	})
}

func TestCStreamItems(t *testing.T) {
	t.Run("that_were_delivered_are_not_kept", func(t *testing.T) {
		replies(t)
		s := texts(feed(t, strings.Repeat("i", 1000)+"d", true))
		for i := range 1000 {
			require.Equal(t, fmt.Sprint(i+1), next(s))
			require.LessOrEqual(t, s.(interface{ Kept() int }).Kept(), 64)
		}
		drop(s)
	})
}
