package executor

import (
	"context"
	"runtime"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Executor runs tasks on several goroutines, its workers. They start when there is something to run and end when there is
// nothing, so an idle executor costs neither CPU nor goroutines. Use [New]; Spawn, Wait and Close may be called on any goroutine.
type Executor struct {
	list
	workers int

	queue struct {
		sync.Mutex
		tasks   []*task // first in, first out: a task that wakes itself goes behind the others
		running int     // workers
	}
}

// Option is for [New].
type Option func(*Executor)

// Workers sets how many tasks are polled at once: GOMAXPROCS where it is not given. It panics for less than 1.
func Workers(n int) Option {
	if n < 1 {
		panic("executor: Workers of less than 1")
	}
	return func(ex *Executor) { ex.workers = n }
}

// New returns an executor.
func New(opts ...Option) *Executor {
	ex := &Executor{workers: runtime.GOMAXPROCS(0)}
	for _, o := range opts {
		o(ex)
	}
	return ex
}

// Spawn makes f a task, and owns it. It never polls f itself. After Close it drops f, and the handle says [ErrClosed].
func Spawn[T any](ex *Executor, f rawwaker.Future[T]) *JoinHandle[T] {
	h := newHandle(ex, f, nil)
	spawn(ex, &ex.list, &h.task)
	return h
}

func spawn(of owner, l *list, t *task) {
	if !l.add(t) {
		t.turn.Store(running)
		t.close(ErrClosed)
		return
	}
	t.core.Wake()
}

// enqueue implements owner.
func (ex *Executor) enqueue(t *task, at wake.Place) {
	q := &ex.queue
	q.Lock()
	q.tasks = append(q.tasks, t)
	start := q.running < ex.workers
	if start {
		q.running++
	}
	q.Unlock()
	if start {
		at.Go(ex.work)
	}
}

// work runs tasks until there is none.
func (ex *Executor) work() {
	done := false
	defer func() {
		if !done {
			go ex.work() // a task called runtime.Goexit
		}
	}()
	for t := ex.pop(); t != nil; t = ex.pop() {
		t.run()
	}
	done = true
}

func (ex *Executor) pop() *task {
	q := &ex.queue
	q.Lock()
	defer q.Unlock()
	t, rest := pop(q.tasks)
	q.tasks = rest
	if t == nil {
		q.running--
	}
	return t
}

// pop takes the first, and gives the memory back with the last.
func pop(q []*task) (*task, []*task) {
	if len(q) == 0 {
		return nil, nil
	}
	t := q[0]
	q[0] = nil
	return t, q[1:]
}

// Wait returns when every task is over, or ctx is, with its error then. Called inside a task it waits for ever.
func (ex *Executor) Wait(ctx context.Context) error {
	for idle := ex.wait(); idle != nil; idle = ex.wait() {
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close refuses further tasks, ends those that are left with [ErrClosed] and drops each of their futures exactly once: before it
// returns those that nobody polls, and one that is being polled when that poll returns. So it may be called inside a task. The
// error is always nil.
func (ex *Executor) Close() error {
	ex.close()
	return nil
}
