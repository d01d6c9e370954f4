package executor

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Spawner is an [Executor] or a [Local].
type Spawner interface {
	spawnWith(init func(list *taskList) *task)
}

// Scope is a group of tasks that end together, as in structured concurrency (Go's errgroup, Rust's
// JoinSet and scoped threads). It ends when Wait or Done was called and all of its tasks have
// ended. If a task panics, or the context of the scope ends, all tasks are aborted. All functions
// and methods may be called on any goroutine.
//
//	s := executor.NewScope(ctx, ex)
//	a := executor.SpawnIn(s, fetch(s.Context(), "a"))
//	b := executor.SpawnIn(s, fetch(s.Context(), "b"))
//	if err := s.Wait(); err != nil { // both have ended, with or without a result
type Scope struct {
	spawner Spawner
	parent  context.Context
	self    *atomic.Pointer[Scope] // s while tasks of it live: all that parent refers to

	mu      sync.Mutex
	stop    func() bool // ends the notice of the end of parent
	live    map[*task]struct{}
	ctx     context.Context // nil until Context is called
	cancel  context.CancelCauseFunc
	cause   error // why ctx ends; set before it is cancelled
	aborted bool  // a spawn from now on is aborted at once
	ending  bool  // Wait or Done was called
	ended   bool  // ending, and no task is live: nothing is spawned any more
	err     error // of the first panic, or of the parent's end
	waiters map[*scopeDone]struct{}
	done    chan struct{} // closed when ended
}

// NewScope returns a scope whose tasks run on an executor or a Local, and are aborted when ctx
// ends. If ctx has ended, no task of the scope runs. It panics if an argument is nil.
//
// A forgotten scope leaves nothing on ctx when its tasks have ended, unless its Context was asked
// for: then call Wait, Done or Abort.
func NewScope(ctx context.Context, on Spawner) *Scope {
	if ctx == nil {
		panic("executor: NewScope: nil context")
	}
	if on == nil {
		panic("executor: NewScope: nil Spawner")
	}
	s := &Scope{spawner: on, parent: ctx, live: make(map[*task]struct{}), done: make(chan struct{})}
	kept := new(atomic.Pointer[Scope]) // not s itself: ctx may outlive the scope
	stop := context.AfterFunc(ctx, func() {
		if s := kept.Load(); s != nil {
			s.checkParent()
		}
	})
	// ctx may be a user's type: its methods must not run on the goroutine of the cleanups.
	runtime.AddCleanup(s, func(stop func() bool) { wake.Later(func() { stop() }) }, stop)
	s.self, s.stop = kept, stop
	s.checkParent()
	return s
}

// Context returns a context that ends when the scope is aborted, with the reason as its cause, or
// when the scope ends. It is for work that the tasks start elsewhere.
func (s *Scope) Context() context.Context {
	s.mu.Lock()
	ctx := s.ctx
	s.mu.Unlock()
	if ctx != nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(s.parent)
	s.mu.Lock()
	if s.ctx == nil {
		s.ctx, s.cancel = ctx, cancel
	} else {
		defer cancel(nil) // another call was first
	}
	ctx, cancel = s.ctx, s.cancel
	why := s.cause
	s.mu.Unlock()
	if why != nil {
		cancel(why)
	}
	return ctx
}

// errScopeEnded is the cause of the context of a scope that ended by itself.
var errScopeEnded = errors.New("executor: scope has ended")

// SpawnIn is [Spawn] or [SpawnLocal] in a scope. If the scope was aborted, or its context has
// ended, f is dropped and the handle's error is [ErrAborted]; if the scope has ended,
// [ErrClosed].
func SpawnIn[T any](s *Scope, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: SpawnIn: nil future")
	}
	s.checkParent()
	var handle *JoinHandle[T]
	s.spawner.spawnWith(func(list *taskList) *task {
		handle = newHandle(list, f)
		s.adopt(&handle.task)
		return &handle.task
	})
	return handle
}

// checkParent aborts the scope if the parent context has ended. The notice of that runs on
// another goroutine, some time later, so what begins a poll or a spawn checks too.
func (s *Scope) checkParent() {
	if s.parent.Err() != nil {
		s.fail(context.Cause(s.parent))
	}
}

