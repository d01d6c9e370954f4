//go:build cgo && linux

package executor_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ledger is what became of the futures, told by themselves, and of the tasks, told by their
// handles.
type ledger struct {
	made, ready, dropped, panicked   atomic.Int64 // futures; one that panics is dropped as well
	foul                             atomic.Int64 // dropped twice, or after Ready; polled by two, or after its end
	spawned, fine, failed, ended     atomic.Int64 // handles: a result, a panic, aborted or closed
	polls, wakes, aborts, closes, cs atomic.Int64
}

// soaked is a future that does something at random at each poll, and keeps watch over what is
// done to it.
type soaked struct {
	l     *ledger
	pool  *ctest.Pool
	left  int
	state atomic.Int32 // 0 idle, 1 being polled, 2 over
	waker future.AtomicWaker
	op    rawwaker.Future[uint64] // a C operation under way
}

func (f *soaked) Poll(cx *rawwaker.Context) (p rawwaker.Poll[int]) {
	if !f.state.CompareAndSwap(0, 1) {
		f.l.foul.Add(1)
	}
	after := int32(0)
	defer func() {
		if !f.state.CompareAndSwap(1, after) {
			f.l.foul.Add(1)
		}
	}()
	f.l.polls.Add(1)
	if f.op != nil {
		if !f.op.Poll(cx).IsReady() {
			return rawwaker.Pending[int]()
		}
		f.op = nil
	}
	if f.left--; f.left <= 0 {
		after = 2
		f.l.ready.Add(1)
		f.waker.Drop()
		return rawwaker.Ready(1)
	}
	switch rand.IntN(40) {
	case 0:
		f.l.panicked.Add(1)
		panic("soaked")
	case 1:
		f.l.panicked.Add(1)
		runtime.Goexit()
	}
	switch rand.IntN(6) {
	case 0, 1: // a goroutine wakes it
		f.waker.Register(cx.Waker())
		go f.waker.Wake()
	case 2: // itself
		cx.Waker().WakeByRef()
	case 3: // threads of C clone and drop and wake, perhaps not; a goroutine does, for sure
		f.pool.Give(cx.Waker().Clone().IntoRaw())
		w := cx.Waker().Clone()
		go w.Wake()
	case 4: // an operation of C, completed by its threads
		op := ctest.NewOp()
		f.op = rawwaker.FutureFromRaw[uint64](op.Raw())
		f.l.cs.Add(1)
		if f.op.Poll(cx).IsReady() {
			f.l.foul.Add(1)
		}
		go ctest.CompleteAll([]ctest.Op{op}, 1)
	default: // once by each, at once
		a, b := cx.Waker().Clone(), cx.Waker().Clone()
		go a.Wake()
		go b.Wake()
	}
	f.l.wakes.Add(1)
	return rawwaker.Pending[int]()
}

func (f *soaked) Drop() {
	if !f.state.CompareAndSwap(0, 2) {
		f.l.foul.Add(1)
	}
	f.l.dropped.Add(1)
	f.waker.Drop()
	if f.op != nil {
		drop(f.op)
	}
	if rand.IntN(50) == 0 {
		panic("soaked, in Drop")
	}
}

func drop(f rawwaker.Future[uint64]) { f.(rawwaker.Dropper).Drop() }

