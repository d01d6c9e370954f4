package future

import (
	"errors"
	"runtime/debug"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// SharedFuture is one of several handles of a future made by [Shared]. Each is a future of its own,
// to be polled by one goroutine at a time.
type SharedFuture[T any] struct {
	s    *shared[T]
	wait rawwaker.BroadcastWaiter
	done bool // it was ready or was dropped; of the goroutine that polls it
}

// shared is the future itself. A wake wakes all handles that wait, because any one of them may have
// been dropped by then. The one that is polled first polls the future.
type shared[T any] struct {
	waker *rawwaker.Broadcast // apart from shared: a clone of it that f has kept must not keep value

	mu      sync.Mutex
	f       rawwaker.Future[T] // nil if it has ended
	handles int
	value   T
	err     error // what the handles panic with
}

// Shared returns a handle of f by which several tasks can await f: each uses a [SharedFuture.Clone]
// of its own and gets a copy of the result. The result is kept as long as one of the handles.
//
// It owns f, and drops it with the last handle, if it has not ended. If f panics, it is dropped,
// and each handle panics with a [*PanicError]. If f calls [runtime.Goexit], it is dropped and the
// poll ends likewise; the other handles panic with [ErrClosed]. Shared panics if f is nil.
func Shared[T any](f rawwaker.Future[T]) *SharedFuture[T] {
	panicIfNil("Shared", f == nil, "future")
	s := &shared[T]{f: f, waker: new(rawwaker.Broadcast), handles: 1}
	s.waker.Init()
	return &SharedFuture[T]{s: s}
}

// Clone returns another handle. It may be called on any goroutine, also after h was ready. It
// panics if the last handle was dropped before the future was ready.
func (h *SharedFuture[T]) Clone() *SharedFuture[T] {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == errDropped {
		panic("future: Clone: the SharedFuture was dropped")
	}
	s.handles++ // under the lock that read err, so the last Drop came before, or sees this
	return &SharedFuture[T]{s: s}
}

// Poll implements [rawwaker.Future].
func (h *SharedFuture[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if h.done {
		panic(polledAfterCompletion)
	}
	s := h.s
	h.wait.Register(cx.Waker()) // before s.f is read
	s.mu.Lock()
	if f := s.f; f != nil {
		inner := s.waker.Enter(&h.wait, cx)
		s.mu.Unlock()
		if inner == nil || !s.poll(f, inner) {
			return rawwaker.Pending[T]()
		}
		s.mu.Lock()
	}
	value, err := s.value, s.err
	s.mu.Unlock()
	h.release()
	if err != nil {
		panic(err)
	}
	return rawwaker.Ready(value)
}

// poll polls the future, between Enter and Exit. It reports whether the future has ended.
func (s *shared[T]) poll(f rawwaker.Future[T], cx *rawwaker.Context) (ended bool) {
	var p rawwaker.Poll[T]
	returned := false
	defer func() {
		var err error
		if !returned {
			err = ErrClosed // a Goexit
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}
		if ended = p.IsReady() || !returned; ended {
			s.mu.Lock()
			s.f, s.err = nil, err
			if p.IsReady() {
				s.value = p.Value()
			}
			s.mu.Unlock()
		}
		defer s.waker.Exit(ended)
		if !returned {
			dropFuture(f)
		}
	}()
	p = f.Poll(cx)
	returned = true
	return ended
}

// errDropped marks a future that was dropped with its last handle. Clone does not return a handle
// of it, so no poll panics with it.
var errDropped = errors.New("future: Shared was dropped")

// release ends the handle. The last one drops the future, if that has not ended.
func (h *SharedFuture[T]) release() {
	h.done = true
	s := h.s
	s.mu.Lock()
	s.handles--
	var f rawwaker.Future[T]
	if s.handles == 0 && s.f != nil {
		f = s.f
		s.f, s.err = nil, errDropped
	}
	s.mu.Unlock()
	s.waker.Leave(&h.wait)
	if f != nil {
		defer s.waker.End()
		dropFuture(f)
	}
}

// Drop implements [rawwaker.Dropper]. The last handle drops the future. A second Drop, or one after
// Ready, has no effect.
func (h *SharedFuture[T]) Drop() {
	if !h.done {
		h.release()
	}
}
