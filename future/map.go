package future

import (
	"runtime/debug"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type mapped[T, U any] struct {
	f  rawwaker.Future[T]
	fn func(T) U // nil if ready or dropped
}

// Map returns a future of fn's result for the result of f. fn runs in the poll.
//
// It owns f. Drop drops f. Map panics if f or fn is nil.
func Map[T, U any](f rawwaker.Future[T], fn func(T) U) rawwaker.Future[U] {
	panicIfNil("Map", f == nil, "future")
	panicIfNil("Map", fn == nil, "function")
	return &mapped[T, U]{f, fn}
}

func (m *mapped[T, U]) Poll(cx *rawwaker.Context) rawwaker.Poll[U] {
	if m.fn == nil {
		panic(polledAfterCompletion)
	}
	p := m.f.Poll(cx)
	if !p.IsReady() {
		return rawwaker.Pending[U]()
	}
	fn := m.fn
	m.f, m.fn = nil, nil
	return rawwaker.Ready(fn(p.Value()))
}

// Drop implements [rawwaker.Dropper].
func (m *mapped[T, U]) Drop() {
	f := m.f
	m.f, m.fn = nil, nil
	if f != nil {
		dropFuture(f)
	}
}

type then[T, U any] struct {
	first rawwaker.Future[T] // nil if it was ready
	fn    func(T) rawwaker.Future[U]
	next  rawwaker.Future[U]
}

// Then returns a future that waits for f and then for the future that fn makes of f's result. fn
// runs in the poll, and its future is polled in the same poll.
//
// It owns both futures. Drop drops the one that it waits for. After 64 futures in one poll it wakes
// its task and returns Pending, so that other tasks run. Then panics if f or fn is nil; the poll
// panics if fn returns nil.
//
// To loop, let fn return the Then of the next round: each poll costs the same, however many rounds
// there were, and the stack does not grow. A chain built by the first argument (the Then of a Then
// of a Then) is polled through all its links each time.
func Then[T, U any](f rawwaker.Future[T], fn func(T) rawwaker.Future[U]) rawwaker.Future[U] {
	panicIfNil("Then", f == nil, "future")
	panicIfNil("Then", fn == nil, "function")
	return &then[T, U]{first: f, fn: fn}
}

func (t *then[T, U]) Poll(cx *rawwaker.Context) rawwaker.Poll[U] {
	if t.first != nil {
		next, ok := t.step(cx)
		if !ok {
			return rawwaker.Pending[U]()
		}
		t.next = next
	}
	if t.next == nil {
		panic(polledAfterCompletion)
	}
	for range pollBudget {
		tail, ok := t.next.(stepper[U])
		if !ok {
			p := t.next.Poll(cx)
			if p.IsReady() {
				t.next = nil
			}
			return p
		}
		next, ok := tail.step(cx)
		if !ok {
			return rawwaker.Pending[U]()
		}
		t.next = next
	}
	cx.Waker().WakeByRef()
	return rawwaker.Pending[U]()
}

// stepper is a Then that is the next of another Then. The outer one replaces it by its next, so
// that a loop is not polled through all its rounds.
type stepper[U any] interface {
	step(cx *rawwaker.Context) (next rawwaker.Future[U], ok bool)
}

// step polls the first future, unless it was ready, and returns what comes after it, which the
// caller owns. It returns false if the first is pending.
func (t *then[T, U]) step(cx *rawwaker.Context) (next rawwaker.Future[U], ok bool) {
	if t.first == nil { // fn returned a Then that was polled before
		if next = t.next; next == nil {
			panic(polledAfterCompletion)
		}
		t.next = nil
		return next, true
	}
	p := t.first.Poll(cx)
	if !p.IsReady() {
		return nil, false
	}
	fn := t.fn
	t.first, t.fn = nil, nil
	if next = fn(p.Value()); next == nil {
		panic("future: Then: the function returned a nil future")
	}
	return next, true
}

// Drop implements [rawwaker.Dropper].
func (t *then[T, U]) Drop() {
	first, next := t.first, t.next // at most one is not nil
	t.first, t.fn, t.next = nil, nil, nil
	if first != nil {
		dropFuture(first)
	}
	if next != nil {
		dropFuture(next)
	}
}

// PanicError is the error of a [CatchPanic] whose future panicked, and what a [Shared] panics with.
// It is [rawwaker.PanicError].
type PanicError = rawwaker.PanicError

type catchPanic[T any] struct{ f rawwaker.Future[T] }

// CatchPanic returns a future of f's result that fails with a [*PanicError] if a poll of f panics.
// Then f is dropped.
//
// It owns f. A [runtime.Goexit] in the poll, or a panic in f's Drop, is not caught. CatchPanic
// panics if f is nil.
func CatchPanic[T any](f rawwaker.Future[T]) rawwaker.Future[rawwaker.Result[T]] {
	panicIfNil("CatchPanic", f == nil, "future")
	return &catchPanic[T]{f}
}

func (c *catchPanic[T]) Poll(cx *rawwaker.Context) (answer rawwaker.Poll[rawwaker.Result[T]]) {
	if c.f == nil {
		panic(polledAfterCompletion)
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err := &PanicError{Value: v, Stack: debug.Stack()}
			c.Drop()
			answer = rawwaker.Ready(rawwaker.Result[T]{Err: err})
		}
	}()
	p := c.f.Poll(cx)
	returned = true
	if !p.IsReady() {
		return rawwaker.Pending[rawwaker.Result[T]]()
	}
	c.f = nil
	return rawwaker.Ready(rawwaker.Result[T]{Value: p.Value()})
}

// Drop implements [rawwaker.Dropper].
func (c *catchPanic[T]) Drop() {
	f := c.f
	c.f = nil
	if f != nil {
		dropFuture(f)
	}
}
