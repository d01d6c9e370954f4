package executor

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Spawner is an [Executor] or a [Local].
type Spawner interface {
	spawnWith(init func(h *taskList) *task)
}

// Scope is a group of tasks that end together: it ends when Wait or Done was called and all of
// its tasks have ended. The first task that panics aborts the others, as does the end of the
// context that the scope was made with. Spawn, Abort and Wait may be called on any goroutine.
//
//	s := executor.NewScope(ctx, ex)
//	a := executor.SpawnIn(s, fetch(s.Context(), "a"))
//	b := executor.SpawnIn(s, fetch(s.Context(), "b"))
//	if err := s.Wait(); err != nil { // both have ended, whatever their outcomes are
//
// The idea is that of structured concurrency: Go's errgroup, Rust's JoinSet and scoped threads.
type Scope struct {
	spawner Spawner
	parent  context.Context
	watch   *watch // of the parent

	mu      sync.Mutex
	live    map[*task]struct{}
	ctx     context.Context // nil until Context is called or the scope ends
	cancel  context.CancelCauseFunc
	cause   error // why ctx ends; set before it is cancelled
	aborted bool  // tasks that are spawned from now on are aborted at once
	ending  bool  // Wait or Done was called
	ended   bool  // and no task is left: none is spawned any more
	err     error // of the first panic, or of the parent's end
	waiters map[*scopeDone]struct{}
	done    chan struct{} // closed when ended
}

// NewScope returns a scope whose tasks run on an executor or a Local, and end with ctx. If ctx has
// ended, none of its tasks runs. It panics if ctx or on is nil.
//
// A scope that is forgotten leaves nothing on ctx after its tasks have ended, unless its Context
// was called: such a scope must be ended by Wait, Done or Abort.
func NewScope(ctx context.Context, on Spawner) *Scope {
	if ctx == nil {
		panic("executor: NewScope: nil context")
	}
	if on == nil {
		panic("executor: NewScope: nil Spawner")
	}
	s := &Scope{spawner: on, parent: ctx, live: make(map[*task]struct{}), done: make(chan struct{})}
	p := new(watch)
	p.stop = context.AfterFunc(ctx, func() {
		if s := p.scope.Load(); s != nil {
			s.checkParent()
		}
	})
	// The cleanup must not keep p, which keeps the scope, and so a Local that is forgotten. While ctx
	// can end it keeps p. The context may be a user's, whose methods must not run on the collector's
	// goroutine.
	runtime.AddCleanup(s, func(p weak.Pointer[watch]) {
		if p := p.Value(); p != nil {
			wake.Later(func() { p.stop() })
		}
	}, weak.Make(p))
	s.watch = p
	return s
}

// watch is what the parent's context knows of a scope. It may live much longer than the scope.
type watch struct {
	scope atomic.Pointer[Scope] // while it has tasks
	stop  func() bool           // ends the watch
}

// Context returns a context for work that the scope's tasks start elsewhere. It ends when the scope
// is aborted, with the reason as its cause, or ends.
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
		defer cancel(nil) // another goroutine was first
	}
	ctx, cancel = s.ctx, s.cancel
	why := s.cause
	s.mu.Unlock()
	if why != nil {
		cancel(why)
	}
	return ctx
}

// errScopeEnded is the cause of the context of a scope that has ended.
var errScopeEnded = errors.New("executor: scope has ended")

// SpawnIn is [Spawn] or [SpawnLocal] in a scope. If the scope was aborted or its context has
// ended, f is dropped and the handle gives [ErrAborted]; if the scope has ended, [ErrClosed]. It
// panics if f is nil.
func SpawnIn[T any](s *Scope, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: SpawnIn: nil future")
	}
	s.checkParent()
	var handle *JoinHandle[T]
	s.spawner.spawnWith(func(h *taskList) *task {
		handle = newHandle(h, f)
		s.adopt(&handle.task)
		return &handle.task
	})
	return handle
}

// checkParent aborts the scope if its parent has ended. The notice of that comes later, on another
// goroutine, so a goroutine that is about to begin something checks too.
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
	s.watch.scope.Store(s)
}

// taskCompleted is called at the end of each task.
func (s *Scope) taskCompleted(t *task, err error) {
	defer s.update(func() { delete(s.live, t) })
	if panicked, ok := err.(*PanicError); ok {
		s.fail(panicked)
	}
	s.checkParent()
}

// update makes a change, under mu, and ends the scope if that was the last.
func (s *Scope) update(change func()) {
	s.mu.Lock()
	change()
	if len(s.live) == 0 {
		s.watch.scope.Store(nil)
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
	s.watch.stop()
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

// fail aborts the scope because of err. The first call counts.
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

// Abort ends every task of the scope, and those spawned later, with [ErrAborted]. It does not wait.
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
	s.watch.stop() // the goroutine that ends the scope checks the parent itself
	cancel()
	each(all, (*task).abort)
}

// Wait returns when every task of the scope has ended, with those that they have spawned in it.
// The error is the [*PanicError] of the first task that panicked, or the cause of the context's
// end if that came first. Each task's own outcome is in its handle. Inside a task of the scope,
// and on the goroutine that ticks its Local, Wait never returns: poll Done there.
func (s *Scope) Wait() error {
	s.end()
	<-s.done
	return s.err
}

func (s *Scope) end() {
	s.checkParent()
	s.update(func() { s.ending = true })
}

// Done returns Wait as a future, whose value is Wait's error.
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
func (ex *Executor) spawnWith(init func(h *taskList) *task) {
	w := ex.workerHint.Get().(*worker)
	defer ex.workerHint.Put(w)
	t := init(&w.taskList)
	w.mu.Lock()
	w.spawn(t)
}

// spawnWith implements Spawner.
func (l *Local) spawnWith(init func(h *taskList) *task) {
	t := init(&l.taskList)
	l.mu.Lock()
	l.spawn(t)
}
