package future_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestStream(t *testing.T) {
	t.Run("is_filtered_mapped_taken_and_collected", func(t *testing.T) {
		even := func(v int) bool { return v%2 == 0 }
		evens := future.Filter(future.Values(1, 2, 3, 4, 5, 6, 7, 8), even)
		s := future.Take(future.MapStream(evens, func(v int) int { return v * v }), 3)
		require.Equal(t, []int{4, 16, 36}, blockon.BlockOn(future.Collect(s)))

		s = future.Values(1, 2)
		require.Equal(t, future.Item[int]{Value: 1, Ok: true}, blockon.BlockOn(future.Next(s)))
		require.Equal(t, future.Item[int]{Value: 2, Ok: true}, blockon.BlockOn(future.Next(s)))
		require.Equal(t, future.Item[int]{}, blockon.BlockOn(future.Next(s)))

		sum, many := 0, make([]int, 1000)
		for i := range many {
			many[i] = i
		}
		f := &polled[struct{}]{f: future.ForEach(future.Values(many...), func(v int) { sum += v })}
		blockon.BlockOn[struct{}](f)
		require.Equal(t, 499500, sum)
		require.Equal(t, 16, f.n, "it wakes itself after 64 values")
		none := future.Filter(future.Values(many...), func(int) bool { return false })
		require.Empty(t, blockon.BlockOn(future.Collect(none)))
	})
	t.Run("Take_drops_its_source_after_the_last_value_or_at_once_if_n_is_0", func(t *testing.T) {
		for n, want := range []string{"d", "pd"} {
			var log letters
			s := future.Take[int](&logged{s: future.Values(1, 2), log: &log}, n)
			require.Equal(t, n == 1, blockon.BlockOn(future.Next(s)).Ok)
			require.Equal(t, want, log.String())
			require.False(t, blockon.BlockOn(future.Next(s)).Ok)
			require.Equal(t, want, log.String())
		}
	})
	t.Run("gives_no_more_after_its_end_or_Drop_and_polls_its_source_no_more", func(t *testing.T) {
		for name, over := range map[string]func(future.Stream[int]) future.Stream[int]{
			"MapStream": func(s future.Stream[int]) future.Stream[int] {
				return future.MapStream(s, func(v int) int { return v })
			},
			"Filter": func(s future.Stream[int]) future.Stream[int] {
				return future.Filter(s, func(int) bool { return true })
			},
			"Take": func(s future.Stream[int]) future.Stream[int] { return future.Take(s, 5) },
		} {
			t.Run(name, func(t *testing.T) {
				var log letters
				s := over(&logged{s: future.Values(1), log: &log})
				require.Equal(t, []int{1}, blockon.BlockOn(future.Collect(s)))
				require.False(t, blockon.BlockOn(future.Next(s)).Ok)
				s.(rawwaker.Dropper).Drop()
				require.Equal(t, "pp", log.String(), "a stream that has ended is not dropped")

				s = over(&logged{s: future.Values(1), log: &log})
				s.(rawwaker.Dropper).Drop()
				s.(rawwaker.Dropper).Drop()
				require.False(t, blockon.BlockOn(future.Next(s)).Ok)
				require.Equal(t, "ppd", log.String())
			})
		}
	})
}

// logged logs p for each poll of s and d for a drop.
type logged struct {
	s   future.Stream[int]
	log *letters
}

func (l *logged) PollNext(cx *rawwaker.Context) rawwaker.Poll[future.Item[int]] {
	l.log.add("p")
	return l.s.PollNext(cx)
}

func (l *logged) Drop() { l.log.add("d") }

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
	t.Run("returns_what_is_ready_first_and_polls_what_was_woken", func(t *testing.T) {
		leaves := make([]*leaf, 100)
		fs := make([]rawwaker.Future[int], len(leaves))
		for i := range leaves {
			leaves[i] = new(leaf)
			fs[i] = leaves[i]
		}
		s := future.Unordered(fs...)
		cx := new(step).context()
		require.False(t, s.PollNext(cx).IsReady())
		leaves[70].light()
		leaves[3].light()
		for range 2 {
			require.Equal(t, future.Item[int]{Value: 2, Ok: true}, s.PollNext(cx).Value())
		}
		require.False(t, s.PollNext(cx).IsReady())
		polls := 0
		for _, l := range leaves {
			polls += l.polls
		}
		require.Equal(t, len(leaves)+2, polls)
		s.(rawwaker.Dropper).Drop()
		drops := 0
		for _, l := range leaves {
			drops += l.drops
		}
		require.Equal(t, len(leaves)-2, drops)
		require.False(t, blockon.BlockOn(future.Next(future.Unordered[int]())).Ok)
		ready := future.Unordered(future.Ready(1), future.Ready(2), future.Ready(3))
		require.Equal(t, []int{1, 2, 3}, blockon.BlockOn(future.Collect(ready)))
	})
	t.Run("takes_a_value_only_when_it_returns_it", func(t *testing.T) {
		cx := rawwaker.NewContext(rawwaker.Noop())
		for taken := range 5 {
			rxs, fs := full(4)
			s := future.Unordered(fs...)
			for i := range taken {
				require.Equal(t, i, s.PollNext(cx).Value().Value.Value)
			}
			s.(rawwaker.Dropper).Drop()
			s.(rawwaker.Dropper).Drop()
			require.Equal(t, []int{0, 1, 2, 3}[taken:], append([]int{}, left(rxs)...))
			require.False(t, s.PollNext(cx).Value().Ok, "has ended")
		}
	})
	t.Run("returns_one_item_for_each_poll_in_the_order_of_the_wakes", func(t *testing.T) {
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
		for i, drops := range []int{0, 1, 1, 0, 0} {
			require.Equal(t, drops, ls[i].drops)
		}
	})
	t.Run("in_Take_and_Race_loses_nothing", func(t *testing.T) {
		rxs, fs := full(3)
		require.Len(t, blockon.BlockOn(future.Collect(future.Take(future.Unordered(fs...), 2))), 2)
		require.Equal(t, []int{2}, left(rxs))
		rxs, fs = full(3)
		a, b := future.Unordered(fs[0], fs[1]), future.Unordered(fs[2])
		r := blockon.BlockOn(future.Race(future.Next(a), future.Next(b)))
		require.Equal(t, 0, r.Value.Value)
		require.Equal(t, []int{1, 2}, left(rxs))
	})
}
