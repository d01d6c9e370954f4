package future_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestChannel(t *testing.T) {
	t.Run("keeps_order_and_its_bound", func(t *testing.T) {
		tx, rx := future.Channel[int](2)
		require.True(t, tx.TrySend(1))
		require.True(t, tx.TrySend(2))
		require.False(t, tx.TrySend(3))
		var s step
		third := tx.Send(3)
		require.False(t, third.Poll(s.context()).IsReady())
		v, ok := rx.TryRecv()
		require.True(t, ok)
		require.Equal(t, 1, v)
		require.EqualValues(t, 1, s.wakes.Load())
		require.False(t, tx.TrySend(4), "the place is reserved for the one that waits")
		require.NoError(t, third.Poll(s.context()).Value())
		tx.Close()
		require.False(t, tx.TrySend(5))
		require.ErrorIs(t, blockon.BlockOn(tx.Send(5)), future.ErrClosed)
		require.Equal(t, []int{2, 3}, blockon.BlockOn(future.Collect(rx.Stream())))
		require.ErrorIs(t, blockon.BlockOn(rx.Recv()).Err, future.ErrClosed)
		require.Panics(t, func() { future.Channel[int](0) })
	})
	t.Run("is_closed_by_its_receiver", func(t *testing.T) {
		tx, rx := future.Channel[int](1)
		require.True(t, tx.TrySend(1))
		var s step
		waits := tx.Send(2)
		require.False(t, waits.Poll(s.context()).IsReady())
		rx.Close()
		rx.Close()
		require.EqualValues(t, 1, s.wakes.Load())
		require.ErrorIs(t, waits.Poll(s.context()).Value(), future.ErrClosed)
		require.Equal(t, rawwaker.Result[int]{Value: 1}, blockon.BlockOn(rx.Recv()))
		require.ErrorIs(t, blockon.BlockOn(rx.Recv()).Err, future.ErrClosed)
	})
	t.Run("passes_a_grant_on_if_its_waiter_is_dropped", func(t *testing.T) {
		tx, rx := future.Channel[int](1)
		var a, b step
		first, second := rx.Recv(), rx.Recv()
		require.False(t, first.Poll(a.context()).IsReady())
		require.False(t, second.Poll(b.context()).IsReady())
		tx.TrySend(1)
		require.Equal(t, [2]int32{1, 0}, [2]int32{a.wakes.Load(), b.wakes.Load()})
		drop(first)
		require.EqualValues(t, 1, b.wakes.Load())
		require.Equal(t, 1, second.Poll(b.context()).Value().Value)

		tx.TrySend(1)
		one, two := tx.Send(2), tx.Send(3)
		require.False(t, one.Poll(a.context()).IsReady())
		require.False(t, two.Poll(b.context()).IsReady())
		_, _ = rx.TryRecv()
		drop(one)
		require.NoError(t, two.Poll(b.context()).Value())
		v, _ := rx.TryRecv()
		require.Equal(t, 3, v)
	})
	t.Run("wakes_all_waiters_at_its_end", func(t *testing.T) {
		tx, rx := future.Channel[int](1)
		var steps [3]step
		var waiting []rawwaker.Future[rawwaker.Result[int]]
		for i := range steps {
			f := rx.Recv()
			f.Poll(steps[i].context())
			waiting = append(waiting, f)
		}
		tx.Close()
		for i := range steps {
			require.EqualValues(t, 1, steps[i].wakes.Load())
			require.ErrorIs(t, poll(waiting[i]).Value().Err, future.ErrClosed)
		}
	})
	t.Run("loses_nothing_in_a_storm", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		tx, rx := future.Channel[int](3)
		const senders, each = 8, 2000
		for s := range senders {
			executor.Detach(ex, future.Async(func(aw *future.Awaiter) struct{} {
				for i := range each {
					f := tx.Send(s*each + i)
					if i%7 == 0 { // dropped before it is ready
						g := tx.Send(-1)
						if g.Poll(rawwaker.NewContext(rawwaker.Noop())).IsReady() {
							future.Await(aw, tx.Send(-2)) // it went in
						} else {
							drop(g)
						}
					}
					if err := future.Await(aw, f); err != nil {
						panic(err)
					}
				}
				return struct{}{}
			}))
		}
		var sums [3]atomic.Int64
		done := make(chan struct{})
		var got atomic.Int64
		for range 3 {
			executor.Detach(ex, future.ForEach(rx.Stream(), func(v int) {
				switch v {
				case -1:
					sums[1].Add(1)
				case -2:
					sums[2].Add(1)
				default:
					sums[0].Add(int64(v))
					if got.Add(1) == senders*each {
						close(done)
					}
				}
			}))
		}
		<-done
		tx.Close()
		require.NoError(t, ex.Wait(context.Background()))
		require.EqualValues(t, senders*each*(senders*each-1)/2, sums[0].Load())
		require.Equal(t, sums[1].Load(), sums[2].Load())
	})
	t.Run("wakes_the_receiver_that_came_while_a_senders_waker_panicked", func(t *testing.T) {
		s, r := future.Channel[int](1)
		require.True(t, s.TrySend(1))
		woken := 0
		late := rawwaker.FromFunc(func() { woken++ })
		defer late.Drop()
		second := r.Recv()
		bad := rawwaker.FromFunc(func() {
			require.False(t, second.Poll(rawwaker.NewContext(late)).IsReady(), "it was taken")
			panic("waker")
		})
		send := s.Send(2)
		require.False(t, send.Poll(rawwaker.NewContext(bad)).IsReady())
		require.PanicsWithValue(t, "waker", func() { r.TryRecv() })
		require.Equal(t, 1, woken)
		require.Equal(t, 1, poll(second).Value().Value)
		drop(send)
		bad.Drop()
	})
	t.Run("Close_wakes_all_although_wakers_panic_exit_and_block", func(t *testing.T) {
		othersAreWoken(t, manyOfChannel)
	})
	t.Run("of_any_capacity_costs_what_is_in_it", func(t *testing.T) {
		tx, rx := future.Channel[[64]byte](math.MaxInt)
		for _, n := range []int{1, 40, 3, 1000, 17} {
			for i := range n {
				require.True(t, tx.TrySend([64]byte{byte(i)}))
			}
			for i := range n {
				v, ok := rx.TryRecv()
				require.True(t, ok)
				require.Equal(t, byte(i), v[0])
			}
			_, ok := rx.TryRecv()
			require.False(t, ok)
		}
	})
	t.Run("keeps_the_order_while_it_grows_and_shrinks", func(t *testing.T) {
		for _, capacity := range []int{1, 2, 15, 16, 17, 100, 1 << 20} {
			tx, rx := future.Channel[int](capacity)
			in, out := 0, 0
			for round := range 400 {
				for range round % 97 {
					if tx.TrySend(in) {
						in++
					} else {
						require.Equal(t, capacity, in-out)
					}
				}
				for range (round * 7) % 101 {
					if v, ok := rx.TryRecv(); ok {
						require.Equal(t, out, v)
						out++
					}
				}
			}
		}
	})
	t.Run("loses_no_value_if_the_waker_of_a_sender_does_not_return", func(t *testing.T) {
		for name, end := range endings {
			for _, try := range []bool{false, true} {
				tx, rx := future.Channel[int](1)
				tx.TrySend(1)
				send := tx.Send(2)
				require.False(t, send.Poll(rawwaker.NewContext(rawwaker.FromFunc(end))).IsReady())
				got, ended := 0, signal()
				go func() {
					defer close(ended)
					defer func() { _ = recover() }()
					if try {
						got, _ = rx.TryRecv()
					} else {
						got = poll(rx.Recv()).Value().Value
					}
				}()
				<-ended
				if name != "returns" {
					require.Zero(t, got)
					got, _ = rx.TryRecv()
				}
				require.Equal(t, 1, got, name)
				require.True(t, poll(send).IsReady(), name)
				require.Equal(t, 2, poll(rx.Recv()).Value().Value)
			}
		}
	})
}

func manyOfChannel() (wait func() rawwaker.Future[struct{}], event func()) {
	tx, rx := future.Channel[int](1)
	return func() rawwaker.Future[struct{}] { return unit(rx.Recv()) }, tx.Close
}
