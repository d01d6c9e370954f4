package executor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestClosedList(t *testing.T) {
	t.Run("ends_a_task_whose_poll_has_returned_but_is_not_parked_yet", func(t *testing.T) {
		drops := 0
		l := NewLocal()
		h := SpawnLocal[int](l, pendingUntilDropped(func() { drops++ }))
		of := l.pop()
		pending, _ := of.run()
		require.True(t, pending)
		require.NoError(t, l.Close())
		require.Zero(t, drops, "it is the poll's")
		require.True(t, l.suspend(of))
		require.Equal(t, 1, drops)
		_, err := h.take()
		require.ErrorIs(t, err, ErrClosed)
	})
	t.Run("gives_ErrClosed_to_a_task_that_is_aborted_after_Close_in_its_poll", func(t *testing.T) {
		l := NewLocal()
		var h *JoinHandle[int]
		h = SpawnLocal(l, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			require.NoError(t, l.Close())
			h.Abort()
			return rawwaker.Pending[int]()
		}))
		require.True(t, l.Tick())
		_, err := h.take()
		require.ErrorIs(t, err, ErrClosed)
	})
	t.Run("notifies_Wait_of_its_last_task", func(t *testing.T) {
		ex := New(Workers(1))
		Detach(ex, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[struct{}] {
			return rawwaker.Pending[struct{}]()
		}))
		empty := ex.nextEmpty()
		require.NoError(t, ex.Close())
		<-empty
	})
	t.Run("has_no_detached_task_that_has_ended_and_is_still_listed", func(t *testing.T) {
		l := NewLocal()
		DetachLocal(l, future.Ready(struct{}{}))
		require.Len(t, l.alive(nil), 1)
		require.True(t, l.Tick())
		require.Len(t, l.live, 1)
		require.Empty(t, l.alive(nil))
		require.NoError(t, l.Close())
	})
	t.Run("calls_no_hook", func(t *testing.T) {
		l := NewLocal()
		require.NoError(t, l.Close())
		l.callHook(func() { t.Error("called") })
	})
}

func TestRecycle(t *testing.T) {
	if wake.Tracing() || wake.FreshContexts {
		t.Skip("no task is reused then")
	}
	t.Run("Local", func(t *testing.T) {
		l := NewLocal()
		defer l.Close()
		DetachLocal(l, future.Ready(struct{}{}))
		first := l.live[0]
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		DetachLocal(l, future.Ready(struct{}{}))
		require.Same(t, first, l.live[0])
		require.True(t, l.Tick())
	})
	t.Run("Executor", func(t *testing.T) {
		ex := New(Workers(1))
		defer ex.Close()
		Detach(ex, future.Ready(struct{}{}))
		require.NoError(t, ex.Wait(t.Context()))
		w := &ex.workers[0]
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Len(t, w.free, 1)
	})
}
