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

// Executor runs tasks on several goroutines, its workers. A worker's goroutine starts when there is
// something to run and ends when there is nothing: an idle executor has no goroutine. Make one with
// [New]. All functions and methods may be called on any goroutine, also inside its tasks.
type Executor struct {
	workers []worker

	// workerHint is a sync.Pool for its per-CPU slots: it gives the worker that runs, or ran last,
	// on the caller's CPU. Any worker is correct.
	workerHint sync.Pool

	next           atomic.Uint32
	runWorkerFuncs [2]func() // runWorker as a value, so that to start one allocates nothing

	// global takes what a worker's own queue has no room for. A worker takes from it every
	// globalQueueInterval polls, and when it has nothing else.
	global struct {
		mu    sync.Mutex
		queue ring
	}

	idle      idleState
	watchdogs [2]watchdogTimer // 0: outside synctest bubbles; 1: inside one
	closing   closing

	waiters struct {
		registered atomic.Bool // ch is not nil
		mu         sync.Mutex
		ch         chan struct{} // closed when a worker's list has become empty
	}
}

// Option is an option of [New].
type Option func(*Executor)

// maxWorkers bounds what Workers allocates: each worker has some kilobytes from the start.
const maxWorkers = 1 << 16

// Workers sets how many tasks are polled at once. The default is GOMAXPROCS. Workers panics if n is
// less than 1 or more than 65,536.
func Workers(n int) Option {
	if n < 1 {
		panic("executor: Workers: less than 1")
	}
	if n > maxWorkers {
		panic(fmt.Sprintf("executor: Workers: more than %d", maxWorkers))
	}
	return func(ex *Executor) { ex.workers = make([]worker, n) }
}

// New returns an executor. Close it to end its tasks; an executor without tasks needs no Close.
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

// nextWorker returns the index of the next worker, in turn. The counter wraps.
func (ex *Executor) nextWorker() int { return int(ex.next.Add(1) % uint32(len(ex.workers))) }

// Spawn makes f a task of ex, which owns f from then on, and returns the task's handle. Spawn
// itself never polls f: a worker does. It panics if f is nil. After Close it drops f, and the
// handle's error is [ErrClosed].
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

// Detach is [Spawn] without a result and without a handle, as a go statement is. A panic of f ends
// only that task; under FFIWAKERDEBUG=tasks=1 or [Diagnose], a line on standard error reports it.
// If f is ready before it has asked for its waker, the task's memory is used again for the next
// one: such tasks allocate nothing.
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

// Wait returns nil when ex has no tasks left, or ctx's error if ctx ends first. Inside a task of ex
// it returns only when ctx ends, because that task has not ended.
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

// nextEmpty returns a channel that is closed when the list of a worker next becomes empty.
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

// Close ends every task with [ErrClosed], drops each of their futures exactly once, and refuses
// further tasks. The error is always nil.
//
// When Close returns, all are dropped except those that a worker is polling, or has just taken out
// to poll: at most one for each worker, which drops it when that poll returns. So Close may be
// called inside a task.
//
// A second Close returns when the first one does. If it is called inside a task, which may be one
// that the first Close is dropping, it returns at once.
//
// If a Drop panics, the panic is the outcome of its own task. If one calls runtime.Goexit, the
// goroutine that called Close ends, after all have been dropped.
func (ex *Executor) Close() error {
	ex.closing.run(ex.end)
	return nil
}

func (ex *Executor) end() {
	lists := ex.taskLists()
	all := shut(lists)
	inside := ex.sweeping() && insideTask() // this may be a Drop inside a late sweep
	endTasks(all, ex.sweep, func() bool { return inTransit(lists, all) || !inside && ex.sweeping() })
}

// sweeping reports whether a goroutine sweeps tasks that were queued after Close had begun.
func (ex *Executor) sweeping() bool {
	for i := range ex.workers {
		if ex.workers[i].lateSweeps.Load() != 0 {
			return true
		}
	}
	return false
}

// sweep ends the tasks in the queues, after Close has begun.
func (ex *Executor) sweep() {
	persist(func() {
		for i := range ex.workers {
			ex.workers[i].sweep()
		}
		endAll(&ex.global.mu, &ex.global.queue)
	})
}
