package executor

import (
	"context"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// blocked polls until it is let go.
func blocked(inside, goOn chan struct{}) rawwaker.Future[int] {
	return polled(func() { close(inside); <-goOn })
}

type polled func()

func (f polled) Poll(*rawwaker.Context) rawwaker.Poll[int] { f(); return rawwaker.Ready(1) }

func TestNextCheck(t *testing.T) {
	// What was asked for long ago, on this clock, will not come; nor does it go on if it comes
	// after all.
	t.Run("that_was_given_up_for_lost_starts_no_second_chain", func(t *testing.T) {
		ex := New(Workers(1))
		l := &ex.watchdogs[0]
		l.armedAt.Store(1)
		l.chain.Store(7)
		programStart = programStart.Add(-time.Hour) // an hour has gone by since
		defer func() { programStart = programStart.Add(time.Hour) }()
		require.Zero(t, ex.armWatchdog())
		require.EqualValues(t, 8, l.chain.Load())
		asked := l.armedAt.Load()
		ex.watchdog(0, 7)
		require.Equal(t, asked, l.armedAt.Load(), "it leaves the look alone that is to come")
		ex.armWatchdog()
		require.EqualValues(t, 8, l.chain.Load())
	})
	t.Run("is_asked_for_again_while_a_worker_is_awake", func(t *testing.T) {
		ex := New(Workers(1))
		inside, goOn := make(chan struct{}), make(chan struct{})
		Spawn(ex, blocked(inside, goOn))
		<-inside
		for ex.watchdogs[0].chain.Load() < 3 {
			runtime.Gosched()
		}
		close(goOn)
		require.NoError(t, ex.Wait(t.Context()))
	})
	// A goroutine of a bubble wakes or spawns something on an executor outside, one of whose
	// workers is busy there. The looks of the bubble go by its clock, which jumps: an hour of it
	// are 360,000 looks. They are not for the worker outside, and do not take its own away.
	t.Run("in_a_bubble_is_not_for_workers_outside", func(t *testing.T) {
		ex := New(Workers(2))
		inside, goOn := make(chan struct{}), make(chan struct{})
		Spawn(ex, blocked(inside, goOn))
		<-inside
		synctest.Test(t, func(t *testing.T) {
			ex.startWorker(wake.Anywhere) // what such a wake does
			time.Sleep(time.Hour)
		})
		require.Positive(t, ex.watchdogs[1].chain.Load())
		require.Less(t, ex.watchdogs[1].chain.Load(), uint32(10))
		for before := ex.watchdogs[0].chain.Load(); ex.watchdogs[0].chain.Load() < before+2; {
			runtime.Gosched() // those outside go on
		}
		// The bubble has ended, perhaps with a look that never comes. The next bubble's begin anew.
		synctest.Test(t, func(t *testing.T) {
			chain := ex.watchdogs[1].chain.Load()
			ex.watchdogs[1].armedAt.Store(time.Now().Add(time.Hour).UnixNano())
			require.Equal(t, 1, ex.armWatchdog())
			require.Equal(t, chain+1, ex.watchdogs[1].chain.Load())
		})
		close(goOn)
		require.NoError(t, ex.Wait(t.Context()))
	})
}

// On 32 bits a count that comes past 2^31 is a negative int.
func TestTurn(t *testing.T) {
	for _, n := range []uint32{0, math.MaxInt32 - 3, math.MaxUint32 - 3} {
		ex := New(Workers(3))
		ex.next.Store(n)
		for range 8 {
			require.Contains(t, []int{0, 1, 2}, ex.nextWorker())
		}
		ex.next.Store(n)
		for i := range ex.watchdogs {
			ex.watchdogs[i].chain.Store(n)
		}
		for range 20 {
			Spawn(ex, polled(func() {}))
			require.NoError(t, ex.Wait(t.Context()))
		}
	}
}

// None of these looks at the tasks that sleep: an element that no task stands behind would show it.
func TestCount(t *testing.T) {
	l, ex := NewLocal(), New(Workers(1))
	defer l.Close()
	l.live = append(l.live, nil)
	ex.workers[0].live = append(ex.workers[0].live, nil)
	for range 3 {
		Spawn(ex, polled(func() {}))
	}
	SpawnLocal(l, polled(func() {}))
	require.Equal(t, 1, l.Len())
	l.Run()
	require.Equal(t, 1, RunUntil(l, polled(func() {})))
	require.Zero(t, l.Len())
	for ex.Len() > 0 {
		runtime.Gosched()
	}
	for awakeOf(ex.idle.Load()) > 0 {
		runtime.Gosched()
	}
	l.live, ex.workers[0].live = nil, nil
}

func TestScopeDone(t *testing.T) {
	t.Run("given_up_is_forgotten_by_its_scope", func(t *testing.T) {
		ex := New(Workers(1))
		s := NewScope(context.Background(), ex)
		SpawnIn[int](s, pendingUntilDropped(func() {}))
		d := s.Done()
		d.Poll(rawwaker.NewContext(rawwaker.Noop()))
		require.Len(t, s.waiters, 1)
		d.(rawwaker.Dropper).Drop()
		require.Empty(t, s.waiters)
		ex.Close()
		require.NoError(t, s.Wait())
	})
	t.Run("that_is_ready_keeps_no_waker", func(t *testing.T) {
		s := NewScope(context.Background(), New(Workers(1)))
		require.NoError(t, s.Wait())
		w := rawwaker.FromFunc(func() {})
		d := s.Done().(*scopeDone)
		require.True(t, d.Poll(rawwaker.NewContext(w)).IsReady())
		require.Nil(t, wake.Rawwaker.Take(&d.waker))
		w.Drop()
	})
}

func TestBlockedPoll(t *testing.T) {
	t.Run("delays_no_task_behind_it_though_the_other_worker_is_never_idle", func(t *testing.T) {
		ex := New(Workers(2))
		defer ex.Close()
		var over atomic.Bool
		busy := Spawn(ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if over.Load() {
				return rawwaker.Ready(0)
			}
			runtime.Gosched()
			cx.Waker().WakeByRef()
			return rawwaker.Pending[int]()
		}))
		goOn, in := make(chan struct{}), make(chan struct{})
		blocks := Spawn(ex, blocked(in, goOn))
		<-in
		for i := range ex.workers { // one of them has it behind the poll that blocks
			w := &ex.workers[i]
			h := newHandle[int](&w.taskList, future.Ready(0))
			w.mu.Lock()
			w.spawn(&h.task)
			blockon.BlockOn(h.Outcome())
		}
		close(goOn)
		over.Store(true)
		blockon.BlockOn(future.Join(blocks.Outcome(), busy.Outcome()))
	})
}
