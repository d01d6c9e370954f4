package future_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestOneshot(t *testing.T) {
	t.Run("receives_what_was_sent_before", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		require.True(t, tx.Send(1))
		require.Equal(t, rawwaker.Result[int]{Value: 1}, blockon.BlockOn(rx))
		require.PanicsWithValue(t, "future polled after completion", func() { poll(rx) })
		require.PanicsWithValue(t, "future: Send: the OneshotSender has sent or was dropped",
			func() { tx.Send(2) })
	})
	t.Run("receives_what_is_sent_after_for_one_wake", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		var s step
		cx := s.context()
		require.False(t, rx.Poll(cx).IsReady())
		require.True(t, tx.Send(1))
		require.EqualValues(t, 1, s.wakes.Load())
		require.Equal(t, 1, rx.Poll(cx).Value().Value)
	})
	t.Run("that_was_received_or_dropped_may_be_dropped_again", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		tx.Send(1)
		require.Equal(t, 1, blockon.BlockOn(rx).Value)
		rx.Drop()
		rx.Drop()
		tx.Drop()

		tx, rx = future.Oneshot[int]()
		var s step
		require.False(t, rx.Poll(s.context()).IsReady())
		rx.Drop()
		rx.Drop()
		require.PanicsWithValue(t, "future polled after completion", func() { poll(rx) })
		require.True(t, tx.Closed())
		require.False(t, tx.Send(1))
		require.Zero(t, s.wakes.Load())
	})
	t.Run("reports_that_the_sender_was_dropped", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		var s step
		require.False(t, rx.Poll(s.context()).IsReady())
		tx.Drop()
		tx.Drop()
		require.EqualValues(t, 1, s.wakes.Load())
		require.ErrorIs(t, blockon.BlockOn(rx).Err, future.ErrClosed)
	})
	t.Run("reports_that_the_receiver_was_dropped", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		require.False(t, tx.Closed())
		rx.Drop()
		require.True(t, tx.Closed())
		require.False(t, tx.Send(1))
	})
	t.Run("loses_nothing_if_both_ends_act_at_once", func(t *testing.T) {
		for range 20_000 {
			tx, rx := future.Oneshot[int]()
			go tx.Send(5)
			require.Equal(t, 5, blockon.BlockOn(rx).Value)
		}
	})
}
