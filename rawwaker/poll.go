package rawwaker

// Future is work that an executor drives: each Poll does what can be done now.
//
// Poll returns Ready once, with the result, and must not be called again. Or it returns Pending;
// then it has kept a clone of cx.Waker(), or has otherwise arranged that this very waker is woken
// when the work can continue. Successive polls may come from different goroutines, never two at
// once. A poll may come without a wake.
//
// A future that holds something (a timer, a goroutine, a C future) is also a [Dropper].
type Future[T any] interface {
	Poll(cx *Context) Poll[T]
}

// Dropper is a future that holds something.
//
// The owner that gives it up before it returned Ready, also because its Poll panicked, calls Drop
// exactly once, never during a Poll. Drop cancels the work. A future that returns Ready has
// released all that it held, clones of wakers included; Drop is not called after that.
type Dropper interface {
	Drop()
}

// Stream is a future of many values: Rust's futures::Stream.
//
// PollNext returns Ready with the next value, Ready with an [Item] that is not Ok at the end, after
// which there are no more values, or Pending; then it has kept the waker, as a Poll does. It may be
// called from a different goroutine each time, never from two at once.
//
// A stream that holds something is also a [Dropper]. Package future has functions for streams.
type Stream[T any] interface {
	PollNext(cx *Context) Poll[Item[T]]
}

// Item is what a [Stream] returns: a value, or, if Ok is false, its end.
type Item[T any] struct {
	Value T
	Ok    bool
}

// Poll is the result of polling a [Future]: Ready with a value, or Pending. The zero Poll is
// Pending.
type Poll[T any] struct {
	value T
	ready bool
}

// Ready returns the Poll of a future that has completed with v.
func Ready[T any](v T) Poll[T] { return Poll[T]{value: v, ready: true} }

// Pending returns the Poll of a future that has kept the waker and will wake it.
func Pending[T any]() Poll[T] { return Poll[T]{} }

// IsReady reports whether p is Ready.
func (p Poll[T]) IsReady() bool { return p.ready }

// Value returns the value of a Ready; it panics on Pending.
func (p Poll[T]) Value() T {
	if !p.ready {
		panic("rawwaker: Value of Pending")
	}
	return p.value
}

// Result is a value or an error, for futures that can fail.
type Result[T any] struct {
	Value T
	Err   error
}
