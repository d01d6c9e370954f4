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

// Executor runs tasks on several goroutines, its workers. They exist only while there is something
// to run, so an idle executor costs neither CPU nor goroutines. Create one with [New]. Spawn, Wait
// and Close may be called on any goroutine.
type Executor struct {
	workers        []worker
	workerHint     sync.Pool // of *worker: the one that runs, or last ran, on this CPU; only a hint
	next           atomic.Uint32
	runWorkerFuncs [2]func() // runWorker, as a value; indexed like watchdogs

	// global takes the tasks that a worker's own queue has no room for. Each worker looks there
	// every globalQueueInterval polls, and when it has nothing else.
	global struct {
		mu    sync.Mutex
		queue ring
	}

	idle      idleState
	watchdogs [2]watchdogTimer // outside synctest bubbles, and inside one
	closing   closing

	waiters struct {
		registered atomic.Bool // a Wait is waiting, on ch
		mu         sync.Mutex
		ch         chan struct{} // closed when a worker's list has become empty
	}
}

// Option is an option of [New].
type Option func(*Executor)

// A worker takes some kilobytes.
const maxWorkers = 1 << 16

// Workers sets how many tasks are polled at once; without it, GOMAXPROCS. It panics if n < 1 or
// n > 65,536.
func Workers(n int) Option {
	if n < 1 {
		panic("executor: Workers: less than 1")
	}
	if n > maxWorkers {
		panic(fmt.Sprintf("executor: Workers: more than %d", maxWorkers))
	}
	return func(ex *Executor) { ex.workers = make([]worker, n) }
}

// New returns an executor. It starts no goroutine before the first Spawn.
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

// nextWorker returns the index of another worker each time. The counter wraps around.
func (ex *Executor) nextWorker() int { return int(ex.next.Add(1) % uint32(len(ex.workers))) }

// Spawn makes f a task, and owns it. It never polls f itself. After Close it drops f, and the
// handle gives [ErrClosed]. It panics if f is nil.
func Spawn[T any](ex *Executor, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: Spawn: nil future")
	}
	w := ex.workerHint.Get().(*worker)
	h := newHandle(&w.taskList, f)
	w.mu.Lock()
	w.spawn(&h.task)
	ex.workerHint.Put(w)
	return h
}

// Detach is Spawn without a handle, for a future without a result. If the future does not ask for
// its waker before it is ready, the task allocates nothing. A panic of f ends only that task; with
// FFIWAKERDEBUG=tasks=1, a line on standard error reports it. It panics if f is nil.
func Detach(ex *Executor, f rawwaker.Future[struct{}]) {
	if f == nil {
		panic("executor: Detach: nil future")
	}
	w := ex.workerHint.Get().(*worker)
	w.mu.Lock()
	d := w.detached(f)
	w.spawn(&d.task)
	ex.workerHint.Put(w)
}

// Wait returns nil when every task has ended, or ctx's error if ctx ends first. Inside a task it
// never returns.
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

// nextEmpty returns a channel that is closed when a worker's list next becomes empty.
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

// linked returns how many tasks are on the lists.
func (ex *Executor) linked() (n int) {
	for i := range ex.workers {
		w := &ex.workers[i]
		w.mu.Lock()
		n += len(w.live)
		w.mu.Unlock()
	}
	return n
}

// Len returns how many tasks have not ended.
func (ex *Executor) Len() (n int) {
	for i := range ex.workers {
		n += ex.workers[i].count()
	}
	return n
}

// Close ends the tasks that are left, with [ErrClosed], drops each of their futures exactly once,
// and refuses further tasks. A future that a worker is polling, or has just taken out to poll, is
// dropped by that worker when the poll returns, at most one for each worker; all others are
// dropped before Close returns. So Close may be called inside a task. It always returns nil.
//
// If another Close is running, Close waits until that one returns; inside a task, which that one
// may be dropping, it returns at once. If a Drop panics, that is the outcome of its own task. If
// a Drop calls runtime.Goexit, that ends the closing goroutine after all futures were dropped.
func (ex *Executor) Close() error {
	ex.closing.run(ex.end)
	return nil
}

func (ex *Executor) end() {
	lists := ex.taskLists()
	all := shut(lists)
	inside := ex.sweeping() && insideTask() // a late sweep may have called this
	endTasks(all, ex.sweep, func() bool {
		return inTransit(lists, all) || !inside && ex.sweeping()
	})
}

// sweeping reports whether a goroutine sweeps tasks that came late.
func (ex *Executor) sweeping() bool {
	for i := range ex.workers {
		if ex.workers[i].lateSweeps.Load() != 0 {
			return true
		}
	}
	return false
}

// sweep ends the queued tasks, after Close has begun.
func (ex *Executor) sweep() {
	persist(func() {
		for i := range ex.workers {
			ex.workers[i].sweep()
		}
		endAll(&ex.global.mu, &ex.global.queue)
	})
}
