package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

type ready[T any] struct {
	v    T
	done bool
}

// Ready is a future that is done at its first poll: the article's `async fn simple() -> i32 { 42 }`.
func Ready[T any](v T) rawwaker.Future[T] { return &ready[T]{v: v} }

func (f *ready[T]) Poll(*rawwaker.Context) rawwaker.Poll[T] {
	if f.done {
		panic(polledAfterCompletion)
	}
	f.done = true
	return rawwaker.Ready(f.v)
}

type pollFn[T any] struct {
	poll func(cx *rawwaker.Context) rawwaker.Poll[T]
}

// PollFn is a future out of a function, which is called for each poll until it answers Ready.
func PollFn[T any](poll func(cx *rawwaker.Context) rawwaker.Poll[T]) rawwaker.Future[T] {
	if poll == nil {
		panic("future: PollFn of a nil function")
	}
	return &pollFn[T]{poll}
}

func (f *pollFn[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if f.poll == nil {
		panic(polledAfterCompletion)
	}
	p := f.poll(cx)
	if p.IsReady() {
		f.poll = nil
	}
	return p
}

type yield uint8

// Yield is pending once and wakes itself: whatever else is runnable gets its turn.
func Yield() rawwaker.Future[struct{}] { return new(yield) }

func (f *yield) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	switch *f {
	case 0:
		*f = 1
		cx.Waker().WakeByRef()
		return rawwaker.Pending[struct{}]()
	case 1:
		*f = 2
		return rawwaker.Ready(struct{}{})
	}
	panic(polledAfterCompletion)
}
