package executor

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// queued puts a task into w's queue, and starts no worker.
func queued(w *worker, f rawwaker.Future[int]) *JoinHandle[int] {
	h := newHandle(&w.taskList, f)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.link(&h.task)
	w.queue.push(&h.task)
	return h
}

// In these tests the test's goroutine takes the steps of a worker.
func TestWorker(t *testing.T) {
	t.Run("ends_the_task_that_it_polls_if_Close_comes_before_it_sleeps", func(t *testing.T) {
		ex := New(Workers(1))
		w := &ex.workers[0]
		drops := 0
		h := queued(w, pendingUntilDropped(func() { drops++ }))
		of := w.pop(nil, nil)
		pending, _ := of.run()
		require.True(t, pending)
		require.NoError(t, ex.Close())
		require.Zero(t, drops, "it is the worker's")
		require.Nil(t, w.pop(of, nil))
		require.Equal(t, 1, drops)
		require.Empty(t, w.live)
		_, err := h.take()
		require.ErrorIs(t, err, ErrClosed)
	})
	t.Run("takes_that_task_off_its_list_though_the_Drop_calls_Goexit", func(t *testing.T) {
		ex := New(Workers(1))
		w := &ex.workers[0]
		queued(w, pendingUntilDropped(runtime.Goexit))
		of := w.pop(nil, nil)
		of.run()
		require.NoError(t, ex.Close())
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { w.contain(recover()) }() // as serve does
			w.pop(of, nil)
		})
		wg.Wait()
		require.Empty(t, w.live)
	})
	t.Run("notifies_Wait_of_a_task_that_has_ended_before_Close", func(t *testing.T) {
		ex := New(Workers(1))
		w := &ex.workers[0]
		queued(w, future.Ready(1))
		of := w.pop(nil, nil)
		_, ended := of.run()
		require.True(t, ended)
		require.NoError(t, ex.Close())
		empty := ex.nextEmpty()
		require.Nil(t, w.pop(nil, of))
		<-empty
	})
	t.Run("gives_nothing_away_after_Close", func(t *testing.T) {
		ex := New(Workers(1))
		w := &ex.workers[0]
		require.NoError(t, ex.Close())
		w.queue.push(new(task))
		w.giveAway()
		require.Equal(t, [2]int{1, 0}, [2]int{w.queue.n, ex.global.queue.n})
	})
	t.Run("steals_half_of_a_queue", func(t *testing.T) {
		ex := New(Workers(2))
		w, v := &ex.workers[0], &ex.workers[1]
		for range 5 {
			queued(v, future.Ready(1))
		}
		w.steal()
		require.Equal(t, [2]int{3, 2}, [2]int{w.queue.n, v.queue.n})
		require.NoError(t, ex.Close())
	})
	t.Run("takes_a_task_from_another_queue_before_it_sleeps", func(t *testing.T) {
		ex := New(Workers(2))
		w, v := &ex.workers[0], &ex.workers[1]
		w.awake = true
		ex.idle.Add(oneAwake)
		queued(v, future.Ready(1))
		queued(v, future.Ready(1))
		got := w.search()
		require.NotNil(t, got)
		got.run()
		require.NoError(t, ex.Close())
	})
	t.Run("starts_another_if_it_leaves_tasks_in_its_queue", func(t *testing.T) {
		ex := New(Workers(2))
		w := &ex.workers[0]
		w.awake = true
		ex.idle.Add(oneAwake)
		queued(w, future.Ready(1))
		queued(w, future.Ready(1))
		last := queued(w, future.Ready(1))
		first := w.pop(nil, nil) // this worker does nothing more
		require.Equal(t, 1, blockon.BlockOn[int](last))
		first.run()
		require.NoError(t, ex.Close())
	})
	t.Run("ends_what_it_has_stolen_if_Close_has_swept", func(t *testing.T) {
		ex := New(Workers(2))
		w, v := &ex.workers[0], &ex.workers[1]
		drops := 0
		h := queued(v, pendingUntilDropped(func() { drops++ }))
		got := []*task{v.queue.pop()}
		w.closed = true
		w.accept(got)
		require.Equal(t, 1, drops)
		require.Zero(t, w.lateSweeps.Load())
		require.True(t, h.IsDone())
		require.Empty(t, v.live)
	})
	t.Run("unlinks_what_it_has_stolen_and_ended", func(t *testing.T) {
		ex := New(Workers(2))
		w, v := &ex.workers[0], &ex.workers[1]
		for range batch {
			h := queued(v, future.Ready(1))
			v.queue.pop()
			w.removeEnded(&h.task)
		}
		require.Len(t, v.live, batch)
		require.Nil(t, w.pop(nil, nil))
		require.Empty(t, v.live)
		require.Empty(t, w.stolen)
		require.NoError(t, ex.Close())
	})
	t.Run("reuses_a_detached_task_that_was_stolen", func(t *testing.T) {
		if wake.Tracing() || wake.FreshContexts {
			t.Skip("no task is reused then")
		}
		ex := New(Workers(2))
		v := &ex.workers[1]
		v.mu.Lock()
		d := v.detached(future.Ready(struct{}{}))
		v.link(&d.task)
		v.mu.Unlock()
		_, ended := d.task.run()
		require.True(t, ended)
		ex.remove([]*task{&d.task})
		require.Equal(t, []*detached{d}, v.free)
		require.NoError(t, ex.Close())
	})
	t.Run("has_the_watchdog_unlink_what_it_has_stolen_if_its_poll_lasts", func(t *testing.T) {
		ex := New(Workers(2))
		w, v := &ex.workers[0], &ex.workers[1]
		h := queued(v, future.Ready(1))
		v.queue.pop()
		w.removeEnded(&h.task)
		w.awake = true
		ex.watchdog(0, ex.watchdogs[0].chain.Load())
		require.Empty(t, v.live)
		w.awake = false
		require.NoError(t, ex.Close())
	})
	// For the race detector: nothing but the words order the two.
	t.Run("may_be_started_beside_a_watchdog_that_is_late", func(t *testing.T) {
		for range 50 {
			ex := New(Workers(1))
			var wg sync.WaitGroup
			wg.Go(func() { ex.watchdog(0, ^uint32(0)) })
			ex.armWatchdog()
			wg.Wait()
		}
	})
}
