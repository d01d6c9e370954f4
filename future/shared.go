package future

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// SharedFuture is one of several handles of one future, each of which is ready when that is.
type SharedFuture[T any] struct {
	s    *shared[T]
	wait sharer
	done bool // its answer was given, or it was dropped; of who polls it
}

// shared is the future itself. Whoever of the handles is polled first after a wake polls it; a wake wakes all that wait, because
// any one of them may be gone by then.
type shared[T any] struct {
	crowd *crowd

	// Guarded by the crowd's lock.
	f       rawwaker.Future[T] // nil: it is over
	handles int
	value   T
	err     error // it panicked

	// What f is polled under; of whoever polls. A set of one, whose waker C may have although the Shared is forgotten: so that is collected.
	set    *rawwaker.WakerSet
	parent *rawwaker.Context // of the crowd's waker
}

// crowd is those that wait for a shared. A clone of a waker that f has kept refers to the set and the crowd only, and so keeps no value.
type crowd struct {
	mu      sync.Mutex
	first   *sharer
	polling bool         // by one of the handles
	woken   bool         // since the latest poll began; at first, too
	calling atomic.Int32 // calls of Wake under way
}

// sharer is a handle's place in the crowd, from a poll that was pending until the next wake.
type sharer struct {
	waker      AtomicWaker
	prev, next *sharer
	listed     bool
}

// join lists w. mu is held, as in leave and take.
func (c *crowd) join(w *sharer) {
	if w.listed {
		return
	}
	w.listed = true
	if w.next = c.first; w.next != nil {
		w.next.prev = w
	}
	c.first = w
}

func (c *crowd) leave(w *sharer) {
	if !w.listed {
		return
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		c.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
}

// take empties the list: from here on those that are woken may join again, and no other wakes them a second time.
func (c *crowd) take() (all []*sharer) {
	for w := c.first; w != nil; {
		all = append(all, w)
		next := w.next
		w.prev, w.next, w.listed = nil, nil, false
		w = next
	}
	c.first = nil
	return all
}

// Wake implements [rawwaker.Wake]: the future has woken us.
func (c *crowd) Wake() {
	c.calling.Add(1)
	defer c.calling.Add(-1)
	c.mu.Lock()
	c.woken = true
	var all []*sharer
	if !c.polling { // else the poller looks at woken when its poll is over
		all = c.take()
	}
	c.mu.Unlock()
	wakeAll(all)
}

func wakeAll(all []*sharer) {
	var begun atomic.Int64
	each(func() (*sharer, bool) {
		i := int(begun.Add(1))
		if i > len(all) {
			return nil, false
		}
		return all[i-1], true
	}, func(w *sharer) { w.waker.Wake() })
}

// Shared makes a future that may be awaited more than once, by [SharedFuture.Clone]; each gets a copy of the result, which lives as long as
// any of the handles. Where f panics, so does each; where f calls runtime.Goexit, so does the poll, and the others panic with [ErrClosed]. f is
// dropped when it has panicked or called Goexit, or when all handles are dropped.
func Shared[T any](f rawwaker.Future[T]) *SharedFuture[T] {
	refuse("Shared", f == nil, "future")
	s := &shared[T]{f: f, crowd: &crowd{woken: true}, handles: 1, set: new(rawwaker.WakerSet)}
	s.set.Init(1)
	return &SharedFuture[T]{s: s}
}

// Clone returns another handle, also after h's answer was given. It panics after Drop of the last one before that.
func (h *SharedFuture[T]) Clone() *SharedFuture[T] {
	s := h.s
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
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
	s, c := h.s, h.s.crowd
	h.wait.waker.Register(cx.Waker()) // before anything is looked at
	c.mu.Lock()
	if s.f != nil {
		c.join(&h.wait)
		if c.polling || !c.woken {
			c.mu.Unlock()
			return rawwaker.Pending[T]()
		}
		c.polling, c.woken = true, false
		c.mu.Unlock()
		if !s.poll() {
			return rawwaker.Pending[T]()
		}
		c.mu.Lock()
	}
	value, err := s.value, s.err
	c.mu.Unlock()
	h.leave()
	if err != nil {
		panic(err)
	}
	return rawwaker.Ready(value)
}

// poll polls the future, for the one who has set polling. True: it is over.
func (s *shared[T]) poll() (over bool) {
	c, f := s.crowd, s.f
	if s.parent == nil || c.calling.Load() != 0 {
		// A waker's wakes coalesce with a call that is under way. One that a user's waker blocks must not keep the next wake from the others.
		s.parent = rawwaker.NewContext(rawwaker.FromWake(c))
	}
	var p rawwaker.Poll[T]
	returned := false
	defer func() {
		var err error
		if !returned {
			err = ErrClosed // a Goexit
			if v := recover(); v != nil {
				err = &PanicError{v, debug.Stack()}
			}
		}
		over = p.IsReady() || !returned
		var all []*sharer
		defer func() { wakeAll(all) }()
		c.mu.Lock()
		c.polling = false
		if over {
			s.f, s.err, s.parent = nil, err, nil
			if p.IsReady() {
				s.value = p.Value()
			}
		}
		if over || c.woken {
			all = c.take()
		}
		c.mu.Unlock()
		if over {
			s.set.Drop()
			if !returned {
				giveUp(f)
			}
		}
	}()
	for _, cx := range s.set.Woken(s.parent) {
		p = f.Poll(cx)
	}
	returned = true
	return over
}

// errGivenUp is what a handle would panic with that was made after the last was dropped: none is.
var errGivenUp = errors.New("future: Shared was dropped")

// leave ends the handle. The last one gives up the future that is not over.
func (h *SharedFuture[T]) leave() {
	h.done = true
	s, c := h.s, h.s.crowd
	c.mu.Lock()
	c.leave(&h.wait)
	s.handles--
	var f rawwaker.Future[T]
	if s.handles == 0 && s.f != nil {
		f = s.f
		s.f, s.err, s.parent = nil, errGivenUp, nil
	}
	c.mu.Unlock()
	h.wait.waker.Drop()
	if f != nil {
		defer s.set.Drop()
		giveUp(f)
	}
}

// Drop implements [rawwaker.Dropper]. The last one drops the future.
func (h *SharedFuture[T]) Drop() {
	if !h.done {
		h.leave()
	}
}
