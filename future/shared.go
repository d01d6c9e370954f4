package future

import (
	"errors"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// SharedFuture is one of several handles of one future, each of which is ready when that is.
type SharedFuture[T any] struct {
	s     *shared[T]
	waker AtomicWaker
	done  bool // its answer was given, or it was dropped; of who polls it
}

// shared is the future itself. Whoever of the handles is polled first after a wake polls it; a wake wakes all that wait, because
// any one of them may be gone by then.
type shared[T any] struct {
	waker *rawwaker.Waker   // wakes shared
	cx    *rawwaker.Context // of waker

	mu      sync.Mutex
	f       rawwaker.Future[T] // nil: it is over
	handles map[*SharedFuture[T]]struct{}
	polling bool // by one of the handles
	woken   bool // since the latest poll began; at first, too
	value   T
	err     error // it panicked
}

// Shared makes a future that may be awaited more than once, by [SharedFuture.Clone]; each gets a copy of the result. Where f panics, so
// does each. f is dropped when all handles are.
func Shared[T any](f rawwaker.Future[T]) *SharedFuture[T] {
	s := &shared[T]{f: f, handles: make(map[*SharedFuture[T]]struct{}), woken: true}
	s.waker = rawwaker.FromWake(s)
	s.cx = rawwaker.NewContext(s.waker)
	return s.handle()
}

func (s *shared[T]) handle() *SharedFuture[T] {
	h := &SharedFuture[T]{s: s}
	s.mu.Lock()
	s.handles[h] = struct{}{}
	s.mu.Unlock()
	return h
}

// Clone returns another handle, also after h's answer was given. It panics after Drop of the last one before that.
func (h *SharedFuture[T]) Clone() *SharedFuture[T] {
	s := h.s
	s.mu.Lock()
	gone := s.err == errGivenUp
	s.mu.Unlock()
	if gone {
		panic("future: Clone of a SharedFuture that was dropped")
	}
	return s.handle()
}

// Wake implements [rawwaker.Wake]: f has woken us.
func (s *shared[T]) Wake() {
	s.mu.Lock()
	s.woken = true
	polling := s.polling
	s.mu.Unlock()
	if !polling { // else the poller looks at woken when its poll is over
		s.wakeAll()
	}
}

// wakeAll wakes every handle that waits, over no lock.
func (s *shared[T]) wakeAll() {
	s.mu.Lock()
	all := make([]*SharedFuture[T], 0, len(s.handles))
	for h := range s.handles {
		all = append(all, h)
	}
	s.mu.Unlock()
	for _, h := range all {
		h.waker.Wake()
	}
}

// Poll implements [rawwaker.Future].
func (h *SharedFuture[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if h.done {
		panic(completed)
	}
	s := h.s
	h.waker.Register(cx.Waker()) // before anything is looked at
	s.mu.Lock()
	if s.f != nil {
		if s.polling || !s.woken {
			s.mu.Unlock()
			return rawwaker.Pending[T]()
		}
		s.polling, s.woken = true, false
		s.mu.Unlock()
		if !s.poll() {
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

// poll polls the future, for the one who has set polling. True: it is over.
func (s *shared[T]) poll() (over bool) {
	var p rawwaker.Poll[rawwaker.Result[T]]
	returned := false
	defer func() {
		s.mu.Lock()
		s.polling = false
		over = p.IsReady() || !returned
		again := s.woken || over
		if over {
			s.f = nil
			if p.IsReady() {
				s.value, s.err = p.Value().Value, p.Value().Err
			} else {
				s.err = ErrClosed // a Goexit
			}
		}
		s.mu.Unlock()
		if again {
			s.wakeAll()
		}
	}()
	p = CatchPanic(s.f).Poll(s.cx)
	returned = true
	return over
}

// errGivenUp is what a handle would panic with that was made after the last was dropped: none is.
var errGivenUp = errors.New("future: Shared was dropped")

func (h *SharedFuture[T]) leave() {
	h.done = true
	h.s.mu.Lock()
	delete(h.s.handles, h)
	h.s.mu.Unlock()
	h.waker.Drop()
}

// Drop implements [rawwaker.Dropper]. The last one drops the future.
func (h *SharedFuture[T]) Drop() {
	if h.done {
		return
	}
	h.leave()
	s := h.s
	s.mu.Lock()
	f := s.f
	if len(s.handles) > 0 || f == nil {
		s.mu.Unlock()
		return
	}
	s.f, s.err = nil, errGivenUp
	s.mu.Unlock()
	giveUp(f)
}
