package future_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestJoinAll(t *testing.T) {
	t.Run("polls_only_those_that_were_woken", func(t *testing.T) {
		balance.Check(t)
		synctest.Test(t, func(t *testing.T) {
			const n = 100
			ls, fs := leaves(n)
			done := make(chan []int)
			go func() { done <- blockon.BlockOn(future.JoinAll(fs...)) }()
			synctest.Wait()
			for i := n - 1; i >= 0; i-- {
				ls[i].light()
				synctest.Wait()
			}
			for _, polls := range <-done {
				require.Equal(t, 2, polls, "at first, and once for its wake")
			}
		})
		require.Empty(t, blockon.BlockOn(future.JoinAll[int]()))
	})
	t.Run("moves_to_another_task_after_its_first_poll", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ls, fs := leaves(3)
			all := future.JoinAll(fs...)
			first := rawwaker.Noop()
			require.False(t, all.Poll(rawwaker.NewContext(first)).IsReady())
			go func() {
				synctest.Wait()
				for _, l := range ls {
					l.light()
				}
			}()
			require.Len(t, blockon.BlockOn(all), 3)
		})
	})
	t.Run("drops_all_once_if_one_panics", func(t *testing.T) {
		var a leaf
		var p panicking
		var c leaf
		require.PanicsWithValue(t, "poll", func() { blockon.BlockOn(future.JoinAll[int](&a, &p, &c)) })
		require.Equal(t, []int{1, 1, 1}, []int{a.drops, p.drops, c.drops})
		var d leaf
		var q panicking
		require.PanicsWithValue(t, "poll", func() { blockon.BlockOn(future.Join[int, int](&d, &q)) })
		require.Equal(t, []int{1, 1}, []int{d.drops, q.drops})
	})
	t.Run("drops_the_others_if_the_Drop_of_one_panics", func(t *testing.T) {
		var a, d leaf
		var b, c dropPanics
		f := future.JoinAll[int](&a, &b, &c, &d)
		f.Poll(rawwaker.NewContext(rawwaker.Noop()))
		require.PanicsWithValue(t, "drop", f.(rawwaker.Dropper).Drop)
		require.Equal(t, []int{1, 1, 1, 1}, []int{a.drops, b.drops, c.drops, d.drops})
	})
	t.Run("that_was_dropped_is_not_polled_again", func(t *testing.T) {
		f := future.JoinAll[int](new(leaf))
		require.False(t, poll(f).IsReady())
		drop(f)
		require.PanicsWithValue(t, "future polled after completion", func() { poll(f) })
	})
	// Wakes of many goroutines while the combinator is polled and moved: each child ends, none is
	// polled twice for one wake.
	t.Run("loses_no_wake_in_a_storm", func(t *testing.T) {
		balance.Check(t)
		rounds := 200
		if testing.Short() {
			rounds = 30
		}
		for range rounds {
			ls, fs := leaves(64)
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := g; i < len(ls); i += 4 {
						ls[i].waker.Wake()
						ls[i].light()
					}
				})
			}
			require.Len(t, blockon.BlockOn(future.JoinAll(fs...)), 64)
			wg.Wait()
		}
	})
}

type panicking struct{ leaf }

func (p *panicking) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic("poll") }

type dropPanics struct{ leaf }

func (p *dropPanics) Drop() { p.leaf.Drop(); panic("drop") }

func TestRace(t *testing.T) {
	t.Run("returns_the_first_and_drops_the_others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ls, fs := leaves(5)
			go func() {
				synctest.Wait()
				ls[3].light()
			}()
			require.Equal(t, 2, blockon.BlockOn(future.Race(fs...)))
			for i, l := range ls {
				want := 1
				if i == 3 {
					want = 0
				}
				require.Equal(t, want, l.drops)
				require.LessOrEqual(t, l.polls, 2)
				l.light()
			}
		})
		require.PanicsWithValue(t, "future: Race: no futures", func() { future.Race[int]() })
	})
	t.Run("takes_the_first_that_is_ready_and_nothing_of_the_losers", func(t *testing.T) {
		rxs, fs := full(3)
		require.Equal(t, 0, blockon.BlockOn(future.Race(fs...)).Value)
		require.Equal(t, []int{1, 2}, left(rxs), "the losers have taken nothing")
	})
	t.Run("polls_in_the_order_of_the_wakes", func(t *testing.T) {
		ls, ready := leaves(3)
		f := future.Race(ready...)
		require.False(t, poll(f).IsReady())
		ls[2].light()
		ls[0].light()
		require.Equal(t, 2, poll(f).Value())
		require.Equal(t, []int{2, 1}, []int{ls[2].polls, ls[0].polls})
	})
}

func TestTimeout(t *testing.T) {
	t.Run("returns_the_result_or_the_error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l leaf
			r := blockon.BlockOn(future.Timeout[int](&l, time.Second))
			require.ErrorIs(t, r.Err, context.DeadlineExceeded)
			require.Equal(t, 1, l.drops)
			m := &leaf{lit: true}
			r = blockon.BlockOn(future.Timeout[int](m, time.Second))
			require.NoError(t, r.Err)
			require.Equal(t, 1, r.Value)
			require.Zero(t, m.drops)
			f := future.Timeout[int](new(leaf), time.Hour)
			require.False(t, f.Poll(rawwaker.NewContext(rawwaker.Noop())).IsReady())
			f.(rawwaker.Dropper).Drop()
		})
	})
	t.Run("that_has_passed_drops_its_future_once_though_the_Drop_panics", func(t *testing.T) {
		inner := &faulted{poll: func() {}, drop: func() { panic("in Drop") }}
		f := future.Timeout[int](inner, 0)
		require.Panics(t, func() { blockon.BlockOn(f) }) // it drops f, too
		require.Equal(t, 1, inner.drops)
	})
}
