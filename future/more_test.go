package future_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// step polls f once under a waker that counts.
type step struct{ wakes atomic.Int32 }

func (s *step) Wake() { s.wakes.Add(1) }

func (s *step) context() *rawwaker.Context { return rawwaker.NewContext(rawwaker.FromWake(s)) }

func TestMapPutsTheResultThroughTheFunction(t *testing.T) {
	f := future.Map(future.Ready(21), func(v int) string { return string(rune('0' + v/5)) })
	require.Equal(t, "4", blockon.BlockOn(f))
	require.PanicsWithValue(t, "future polled after completion", func() { poll(f) })
}

func TestThenGoesOnWithTheNextFutureInTheSamePoll(t *testing.T) {
	f := future.Then(future.Ready(20), func(v int) rawwaker.Future[int] { return future.Ready(v + 1) })
	require.Equal(t, 21, poll(f).Value())
	require.PanicsWithValue(t, "future polled after completion", func() { poll(f) })
}

func TestMapThenAndCatchPanicDropWhatTheyHoldOnce(t *testing.T) {
	for name, wrap := range map[string]func(*leaf) rawwaker.Dropper{
		"Map": func(l *leaf) rawwaker.Dropper {
			return future.Map[int](l, func(v int) int { return v }).(rawwaker.Dropper)
		},
		"Then, first": func(l *leaf) rawwaker.Dropper {
			return future.Then[int](l, func(int) rawwaker.Future[int] { return future.Ready(0) }).(rawwaker.Dropper)
		},
		"Then, next": func(l *leaf) rawwaker.Dropper {
			f := future.Then(future.Ready(0), func(int) rawwaker.Future[int] { return l })
			poll(f)
			return f.(rawwaker.Dropper)
		},
		"CatchPanic": func(l *leaf) rawwaker.Dropper { return future.CatchPanic[int](l).(rawwaker.Dropper) },
		"Shared":     func(l *leaf) rawwaker.Dropper { return future.Shared[int](l) },
		"Collect":    func(l *leaf) rawwaker.Dropper { return future.Collect(future.Unordered[int](l)).(rawwaker.Dropper) },
		"Take":       func(l *leaf) rawwaker.Dropper { return future.Take(future.Unordered[int](l), 1).(rawwaker.Dropper) },
	} {
		l := new(leaf)
		wrap(l).Drop()
		require.Equal(t, 1, l.drops, name)
	}
}

func TestCatchPanicGivesThePanicAndDropsTheFuture(t *testing.T) {
	boom := errors.New("boom")
	l := new(leaf)
	r := blockon.BlockOn(future.CatchPanic[int](&panics{leaf: l, with: boom}))
	require.ErrorIs(t, r.Err, boom)
	var p *future.PanicError
	require.ErrorAs(t, r.Err, &p)
	require.Contains(t, string(p.Stack), "(*panics).Poll")
	require.Equal(t, 1, l.drops)
	require.Equal(t, 3, blockon.BlockOn(future.CatchPanic(future.Ready(3))).Value)
}

type panics struct {
	*leaf
	with error
}

func (p *panics) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic(p.with) }

func TestOneshot(t *testing.T) {
	t.Run("gives the value that was sent before", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		require.True(t, tx.Send(1))
		require.Equal(t, rawwaker.Result[int]{Value: 1}, blockon.BlockOn(rx))
		require.PanicsWithValue(t, "future polled after completion", func() { poll(rx) })
		require.PanicsWithValue(t, "future: Send: the OneshotSender has sent or was dropped", func() { tx.Send(2) })
	})
	t.Run("gives the value that is sent after, for one wake", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		var s step
		cx := s.context()
		require.False(t, rx.Poll(cx).IsReady())
		require.True(t, tx.Send(1))
		require.EqualValues(t, 1, s.wakes.Load())
		require.Equal(t, 1, rx.Poll(cx).Value().Value)
	})
	t.Run("says when the sender is gone", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		var s step
		require.False(t, rx.Poll(s.context()).IsReady())
		tx.Drop()
		tx.Drop()
		require.EqualValues(t, 1, s.wakes.Load())
		require.ErrorIs(t, blockon.BlockOn(rx).Err, future.ErrClosed)
	})
	t.Run("says when the receiver is gone", func(t *testing.T) {
		tx, rx := future.Oneshot[int]()
		require.False(t, tx.Closed())
		rx.Drop()
		require.True(t, tx.Closed())
		require.False(t, tx.Send(1))
	})
	t.Run("loses nothing where both ends meet", func(t *testing.T) {
		for range 20_000 {
			tx, rx := future.Oneshot[int]()
			go tx.Send(5)
			require.Equal(t, 5, blockon.BlockOn(rx).Value)
		}
	})
}

