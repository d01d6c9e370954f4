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
	done   bool // Ready was returned, or Drop was called

	// Written by the goroutine before it sets ended, read by polls that have seen ended.
	result rawwaker.Result[T]
	ending ending
	ended  atomic.Bool
}

// Go returns a future of the value and the error of f, which may block. At the first poll f starts
// on a goroutine of its own.
//
// Drop cancels f's context. It does not wait until f returns.
//
// If f panics, the poll panics with the same value; if f calls [runtime.Goexit], so does the poll.
// Go panics if f is nil.
//
// Use it to await Go's I/O: the goroutine sleeps in Go's netpoller and holds no thread.
func Go[T any](f func(ctx context.Context) (T, error)) rawwaker.Future[rawwaker.Result[T]] {
	if f == nil {
		panic("future: Go: nil function")
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
	g.result = rawwaker.Result[T]{} // it belongs to the caller now
	return rawwaker.Ready(result)
}

func (g *goroutine[T]) run(ctx context.Context) {
	defer func() {
		g.ending.record(recover())
		g.ended.Store(true)
		g.waker.Wake()
	}()
	f := g.f
	g.f = nil // nothing that f references is kept after its end
	g.result.Value, g.result.Err = f(ctx)
	g.ending.returned = true
}

// Drop implements [rawwaker.Dropper].
func (g *goroutine[T]) Drop() {
	g.done = true
	if g.cancel != nil {
		g.cancel()
	} else {
		g.f = nil // it will not run
	}
	g.waker.Drop()
}

// ending is how a function on another goroutine ended.
type ending struct {
	returned bool
	panicked any // if this is nil and returned is false: Goexit
}

// record is called with the result of a deferred recover.
func (e *ending) record(v any) {
	if !e.returned {
		e.panicked = v
	}
}

// propagate panics or calls Goexit if the function did so.
func (e *ending) propagate() {
	switch {
	case e.returned:
	case e.panicked != nil:
		panic(e.panicked)
	default:
		runtime.Goexit()
	}
}
