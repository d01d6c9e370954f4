//go:build cgo

package chost_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/examples/chost"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestRun(t *testing.T) {
	t.Run("polls_a_Go_future_until_it_is_ready", func(t *testing.T) {
		balance.Check(t)
		require.Equal(t, 42, chost.Run(future.Ready(42)))
		polls := 0
		require.Equal(t, 3, chost.Run(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if polls++; polls == 3 {
				return rawwaker.Ready(polls)
			}
			w := cx.Waker().Clone()
			go w.Wake() // the host sleeps until then
			return rawwaker.Pending[int]()
		})))
		require.Panics(t, func() {
			chost.Run(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { panic("in the poll") }))
		})
	})
}

func TestWakeFromThreads(t *testing.T) {
	t.Run("wakes_the_task", func(t *testing.T) {
		balance.Check(t)
		var woken atomic.Int64
		w := rawwaker.FromFunc(func() { woken.Add(1) })
		chost.WakeFromThreads(w, 3, 100)
		require.Eventually(t, func() bool { return woken.Load() > 0 }, time.Minute, time.Millisecond)
	})
}
