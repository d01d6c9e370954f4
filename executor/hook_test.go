package executor_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// never keeps the waker of its first poll in *w, and is never ready.
func never(w **rawwaker.Waker) rawwaker.Future[struct{}] {
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
		if *w == nil {
			*w = cx.Waker().Clone()
		}
		return rawwaker.Pending[struct{}]()
	})
}

func asleep(t *testing.T, w **rawwaker.Waker) *executor.Local {
	l := executor.NewLocal()
	t.Cleanup(func() { l.Close() })
	executor.DetachLocal(l, never(w))
	for l.Tick() {
	}
	return l
}

func TestOnWakeHook(t *testing.T) {
	t.Run("is_waited_for_by_Close", func(t *testing.T) {
		balance.Check(t)
		var w *rawwaker.Waker
		l := asleep(t, &w)
		inside := make(chan struct{})
		var left, late atomic.Bool
		l.OnWake(func() {
			close(inside)
			for range 1000 { // the Close comes meanwhile
				runtime.Gosched()
			}
			left.Store(true)
		})
		go w.Wake()
		<-inside
		l.Close()
		require.True(t, left.Load())
		l.OnWake(func() { late.Store(true) })
		require.False(t, late.Load())
	})
	t.Run("is_not_called_after_Close", func(t *testing.T) {
		balance.Check(t)
		var closed, late atomic.Bool
		for range 300 {
			var w *rawwaker.Waker
			closed.Store(false)
			l := asleep(t, &w)
			l.OnWake(func() { late.Store(late.Load() || closed.Load()) })
			woken := make(chan struct{})
			go func() { w.Wake(); close(woken) }()
			runtime.Gosched()
			l.Close()
			closed.Store(true)
			<-woken
		}
		require.False(t, late.Load())
	})
	t.Run("may_call_Close", func(t *testing.T) {
		balance.Check(t)
		var w *rawwaker.Waker
		l := asleep(t, &w)
		calls := 0
		l.OnWake(func() { calls++; l.Close() })
		w.Wake()
		require.Equal(t, 1, calls)
		l.Close()
	})
	t.Run("may_change_the_hook", func(t *testing.T) {
		balance.Check(t)
		var w *rawwaker.Waker
		l := asleep(t, &w)
		first, second := 0, 0
		l.OnWake(func() { first++; l.OnWake(func() { second++ }) })
		w.WakeByRef()
		require.Equal(t, 1, first)
		require.GreaterOrEqual(t, second, 1, "there is something to tick")
		for l.Tick() {
		}
		second = 0
		w.Wake()
		require.Equal(t, 1, second)
	})
	t.Run("that_panics_is_called_by_the_next_wake", func(t *testing.T) {
		balance.Check(t)
		var w *rawwaker.Waker
		l := asleep(t, &w)
		calls := 0
		l.OnWake(func() {
			if calls++; calls == 1 {
				panic("bug")
			}
		})
		require.PanicsWithValue(t, "bug", w.WakeByRef)
		executor.DetachLocal(l, future.Ready(struct{}{}))
		require.Equal(t, 2, calls)
		for l.Tick() {
		}
		w.Drop()
	})
}
