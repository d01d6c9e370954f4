package future_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestAtomicWaker(t *testing.T) {
	// Each round is woken by goroutines that also write what the poll must see; one lost wake and
	// the test hangs.
	t.Run("loses_no_wake_in_a_storm", func(t *testing.T) {
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
	})
	t.Run("keeps_its_waker_if_a_consumed_one_is_registered", func(t *testing.T) {
		woken := 0
		kept, gone := rawwaker.FromFunc(func() { woken++ }), rawwaker.Noop()
		gone.Drop()
		var a future.AtomicWaker
		a.Register(kept)
		require.PanicsWithValue(t, "rawwaker: Register after Drop", func() { a.Register(gone) })
		a.Wake()
		require.Equal(t, 1, woken)
		kept.Drop()
	})
	t.Run("clones_only_for_another_task", func(t *testing.T) {
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
	})
}
