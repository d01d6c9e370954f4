package rawwaker

// Future is work that somebody else drives: each Poll does what can be done now.
//
// Poll returns Ready once, with the result, and must not be called again. Or it returns Pending, and then it has kept a
// clone of cx.Waker(), or seen to it otherwise that this very waker is woken when the work can go on. It may be
// called from a different goroutine each time, never from two at once. It may be called although nobody woke it.
//
// A future that holds something (a timer, a goroutine, a C future) is also a [Dropper].
type Future[T any] interface {
	Poll(cx *Context) Poll[T]
}

// Dropper is a future that holds something. Whoever gives one up before it returned Ready, because its Poll panicked too,
// calls Drop exactly once, never beside a Poll; early, it cancels. A future that returns Ready has let go of all it held, its clones
// of wakers too: nobody calls Drop after that.
type Dropper interface {
	Drop()
}

// Poll is what a [Future] answers: Ready with a value, or Pending. The zero Poll is Pending.
type Poll[T any] struct {
	value T
	ready bool
}

// Ready is the answer of a future that is done.
func Ready[T any](v T) Poll[T] { return Poll[T]{value: v, ready: true} }

// Pending is the answer of a future that has kept the waker and will use it.
func Pending[T any]() Poll[T] { return Poll[T]{} }

// IsReady says which of the two it is.
func (p Poll[T]) IsReady() bool { return p.ready }

// Value is the result; it panics on Pending.
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
