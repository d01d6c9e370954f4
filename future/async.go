package future

import (
	"runtime"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Awaiter lets the body of an [Async] call [Await].
//
// Only that body may use it, on the goroutine that it was called on. An Await on another goroutine
// panics while the body is suspended; while the body runs, it is not detected.
type Awaiter struct {
	state  state
	cx     *rawwaker.Context // of the poll in progress, else nil
	ending ending

	// The poller's goroutine and the body's take turns: resume starts the body's turn, paused ends
	// it. All other fields belong to the goroutine whose turn it is.
	resume, paused chan struct{}
}

// state is the state of an Async.
type state uint8

const (
	notStarted state = iota // never polled: there is no goroutine
	suspended               // the body's goroutine waits in an Await, or was just started
	dropped                 // Drop was called in an Await: the body unwinds
	ended                   // the body has ended, and no poll has reported it
	completed               // a poll has reported the end, or Drop was called
)

type async[T any] struct {
	aw    Awaiter
	body  func(aw *Awaiter) T
	value T
}

// Async returns a future of body's result. The body may [Await] other futures: this is Rust's
// `async fn`.
//
// The body runs on a goroutine of its own, which starts at the first poll and runs only while the
// future is polled. So the body and its poller never run at the same time.
//
// Drop during an Await drops the awaited future and unwinds the body as [runtime.Goexit] does. When
// Drop has returned, the body's deferred calls have run; if one of them panics, so does Drop. An
// Async that was polled and is then forgotten keeps its goroutine.
//
// If the body panics, the poll panics with the same value; if it calls runtime.Goexit, so does the
// poll. Async panics if body is nil.
func Async[T any](body func(aw *Awaiter) T) rawwaker.Future[T] {
	if body == nil {
		panic("future: Async: nil body")
	}
	return &async[T]{body: body}
}

// Await waits for f and returns its result: Rust's `.await`. Meanwhile the [Async] around it is
// pending.
//
// It owns f. If f's Poll panics, or the Async is dropped, it drops f. Only the body that got aw may
// call it: see [Awaiter]. Await panics if aw or f is nil.
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

// check panics if no poll runs the body. If the Async was dropped, it ends the goroutine: this
// Await is in a deferred call of the body.
func (aw *Awaiter) check() {
	switch {
	case aw == nil:
		panic("future: Await: nil Awaiter (use the one that the body of an Async gets)")
	case aw.state == dropped:
		runtime.Goexit()
	case aw.cx == nil:
		panic("future: Await: outside the body of its Async")
	}
}

// pause ends the body's turn until the next poll.
func (aw *Awaiter) pause() {
	aw.cx = nil
	aw.paused <- struct{}{}
	<-aw.resume
}

// runBody lets the body run until it pauses or ends.
func (aw *Awaiter) runBody() {
	aw.resume <- struct{}{}
	<-aw.paused
}

func (f *async[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	aw := &f.aw
	switch aw.state {
	case notStarted:
		// Neither the channels nor the goroutine are pooled: they belong to the poller's synctest
		// bubble, if there is one.
		aw.resume, aw.paused = make(chan struct{}), make(chan struct{})
		aw.state = suspended
		go f.run()
	case suspended:
		if aw.cx != nil {
			panic("future: Poll: this Async is being polled (poll it on one goroutine at a time)")
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
	f.value = none // it belongs to the caller now
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

// Drop implements [rawwaker.Dropper].
func (f *async[T]) Drop() {
	aw := &f.aw
	if aw.cx != nil {
		panic("future: Drop: this Async is being polled (drop it when the poll has returned)")
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
