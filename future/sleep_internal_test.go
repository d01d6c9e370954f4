package future

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func belled() int {
	bells.mu.Lock()
	defer bells.mu.Unlock()
	return len(bells.all)
}

func TestLongSleepsOfOneMillisecondShareATimerUntilTheLastIsDropped(t *testing.T) {
	before := belled()
	cx := rawwaker.NewContext(rawwaker.Noop())
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	var all []*sleep
	for range 5 {
		f := &sleep{deadline: at}
		require.False(t, f.Poll(cx).IsReady())
		all = append(all, f)
	}
	require.Equal(t, before+1, belled())
	for _, i := range []int{2, 0, 4, 3} { // out of the middle, and both ends
		all[i].Drop()
		require.Equal(t, before+1, belled())
	}
	all[1].Drop()
	require.Equal(t, before, belled())
}

func TestABellWakesAllOfItsSleeps(t *testing.T) {
	var woken atomic.Int32 // wakes come from several goroutines if one of them takes long
	w := rawwaker.FromFunc(func() { woken.Add(1) })
	at := time.Now().Add(time.Hour)
	var b *bell
	for range 200 {
		f := &sleep{deadline: at}
		f.Poll(rawwaker.NewContext(w))
		b = f.common
	}
	b.timer.Stop()
	b.ring()
	require.EqualValues(t, 200, woken.Load())
}

func TestInABubbleALongSleepIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const d = 90*time.Minute + 123456*time.Nanosecond
		before := belled()
		start := time.Now()
		woken := make(chan time.Duration, 1)
		f := Sleep(d)
		f.Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { woken <- time.Since(start) })))
		require.Equal(t, before, belled())
		require.Equal(t, d, <-woken)
	})
}
