// Package blockon drives one future on the calling goroutine: the article's block_on, sleeping ([BlockOn]), spinning
// ([Spin]) and cancellable ([Await]).
//
//	v := blockon.BlockOn(future.Ready(42))
//	s := blockon.BlockOn[string](&lamp{}) // of a concrete type Go cannot infer the result's
//
// Each call has a parker of its own, also where calls are nested, so no wake meant for one is taken by another. All of
// them may be called on any goroutine: one locked to its thread, one inside a testing/synctest bubble, one that C called.
// (Inside a bubble no wake may come from C: Go ends the program where one reaches a goroutine that is parked there.)
package blockon

import (
	"context"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// frame is what a call needs beside its future. It goes back to the pool only if no poll has asked for the waker: a waker
// that was given out never wakes another call.
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

// woken takes a wake away that came during the poll.
func (fr *frame) woken() bool { return fr.parker.Consume() }

func (fr *frame) release() {
	if fr.parker.Reusable() {
		fr.parker.Clear() // a C future may have woken it and kept nothing
		frames.Put(fr)
	} else {
		wake.Rawwaker.End(&fr.cx)
	}
}

// BlockOn polls f until it is ready, and sleeps in between until f's waker is woken. If f panics, so does BlockOn, after
// dropping f where it is a [rawwaker.Dropper]; a [runtime.Goexit] goes on likewise. A future that returns Pending and forgets the waker makes
// it sleep for ever. It panics where f is nil.
func BlockOn[T any](f rawwaker.Future[T]) T {
	if f == nil {
		refuse("BlockOn of a nil future")
	}
	if wake.Tracing() {
		v, _ := Await(context.Background(), f) // a context that never ends
		return v
	}
	fr := frames.Get().(*frame)
	g := guard[T]{f: f, fr: fr}
	defer g.leave()
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

// Await is BlockOn that ctx can cancel: it then drops f where it is a [rawwaker.Dropper] and returns ctx.Err(), as soon as
// the poll in progress has returned. If that poll was Ready, Ready wins. If ctx is over before, f is dropped and not polled at all.
func Await[T any](ctx context.Context, f rawwaker.Future[T]) (T, error) {
	if f == nil {
		refuse("Await of a nil future")
	}
	if ctx == nil {
		refuse("Await under a nil context")
	}
	var fr *frame
	if wake.Tracing() {
		fr = newTracedFrame()
		f = &traced[T]{f, &fr.parker.Core}
	} else {
		fr = frames.Get().(*frame)
	}
	g := guard[T]{f: f, fr: fr}
	defer g.leave()
	for done := ctx.Done(); ; {
		if err := ctx.Err(); err != nil {
			var zero T
			return zero, err
		}
		if p := f.Poll(&fr.cx); p.IsReady() {
			g.done = true
			return p.Value(), nil
		}
		fr.parker.Park(done)
	}
}

// Spin polls f until it is ready, without ever sleeping: the waker does nothing, and a CPU is busy all the time. It is
// here to be compared with; use BlockOn.
func Spin[T any](f rawwaker.Future[T]) T {
	if f == nil {
		refuse("Spin of a nil future")
	}
	w := rawwaker.Noop()
	cx := rawwaker.NewContext(w)
	g := guard[T]{f: f}
	defer g.leave()
	defer w.Drop()
	for {
		if p := f.Poll(cx); p.IsReady() {
			g.done = true
			return p.Value()
		}
	}
}

func refuse(what string) { panic("blockon: " + what) }

// guard ends a call, by return, panic or Goexit: it gives the future up unless it was ready, and ends the waker. Its one leave is a deferred
// call, so what Drop panics with goes on, the waker ends all the same, and Drop is called once.
type guard[T any] struct {
	f    rawwaker.Future[T]
	fr   *frame
	done bool
}

func (g *guard[T]) leave() {
	if g.fr != nil {
		defer g.fr.release()
	}
	if !g.done {
		if d, ok := g.f.(rawwaker.Dropper); ok {
			d.Drop()
		}
	}
}
