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
	spawnWith(init func(h *taskList) *task)
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
	spawner Spawner
	parent  context.Context
	self    *atomic.Pointer[Scope] // the scope while tasks of it live: what the parent knows of it

	mu      sync.Mutex
	stop    func() bool // ends the notice of the parent's end
	live    map[*task]struct{}
	ctx     context.Context // nil until somebody asks for it, or the scope ends
	cancel  context.CancelCauseFunc
	cause   error // why ctx ends; set before it is cancelled
	aborted bool  // what is spawned from now on is aborted at once
	ending  bool  // Wait or Done was called
	ended   bool  // and nothing is live: nothing is spawned any more
	err     error // of the first panic, or of the parent's end
	waiters map[*scopeDone]struct{}
	done    chan struct{} // closed when ended
}

// NewScope returns a scope whose tasks run on an executor or a Local, and end with ctx. If ctx is over, no task of the scope runs.
//
// A scope that is forgotten leaves nothing on ctx when its tasks are over, unless somebody has asked for its Context: such a one must come to
// its end, by Wait, Done or Abort.
func NewScope(ctx context.Context, on Spawner) *Scope {
	if ctx == nil {
		panic("executor: NewScope of a nil context")
	}
	if on == nil {
		panic("executor: NewScope on a nil Spawner")
	}
	s := &Scope{spawner: on, parent: ctx, live: make(map[*task]struct{}), done: make(chan struct{})}
	kept := new(atomic.Pointer[Scope]) // ctx may outlive the scope by far
	stop := context.AfterFunc(ctx, func() {
		if s := kept.Load(); s != nil {
			s.checkParent()
		}
	})
	// The context may be one of the user's, whose methods run elsewhere than on the collector's goroutine.
	runtime.AddCleanup(s, func(stop func() bool) { wake.Later(func() { stop() }) }, stop)
	s.self, s.stop = kept, stop
	s.checkParent()
	return s
}

// Context ends when the scope is aborted, with why as its cause, or is over: for what its tasks start elsewhere.
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

// errScopeEnded is the cause of the context of a scope that came to its end.
var errScopeEnded = errors.New("executor: scope is over")

// SpawnIn is [Spawn] or [SpawnLocal] in a scope. In one that was aborted, or whose context is over, f is dropped and the handle says
// [ErrAborted]; in one that is over, [ErrClosed].
func SpawnIn[T any](s *Scope, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: SpawnIn of a nil future")
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

// checkParent sees whether the parent's end has come, and aborts the scope then. The notice of it comes on another goroutine, some time: so whoever
// is about to begin something looks too.
func (s *Scope) checkParent() {
	if s.parent.Err() != nil {
		s.fail(context.Cause(s.parent))
	}
}

// adopt makes t one of s's, before it can be polled.
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

// taskCompleted is told by each task, at its end.
func (s *Scope) taskCompleted(t *task, err error) {
	defer s.update(func() { delete(s.live, t) })
	if panicked, ok := err.(*PanicError); ok {
		s.fail(panicked)
	}
	s.checkParent()
}

// update makes a change, under mu, and ends the scope where it is time.
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

// setCause says why the context ends, and returns what ends it, to be called without mu. mu is held.
func (s *Scope) setCause(why error) (cancel func()) {
	if s.cause == nil {
		s.cause = why
	}
	if c := s.cancel; c != nil {
		return func() { c(why) }
	}
	return func() {}
}

// fail aborts the scope, because of err. The first counts.
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

// Abort ends every task of the scope, those too that are spawned later, with [ErrAborted]. It does not wait.
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
	s.stop() // who ends the scope now looks at its parent
	cancel()
	each(all, (*task).abort)
}

// Wait returns when every task of the scope is over, those too that they have spawned in it meanwhile. The error is the [*PanicError] of
// the first that panicked, or why the context ended where that came first; what came of each task its handle says. Inside a task
// of the scope, and on the goroutine that ticks its Local, it waits for ever: there, poll Done.
func (s *Scope) Wait() error {
	s.end()
	<-s.done
	return s.err
}

func (s *Scope) end() {
	s.checkParent()
	s.update(func() { s.ending = true })
}

// Done is Wait as a future, whose value is Wait's error.
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

// Drop implements [rawwaker.Dropper]. The scope goes on to its end.
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
