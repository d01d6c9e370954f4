package executor

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Executor runs tasks on several goroutines, its workers. They start when there is something to run and end when there is
// nothing, so an idle executor costs neither CPU nor goroutines. Use [New]; Spawn, Wait and Close may be called on any goroutine.
type Executor struct {
	workers        []worker
	workerHint     sync.Pool // of *worker: the one that runs, or ran last, on the caller's CPU. A hint
	next           atomic.Uint32
	runWorkerFuncs [2]func() // runWorker, as a value; by the index of watchdogs

	// global takes what a worker's own queue has no room for. A worker looks there now and then, and when it has nothing.
	global struct {
		mu    sync.Mutex
		queue ring
	}

	idle      idleState
	watchdogs [2]watchdogTimer // outside synctest bubbles, and inside one
	closing   closing

	waiters struct {
		registered atomic.Bool // somebody waits: ch is there
		mu         sync.Mutex
		ch         chan struct{} // closed when a worker's list has become empty
	}
}

// Option is for [New].
type Option func(*Executor)

// Each worker is some kilobytes from the beginning.
const maxWorkers = 1 << 16

// Workers sets how many tasks are polled at once: GOMAXPROCS where it is not given. It panics for less than 1 and for more than 65,536.
func Workers(n int) Option {
	if n < 1 {
		panic("executor: Workers of less than 1")
	}
	if n > maxWorkers {
		panic(fmt.Sprintf("executor: Workers of more than %d", maxWorkers))
	}
	return func(ex *Executor) { ex.workers = make([]worker, n) }
}

// New returns an executor.
func New(opts ...Option) *Executor {
	ex := new(Executor)
	for _, o := range opts {
		o(ex)
	}
	if ex.workers == nil {
		Workers(runtime.GOMAXPROCS(0))(ex)
	}
	for i := range ex.workers {
		w := &ex.workers[i]
		w.owner, w.ex = ex, ex
	}
	for bubble := range ex.runWorkerFuncs {
		ex.runWorkerFuncs[bubble] = func() { ex.runWorker(nil, bubble) }
	}
	ex.workerHint.New = func() any { return &ex.workers[ex.nextWorker()] }
	register(ex)
	return ex
}

// nextWorker is another worker's index each time. The counter comes round.
func (ex *Executor) nextWorker() int { return int(ex.next.Add(1) % uint32(len(ex.workers))) }

// Spawn makes f a task, and owns it. It never polls f itself. After Close it drops f, and the handle says [ErrClosed].
func Spawn[T any](ex *Executor, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: Spawn of a nil future")
	}
	w := ex.workerHint.Get().(*worker)
	h := newHandle(&w.taskList, f)
	w.mu.Lock()
	w.spawn(&h.task)
	ex.workerHint.Put(w)
	return h
}

// Detach is Spawn for a future without a result, and without a handle: what a goroutine is to `go`. A task whose future was ready
// before it asked for its waker allocates nothing. A panic of f's ends that task and
// nothing else; where the program runs with FFIWAKERDEBUG=tasks=1, a line on standard error tells of it.
func Detach(ex *Executor, f rawwaker.Future[struct{}]) {
	if f == nil {
		panic("executor: Detach of a nil future")
	}
	w := ex.workerHint.Get().(*worker)
	w.mu.Lock()
	d := w.detached(f)
	w.spawn(&d.task)
	ex.workerHint.Put(w)
}

// Wait returns when every task is over, or ctx is, with its error then. Called inside a task it waits for ever.
func (ex *Executor) Wait(ctx context.Context) error {
	for {
		idle := ex.nextEmpty()
		if ex.linked() == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nextEmpty is closed when a worker's list becomes empty, from now on.
func (ex *Executor) nextEmpty() <-chan struct{} {
	ex.waiters.mu.Lock()
	defer ex.waiters.mu.Unlock()
	if ex.waiters.ch == nil {
		ex.waiters.ch = make(chan struct{})
		ex.waiters.registered.Store(true)
	}
	return ex.waiters.ch
}

// enqueue implements owner.
func (ex *Executor) enqueue(t *task, at wake.Place) {
	w := ex.workerHint.Get().(*worker)
	w.mu.Lock()
	w.push(t, at)
	ex.workerHint.Put(w)
}

// inbox implements owner.
func (ex *Executor) inbox() *wake.Inbox { return nil }

// emptied implements owner.
func (ex *Executor) emptied() {
	if !ex.waiters.registered.Load() {
		return
	}
	ex.waiters.mu.Lock()
	defer ex.waiters.mu.Unlock()
	if ex.waiters.ch != nil {
		close(ex.waiters.ch)
		ex.waiters.ch = nil
		ex.waiters.registered.Store(false)
	}
}

// linked is how many are on the lists.
func (ex *Executor) linked() (n int) {
	for i := range ex.workers {
		w := &ex.workers[i]
		w.mu.Lock()
		n += len(w.live)
		w.mu.Unlock()
	}
	return n
}

// Len is how many tasks are not over.
func (ex *Executor) Len() (n int) {
	for i := range ex.workers {
		n += ex.workers[i].count()
	}
	return n
}

// Close refuses further tasks, ends those that are left with [ErrClosed] and drops each of their futures exactly once: before it
// returns all but those that a worker is polling or has just taken out to poll, one for each worker at most, which it drops when that is over. So
// it may be called inside a task. The error is always nil.
//
// A Close beside another one returns when that one does. Only inside a task, which may be one that the other is dropping, it returns at once.
// A Drop that panics makes that the outcome of its own task; one that calls runtime.Goexit ends the goroutine that closes, when all are dropped.
func (ex *Executor) Close() error {
	ex.closing.run(ex.end)
	return nil
}

func (ex *Executor) end() {
	lists := ex.taskLists()
	all := shut(lists)
	inside := ex.sweeping() && insideTask() // a late sweep may be what calls this
	endTasks(all, ex.sweep, func() bool { return inTransit(lists, all) || !inside && ex.sweeping() })
}

// sweeping says whether a goroutine sweeps what came late.
func (ex *Executor) sweeping() bool {
	for i := range ex.workers {
		if ex.workers[i].lateSweeps.Load() != 0 {
			return true
		}
	}
	return false
}

// sweep ends what is queued, after Close has begun.
func (ex *Executor) sweep() {
	persist(func() {
		for i := range ex.workers {
			ex.workers[i].sweep()
		}
		endAll(&ex.global.mu, &ex.global.queue)
	})
}
