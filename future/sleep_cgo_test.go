//go:build cgo

package future_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestSleepPoll(t *testing.T) {
	// The timer fires while a poll changes its waker, and finds none: the poll itself must see that
	// the time has come.
	t.Run("sees_a_timer_that_fires_while_it_changes_its_waker", func(t *testing.T) {
		balance.Check(t)
		// A timer of its own, and a shared one. The second poll must begin before.
		for _, d := range []time.Duration{300 * time.Millisecond, 1300 * time.Millisecond} {
			f := future.Sleep(d)
			deadline := time.Now().Add(d)
			task := ctest.NewTask()
			first, second := rawwaker.FromRaw(task.Waker()), rawwaker.FromFunc(func() {})
			require.False(t, f.Poll(rawwaker.NewContext(first)).IsReady())

			task.Hold()
			polled := make(chan rawwaker.Poll[struct{}])
			go func() { polled <- f.Poll(rawwaker.NewContext(second)) }()
			task.AwaitInside(1) // it drops what the first poll has kept
			time.Sleep(time.Until(deadline) + time.Millisecond)
			task.Release()
			require.True(t, (<-polled).IsReady())
			first.Drop()
			second.Drop()
			task.Free()
		}
	})
}
