package future

import (
	"runtime"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Awaiter is an [Async] body's right to [Await]. It is for that body only, on the body's own goroutine: another goroutine
// that uses it panics while the body is suspended, and is not found out while it runs.
type Awaiter struct {
	state  state
	cx     *rawwaker.Context // of the poll under way; nil otherwise
	ending ending

	// The two goroutines take turns, never both at once: resume starts the body's turn, paused ends it. All fields of the
	// Awaiter belong to whose turn it is.
	resume, paused chan struct{}
}

// The states of an Async future.
type state uint8

const (
	notStarted state = iota // not polled yet: no goroutine
	suspended               // the body's goroutine waits in an Await, or has just been started
	dropped                 // Drop came in the middle: the body unwinds
	ended                   // the body's goroutine is gone
	completed               // ended, and a poll has said so
)

type async[T any] struct {
	aw    Awaiter
	body  func(aw *Awaiter) T
	value T
}

// Async makes a future of a function that may [Await] other futures: Rust's `async fn`. The body runs on a goroutine of
// its own, which starts with the first poll and runs only while the future is being polled. If the body panics, the poll
// panics with the same value; if it calls [runtime.Goexit], so does the poll.
//
// Drop in the middle of an Await drops the awaited future and unwinds the body as runtime.Goexit does: its deferred calls
// have run when Drop returns. An Async that was polled and is neither completed nor dropped keeps its goroutine.
func Async[T any](body func(aw *Awaiter) T) rawwaker.Future[T] {
	if body == nil {
		panic("future: Async of a nil body")
	}
	return &async[T]{body: body}
}

// Await polls f until it is ready, and lets the [Async] around it be pending meanwhile: Rust's `.await`. A future that is
// given up in between, because its own Poll panicked or the Async was dropped, is dropped where it is a [rawwaker.Dropper].
func Await[T any](aw *Awaiter, f rawwaker.Future[T]) T {
	panicIfNil("Await", f == nil, "future")
	done := false
	defer func() {
		if d, ok := f.(rawwaker.Dropper); ok && !done {
			d.Drop()
		}
	}()
	for {
		aw.check()
		if p := f.Poll(aw.cx); p.IsReady() {
			done = true
			return p.Value()
		}
		aw.pause()
	}
}

// check panics where nobody polls the body, and ends a body that was dropped: an Await in one of its deferred calls gives
// up at once.
func (aw *Awaiter) check() {
	switch {
	case aw == nil:
		panic("future: Await outside Async")
	case aw.state == dropped:
		runtime.Goexit()
	case aw.cx == nil:
		panic("future: Await outside the body of its Async")
	}
}

// pause ends the body's turn until the next poll.
func (aw *Awaiter) pause() {
	aw.cx = nil
	aw.paused <- struct{}{}
	<-aw.resume
}

// turn lets the body run until it pauses or is ended.
func (aw *Awaiter) runBody() {
	aw.resume <- struct{}{}
	<-aw.paused
}

func (f *async[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	aw := &f.aw
	switch aw.state {
	case notStarted:
		// Made here and not pooled, nor is the goroutine: both belong to the poller's synctest bubble, if there is one.
		aw.resume, aw.paused = make(chan struct{}), make(chan struct{})
		aw.state = suspended
		go f.run()
	case suspended:
		if aw.cx != nil {
			panic("future: Async polled while it is being polled")
		}
	default:
		panic(polledAfterCompletion)
	}
	aw.cx = cx
	aw.runBody()
	if aw.state != ended {
		return rawwaker.Pending[T]()
	}
	aw.state = completed
	aw.ending.propagate()
	var none T
	v := f.value
	f.value = none // now the caller's
	return rawwaker.Ready(v)
}

func (f *async[T]) run() {
	aw := &f.aw
	<-aw.resume
	defer func() {
		aw.ending.record(recover())
		aw.state, aw.cx, f.body = ended, nil, nil
		aw.paused <- struct{}{}
	}()
	f.value = f.body(aw)
	aw.ending.returned = true
}

// Drop implements [rawwaker.Dropper]. What a deferred call of the body panics with, Drop panics with.
func (f *async[T]) Drop() {
	aw := &f.aw
	if aw.cx != nil {
		panic("future: Async dropped while it is being polled")
	}
	if aw.state == suspended {
		aw.state = dropped
		aw.runBody()
		aw.state = completed
		if aw.ending.panicked != nil {
			panic(aw.ending.panicked)
		}
	}
	aw.state, f.body = completed, nil
}
