package rawwaker

import (
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Named returns f with a name for the trace that FFIWAKERDEBUG=trace=FILE asks for (docs/TRACE.md).
// Without a trace it returns f itself. If an executor of your own polls, with [NewContext], only
// futures that have a name are in the trace.
func Named[T any](name string, f Future[T]) Future[T] {
	if !wake.Tracing() {
		return f
	}
	return &named[T]{f: f, name: name}
}

type named[T any] struct {
	f    Future[T]
	name string
	core *wake.Core // that has the name already
}

// Poll implements [Future].
func (n *named[T]) Poll(cx *Context) Poll[T] {
	c, raw := cx.subject()
	if c != nil && n.core != c {
		n.core = c
		c.Named(n.name)
	}
	if c != nil && cx.bound() && cx.waker.state.load().isCounted() {
		return n.f.Poll(cx) // the executor writes the poll
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

// traced polls f, and writes the two lines of a poll to the trace.
func traced[T any](f Future[T], cx *Context, say func(what string)) (p Poll[T]) {
	wake.TracePoll(say, func() bool {
		p = f.Poll(cx)
		return p.IsReady()
	})
	return p
}
