package future_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestShared(t *testing.T) {
	t.Run("returns_the_result_of_one_poll_to_each_handle", func(t *testing.T) {
		l := new(leaf)
		first := future.Shared[int](l)
		var a, b step
		second := first.Clone()
		require.False(t, first.Poll(a.context()).IsReady())
		require.False(t, second.Poll(b.context()).IsReady())
		require.Equal(t, 1, l.polls, "no wake came in between")
		l.light()
		require.EqualValues(t, 1, a.wakes.Load())
		require.EqualValues(t, 1, b.wakes.Load())
		require.Equal(t, 2, second.Poll(b.context()).Value())
		require.Equal(t, 2, first.Poll(a.context()).Value())
		require.Equal(t, 2, poll(first.Clone()).Value(), "a handle made after the end")
		require.Zero(t, l.drops)
	})
	t.Run("continues_if_the_handle_that_was_woken_is_dropped", func(t *testing.T) {
		l := new(leaf)
		first := future.Shared[int](l)
		second := first.Clone()
		require.False(t, poll(first).IsReady())
		var b step
		require.False(t, second.Poll(b.context()).IsReady())
		l.light()
		first.Drop() // it polled last, and was woken
		require.EqualValues(t, 1, b.wakes.Load())
		require.True(t, second.Poll(b.context()).IsReady())
	})
	t.Run("panics_in_each_handle", func(t *testing.T) {
		boom := errors.New("boom")
		first := future.Shared[int](&panics{leaf: new(leaf), with: boom})
		second := first.Clone()
		for _, h := range []*future.SharedFuture[int]{first, second} {
			r := blockon.BlockOn(future.CatchPanic[int](h))
			require.ErrorIs(t, r.Err, boom)
		}
	})
	t.Run("is_awaited_by_many_tasks", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		for range 200 {
			tx, rx := future.Oneshot[int]()
			then := func(r rawwaker.Result[int]) rawwaker.Future[int] {
				return future.Map(future.Yield(), func(struct{}) int { return r.Value })
			}
			first := future.Shared(future.Then[rawwaker.Result[int]](rx, then))
			var handles []*executor.JoinHandle[int]
			for i := range 8 {
				h := executor.Spawn[int](ex, first.Clone())
				if i%3 == 0 {
					h.Abort()
				}
				handles = append(handles, h)
			}
			first.Drop()
			tx.Send(9)
			for i, h := range handles {
				if r := blockon.BlockOn(h.Outcome()); i%3 != 0 {
					require.NoError(t, r.Err)
					require.Equal(t, 9, r.Value)
				}
			}
		}
	})
	t.Run("drops_a_future_that_calls_Goexit_and_the_others_panic", func(t *testing.T) {
		f := &faulted{poll: runtime.Goexit, drop: func() {}}
		h := future.Shared[int](f)
		other := h.Clone()
		ended := signal()
		go func() { defer close(ended); poll(h) }()
		<-ended
		require.Equal(t, 1, f.drops)
		require.PanicsWithError(t, future.ErrClosed.Error(), func() { poll(other) })
		h.Drop()
		require.Equal(t, 1, f.drops)
	})
	t.Run("wakes_all_although_wakers_panic_exit_and_block", func(t *testing.T) {
		othersAreWoken(t, manyOfShared)
	})
	t.Run("Clone_after_the_last_Drop_panics", func(t *testing.T) {
		last := future.Shared[int](new(leaf))
		gone := last.Clone()
		gone.Drop()
		last.Drop()
		require.PanicsWithValue(t, "future: Clone: the SharedFuture was dropped",
			func() { gone.Clone() })
	})
	t.Run("Clone_beside_the_last_Drop_panics_or_works", func(t *testing.T) {
		rounds := 20_000
		if testing.Short() {
			rounds = 2_000
		}
		for range rounds {
			l := &leaf{lit: true}
			last := future.Shared[int](l)
			gone := last.Clone()
			gone.Drop()
			var start sync.WaitGroup
			start.Add(1)
			dropped := signal()
			go func() { defer close(dropped); start.Wait(); last.Drop() }()
			start.Done()
			h := func() (h *future.SharedFuture[int]) {
				defer func() {
					if v := recover(); v != nil {
						require.Equal(t, "future: Clone: the SharedFuture was dropped", v)
					}
				}()
				return gone.Clone()
			}()
			if h != nil {
				require.Equal(t, 1, poll(h).Value(), "a handle that was made works")
			}
			<-dropped
			require.Equal(t, h == nil, l.drops == 1)
		}
	})
	t.Run("keeps_no_value_for_a_waker_that_its_future_kept", func(t *testing.T) {
		var freed atomic.Bool
		var kept *rawwaker.Waker
		func() {
			f := future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[*[1 << 16]byte] {
				kept = cx.Waker().Clone()
				return rawwaker.Ready(large(&freed))
			})
			blockon.BlockOn[*[1 << 16]byte](future.Shared(f))
		}()
		isCollected(t, &freed)
		kept.Drop()
	})
}

// manyOfShared gives waits for one event, and the event.
func manyOfShared() (wait func() rawwaker.Future[struct{}], event func()) {
	l := new(leaf)
	s := future.Shared[int](l)
	return func() rawwaker.Future[struct{}] { return unit[int](s.Clone()) }, l.light
}
