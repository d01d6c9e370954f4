package future_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// full makes n channels, each with its number in it, and a Recv of each.
func full(n int) (rxs []*future.Receiver[int], fs []rawwaker.Future[rawwaker.Result[int]]) {
	for i := range n {
		tx, rx := future.Channel[int](1)
		tx.TrySend(i)
		rxs, fs = append(rxs, rx), append(fs, rx.Recv())
	}
	return rxs, fs
}

// left are the channels that still have their value.
func left(rxs []*future.Receiver[int]) (all []int) {
	for i, rx := range rxs {
		if v, ok := rx.TryRecv(); ok && v == i {
			all = append(all, i)
		}
	}
	return all
}

func TestUnordered(t *testing.T) {
	cx := rawwaker.NewContext(rawwaker.Noop())
	for taken := range 5 {
		rxs, fs := full(4)
		s := future.Unordered(fs...)
		for i := range taken {
			require.Equal(t, i, s.PollNext(cx).Value().Value.Value)
		}
		s.(rawwaker.Dropper).Drop()
		s.(rawwaker.Dropper).Drop()
		require.Equal(t, []int{0, 1, 2, 3}[taken:], append([]int{}, left(rxs)...), "takes a value only when it gives it")
		require.False(t, s.PollNext(cx).Value().Ok, "has ended")
	}
	t.Run("gives one item for each poll of those woken at once, in the order of their wakes", func(t *testing.T) {
		ls, fs := leaves(5)
		s := future.Unordered(fs...)
		var c step
		require.False(t, s.PollNext(c.context()).IsReady())
		for _, i := range []int{3, 0, 4} {
			ls[i].light()
		}
		require.EqualValues(t, 1, c.wakes.Load())
		for _, i := range []int{3, 0, 4} {
			require.True(t, s.PollNext(c.context()).IsReady())
			require.Equal(t, 2, ls[i].polls)
		}
		require.False(t, s.PollNext(c.context()).IsReady())
		require.Equal(t, []int{1, 1}, []int{ls[1].polls, ls[2].polls})
		ls[1].light()
		require.EqualValues(t, 2, c.wakes.Load())
		s.(rawwaker.Dropper).Drop()
		require.Equal(t, []int{0, 1, 1, 0, 0}, []int{ls[0].drops, ls[1].drops, ls[2].drops, ls[3].drops, ls[4].drops})
	})
	t.Run("in a Take, a Race and a Timeout loses nothing", func(t *testing.T) {
		rxs, fs := full(3)
		require.Len(t, blockon.BlockOn(future.Collect(future.Take(future.Unordered(fs...), 2))), 2)
		require.Equal(t, []int{2}, left(rxs))
		rxs, fs = full(3)
		r := blockon.BlockOn(future.Race(future.Next(future.Unordered(fs[0], fs[1])), future.Next(future.Unordered(fs[2]))))
		require.Equal(t, 0, r.Value.Value)
		require.Equal(t, []int{1, 2}, left(rxs))
	})
}

func TestRace(t *testing.T) {
	rxs, fs := full(3)
	require.Equal(t, 0, blockon.BlockOn(future.Race(fs...)).Value, "of several that are ready at the first poll the first wins")
	require.Equal(t, []int{1, 2}, left(rxs), "the losers have taken nothing")

	ls, ready := leaves(3)
	f := future.Race(ready...)
	require.False(t, poll(f).IsReady())
	ls[2].light()
	ls[0].light()
	require.Equal(t, 2, poll(f).Value())
	require.Equal(t, []int{2, 1}, []int{ls[2].polls, ls[0].polls}, "later, the one that was woken first")
}
