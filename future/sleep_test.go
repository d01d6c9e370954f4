package future_test

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestSleep(t *testing.T) {
	t.Run("counts_from_its_creation_and_takes_two_polls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			f := &polled[struct{}]{f: future.Sleep(100 * time.Millisecond)}
			time.Sleep(40 * time.Millisecond)
			blockon.BlockOn(f)
			require.Equal(t, 100*time.Millisecond, time.Since(start))
			require.Equal(t, 2, f.n)
		})
	})
	t.Run("of_no_time_is_ready_at_once", func(t *testing.T) {
		for _, d := range []time.Duration{0, -time.Second} {
			require.True(t, poll(future.Sleep(d)).IsReady())
		}
	})
	t.Run("dropped_wakes_no_task", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wakes := 0
			f := future.Sleep(time.Second)
			f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { wakes++ })))
			drop(f)
			time.Sleep(2 * time.Second)
			require.Zero(t, wakes)
		})
	})
	t.Run("wakes_the_waker_of_the_latest_poll_only", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log letters
			f := future.Sleep(time.Second)
			f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { log.add("a") })))
			f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { log.add("b") })))
			time.Sleep(2 * time.Second)
			require.Equal(t, "b", log.String())
		})
	})
	t.Run("beside_wakers_that_block_is_woken", func(t *testing.T) {
		through := signal()
		d := time.Now().Add(1100 * time.Millisecond)
		var good sync.WaitGroup
		for range 10 {
			for _, wake := range []func(){func() { <-through }, good.Done, func() { <-through }} {
				future.Sleep(time.Until(d)).Poll(rawwaker.NewContext(rawwaker.FromFunc(wake)))
			}
			good.Add(1)
		}
		good.Wait()
		close(through)
	})
	t.Run("in_two_bubbles_shares_no_timer", func(t *testing.T) {
		const year = 365 * 24 * time.Hour
		for _, d := range []time.Duration{time.Second, time.Hour, 20 * year, 50 * year, 200 * year} {
			synctest.Test(t, func(t *testing.T) { poll(future.Sleep(d)) })
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				blockon.BlockOn(future.Sleep(d))
				require.Equal(t, d, time.Since(start))
			})
		}
	})
	t.Run("of_the_greatest_length_wakes_no_task", func(t *testing.T) {
		var s step
		f := future.Sleep(math.MaxInt64)
		require.False(t, f.Poll(s.context()).IsReady())
		time.Sleep(10 * time.Millisecond)
		require.Zero(t, s.wakes.Load())
		drop(f)
	})
}
