package future

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type goroutine[T any] struct {
	f      func(ctx context.Context) (T, error)
	cancel context.CancelFunc // nil before the first poll
	waker  AtomicWaker
	done   bool // Ready was returned, or Drop called

	// Written by the goroutine before ended is set, read after ended was seen.
	result rawwaker.Result[T]
	ending ending
	ended  atomic.Bool
}

// Go is any blocking call as a future: f runs on a goroutine of its own from the first poll on, and its outcome is the
// result. Drop cancels f's context and does not wait for f to return. If f panics, the poll panics with the same value;
// if f calls [runtime.Goexit], so does the poll.
//
// This is how all of Go's I/O is awaited: the goroutine sleeps in Go's netpoller, and no thread is held.
func Go[T any](f func(ctx context.Context) (T, error)) rawwaker.Future[rawwaker.Result[T]] {
	if f == nil {
		panic("future: Go of a nil function")
	}
	return &goroutine[T]{f: f}
}

func (g *goroutine[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if g.done {
		panic(polledAfterCompletion)
	}
	g.waker.Register(cx.Waker())
	if g.cancel == nil {
		var ctx context.Context
		ctx, g.cancel = context.WithCancel(context.Background())
		go g.run(ctx)
	}
	if !g.ended.Load() {
		return rawwaker.Pending[rawwaker.Result[T]]()
	}
	g.Drop()
	g.ending.propagate()
	result := g.result
	g.result = rawwaker.Result[T]{} // now the caller's
	return rawwaker.Ready(result)
}

func (g *goroutine[T]) run(ctx context.Context) {
	defer func() {
		g.ending.record(recover())
		g.ended.Store(true)
		g.waker.Wake()
	}()
	f := g.f
	g.f = nil // what it holds ends with it
	g.result.Value, g.result.Err = f(ctx)
	g.ending.returned = true
}

// Drop implements [rawwaker.Dropper].
func (g *goroutine[T]) Drop() {
	g.done = true
	if g.cancel != nil {
		g.cancel()
	} else {
		g.f = nil // it never runs
	}
	g.waker.Drop()
}

// ending is how a function on another goroutine came to its end.
type ending struct {
	returned bool
	panicked any // nil and not returned: Goexit
}

// record takes what a deferred recover found.
func (e *ending) record(v any) {
	if !e.returned {
		e.panicked = v
	}
}

// propagate makes the calling goroutine end likewise, unless it was by a return.
func (e *ending) propagate() {
	switch {
	case e.returned:
	case e.panicked != nil:
		panic(e.panicked)
	default:
		runtime.Goexit()
	}
}
