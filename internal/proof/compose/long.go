package main

import (
	"context"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// long is what outlives the programs: each of its objects waits for something that does not come.
// What a program gives up of it must be free while it lives.
var long = sync.OnceValue(newLongLife)

type longLife struct {
	ctx    context.Context
	cancel context.CancelFunc // not called
	ex     *executor.Executor
	scope  *executor.Scope
	handle *executor.JoinHandle[uint64]
	never  []*future.OneshotSender[uint64]
	shared *future.SharedFuture[uint64]
	empty  *future.Receiver[uint64]
	full   *future.Sender[uint64]
	pipe   [2]*os.File

	mu   sync.Mutex
	ends []func()
	busy int // pairs of polls that last
	late []*lateSleep
}

// marks counts what was given up, or taken out, and not collected yet.
var marks atomic.Int64

type mark struct{ _ [4]uint64 }

func newMark() *mark {
	marks.Add(1)
	m := new(mark)
	runtime.AddCleanup(m, func(n *atomic.Int64) { n.Add(-1) }, &marks)
	return m
}

func newLongLife() *longLife {
	l := &longLife{ex: executor.New(executor.Workers(2))}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.scope = executor.NewScope(l.ctx, l.ex)
	executor.SpawnIn(l.scope, l.waits())
	l.handle = executor.Spawn(l.ex, l.waits())
	l.shared = future.Shared(l.waits())
	var tx *future.Sender[uint64]
	tx, l.empty = future.Channel[uint64](1)
	runtime.AddCleanup(l, func(*future.Sender[uint64]) {}, tx) // keeps it
	var rx *future.Receiver[uint64]
	l.full, rx = future.Channel[uint64](1)
	l.full.TrySend(1)
	runtime.AddCleanup(l, func(*future.Receiver[uint64]) {}, rx)
	var err error
	if l.pipe[0], l.pipe[1], err = os.Pipe(); err != nil {
		panic(err)
	}
	return l
}

// waits is never ready.
func (l *longLife) waits() F {
	tx, rx := future.Oneshot[uint64]()
	l.never = append(l.never, tx)
	return future.Map[rawwaker.Result[uint64]](rx, value[uint64])
}

// ways are the ways to give something up. The first cheapWays leave nothing to be released.
const (
	ways      = 15
	cheapWays = 7
)

// giveUpOne polls something of l, and gives it up.
func (l *longLife) giveUpOne(what int) {
	m := newMark()
	wk := rawwaker.FromFunc(func() { runtime.KeepAlive(m) })
	defer wk.Drop()
	cx := rawwaker.NewContext(wk)
	ctx := context.WithValue(l.ctx, mark{}, m)
	switch what % ways {
	case 0:
		pollAndDrop(l.scope.Done(), cx)
	case 1:
		pollAndDrop(l.handle.Outcome(), cx)
	case 2:
		pollAndDrop(future.Timeout(l.handle.Outcome(), time.Hour), cx)
	case 3:
		pollAndDrop(l.shared.Clone(), cx)
	case 4:
		pollAndDrop(l.empty.Recv(), cx)
	case 5:
		pollAndDrop(l.full.Send(2), cx)
	case 6:
		pollAndDrop(future.Sleep(time.Hour), cx)
	case 7:
		l.readable(cx)
	case 8:
		tx, rx := future.Oneshot[uint64]()
		h := executor.Spawn(l.ex, future.Map[rawwaker.Result[uint64]](rx, value[uint64]))
		pollAndDrop[uint64](h, cx)
		l.atEnd(tx.Drop)
	case 9:
		s := executor.NewScope(ctx, l.ex)
		executor.SpawnIn(s, future.Ready(0))
		s.Wait()
	case 10:
		executor.NewScope(ctx, l.ex).Abort()
	case 11:
		executor.NewScope(ctx, l.ex) // forgotten
	case 12:
		blockon.Await(ctx, future.Map(future.Yield(), func(struct{}) int { return 0 }))
	case 13:
		l.take(m)
	case 14:
		l.beside()
	}
}

func pollAndDrop[T any](f rawwaker.Future[T], cx *rawwaker.Context) {
	f.Poll(cx)
	drop(f)
}

// take makes a task whose result is m, takes that, and keeps a clone of the task's waker.
func (l *longLife) take(m *mark) {
	h := executor.Spawn(l.ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[*mark] {
		l.atEnd(cx.Waker().Clone().Drop)
		return rawwaker.Ready(m)
	}))
	blockon.BlockOn(h)
}

