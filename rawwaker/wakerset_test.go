package rawwaker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// woken is what Woken yields, each with its waker kept.
func woken(s *rawwaker.WakerSet, parent *rawwaker.Waker, keep []*rawwaker.Waker) (order []int) {
	for i, cx := range s.Woken(rawwaker.NewContext(parent)) {
		order = append(order, i)
		if keep[i] != nil {
			keep[i].Drop()
		}
		keep[i] = cx.Waker().Clone()
	}
	return order
}

func TestWoken(t *testing.T) {
	t.Run("yields_those_that_were_woken_oldest_first", func(t *testing.T) {
		balance.Check(t)
		var s rawwaker.WakerSet
		s.Init(4)
		parent := rawwaker.Noop()
		keep := make([]*rawwaker.Waker, 4)
		require.Equal(t, []int{0, 1, 2, 3}, woken(&s, parent, keep))
		require.Empty(t, woken(&s, parent, keep))
		keep[2].WakeByRef()
		keep[0].WakeByRef()
		keep[2].WakeByRef()
		require.Equal(t, []int{2, 0}, woken(&s, parent, keep))
		s.Done(2)
		s.Done(2)
		keep[2].WakeByRef()
		require.Empty(t, woken(&s, parent, keep))
		require.Equal(t, 3, s.Left())
		s.Drop()
		require.Zero(t, s.Left())
		keep[1].WakeByRef()
	})
	t.Run("yields_those_that_a_break_left_before_those_woken_later", func(t *testing.T) {
		balance.Check(t)
		var s rawwaker.WakerSet
		s.Init(4)
		parent := rawwaker.Noop()
		keep := make([]*rawwaker.Waker, 4)
		require.Equal(t, []int{0, 1, 2, 3}, woken(&s, parent, keep))
		for _, i := range []int{1, 0, 3} {
			keep[i].WakeByRef()
		}
		for i := range s.Woken(rawwaker.NewContext(parent)) {
			require.Equal(t, 1, i)
			break
		}
		keep[2].WakeByRef()
		keep[1].WakeByRef()
		require.Equal(t, []int{0, 3, 2, 1}, woken(&s, parent, keep))
		require.Empty(t, woken(&s, parent, keep))
		s.Drop()
		for _, w := range keep {
			w.Drop()
		}
	})
	t.Run("wakes_the_parent_after_the_list_is_written", func(t *testing.T) {
		var s rawwaker.WakerSet
		s.Init(1)
		keep := make([]*rawwaker.Waker, 1)
		var order []int
		parent := rawwaker.FromFunc(
			func() { order = woken(&s, rawwaker.Noop(), keep) },
		) // as an executor on another CPU would
		require.Equal(t, []int{0}, woken(&s, parent, keep))
		keep[0].Clone().Wake()
		require.Equal(t, []int{0}, order)
		s.Drop()
	})
	t.Run("leaves_a_future_that_wakes_itself_for_the_next_poll", func(t *testing.T) {
		var s rawwaker.WakerSet
		s.Init(2)
		wakes := 0
		parent := rawwaker.FromFunc(func() { wakes++ })
		for range 3 {
			polled := 0
			for _, cx := range s.Woken(rawwaker.NewContext(parent)) {
				polled++
				cx.Waker().WakeByRef()
			}
			require.Equal(t, 2, polled)
		}
		require.Equal(
			t,
			3,
			wakes,
			"the first of each round takes the parent's waker, which the next poll registers again",
		)
		s.Drop()
	})
	t.Run("asks_at_a_break_for_the_poll_of_the_rest", func(t *testing.T) {
		var s rawwaker.WakerSet
		s.Init(2)
		wakes := 0
		parent := rawwaker.FromFunc(func() { wakes++ })
		for range s.Woken(rawwaker.NewContext(parent)) {
			break
		}
		require.Equal(t, 1, wakes)
		s.Drop()
	})
	t.Run("leaves_the_rest_woken_at_a_break", func(t *testing.T) {
		var s rawwaker.WakerSet
		s.Init(4)
		parent := rawwaker.Noop()
		for i := range s.Woken(rawwaker.NewContext(parent)) {
			if i == 1 {
				break
			}
		}
		keep := make([]*rawwaker.Waker, 4)
		require.Equal(t, []int{2, 3}, woken(&s, parent, keep))
		keep[2].WakeByRef()
		keep[3].WakeByRef()
		for range s.Woken(rawwaker.NewContext(parent)) {
			break
		}
		require.Equal(t, []int{3}, woken(&s, parent, keep))
		s.Drop()
	})
}

func TestWokenNext(t *testing.T) {
	next := func(s *rawwaker.WakerSet, cx *rawwaker.Context) int {
		for i := range s.WokenNext(cx) {
			s.Done(i)
			return i
		}
		return -1
	}
	t.Run(
		"yields_one_at_a_time_in_the_order_of_the_wakes_and_a_break_wakes_no_task",
		func(t *testing.T) {
			var s rawwaker.WakerSet
			s.Init(4)
			wakes := 0
			parent := rawwaker.FromFunc(func() { wakes++ })
			cx := rawwaker.NewContext(parent)
			var keep []*rawwaker.Waker
			for _, cx := range s.WokenNext(cx) {
				keep = append(keep, cx.Waker().Clone())
			}
			require.Equal(t, -1, next(&s, cx))
			keep[3].WakeByRef()
			require.Equal(t, 1, wakes)
			keep[1].WakeByRef()
			require.Equal(t, 3, next(&s, cx))
			require.Equal(t, 1, wakes, "the break has left one and wakes no task")
			keep[0].WakeByRef() // the list that the break has left comes first
			require.Equal(t, 2, wakes)
			require.Equal(t, 1, next(&s, cx))
			require.Equal(t, 0, next(&s, cx))
			require.Equal(t, 2, wakes)
			require.Equal(t, -1, next(&s, cx))
			keep[2].WakeByRef()
			require.Equal(t, 3, wakes, "registered where nothing was left")
			require.Equal(t, 2, next(&s, cx))
			s.Drop()
		},
	)
	t.Run("costs_the_same_for_each_of_many", func(t *testing.T) {
		const n = 200_000 // with a cost for each that is left it would take minutes
		var s rawwaker.WakerSet
		s.Init(n)
		cx := rawwaker.NewContext(rawwaker.Noop())
		for i := range n {
			require.Equal(t, i, next(&s, cx))
		}
		s.Drop()
	})
}
