package rawwaker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// waiters are n tasks that wait for one Broadcast.
type waiters struct {
	b     Broadcast
	tasks []counter
	cxs   []Context
	wait  []BroadcastWaiter
}

func newWaiters(n int) *waiters {
	w := &waiters{
		tasks: make([]counter, n), cxs: make([]Context, n), wait: make([]BroadcastWaiter, n),
	}
	w.b.Init()
	for i := range n {
		w.tasks[i].core.Init(&w.tasks[i])
		w.cxs[i].bind(&w.tasks[i].core)
	}
	return w
}

// enter polls task i, which sleeps from then on. It reports whether the task is to poll the future.
func (w *waiters) enter(i int) bool {
	w.tasks[i].core.Consume()
	w.wait[i].Register(w.cxs[i].Waker())
	inner := w.b.Enter(&w.wait[i], &w.cxs[i])
	if inner != nil {
		w.b.Exit(false)
	}
	w.tasks[i].core.Sleep()
	return inner != nil
}

// scheduled returns how often each task was scheduled since the last call.
func (w *waiters) scheduled() (all []int) {
	for i := range w.tasks {
		all = append(all, w.tasks[i].n)
		w.tasks[i].n = 0
	}
	return all
}

// listed returns the waiters on the list, and checks that it is linked both ways.
func (w *waiters) listed(t *testing.T) (all []int) {
	var prev *BroadcastWaiter
	for at := w.b.first; at != nil; prev, at = at, at.next {
		require.Same(t, prev, at.prev)
		require.True(t, at.listed)
		for i := range w.wait {
			if at == &w.wait[i] {
				all = append(all, i)
			}
		}
		require.LessOrEqual(t, len(all), len(w.wait), "the list has a loop")
	}
	return all
}

func TestBroadcastList(t *testing.T) {
	t.Run("has_each_waiter_once_and_those_that_left_not", func(t *testing.T) {
		w := newWaiters(4)
		require.True(t, w.enter(0))
		for i := range 4 {
			require.False(t, w.enter(i))
			require.False(t, w.enter(i))
		}
		require.Equal(t, []int{3, 2, 1, 0}, w.listed(t))
		w.b.Leave(&w.wait[1])
		require.Equal(t, []int{3, 2, 0}, w.listed(t))
		w.b.Leave(&w.wait[0])
		w.b.Leave(&w.wait[0])
		require.Equal(t, []int{3, 2}, w.listed(t))
		w.b.Leave(&w.wait[3])
		require.Equal(t, []int{2}, w.listed(t))
		require.False(t, w.enter(3), "one that has left may come again")
		require.Equal(t, []int{3, 2}, w.listed(t))
		w.b.core.Wake()
		require.Equal(t, []int{0, 0, 1, 1}, w.scheduled())
		require.Empty(t, w.listed(t))
		require.True(t, w.enter(2))
	})
}

func TestBroadcastRoot(t *testing.T) {
	t.Run("is_a_task_that_waits_and_another_one_when_that_leaves", func(t *testing.T) {
		w := newWaiters(3)
		root := func() *wake.Core { return (*broadcastRelay)(&w.b).Root() }
		require.True(t, w.enter(0))
		require.Same(t, &w.tasks[0].core, root())
		require.False(t, w.enter(1))
		require.False(t, w.enter(2))
		require.Same(t, &w.tasks[0].core, root(), "that of the latest poll")
		w.b.Leave(&w.wait[1])
		require.Same(t, &w.tasks[0].core, root())
		w.b.Leave(&w.wait[0])
		require.Same(t, &w.tasks[2].core, root())
		require.Nil(t, w.wait[0].root)
		w.b.Leave(&w.wait[2])
		require.Nil(t, root())
	})
}

func TestBroadcastEnd(t *testing.T) {
	const ended = "rawwaker: Clone of a borrowed waker whose task or poll has ended: " +
		"Clone it to keep it"
	t.Run("ends_its_waker", func(t *testing.T) {
		w := newWaiters(1)
		require.True(t, w.enter(0))
		kept := w.b.cx.Waker()
		w.b.End()
		require.PanicsWithValue(t, ended, func() { kept.Clone() })
	})
	t.Run("of_the_last_poll_ends_its_waker_and_wakes_all", func(t *testing.T) {
		w := newWaiters(2)
		require.True(t, w.enter(1))
		w.b.core.Wake()
		require.Equal(t, []int{0, 1}, w.scheduled())
		kept := w.b.Enter(&w.wait[0], &w.cxs[0]).Waker()
		require.False(t, w.enter(1))
		w.b.Exit(true)
		require.Equal(t, []int{0, 1}, w.scheduled())
		require.PanicsWithValue(t, ended, func() { kept.Clone() })
	})
}
