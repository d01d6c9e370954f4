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

// leaf is pending until it is lit; it counts what is done to it.
type leaf struct {
	waker        future.AtomicWaker
	mu           sync.Mutex
	lit          bool
	polls, drops int
}

func (l *leaf) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	l.waker.Register(cx.Waker())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polls++
	if l.lit {
		return rawwaker.Ready(l.polls)
	}
	return rawwaker.Pending[int]()
}
func (l *leaf) Drop() { l.drops++; l.waker.Drop() }
func (l *leaf) light() {
	l.mu.Lock()
	l.lit = true
	l.mu.Unlock()
	l.waker.Wake()
}

func leaves(n int) (ls []*leaf, fs []rawwaker.Future[int]) {
	for range n {
		l := new(leaf)
		ls, fs = append(ls, l), append(fs, l)
	}
	return ls, fs
}

func TestJoinAllPollsOnlyThoseThatWereWoken(t *testing.T) {
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
}

func TestJoinAllOnAnotherTaskAfterItsFirstPoll(t *testing.T) {
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
}

func TestAnEarlyDropDropsWhatIsLeftOnce(t *testing.T) {
	noop := rawwaker.NewContext(rawwaker.Noop())
	for name, combine := range map[string]func(a, b *leaf) rawwaker.Dropper{
		"Join": func(a, b *leaf) rawwaker.Dropper {
			f := future.Join[int, int](a, b)
			require.False(t, f.Poll(noop).IsReady())
			return f.(rawwaker.Dropper)
		},
		"JoinAll": func(a, b *leaf) rawwaker.Dropper {
			f := future.JoinAll[int](a, b)
			require.False(t, f.Poll(noop).IsReady())
			return f.(rawwaker.Dropper)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := &leaf{lit: true}, new(leaf)
			f := combine(a, b)
			f.Drop()
			require.Equal(t, []int{0, 1}, []int{a.drops, b.drops}, "a was ready")
			b.waker.Wake()
		})
	}
	a, b := new(leaf), new(leaf)
	f := future.Race[int](a, b)
	require.False(t, f.Poll(noop).IsReady())
	f.(rawwaker.Dropper).Drop()
	require.Equal(t, []int{1, 1}, []int{a.drops, b.drops})
}

type panicking struct{ leaf }

func (p *panicking) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic("poll") }

func TestAPanicOfOneDropsThemAllOnce(t *testing.T) {
	var a leaf
	var p panicking
	var c leaf
	require.PanicsWithValue(t, "poll", func() { blockon.BlockOn(future.JoinAll[int](&a, &p, &c)) })
	require.Equal(t, []int{1, 1, 1}, []int{a.drops, p.drops, c.drops})
	var d leaf
	var q panicking
	require.PanicsWithValue(t, "poll", func() { blockon.BlockOn(future.Join[int, int](&d, &q)) })
	require.Equal(t, []int{1, 1}, []int{d.drops, q.drops})
}

type dropPanics struct{ leaf }

func (p *dropPanics) Drop() { p.leaf.Drop(); panic("drop") }

func TestAPanicInOneDropKeepsNoOtherFromBeingDropped(t *testing.T) {
	var a, d leaf
	var b, c dropPanics
	f := future.JoinAll[int](&a, &b, &c, &d)
	f.Poll(rawwaker.NewContext(rawwaker.Noop()))
	require.PanicsWithValue(t, "drop", f.(rawwaker.Dropper).Drop)
	require.Equal(t, []int{1, 1, 1, 1}, []int{a.drops, b.drops, c.drops, d.drops})
}

func TestRaceIsTheFirstAndDropsTheOthers(t *testing.T) {
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
	require.PanicsWithValue(t, "future: Race of nothing", func() { future.Race[int]() })
}

func TestTimeoutIsTheFutureOrTheTime(t *testing.T) {
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
}

func TestACombinatorPolledAfterCompletionPanics(t *testing.T) {
	one := future.Ready(1)
	for name, f := range map[string]func(){
		"Join":    func() { f := future.Join(future.Ready(1), future.Ready(2)); blockon.BlockOn(f); blockon.BlockOn(f) },
		"JoinAll": func() { f := future.JoinAll(one); blockon.BlockOn(f); blockon.BlockOn(f) },
		"Race":    func() { f := future.Race(future.Ready(1)); blockon.BlockOn(f); blockon.BlockOn(f) },
		"Timeout": func() { f := future.Timeout(future.Ready(1), 1); blockon.BlockOn(f); blockon.BlockOn(f) },
	} {
		require.PanicsWithValue(t, "future polled after completion", f, name)
	}
}

// Wakes of many goroutines while the combinator is polled and moved: each child ends, none is polled twice for one wake.
func TestAStormOfWakesIntoJoinAll(t *testing.T) {
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
}