// TestSoak spawns, wakes, aborts, panics and closes at random from goroutines and from threads of
// C, for a second, or as long as FFIWAKER_SOAK says (60s in CI, under the race detector). At the
// end every future and every task is accounted for.
func TestSoak(t *testing.T) {
	balance.Check(t)
	lasting := time.Second
	if s := os.Getenv("FFIWAKER_SOAK"); s != "" {
		var err error
		lasting, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	if testing.Short() {
		lasting = 200 * time.Millisecond
	}
	var l ledger
	rounds := 0
	for start := time.Now(); time.Since(start) < lasting; rounds++ {
		soak(t, &l, uint64(rounds)+1)
	}
	t.Logf(
		"%d rounds: %d tasks (%d ready, %d panicked, %d aborted or closed), %d polls, %d wakes asked for, %d C operations, %d aborts, %d closes",
		rounds,
		l.spawned.Load(),
		l.fine.Load(),
		l.failed.Load(),
		l.ended.Load(),
		l.polls.Load(),
		l.wakes.Load(),
		l.cs.Load(),
		l.aborts.Load(),
		l.closes.Load(),
	)
	require.Zero(t, l.foul.Load())
	require.Equal(
		t,
		l.made.Load(),
		l.ready.Load()+l.dropped.Load(),
		"each future was ready or dropped, once",
	)
	require.Equal(t, l.made.Load(), l.spawned.Load())
	require.Equal(
		t,
		l.spawned.Load(),
		l.fine.Load()+l.failed.Load()+l.ended.Load(),
		"each handle has its outcome",
	)
	require.Equal(t, l.ready.Load(), l.fine.Load())
	require.LessOrEqual(t, l.panicked.Load(), l.failed.Load(), "a panic in Drop fails a task, too")
	require.Eventually(
		t,
		func() bool { runtime.GC(); return ctest.OpsLive() == 0 },
		time.Minute,
		time.Millisecond,
	)
}

// soak is one executor's life, or one Local's.
func soak(t *testing.T, l *ledger, seed uint64) {
	pool := ctest.NewPool(4, seed)
	var spawn func(f rawwaker.Future[int]) *executor.JoinHandle[int]
	var end func() error
	idle := func() {}
	if seed%4 == 0 {
		local := executor.NewLocal()
		spawn = func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.SpawnLocal(local, f) }
		var closed atomic.Bool
		stopped := make(chan struct{})
		end = func() error { closed.Store(true); return local.Close() }
		go func() {
			defer close(stopped)
			for !closed.Load() {
				func() { // a Goexit in a poll ends the goroutine that ticks
					done := make(chan struct{})
					go func() { defer close(done); local.Run() }()
					<-done
				}()
				runtime.Gosched()
			}
		}()
		idle = func() { <-stopped }
	} else {
		ex := executor.New(executor.Workers(1 + int(seed%4)))
		spawn = func(f rawwaker.Future[int]) *executor.JoinHandle[int] { return executor.Spawn(ex, f) }
		end = ex.Close
	}
	const goroutines, each = 4, 60
	handles := make(chan *executor.JoinHandle[int], goroutines*each)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				l.made.Add(1)
				l.spawned.Add(1)
				h := spawn(&soaked{l: l, pool: pool, left: 1 + rand.IntN(8)})
				if rand.IntN(5) == 0 {
					l.aborts.Add(1)
					go h.Abort()
				}
				handles <- h
			}
		})
	}
	switch rand.IntN(4) {
	case 0: // closed while they spawn
	case 1:
		wg.Wait()
	default: // when all have ended by themselves
		wg.Wait()
		for range len(handles) {
			h := <-handles
			blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if !h.IsDone() {
					cx.Waker().WakeByRef()
					runtime.Gosched()
					return rawwaker.Pending[int]()
				}
				return rawwaker.Ready(0)
			}))
			handles <- h
		}
	}
	for range 1 + rand.IntN(3) { // more than one at once
		l.closes.Add(1)
		wg.Go(func() {
			if rand.IntN(3) > 0 { // so that some come to their end
				time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
			}
			end()
		})
	}
	wg.Wait()
	idle()
	close(handles)
	for h := range handles {
		r := blockon.BlockOn(h.Outcome())
		switch {
		case r.Err == nil:
			l.fine.Add(1)
		case errors.As(r.Err, new(*executor.PanicError)):
			l.failed.Add(1)
		case errors.Is(r.Err, executor.ErrAborted), errors.Is(r.Err, executor.ErrClosed):
			l.ended.Add(1)
		default:
			t.Error(fmt.Errorf("an outcome that cannot be: %w", r.Err))
		}
	}
	pool.End()
}
