package executor_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestWakeWith(t *testing.T) {
	if !capi.HasCgo {
		t.Skip("needs cgo")
	}
	function := func(calls *atomic.Int32) *rawwaker.Waker {
		return rawwaker.FromFunc(func() { calls.Add(1) })
	}
	t.Run("wakes_at_once_if_something_is_runnable", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		woken := make(chan struct{}, 8)
		executor.DetachLocal(l, future.Ready(struct{}{}))
		l.WakeWith(rawwaker.FromFunc(func() { woken <- struct{}{} }))
		<-woken
		for l.Tick() {
		}
		require.Zero(t, l.Len())
	})
	t.Run("of_a_closed_Local_drops_the_waker", func(t *testing.T) {
		balance.Check(t)
		var calls atomic.Int32
		l := executor.NewLocal()
		l.Close()
		w := function(&calls)
		l.WakeWith(w)
		require.PanicsWithValue(t, "rawwaker: WakeByRef after Drop", func() { w.WakeByRef() })
		require.Zero(t, calls.Load())
	})
	t.Run("excludes_OnWake_and_Run", func(t *testing.T) {
		balance.Check(t)
		var calls atomic.Int32
		l := executor.NewLocal()
		defer l.Close()
		l.WakeWith(function(&calls))
		w := function(&calls)
		defer w.Drop()
		const again = "executor: WakeWith after OnWake, Run or WakeWith"
		require.PanicsWithValue(t, again, func() { l.WakeWith(w) })
		require.PanicsWithValue(t, "executor: OnWake after WakeWith", func() { l.OnWake(func() {}) })
		var kept *rawwaker.Waker
		executor.DetachLocal(l, never(&kept))
		require.PanicsWithValue(t, "executor: Run of a Local after WakeWith: its host ticks it", l.Run)
		kept.Drop()

		other := executor.NewLocal()
		defer other.Close()
		other.OnWake(func() {})
		require.PanicsWithValue(t, again, func() { other.WakeWith(w) })
	})
}

func TestRunClosed(t *testing.T) {
	t.Run("returns_if_another_goroutine_closes_the_Local", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		var kept *rawwaker.Waker
		h := executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if kept == nil {
				kept = cx.Waker().Clone()
				go l.Close()
			}
			return rawwaker.Pending[int]()
		}))
		l.Run()
		require.PanicsWithValue(t, executor.ErrClosed, func() { blockon.BlockOn(h) })
		l.Close() // returns when the other has ended
		kept.Drop()
	})
	t.Run("RunUntil_returns_if_its_task_was_ended_by_Close", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		l.Close()
		require.PanicsWithValue(t, executor.ErrClosed, func() {
			executor.RunUntil(l, future.Ready(1))
		})
	})
}
