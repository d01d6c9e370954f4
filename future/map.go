package future

import (
	"runtime/debug"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type mapped[T, U any] struct {
	f  rawwaker.Future[T]
	fn func(T) U // nil: over
}

// Map is f with its result put through fn, which runs in the poll.
func Map[T, U any](f rawwaker.Future[T], fn func(T) U) rawwaker.Future[U] {
	refuse("Map", f == nil, "future")
	refuse("Map", fn == nil, "function")
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

// Then is f, and after it the future that fn makes of f's result. fn runs in the poll, and its future is polled in the same. After 64
// futures in one poll others get their turn. It panics where fn returns nil.
//
// A Then may end in another one, as long as you like: a loop whose fn returns the Then of its next round costs each poll the same, and no
// stack. A chain that is built by its first argument (the Then of a Then of a Then) is polled through all its links each time.
func Then[T, U any](f rawwaker.Future[T], fn func(T) rawwaker.Future[U]) rawwaker.Future[U] {
	refuse("Then", f == nil, "future")
	refuse("Then", fn == nil, "function")
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
		panic(completed)
	}
	for range turns {
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

// stepper is a Then at the end of another, which replaces it by what comes after it instead of polling through it.
type stepper[U any] interface {
	step(cx *rawwaker.Context) (next rawwaker.Future[U], ok bool)
}

// step polls the first future, unless it was ready, and gives away what comes after it; false: it is pending.
func (t *then[T, U]) step(cx *rawwaker.Context) (next rawwaker.Future[U], ok bool) {
	if t.first == nil { // it was polled elsewhere before it came here
		if next = t.next; next == nil {
			panic(completed)
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
		panic("future: Then: the function has returned a nil future")
	}
	return next, true
}

// Drop implements [rawwaker.Dropper].
func (t *then[T, U]) Drop() {
	first, next := t.first, t.next // one of them at most
	t.first, t.fn, t.next = nil, nil, nil
	if first != nil {
		giveUp(first)
	}
	if next != nil {
		giveUp(next)
	}
}

// PanicError is the error of a [CatchPanic] or [Shared] whose future panicked.
type PanicError = rawwaker.PanicError

type catchPanic[T any] struct{ f rawwaker.Future[T] }

// CatchPanic is f; should a poll of f panic, f is dropped, and the error is a [*PanicError]. A runtime.Goexit goes through, and so does a
// panic of that Drop.
func CatchPanic[T any](f rawwaker.Future[T]) rawwaker.Future[rawwaker.Result[T]] {
	refuse("CatchPanic", f == nil, "future")
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
		giveUp(f)
	}
}
