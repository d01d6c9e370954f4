package executor

import (
	"errors"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

var (
	// ErrAborted is the error of a task that [JoinHandle.Abort], or its [Scope], ended.
	ErrAborted = errors.New("executor: task aborted")
	// ErrClosed is the error of a task that Close ended, or that was spawned after Close.
	ErrClosed = errors.New("executor: closed")
)

// JoinHandle is a spawned task, as seen by its spawner: a future of the task's result. If the
// handle is forgotten, the task runs on. Like any future, it is polled by one goroutine at a
// time, and not again after Ready.
type JoinHandle[T any] struct {
	task  task
	f     rawwaker.Future[T] // of the token's holder
	waker rawwaker.AtomicWaker
	value T     // written before done is set, and read after
	err   error // likewise

	turn atomic.Uint32 // a new number for each poll that registers a waker
	mine uint32        // turn of the handle's own latest registration; 0: none
}

func newHandle[T any](list *taskList, f rawwaker.Future[T]) *JoinHandle[T] {
	j := &JoinHandle[T]{f: f}
	j.task.init(list, joinBody[T]{j}, f)
	return j
}

// Poll implements [rawwaker.Future]. If the task panicked, Poll panics with its [*PanicError],
// which has the task's own stack. If the task was ended, Poll panics with [ErrAborted] or
// [ErrClosed]. For an error instead of a panic, await [JoinHandle.Outcome].
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

// Drop ends the wait that a poll has begun: the handle lets go of the waker that it was polled
// with. The task continues, and the handle may be polled again. Combinators that abandon a future,
// such as [future.Timeout], call it.
//
// [future.Timeout]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/future#Timeout
func (h *JoinHandle[T]) Drop() { h.unregister(h.mine) }

// Outcome returns a future of the task's result that does not panic: the error is in the result.
// Its Drop ends the wait, not the task. The result is taken once, by the handle or by one
// Outcome: after that, a poll of any of them panics.
func (h *JoinHandle[T]) Outcome() rawwaker.Future[rawwaker.Result[T]] { return &outcome[T]{h: h} }

type outcome[T any] struct {
	h    *JoinHandle[T]
	mine uint32 // like JoinHandle.mine
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

// take moves the result out: clones of the task's waker keep the handle alive, but not the
// result.
func (h *JoinHandle[T]) take() (v T, err error) {
	var none T
	v, err = h.value, h.err
	h.value, h.err = none, nil
	return v, err
}

// join reports whether the task has ended. If it has not, join registers cx's waker and stores
// the turn in *turn.
func (h *JoinHandle[T]) join(cx *rawwaker.Context, turn *uint32) bool {
	state := &h.task.state
	s := state.Load()
	if s&taken != 0 {
		panic(rawwaker.PolledAfterCompletion)
	}
	if s&done == 0 {
		// The goroutine that sets done sees joined, or this one sees done.
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

// IsDone reports whether the task has ended. It may be called on any goroutine.
func (h *JoinHandle[T]) IsDone() bool { return h.task.state.Load()&done != 0 }

// Abort ends the task with [ErrAborted], unless it has ended. A poll under way is not
// interrupted: if it is ready, Ready wins. Abort does not wait. It may be called on any
// goroutine, and more than once.
func (h *JoinHandle[T]) Abort() { h.task.abort() }

// joinBody is a JoinHandle as its task sees it.
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
		// wake.Worker: a user's function runs on another goroutine, since this one has other tasks.
		wake.Rawwaker.Wake(&h.waker, wake.Worker)
	}
}

// detached is a task without a handle. If its waker has not escaped, it is used again.
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
