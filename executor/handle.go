package executor

import (
	"errors"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

var (
	// ErrAborted is what came of a task that [JoinHandle.Abort] ended.
	ErrAborted = errors.New("executor: task aborted")
	// ErrClosed is what came of a task that Close ended, or that was spawned after.
	ErrClosed = errors.New("executor: closed")
)

// JoinHandle is a spawned task, seen from outside: a future of its result. To let go of it detaches the task. It may be polled
// by one goroutine at a time, and like any future once to its end.
type JoinHandle[T any] struct {
	task  task
	f     rawwaker.Future[T] // of who holds the task's token
	waker rawwaker.AtomicWaker
	value T // both written before done is set, and read after
	err   error
}

func newHandle[T any](h *home, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: Spawn of a nil future")
	}
	j := &JoinHandle[T]{f: f}
	j.task.init(h, worked[T]{j})
	return j
}

// Poll implements [rawwaker.Future]. It panics with the error of a task that panicked ([*PanicError], with the task's own
// stack), was aborted ([ErrAborted]) or refused ([ErrClosed]).
func (h *JoinHandle[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if !h.join(cx) {
		return rawwaker.Pending[T]()
	}
	if h.err != nil {
		panic(h.err)
	}
	return rawwaker.Ready(h.value)
}

// Outcome is the handle as a future that does not panic: the error is in the result.
func (h *JoinHandle[T]) Outcome() rawwaker.Future[rawwaker.Result[T]] { return outcome[T]{h} }

type outcome[T any] struct{ h *JoinHandle[T] }

func (o outcome[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if !o.h.join(cx) {
		return rawwaker.Pending[rawwaker.Result[T]]()
	}
	return rawwaker.Ready(rawwaker.Result[T]{Value: o.h.value, Err: o.h.err})
}

func (h *JoinHandle[T]) join(cx *rawwaker.Context) bool {
	fate := &h.task.fate
	f := fate.Load()
	if f&taken != 0 {
		panic("future polled after completion")
	}
	if f&done == 0 {
		// Register, then look again: who sets done sees joined, or this sees done.
		h.waker.Register(cx.Waker())
		if fate.Or(joined)&done == 0 {
			return false
		}
	}
	fate.Or(taken)
	h.waker.Drop()
	return true
}

// IsDone says whether the task is over.
func (h *JoinHandle[T]) IsDone() bool { return h.task.fate.Load()&done != 0 }

// Abort ends the task with [ErrAborted], unless it is over. A poll in progress is not interrupted; if it is ready, Ready wins. Abort
// may be called more than once, on any goroutine, and does not wait.
func (h *JoinHandle[T]) Abort() { h.task.abort() }

// worked is a JoinHandle as its task knows it.
type worked[T any] struct{ *JoinHandle[T] }

func (h worked[T]) Rouse(at wake.Place) { h.task.rouse(at) }
func (h worked[T]) Inbox() *wake.Inbox  { return h.task.home.of.inbox() }
func (h worked[T]) Count(n int)         { h.task.count(n) }

func (h worked[T]) poll(cx *rawwaker.Context) bool {
	p := h.f.Poll(cx)
	if !p.IsReady() {
		return false
	}
	h.value = p.Value()
	return true
}

func (h worked[T]) drop() {
	if d, ok := h.f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

func (h worked[T]) finish(err error) {
	h.f, h.err = nil, err
	if h.task.fate.Or(done)&joined != 0 {
		h.wake()
	}
}

// wake wakes who awaits the handle. What that waker panics with is nobody's here: the task is over, and its worker has others.
func (h *JoinHandle[T]) wake() {
	defer func() {
		if v := recover(); v != nil && diagnosing.Load() {
			report("the waker of who awaits a task panicked: %v", v)
		}
	}()
	h.waker.Wake()
}

// detached is a task without a handle. Where its waker was given to nobody it is used again for another.
type detached struct {
	task task
	f    rawwaker.Future[struct{}]
}

func (d *detached) Rouse(at wake.Place) { d.task.rouse(at) }
func (d *detached) Inbox() *wake.Inbox  { return d.task.home.of.inbox() }
func (d *detached) Count(n int)         { d.task.count(n) }

func (d *detached) poll(cx *rawwaker.Context) bool { return d.f.Poll(cx).IsReady() }

func (d *detached) drop() {
	if f, ok := d.f.(rawwaker.Dropper); ok {
		f.Drop()
	}
}

func (d *detached) finish(err error) {
	d.f = nil
	if g := d.task.diag(); g != nil && err != nil && err != ErrClosed {
		report("%s detached: %v", g, err)
	}
	d.task.fate.Or(done)
}
