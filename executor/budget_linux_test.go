package executor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ticker is a Local whose hook and polls are counted.
type ticker struct {
	*executor.Local
	hooks, polls int
}

func newTicker(t *testing.T) *ticker {
	balance.Check(t)
	l := &ticker{Local: executor.NewLocal()}
	t.Cleanup(func() { l.Close() })
	require.False(t, l.Tick())
	l.OnWake(func() { l.hooks++ })
	return l
}

// spawn makes n tasks that are ready at their first poll, after a call of during.
func (l *ticker) spawn(n int, during func()) {
	for range n {
		executor.DetachLocal(l.Local, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[struct{}] {
			l.polls++
			during()
			return rawwaker.Ready(struct{}{})
		}))
	}
}

func (l *ticker) readable() bool { return readable(l.FD(), 0) }

// armed reports whether the next spawn is announced: the hook is called and the descriptor is
// readable.
func (l *ticker) armed(t *testing.T) bool {
	t.Helper()
	before := l.hooks
	l.spawn(1, func() {})
	if called := l.hooks > before; called {
		require.True(t, l.readable())
		return true
	}
	return false
}

func TestTickN(t *testing.T) {
	t.Run("polls_up_to_n", func(t *testing.T) {
		l := newTicker(t)
		l.spawn(5, func() {})
		for _, want := range []int{2, 2, 1, 0} {
			before := l.polls
			require.True(t, l.readable() || want == 0)
			require.Equal(t, want, l.TickN(2))
			require.Equal(t, want, l.polls-before)
		}
	})
	t.Run("keeps_the_descriptor_readable_while_tasks_are_left", func(t *testing.T) {
		l := newTicker(t)
		l.spawn(3, func() {})
		require.Equal(t, 2, l.TickN(2))
		require.True(t, l.readable(), "one is left")
		require.Equal(t, 1, l.TickN(1))
		require.True(t, l.readable(), "none is left, which no call has reported")
		require.False(t, l.armed(t))
		require.Equal(t, 1, l.TickN(2))
		require.False(t, l.readable())
		require.True(t, l.armed(t))
	})
	t.Run("counts_each_poll_of_a_task_that_wakes_itself", func(t *testing.T) {
		l := newTicker(t)
		stop := false
		executor.DetachLocal(l.Local, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
			l.polls++
			if stop {
				return rawwaker.Ready(struct{}{})
			}
			cx.Waker().WakeByRef()
			return rawwaker.Pending[struct{}]()
		}))
		require.Equal(t, 1000, l.TickN(1000))
		require.Equal(t, 1000, l.polls)
		require.True(t, l.readable())
		stop = true
		require.Equal(t, 1, l.TickN(1000))
		require.Zero(t, l.Len())
	})
	t.Run("counts_a_task_that_was_aborted", func(t *testing.T) {
		l := newTicker(t)
		h := executor.SpawnLocal[int](l.Local, new(probe))
		require.Equal(t, 1, l.TickN(2))
		h.Abort()
		require.Equal(t, 1, l.TickN(2))
		require.Zero(t, l.Len())
	})
	t.Run("polls_the_tasks_that_its_own_polls_spawn", func(t *testing.T) {
		l := newTicker(t)
		l.spawn(1, func() { l.spawn(1, func() {}) })
		require.Equal(t, 2, l.TickN(3))
		require.False(t, l.readable())
	})
	for name, n := range map[string]int{"of_0_changes_nothing": 0, "below_0_changes_nothing": -1} {
		t.Run(name, func(t *testing.T) {
			l := newTicker(t)
			require.Zero(t, l.TickN(n))
			require.True(t, l.armed(t))
			require.Zero(t, l.TickN(n))
			require.True(t, l.readable())
			require.Zero(t, l.polls)
			require.Equal(t, 1, l.TickN(2))
		})
	}
}

func TestTickFor(t *testing.T) {
	// A millisecond passes in each poll, and at no other time.
	bubble := func(name string, f func(t *testing.T, l *ticker)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newTicker(t)) })
		})
	}
	poll := func() { time.Sleep(time.Millisecond) }
	bubble("begins_no_poll_after_d", func(t *testing.T, l *ticker) {
		l.spawn(6, poll)
		for _, c := range []struct{ d, want int }{{3, 3}, {2, 2}} {
			require.Equal(t, c.want, l.TickFor(time.Duration(c.d)*time.Millisecond))
			require.True(t, l.readable(), "some are left")
		}
		require.False(t, l.armed(t))
		require.Equal(t, 2, l.TickFor(time.Hour))
		require.Equal(t, 7, l.polls)
	})
	bubble("polls_once_at_least", func(t *testing.T, l *ticker) {
		l.spawn(2, poll)
		require.Equal(t, 1, l.TickFor(1))
		require.True(t, l.readable())
		require.Equal(t, 1, l.TickFor(1))
		require.True(t, l.readable(), "none is left, which no call has reported")
		require.Zero(t, l.TickFor(1))
		require.False(t, l.readable())
		require.True(t, l.armed(t))
	})
	bubble("ends_early_when_none_is_left", func(t *testing.T, l *ticker) {
		l.spawn(2, poll)
		began := time.Now()
		require.Equal(t, 2, l.TickFor(time.Hour))
		require.Equal(t, 2*time.Millisecond, time.Since(began))
		require.False(t, l.readable())
		require.True(t, l.armed(t))
	})
	for name, d := range map[string]time.Duration{
		"of_0_changes_nothing": 0, "below_0_changes_nothing": -time.Second,
	} {
		bubble(name, func(t *testing.T, l *ticker) {
			require.Zero(t, l.TickFor(d))
			require.True(t, l.armed(t))
			require.Zero(t, l.TickFor(d))
			require.True(t, l.readable())
			require.Zero(t, l.polls)
			require.Equal(t, 1, l.TickFor(1))
		})
	}
}