// beside runs tasks beside two polls that last: what has ended must be free before these return.
func (l *longLife) beside() {
	l.mu.Lock()
	busy := l.busy
	l.busy++
	l.mu.Unlock()
	if busy > 0 {
		return // each takes two goroutines, and memory
	}
	ex := executor.New(executor.Workers(2))
	over, inside := make(chan struct{}), make(chan struct{}, 2)
	lasts := func() rawwaker.Future[struct{}] {
		return future.PollFn(func(*rawwaker.Context) rawwaker.Poll[struct{}] {
			inside <- struct{}{}
			<-over
			return rawwaker.Ready(struct{}{})
		})
	}
	marked := func() rawwaker.Future[*mark] {
		return future.PollFn(func(*rawwaker.Context) rawwaker.Poll[*mark] {
			return rawwaker.Ready(newMark())
		})
	}
	executor.Detach(ex, future.Then(future.Ready(0), func(int) rawwaker.Future[struct{}] {
		for range 20 { // in the queue of this worker, from which the other one steals
			executor.Spawn(ex, marked())
		}
		executor.Detach(ex, lasts())
		for range 20 {
			executor.Detach(ex, future.Ready(struct{}{}))
		}
		return lasts()
	}))
	<-inside
	<-inside
	l.atEnd(func() {
		close(over)
		ex.Close()
		l.mu.Lock()
		l.busy = 0
		l.mu.Unlock()
	})
}

// atEnd has f called after the marks were counted.
func (l *longLife) atEnd(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, f)
}

// release ends what the programs have left, after the marks were counted.
func (l *longLife) release() {
	l.mu.Lock()
	ends := l.ends
	l.ends = nil
	l.mu.Unlock()
	for _, f := range ends {
		f()
	}
}

// lasting is how many goroutines are inside a poll that lasts.
func (l *longLife) lasting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 2 * min(l.busy, 1)
}

// GivesUp gives up, in its poll, something that outlives the program, n times.
func (e *Task) GivesUp(what, n int) F {
	return future.PollFn(func(*rawwaker.Context) rawwaker.Poll[uint64] {
		for range n {
			long().giveUpOne(what)
		}
		return rawwaker.Ready(uint64(0))
	})
}

// ---------------------------------------------------------------------------------- late sleeps

// lateSleep is a Sleep of a second that no program waits for.
type lateSleep struct {
	f     rawwaker.Future[struct{}]
	woken chan struct{}
	may   chan struct{} // closed: its waker returns
}

// LateSleeps starts n sleeps that end together. The wakers of every third block until all others
// were called, which the end of a batch of programs waits for.
func (w *World) LateSleeps(n int) {
	l := long()
	may := make(chan struct{})
	for i := range n {
		s := &lateSleep{future.Sleep(time.Second + time.Millisecond), make(chan struct{}), may}
		blocks, once := i%3 == 1, sync.Once{}
		wk := rawwaker.FromFunc(func() {
			once.Do(func() { close(s.woken) })
			if blocks {
				<-s.may
			}
		})
		s.f.Poll(rawwaker.NewContext(wk))
		wk.Drop()
		l.mu.Lock()
		l.late = append(l.late, s)
		l.mu.Unlock()
	}
}

// settle waits until each late sleep has called its waker, although others block. False: one has
// not after so long.
func (l *longLife) settle(wait time.Duration) bool {
	l.mu.Lock()
	late := l.late
	l.late = nil
	l.mu.Unlock()
	limit := time.After(wait)
	for _, s := range late {
		select {
		case <-s.woken:
		case <-limit:
			return false
		}
	}
	for i, s := range late {
		if i == 0 || s.may != late[i-1].may {
			close(s.may)
		}
		drop(s.f)
	}
	return true
}
