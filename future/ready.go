package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

type ready[T any] struct {
	v    T
	done bool
}

// Ready returns a future that is ready with v at its first poll.
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

// PollFn returns a future whose Poll calls poll, until that returns Ready. It panics if poll is
// nil.
func PollFn[T any](poll func(cx *rawwaker.Context) rawwaker.Poll[T]) rawwaker.Future[T] {
	if poll == nil {
		panic("future: PollFn: nil function")
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

// Yield returns a future that is pending once and wakes itself at once, so that the executor runs
// other tasks first.
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
