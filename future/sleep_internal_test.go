package future

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func sharedTimerCount() int {
	sharedTimers.mu.Lock()
	defer sharedTimers.mu.Unlock()
	return len(sharedTimers.all)
}

func TestSharedTimer(t *testing.T) {
	t.Run("lasts_until_its_last_sleep_is_dropped", func(t *testing.T) {
		before := sharedTimerCount()
		cx := rawwaker.NewContext(rawwaker.Noop())
		at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		var all []*sleep
		for range 5 {
			f := &sleep{deadline: at}
			require.False(t, f.Poll(cx).IsReady())
			all = append(all, f)
		}
		require.Equal(t, before+1, sharedTimerCount())
		timer := all[0].shared.timer
		for _, i := range []int{2, 0, 4, 3} { // out of the middle, and both ends
			all[i].Drop()
			require.Equal(t, before+1, sharedTimerCount())
		}
		all[1].Drop()
		require.Equal(t, before, sharedTimerCount())
		require.False(t, timer.Stop(), "it was stopped")
	})
	t.Run("is_not_used_by_a_very_long_sleep_whose_Drop_stops_its_own", func(t *testing.T) {
		f := &sleep{deadline: time.Now().Add(2 * maxShared)}
		require.False(t, f.Poll(rawwaker.NewContext(rawwaker.Noop())).IsReady())
		require.Nil(t, f.shared)
		f.Drop()
		require.False(t, f.timer.Stop(), "it was stopped")
	})
	t.Run("wakes_all_of_its_sleeps", func(t *testing.T) {
		var woken atomic.Int32 // wakes come from several goroutines if one of them takes long
		w := rawwaker.FromFunc(func() { woken.Add(1) })
		at := time.Now().Add(time.Hour)
		var timer *sharedTimer
		before := sharedTimerCount()
		for range 200 {
			f := &sleep{deadline: at}
			f.Poll(rawwaker.NewContext(w))
			timer = f.shared
		}
		timer.timer.Stop()
		timer.fire()
		require.EqualValues(t, 200, woken.Load())
		require.Equal(t, before, sharedTimerCount())
	})
	t.Run("is_not_used_in_a_bubble_where_a_sleep_is_exact", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const d = 90*time.Minute + 123456*time.Nanosecond
			before := sharedTimerCount()
			start := time.Now()
			woken := make(chan time.Duration, 1)
			f := Sleep(d)
			f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { woken <- time.Since(start) })))
			require.Equal(t, before, sharedTimerCount())
			require.Equal(t, d, <-woken)
		})
	})
}
