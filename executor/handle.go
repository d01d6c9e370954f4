package executor

import (
	"errors"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

var (
	// ErrAborted is the outcome of a task that [JoinHandle.Abort] ended.
	ErrAborted = errors.New("executor: task aborted")
	// ErrClosed is the outcome of a task that Close ended, or that was spawned after Close.
	ErrClosed = errors.New("executor: closed")
)

// JoinHandle is the owner's view of a spawned task: a future of its result. The task runs on if
// its handle is dropped or forgotten. One goroutine at a time may poll it, and like any future it
// must not be polled after Ready.
type JoinHandle[T any] struct {
	task  task
	f     rawwaker.Future[T] // of the token's holder
	waker rawwaker.AtomicWaker
	value T // value and err are written before done is set, and read after
	err   error

	turn atomic.Uint32 // the number of the latest poll that has registered a waker
	mine uint32        // turn of the handle's own latest poll; 0: none has registered
}

func newHandle[T any](h *taskList, f rawwaker.Future[T]) *JoinHandle[T] {
	j := &JoinHandle[T]{f: f}
	j.task.init(h, joinBody[T]{j}, f)
	return j
}

// Poll implements [rawwaker.Future]. If the task panicked, was aborted or was refused, Poll panics
// with [*PanicError], which has the task's own stack, [ErrAborted] or [ErrClosed].
func (h *JoinHandle[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if !h.join(cx, &h.mine) {
		return rawwaker.Pending[T]()
	}
	v, err := h.take()
	if err != nil {
		panic(err)
	}
	return rawwaker.Ready(v)
}

// Drop ends the wait that a poll has begun: it drops the waker that the handle was polled with.
// The task runs on, and the handle may be polled again. Combinators such as [future.Timeout] call
// it when they give the handle up.
//
// [future.Timeout]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/future#Timeout
func (h *JoinHandle[T]) Drop() { h.unregister(h.mine) }

// Outcome returns the handle as a future that does not panic: the error is in the result.
// Dropping it ends the wait, not the task.
func (h *JoinHandle[T]) Outcome() rawwaker.Future[rawwaker.Result[T]] { return &outcome[T]{h: h} }

type outcome[T any] struct {
	h    *JoinHandle[T]
	mine uint32 // as in the handle
}

func (o *outcome[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if !o.h.join(cx, &o.mine) {
		return rawwaker.Pending[rawwaker.Result[T]]()
	}
	v, err := o.h.take()
	return rawwaker.Ready(rawwaker.Result[T]{Value: v, Err: err})
}

// Drop implements [rawwaker.Dropper].
func (o *outcome[T]) Drop() { o.h.unregister(o.mine) }

// unregister drops the waker that was registered in that turn, unless a later poll, of the handle
// or of another Outcome, has replaced it.
func (h *JoinHandle[T]) unregister(turn uint32) {
	if turn != 0 && h.turn.Load() == turn {
		h.waker.Drop()
	}
}

// take takes the result out, so that a clone of the task's waker keeps nothing of it.
func (h *JoinHandle[T]) take() (v T, err error) {
	var none T
	v, err = h.value, h.err
	h.value, h.err = none, nil
	return v, err
}

// join reports whether the task has ended. If it has not, join registers cx's waker and notes the
// turn.
func (h *JoinHandle[T]) join(cx *rawwaker.Context, turn *uint32) bool {
	state := &h.task.state
	s := state.Load()
	if s&taken != 0 {
		panic(rawwaker.PolledAfterCompletion)
	}
	if s&done == 0 {
		// Register, then read again: the goroutine that sets done sees joined, or this one sees
		// done.
		h.waker.Register(cx.Waker())
		*turn = h.turn.Add(1)
		if state.Or(joined)&done == 0 {
			return false
		}
	}
	state.Or(taken)
	h.waker.Drop()
	return true
}

// IsDone reports whether the task has ended.
func (h *JoinHandle[T]) IsDone() bool { return h.task.state.Load()&done != 0 }

// Abort ends the task with [ErrAborted], unless it has ended. It does not interrupt a poll in
// progress; if that poll is ready, Ready wins. It does not wait. Any goroutine may call it, more
// than once.
func (h *JoinHandle[T]) Abort() { h.task.abort() }

// joinBody is a JoinHandle as its task knows it.
type joinBody[T any] struct{ *JoinHandle[T] }

func (h joinBody[T]) Schedule(at wake.Place) { h.task.schedule(at) }
func (h joinBody[T]) Inbox() *wake.Inbox     { return h.task.list.owner.inbox() }
func (h joinBody[T]) Count(n int)            { h.task.count(n) }

func (h joinBody[T]) poll(cx *rawwaker.Context) bool {
	p := h.f.Poll(cx)
	if !p.IsReady() {
		return false
	}
	h.value = p.Value()
	return true
}

func (h joinBody[T]) drop() {
	if d, ok := h.f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

func (h joinBody[T]) complete(err error) {
	h.f, h.err = nil, err
	if h.task.state.Or(done)&joined != 0 {
		// A user's function runs elsewhere, because this goroutine has other tasks.
		wake.Rawwaker.Wake(&h.waker, wake.Worker)
	}
}

// detached is a task without a handle. If its waker has not escaped, it is reused for another.
type detached struct {
	task task
	f    rawwaker.Future[struct{}]
}

func (d *detached) Schedule(at wake.Place) { d.task.schedule(at) }
func (d *detached) Inbox() *wake.Inbox     { return d.task.list.owner.inbox() }
func (d *detached) Count(n int)            { d.task.count(n) }

func (d *detached) poll(cx *rawwaker.Context) bool { return d.f.Poll(cx).IsReady() }

func (d *detached) drop() {
	if f, ok := d.f.(rawwaker.Dropper); ok {
		f.Drop()
	}
}

func (d *detached) complete(err error) {
	d.f = nil
	if g := d.task.diag(); g != nil && err != nil && err != ErrClosed {
		report("%s detached: %v", g, err)
	}
	d.task.state.Or(done)
}
