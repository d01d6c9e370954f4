package executor

import (
	"context"
	"errors"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Spawner is an [Executor] or a [Local].
type Spawner interface {
	begin(init func(h *home) *task)
}

// Scope is a group of tasks with one end: it is over when Wait or Done was called and all of its tasks are over. The first that
// panics has the others aborted; so has the end of the context that the scope was made with. Spawn, Abort and Wait may be called
// on any goroutine.
//
//	s := executor.NewScope(ctx, ex)
//	a := executor.SpawnIn(s, fetch(s.Context(), "a"))
//	b := executor.SpawnIn(s, fetch(s.Context(), "b"))
//	if err := s.Wait(); err != nil { // both are over, whatever came of them
//
// The idea is that of structured concurrency: Go's errgroup, Rust's JoinSet and scoped threads.
type Scope struct {
	on     Spawner
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   func() bool // of the parent's end

	mu      sync.Mutex
	live    map[*task]struct{}
	aborted bool  // what is spawned from now on is aborted at once
	ending  bool  // Wait or Done was called
	ended   bool  // and nothing is live: nothing is spawned any more
	err     error // of the first panic, or of the parent's end
	waiters []*rawwaker.AtomicWaker
	ends    chan struct{} // closed when ended
}

// NewScope returns a scope whose tasks run on an executor or a Local, and end with ctx.
func NewScope(ctx context.Context, on Spawner) *Scope {
	s := &Scope{on: on, live: make(map[*task]struct{}), ends: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.stop = context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	return s
}

// Context ends when the scope is aborted, with why as its cause, or is over: for what its tasks start elsewhere.
func (s *Scope) Context() context.Context { return s.ctx }

// errOver is the cause of the context of a scope that came to its end.
var errOver = errors.New("executor: scope is over")

// SpawnIn is [Spawn] or [SpawnLocal] in a scope. In one that was aborted, f is dropped and the handle says [ErrAborted]; in one that
// is over, [ErrClosed].
func SpawnIn[T any](s *Scope, f rawwaker.Future[T]) *JoinHandle[T] {
	var handle *JoinHandle[T]
	s.on.begin(func(h *home) *task {
		handle = newHandle(h, f)
		s.adopt(&handle.task)
		return &handle.task
	})
	return handle
}

// adopt makes t one of s's, before it can be polled.
func (s *Scope) adopt(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		t.doom(closed)
		return
	case s.aborted:
		t.doom(aborted)
	}
	t.extend().scope = s
	s.live[t] = struct{}{}
}

// over is told by each task, at its end.
func (s *Scope) over(t *task, err error) {
	var panicked *PanicError
	if errors.As(err, &panicked) {
		s.fail(err)
	}
	s.mu.Lock()
	delete(s.live, t)
	wake := s.settle()
	s.mu.Unlock()
	wakeAll(wake)
}

// settle ends the scope where it is time. mu is held; who is given must be woken when it is not.
func (s *Scope) settle() []*rawwaker.AtomicWaker {
	if !s.ending || len(s.live) > 0 || s.ended {
		return nil
	}
	s.ended = true
	s.stop()
	s.cancel(errOver)
	close(s.ends)
	wake := s.waiters
	s.waiters = nil
	return wake
}

func wakeAll(all []*rawwaker.AtomicWaker) {
	for _, w := range all {
		w.Wake()
	}
}

// fail aborts the scope, because of err. The first counts.
func (s *Scope) fail(err error) {
	s.mu.Lock()
	if s.err == nil && !s.ended {
		s.err = err
	}
	s.mu.Unlock()
	s.abort(err)
}

// Abort ends every task of the scope, those too that are spawned later, with [ErrAborted]. It does not wait.
func (s *Scope) Abort() { s.abort(ErrAborted) }

func (s *Scope) abort(why error) {
	s.mu.Lock()
	s.aborted = true
	all := make([]*task, 0, len(s.live))
	for t := range s.live {
		all = append(all, t)
	}
	s.mu.Unlock()
	s.cancel(why)
	for _, t := range all {
		t.abort()
	}
}

// Wait returns when every task of the scope is over, those too that they have spawned in it meanwhile. The error is the [*PanicError] of
// the first that panicked, or why the context ended where that came first; what came of each task its handle says. Inside a task
// of the scope, and on the goroutine that ticks its Local, it waits for ever: there, poll Done.
func (s *Scope) Wait() error {
	s.end()
	<-s.ends
	return s.err
}

func (s *Scope) end() {
	s.mu.Lock()
	s.ending = true
	wake := s.settle()
	s.mu.Unlock()
	wakeAll(wake)
}

// Done is Wait as a future, whose value is Wait's error.
func (s *Scope) Done() rawwaker.Future[error] { return &scopeDone{s: s} }

type scopeDone struct {
	s     *Scope
	waker *rawwaker.AtomicWaker
	taken bool
}

func (d *scopeDone) Poll(cx *rawwaker.Context) rawwaker.Poll[error] {
	if d.taken {
		panic("future polled after completion")
	}
	s := d.s
	if d.waker == nil {
		d.waker = new(rawwaker.AtomicWaker)
		d.waker.Register(cx.Waker())
		s.mu.Lock()
		s.waiters = append(s.waiters, d.waker)
		s.mu.Unlock()
		s.end()
	} else {
		d.waker.Register(cx.Waker())
	}
	s.mu.Lock()
	ended, err := s.ended, s.err
	s.mu.Unlock()
	if !ended {
		return rawwaker.Pending[error]()
	}
	d.taken = true
	d.waker.Drop()
	return rawwaker.Ready(err)
}

// Drop implements [rawwaker.Dropper]. The scope goes on to its end.
func (d *scopeDone) Drop() {
	if d.waker != nil {
		d.waker.Drop()
	}
}

// begin implements Spawner.
func (ex *Executor) begin(init func(h *home) *task) {
	w := ex.near.Get().(*worker)
	defer ex.near.Put(w)
	t := init(&w.home)
	w.mu.Lock()
	w.spawn(t)
}

// begin implements Spawner.
func (l *Local) begin(init func(h *home) *task) {
	t := init(&l.home)
	l.mu.Lock()
	l.spawn(t)
}
