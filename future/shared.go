package future

import (
	"errors"
	"runtime/debug"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// SharedFuture is one of several handles of one future, each of which is ready when that is.
type SharedFuture[T any] struct {
	s    *shared[T]
	wait rawwaker.BroadcastWaiter
	done bool // its answer was given, or it was dropped; of who polls it
}

// shared is the future itself. Whoever of the handles is polled first after a wake polls it; a wake wakes all that wait, because
// any one of them may be gone by then.
type shared[T any] struct {
	waker *rawwaker.Broadcast // a clone of it that f has kept keeps no value

	mu      sync.Mutex
	f       rawwaker.Future[T] // nil: it is over
	handles int
	value   T
	err     error // it panicked
}

// Shared makes a future that may be awaited more than once, by [SharedFuture.Clone]; each gets a copy of the result, which lives as long as
// any of the handles. Where f panics, so does each; where f calls runtime.Goexit, so does the poll, and the others panic with [ErrClosed]. f is
// dropped when it has panicked or called Goexit, or when all handles are dropped.
func Shared[T any](f rawwaker.Future[T]) *SharedFuture[T] {
	refuse("Shared", f == nil, "future")
	s := &shared[T]{f: f, waker: new(rawwaker.Broadcast), handles: 1}
	s.waker.Init()
	return &SharedFuture[T]{s: s}
}

// Clone returns another handle, also after h's answer was given. It panics after Drop of the last one before that.
func (h *SharedFuture[T]) Clone() *SharedFuture[T] {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == errGivenUp {
		panic("future: Clone of a SharedFuture that was dropped")
	}
	s.handles++ // under the lock that has seen it is not over: the last Drop comes before that, or finds one more
	return &SharedFuture[T]{s: s}
}

// Poll implements [rawwaker.Future].
func (h *SharedFuture[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if h.done {
		panic(completed)
	}
	s := h.s
	h.wait.Register(cx.Waker()) // before anything is looked at
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
	h.leave()
	if err != nil {
		panic(err)
	}
	return rawwaker.Ready(value)
}

// poll polls the future, for the one who has entered. True: it is over.
func (s *shared[T]) poll(f rawwaker.Future[T], cx *rawwaker.Context) (over bool) {
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
		if over = p.IsReady() || !returned; over {
			s.mu.Lock()
			s.f, s.err = nil, err
			if p.IsReady() {
				s.value = p.Value()
			}
			s.mu.Unlock()
		}
		defer s.waker.Exit(over)
		if !returned {
			giveUp(f)
		}
	}()
	p = f.Poll(cx)
	returned = true
	return over
}

// errGivenUp is what a handle would panic with that was made after the last was dropped: none is.
var errGivenUp = errors.New("future: Shared was dropped")

// leave ends the handle. The last one gives up the future that is not over.
func (h *SharedFuture[T]) leave() {
	h.done = true
	s := h.s
	s.mu.Lock()
	s.handles--
	var f rawwaker.Future[T]
	if s.handles == 0 && s.f != nil {
		f = s.f
		s.f, s.err = nil, errGivenUp
	}
	s.mu.Unlock()
	s.waker.Leave(&h.wait)
	if f != nil {
		defer s.waker.End()
		giveUp(f)
	}
}

// Drop implements [rawwaker.Dropper]. The last one drops the future.
func (h *SharedFuture[T]) Drop() {
	if !h.done {
		h.leave()
	}
}
