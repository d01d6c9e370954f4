package future_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestMap(t *testing.T) {
	t.Run("passes_the_result_to_the_function", func(t *testing.T) {
		f := future.Map(future.Ready(21), func(v int) string { return string(rune('0' + v/5)) })
		require.Equal(t, "4", blockon.BlockOn(f))
		require.PanicsWithValue(t, "future polled after completion", func() { poll(f) })
	})
}

func TestThen(t *testing.T) {
	t.Run("polls_the_next_future_in_the_same_poll", func(t *testing.T) {
		next := func(v int) rawwaker.Future[int] { return future.Ready(v + 1) }
		f := future.Then(future.Ready(20), next)
		require.Equal(t, 21, poll(f).Value())
		require.PanicsWithValue(t, "future polled after completion", func() { poll(f) })
	})
	// A loop that is quadratic, or that needs stack for each round, does not end here.
	var loop func(n int) rawwaker.Future[int]
	rounds := 1_000_000
	if testing.Short() {
		rounds = 200_000
	}
	for name, first := range map[string]func() rawwaker.Future[struct{}]{
		"ready":   func() rawwaker.Future[struct{}] { return future.Ready(struct{}{}) },
		"pending": future.Yield,
	} {
		t.Run("in_a_loop_costs_each_round_the_same/"+name, func(t *testing.T) {
			loop = func(n int) rawwaker.Future[int] {
				return future.Then(first(), func(struct{}) rawwaker.Future[int] {
					if n == rounds {
						return future.Ready(n)
					}
					return loop(n + 1)
				})
			}
			require.Equal(t, rounds, blockon.BlockOn(loop(0)))
		})
	}
	t.Run("continues_with_a_Then_that_was_polled_before", func(t *testing.T) {
		for polls := range 3 {
			l := new(leaf)
			inner := future.Then(future.Yield(), func(struct{}) rawwaker.Future[int] { return l })
			for range polls {
				require.False(t, poll(inner).IsReady())
			}
			f := future.Then(future.Ready(1), func(int) rawwaker.Future[int] { return inner })
			require.False(t, poll(f).IsReady())
			l.light()
			require.True(t, poll(f).IsReady())
			require.PanicsWithValue(t, "future polled after completion", func() { poll(inner) })
		}
	})
	t.Run("drops_the_tail_of_its_tail_once", func(t *testing.T) {
		for polls := range 5 {
			l := new(leaf)
			f := future.Then(future.Yield(), func(struct{}) rawwaker.Future[int] {
				return future.Then(future.Yield(), func(struct{}) rawwaker.Future[int] {
					return future.Then[int](l, func(int) rawwaker.Future[int] { return future.Ready(1) })
				})
			})
			for range polls {
				require.False(t, poll(f).IsReady())
			}
			drop(f)
			drop(f)
			require.Equal(t, polls > 2, l.drops == 1)
		}
	})
}

func TestCatchPanic(t *testing.T) {
	t.Run("returns_the_panic_and_drops_the_future", func(t *testing.T) {
		boom := errors.New("boom")
		l := new(leaf)
		r := blockon.BlockOn(future.CatchPanic[int](&panics{leaf: l, with: boom}))
		require.ErrorIs(t, r.Err, boom)
		var p *future.PanicError
		require.ErrorAs(t, r.Err, &p)
		require.Contains(t, string(p.Stack), "(*panics).Poll")
		require.Equal(t, 1, l.drops)
		require.Equal(t, 3, blockon.BlockOn(future.CatchPanic(future.Ready(3))).Value)
	})
}

type panics struct {
	*leaf
	with error
}

func (p *panics) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic(p.with) }