// adopt makes t a task of s, before it can be polled.
func (s *Scope) adopt(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		t.requestEnd(closed)
		return
	case s.aborted:
		t.requestEnd(aborted)
	}
	t.extend().scope = s
	s.live[t] = struct{}{}
	s.self.Store(s)
}

// taskCompleted is called once for each task, at its end.
func (s *Scope) taskCompleted(t *task, err error) {
	defer s.update(func() { delete(s.live, t) })
	if panicked, ok := err.(*PanicError); ok {
		s.fail(panicked)
	}
	s.checkParent()
}

// update makes a change under mu, and ends the scope if that is due.
func (s *Scope) update(change func()) {
	s.mu.Lock()
	change()
	if len(s.live) == 0 {
		s.self.Store(nil)
	}
	if !s.ending || len(s.live) > 0 || s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	waiters := make([]*rawwaker.AtomicWaker, 0, len(s.waiters))
	for d := range s.waiters {
		waiters = append(waiters, &d.waker)
	}
	s.waiters = nil
	cancel := s.setCause(errScopeEnded)
	s.mu.Unlock()
	defer wake.WakeAll(waiters, wake.Worker)
	defer close(s.done)
	s.stop()
	cancel()
}

// setCause sets why the context ends, and returns what ends it, to be called without mu. mu is
// held.
func (s *Scope) setCause(why error) (cancel func()) {
	if s.cause == nil {
		s.cause = why
	}
	if c := s.cancel; c != nil {
		return func() { c(why) }
	}
	return func() {}
}

// fail aborts the scope because of err, if it is the first.
func (s *Scope) fail(err error) {
	s.mu.Lock()
	again := s.err != nil || s.ended
	if !again {
		s.err = err
	}
	s.mu.Unlock()
	if !again {
		s.abort(err)
	}
}

// Abort ends every task of the scope with [ErrAborted], also those that are spawned later. It
// does not wait.
func (s *Scope) Abort() { s.abort(ErrAborted) }

func (s *Scope) abort(why error) {
	s.mu.Lock()
	s.aborted = true
	all := make([]*task, 0, len(s.live))
	for t := range s.live {
		all = append(all, t)
	}
	cancel := s.setCause(why)
	s.mu.Unlock()
	s.stop() // no longer needed: what ends the scope from now on checks the parent itself
	cancel()
	each(all, (*task).abort)
}

// Wait returns when every task of the scope has ended, including those that were spawned in it
// meanwhile. The error is the [*PanicError] of the first task that panicked, or the cause of the
// context's end if that came first, or nil; what became of each task its handle reports.
//
// Inside a task of the scope, and on the goroutine that ticks its Local, it never returns: poll
// Done there.
func (s *Scope) Wait() error {
	s.end()
	<-s.done
	return s.err
}

func (s *Scope) end() {
	s.checkParent()
	s.update(func() { s.ending = true })
}

// Done returns a future that is ready when Wait would return, with Wait's error. Its first poll
// does what a call of Wait does: from then on, the scope ends with its last task.
func (s *Scope) Done() rawwaker.Future[error] { return &scopeDone{s: s} }

type scopeDone struct {
	s     *Scope
	waker rawwaker.AtomicWaker
	begun bool
	taken bool
}

func (d *scopeDone) Poll(cx *rawwaker.Context) rawwaker.Poll[error] {
	if d.taken {
		panic(rawwaker.PolledAfterCompletion)
	}
	s := d.s
	d.waker.Register(cx.Waker())
	if !d.begun {
		d.begun = true
		s.mu.Lock()
		if !s.ended {
			if s.waiters == nil {
				s.waiters = make(map[*scopeDone]struct{})
			}
			s.waiters[d] = struct{}{}
		}
		s.mu.Unlock()
		s.end()
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

// Drop implements [rawwaker.Dropper]. The scope still ends.
func (d *scopeDone) Drop() {
	s := d.s
	s.mu.Lock()
	delete(s.waiters, d)
	s.mu.Unlock()
	d.waker.Drop()
}

// spawnWith implements Spawner.
func (ex *Executor) spawnWith(init func(list *taskList) *task) {
	w := ex.workerHint.Get().(*worker)
	defer ex.workerHint.Put(w)
	t := init(&w.taskList)
	w.mu.Lock()
	w.spawn(t)
}

// spawnWith implements Spawner.
func (l *Local) spawnWith(init func(list *taskList) *task) {
	t := init(&l.taskList)
	l.mu.Lock()
	l.spawn(t)
}