func TestEachHandleOfASharedFutureGetsTheResultOfOne(t *testing.T) {
	l := new(leaf)
	first := future.Shared[int](l)
	var a, b step
	second := first.Clone()
	require.False(t, first.Poll(a.context()).IsReady())
	require.False(t, second.Poll(b.context()).IsReady())
	require.Equal(t, 1, l.polls, "nobody woke it in between")
	l.light()
	require.EqualValues(t, 1, a.wakes.Load())
	require.EqualValues(t, 1, b.wakes.Load())
	require.Equal(t, 2, second.Poll(b.context()).Value())
	require.Equal(t, 2, first.Poll(a.context()).Value())
	require.Equal(t, 2, poll(first.Clone()).Value(), "made after the end")
	require.Zero(t, l.drops)
}

func TestASharedFutureGoesOnWhenTheHandleThatWasWokenIsDropped(t *testing.T) {
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
}

func TestThePanicOfASharedFutureIsEachHandles(t *testing.T) {
	boom := errors.New("boom")
	first := future.Shared[int](&panics{leaf: new(leaf), with: boom})
	second := first.Clone()
	for _, h := range []*future.SharedFuture[int]{first, second} {
		r := blockon.BlockOn(future.CatchPanic[int](h))
		require.ErrorIs(t, r.Err, boom)
	}
}

func TestManyTasksAwaitOneSharedFuture(t *testing.T) {
	ex := executor.New()
	defer ex.Close()
	for range 200 {
		tx, rx := future.Oneshot[int]()
		first := future.Shared(future.Then[rawwaker.Result[int]](rx, func(r rawwaker.Result[int]) rawwaker.Future[int] {
			return future.Map(future.Yield(), func(struct{}) int { return r.Value })
		}))
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
}

func TestAChannelKeepsOrderAndItsBound(t *testing.T) {
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
	require.False(t, tx.TrySend(4), "the place is meant for who waits")
	require.NoError(t, third.Poll(s.context()).Value())
	tx.Close()
	require.False(t, tx.TrySend(5))
	require.ErrorIs(t, blockon.BlockOn(tx.Send(5)), future.ErrClosed)
	require.Equal(t, []int{2, 3}, blockon.BlockOn(future.Collect(rx.Stream())))
	require.ErrorIs(t, blockon.BlockOn(rx.Recv()).Err, future.ErrClosed)
	require.Panics(t, func() { future.Channel[int](0) })
}

func TestWhoWasCalledAndIsDroppedHandsTheCallOn(t *testing.T) {
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
}

func TestTheEndOfAChannelWakesAllWhoWait(t *testing.T) {
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
}

func TestAStormOverAChannelLosesNothing(t *testing.T) {
	ex := executor.New()
	defer ex.Close()
	tx, rx := future.Channel[int](3)
	const senders, each = 8, 2000
	for s := range senders {
		executor.Detach(ex, future.Async(func(aw *future.Awaiter) struct{} {
			for i := range each {
				f := tx.Send(s*each + i)
				if i%7 == 0 { // one that is given up
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
}

func TestTheVerbsOfAStream(t *testing.T) {
	even := func(v int) bool { return v%2 == 0 }
	s := future.Take(future.MapStream(future.Filter(future.Values(1, 2, 3, 4, 5, 6, 7, 8), even), func(v int) int { return v * v }), 3)
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
	require.Equal(t, 16, f.n, "after 64 values others get their turn")
	require.Empty(t, blockon.BlockOn(future.Collect(future.Filter(future.Values(many...), func(int) bool { return false }))))
}

func TestUnorderedGivesWhatIsReadyFirstAndPollsWhatWasWoken(t *testing.T) {
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
	ready := blockon.BlockOn(future.Collect(future.Unordered(future.Ready(1), future.Ready(2), future.Ready(3))))
	require.True(t, slices.Equal([]int{1, 2, 3}, ready))
}
