package executor

import (
	"errors"
	"sync/atomic"

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

	turn atomic.Uint32 // changes with each poll that has registered a waker: whose it is
	mine uint32        // turn of the handle's own latest poll; 0: none has registered
}

func newHandle[T any](h *taskList, f rawwaker.Future[T]) *JoinHandle[T] {
	j := &JoinHandle[T]{f: f}
	j.task.init(h, joinBody[T]{j}, f)
	return j
}

// Poll implements [rawwaker.Future]. It panics with the error of a task that panicked ([*PanicError], with the task's own
// stack), was aborted ([ErrAborted]) or refused ([ErrClosed]).
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

// Drop ends the wait that a poll has begun: the handle lets go of the waker that it was polled with. The task goes on, and the handle
// may be polled again. It is for who gives the handle up as a future, as [future.Timeout] does.
//
// [future.Timeout]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/future#Timeout
func (h *JoinHandle[T]) Drop() { h.unregister(h.mine) }

// Outcome is the handle as a future that does not panic: the error is in the result. To drop it ends the wait and not the task.
func (h *JoinHandle[T]) Outcome() rawwaker.Future[rawwaker.Result[T]] { return &outcome[T]{h: h} }

type outcome[T any] struct {
	h    *JoinHandle[T]
	mine uint32 // as the handle's
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

// unregister drops the waker that was registered in that turn, unless a later poll, of the handle or of another Outcome, has replaced it.
func (h *JoinHandle[T]) unregister(turn uint32) {
	if turn != 0 && h.turn.Load() == turn {
		h.waker.Drop()
	}
}

// take takes the result out: who else knows the task, by a clone of its waker, keeps nothing of it.
func (h *JoinHandle[T]) take() (v T, err error) {
	var none T
	v, err = h.value, h.err
	h.value, h.err = none, nil
	return v, err
}

// join says whether the task is over; if it is not, it registers cx's waker and notes the turn.
func (h *JoinHandle[T]) join(cx *rawwaker.Context, turn *uint32) bool {
	state := &h.task.state
	s := state.Load()
	if s&taken != 0 {
		panic(rawwaker.PolledAfterCompletion)
	}
	if s&done == 0 {
		// Register, then look again: who sets done sees joined, or this sees done.
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

// IsDone says whether the task is over.
func (h *JoinHandle[T]) IsDone() bool { return h.task.state.Load()&done != 0 }

// Abort ends the task with [ErrAborted], unless it is over. A poll in progress is not interrupted; if it is ready, Ready wins. Abort
// may be called more than once, on any goroutine, and does not wait.
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
		wake.Rawwaker.Wake(&h.waker, wake.Worker) // what a user wrote runs elsewhere: this goroutine has other tasks
	}
}

// detached is a task without a handle. Where its waker was given to nobody it is used again for another.
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
