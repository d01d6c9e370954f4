package rawwaker

import (
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Named gives f a name in the trace that FFIWAKERDEBUG=trace=FILE asks for (docs/TRACE.md); without one it is f itself. Polls by an
// executor of your own, with [NewContext], are in the trace only of futures that have a name.
func Named[T any](name string, f Future[T]) Future[T] {
	if !wake.Tracing() {
		return f
	}
	return &named[T]{f: f, name: name}
}

type named[T any] struct {
	f    Future[T]
	name string
	core *wake.Core // that bears the name already
}

// Poll implements [Future].
func (n *named[T]) Poll(cx *Context) Poll[T] {
	c, raw := cx.subject()
	if c != nil && n.core != c {
		n.core = c
		c.Named(n.name)
	}
	if c != nil && cx.bound() && atomic.LoadUint32(&cx.waker.state)&counted != 0 {
		return n.f.Poll(cx) // whoever polls says so
	}
	return traced(n.f, cx, func(what string) {
		if c != nil {
			c.Trace(what)
		} else {
			wake.Trace(what, n.name, raw)
		}
	})
}

// Drop implements [Dropper].
func (n *named[T]) Drop() {
	if d, ok := n.f.(Dropper); ok {
		d.Drop()
	}
}

// Traced is f whose polls and end are in the trace, for this module's executors. Only where there is one.
func Traced[T any](f Future[T]) Future[T] { return &polled[T]{f: f} }

type polled[T any] struct {
	f    Future[T]
	core *wake.Core // of the latest poll
}

// Poll implements [Future].
func (p *polled[T]) Poll(cx *Context) Poll[T] {
	p.core, _ = cx.subject()
	return traced(p.f, cx, p.core.Trace)
}

// Drop implements [Dropper].
func (p *polled[T]) Drop() {
	if p.core != nil {
		p.core.Trace("future dropped")
	} else {
		wake.Trace("future dropped", "", capi.Raw{})
	}
	if d, ok := p.f.(Dropper); ok {
		d.Drop()
	}
}

// traced is a poll with its two lines in the trace.
func traced[T any](f Future[T], cx *Context, say func(what string)) (p Poll[T]) {
	wake.TracePoll(say, func() bool {
		p = f.Poll(cx)
		return p.IsReady()
	})
	return p
}

// subject is what cx's waker wakes: a core, or two words of C.
func (cx *Context) subject() (*wake.Core, capi.Raw) {
	w := &cx.waker
	s := atomic.LoadUint32(&w.state)
	for k := s & kindMask; k == view || k == held; k = s & kindMask {
		w = w.other()
		s = atomic.LoadUint32(&w.state)
	}
	switch s & kindMask &^ lent {
	case core, user:
		return w.core, capi.Raw{}
	case noop:
		if !capi.HasCgo {
			return nil, capi.Raw{}
		}
		return nil, capi.Noop()
	}
	return nil, w.raw().numbers()
}
