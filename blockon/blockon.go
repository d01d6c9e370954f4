// Package blockon runs one future on the calling goroutine until it is ready.
//
//	v := blockon.BlockOn(future.Ready(42))
//	v, err := blockon.Await(ctx, f)       // until ctx is cancelled
//	s := blockon.BlockOn[string](&lamp{}) // Go cannot infer the result's type from a concrete type
//
// [BlockOn] sleeps while the future is pending, [Await] can be cancelled as well, and [Spin] never
// sleeps. [AwaitCancel] asks an operation to end, and waits until it has. [AwaitRaw] awaits a future
// of C.
//
// Each call owns the future that it is given. If it ends before the future is ready, it drops it,
// if that is a [rawwaker.Dropper]. Each call has a waker of its own, also if calls are nested, so
// no call takes a wake meant for another.
//
// They may be called on any goroutine: one that is locked to its thread, one in a testing/synctest
// bubble, or one that C called. In a bubble no wake may come from C: Go ends the program if such a
// wake reaches a goroutine that is asleep in a bubble.
package blockon

import (
	"context"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// frame is the parker and the context of a call. It returns to the pool only if the waker has not
// escaped, so that a kept waker never wakes another call.
type frame struct {
	parker wake.Parker
	cx     rawwaker.Context
}

var frames = sync.Pool{New: func() any { return newFrame() }}

func newFrame() *frame {
	fr := new(frame)
	fr.parker.Init(&fr.parker)
	wake.Rawwaker.Bind(&fr.cx, &fr.parker.Core)
	return fr
}

// woken reports whether a wake came during the poll, and consumes it.
func (fr *frame) woken() bool { return fr.parker.Consume() }

func (fr *frame) release() {
	if fr.parker.Reusable() && !wake.FreshContexts {
		fr.parker.Clear() // a C future may have woken it without keeping the waker
		frames.Put(fr)
	} else {
		wake.Rawwaker.End(&fr.cx)
	}
}

// BlockOn polls f until it is ready and returns its result. While f is pending, it sleeps until f's
// waker is woken; if no wake comes, it never returns.
//
// If f's Poll panics or calls [runtime.Goexit], BlockOn drops f and ends the same way. BlockOn
// panics if f is nil.
func BlockOn[T any](f rawwaker.Future[T]) T {
	if f == nil {
		panic("blockon: BlockOn: nil future")
	}
	if wake.Tracing() {
		v, _ := Await(context.Background(), f) // this context has no end
		return v
	}
	fr := frames.Get().(*frame)
	g := guard[T]{f: f, fr: fr}
	defer g.end()
	for {
		if p := f.Poll(&fr.cx); p.IsReady() {
			g.done = true
			return p.Value()
		}
		if !fr.woken() {
			fr.parker.Park(nil)
		}
	}
}

// Await is [BlockOn] with cancellation. If ctx ends before f is ready, it drops f and returns
// ctx.Err().
//
// A poll in progress is not interrupted; if it returns Ready, Await returns the result. If ctx has
// ended before the call, f is dropped without a poll. Await panics if f or ctx is nil.
func Await[T any](ctx context.Context, f rawwaker.Future[T]) (T, error) {
	return await("Await", ctx, f, nil)
}

// AwaitCancel is [Await] for an operation that must be seen to its end, because its buffers are in
// use until then. When ctx ends, it calls cancel once, on this goroutine, between two polls, and
// waits on until f is ready.
//
// The value is the operation's, also if the error is not nil: release what it holds. The error is
// ctx.Err() if cancel was called, and else nil. If ctx has ended before the call, f is dropped
// without a poll, and cancel is not called. If cancel panics, f is dropped and the panic continues.
// If f never becomes ready, AwaitCancel never returns. It panics if f, ctx or cancel is nil.
func AwaitCancel[T any](ctx context.Context, f rawwaker.Future[T], cancel func()) (T, error) {
	if cancel == nil {
		panic("blockon: AwaitCancel: nil function")
	}
	return await("AwaitCancel", ctx, f, cancel)
}

// AwaitRaw is [Await] of [rawwaker.FutureFromRaw] in one call, which needs no finalizer, fewer
// allocations, and one call into C less if the future was pending. It owns raw: the caller must not
// use it any more. C writes the result into memory of C.
//
// It panics if ctx is nil, and where FutureFromRaw panics. Then raw stays the caller's.
func AwaitRaw[T any](ctx context.Context, raw rawwaker.RawFuture) (T, error) {
	if ctx == nil {
		panic("blockon: AwaitRaw: nil context")
	}
	data, vtable := raw.Words()
	f := wake.Rawwaker.NewFuture("AwaitRaw", (*T)(nil), data, vtable)
	v, err := await[T]("AwaitRaw", ctx, rawFuture[T]{f}, nil)
	f.Free()
	return v, err
}

// rawFuture has the size of a pointer, so that it is a Future without an allocation.
type rawFuture[T any] struct{ *wake.RawFuture }

// Poll implements [rawwaker.Future].
func (f rawFuture[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	v, ready := wake.PollRaw[T](f.RawFuture, cx)
	if !ready {
		return rawwaker.Pending[T]()
	}
	return rawwaker.Ready(v)
}

// Drop implements [rawwaker.Dropper].
func (f rawFuture[T]) Drop() { f.F.Drop() }

// await is Await, or AwaitCancel if cancel is not nil.
func await[T any](
	call string, ctx context.Context, f rawwaker.Future[T], cancel func(),
) (T, error) {
	if f == nil {
		panic("blockon: " + call + ": nil future")
	}
	if ctx == nil {
		panic("blockon: " + call + ": nil context")
	}
	var fr *frame
	if wake.Tracing() {
		fr = newTracedFrame()
		f = &traced[T]{f, &fr.parker.Core}
	} else {
		fr = frames.Get().(*frame)
	}
	g := guard[T]{f: f, fr: fr}
	defer g.end()
	var ended error
	polled := false
	for done := ctx.Done(); ; {
		if err := ctx.Err(); err != nil && ended == nil {
			if cancel == nil || !polled {
				var zero T
				return zero, err
			}
			ended, done = err, nil
			cancel()
		}
		polled = true
		if p := f.Poll(&fr.cx); p.IsReady() {
			g.done = true
			return p.Value(), ended
		}
		fr.parker.Park(done)
	}
}

// Spin is [BlockOn] without sleeping: it polls f again and again, with a waker that does nothing.
// It keeps a CPU busy and exists for comparison; use BlockOn. Spin panics if f is nil.
func Spin[T any](f rawwaker.Future[T]) T {
	if f == nil {
		panic("blockon: Spin: nil future")
	}
	w := rawwaker.Noop()
	cx := rawwaker.NewContext(w)
	g := guard[T]{f: f}
	defer g.end()
	defer w.Drop()
	for {
		if p := f.Poll(cx); p.IsReady() {
			g.done = true
			return p.Value()
		}
	}
}

// guard ends a call. Its end is a deferred call, so it also runs after a panic or Goexit, and if
// Drop panics, the waker ends all the same.
type guard[T any] struct {
	f    rawwaker.Future[T]
	fr   *frame
	done bool
}

func (g *guard[T]) end() {
	if g.fr != nil {
		defer g.fr.release()
	}
	if !g.done {
		if d, ok := g.f.(rawwaker.Dropper); ok {
			d.Drop()
		}
	}
}
