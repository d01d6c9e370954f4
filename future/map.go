package future

import (
	"fmt"
	"runtime/debug"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type mapped[T, U any] struct {
	f  rawwaker.Future[T]
	fn func(T) U // nil: over
}

// Map is f with its result put through fn, which runs in the poll.
func Map[T, U any](f rawwaker.Future[T], fn func(T) U) rawwaker.Future[U] {
	if fn == nil {
		panic("future: Map of a nil function")
	}
	return &mapped[T, U]{f, fn}
}

func (m *mapped[T, U]) Poll(cx *rawwaker.Context) rawwaker.Poll[U] {
	if m.fn == nil {
		panic(completed)
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
		giveUp(f)
	}
}

type then[T, U any] struct {
	first rawwaker.Future[T] // nil: it was ready
	fn    func(T) rawwaker.Future[U]
	next  rawwaker.Future[U]
}

// Then is f, and after it the future that fn makes of f's result. fn runs in the poll, and its future is polled in the same.
func Then[T, U any](f rawwaker.Future[T], fn func(T) rawwaker.Future[U]) rawwaker.Future[U] {
	if fn == nil {
		panic("future: Then of a nil function")
	}
	return &then[T, U]{first: f, fn: fn}
}

func (t *then[T, U]) Poll(cx *rawwaker.Context) rawwaker.Poll[U] {
	if t.first != nil {
		p := t.first.Poll(cx)
		if !p.IsReady() {
			return rawwaker.Pending[U]()
		}
		fn := t.fn
		t.first, t.fn = nil, nil
		t.next = fn(p.Value())
	}
	if t.next == nil {
		panic(completed)
	}
	p := t.next.Poll(cx)
	if p.IsReady() {
		t.next = nil
	}
	return p
}

// Drop implements [rawwaker.Dropper].
func (t *then[T, U]) Drop() {
	first, next := t.first, t.next
	t.first, t.fn, t.next = nil, nil, nil
	if first != nil {
		giveUp(first)
	}
	if next != nil {
		giveUp(next)
	}
}

// PanicError is the error of a [CatchPanic] whose future panicked.
type PanicError struct {
	Value any
	Stack []byte // of the poll that panicked
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("future: panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap gives the error that the future panicked with, where it was one.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

type catchPanic[T any] struct{ f rawwaker.Future[T] }

// CatchPanic is f; should a poll of f panic, f is dropped, and the error is a [*PanicError]. A runtime.Goexit goes through.
func CatchPanic[T any](f rawwaker.Future[T]) rawwaker.Future[rawwaker.Result[T]] {
	return &catchPanic[T]{f}
}

func (c *catchPanic[T]) Poll(cx *rawwaker.Context) (answer rawwaker.Poll[rawwaker.Result[T]]) {
	if c.f == nil {
		panic(completed)
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err := &PanicError{v, debug.Stack()}
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
		giveUp(f)
	}
}
