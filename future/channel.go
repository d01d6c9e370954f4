package future

import (
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// channel is a bounded queue of values, with a queue of waiters at each end. No waker is called
// while mu is held.
type channel[T any] struct {
	mu        sync.Mutex
	capacity  int
	buffer    []T // a ring, which grows up to capacity
	head, n   int
	closed    bool // by either end: no value can be sent any more
	senders   queue
	receivers queue
}

// waiter is a pending Send or Recv. It is queued, or granted: a place or a value is reserved for
// it. If it is dropped before it takes that, the grant passes to the next.
type waiter struct {
	waker      AtomicWaker
	prev, next *waiter
	queued     bool
	granted    bool
}

type queue struct {
	first, last *waiter
	grants      int // granted waiters that have not taken what is reserved for them
}

func (q *queue) push(w *waiter) {
	w.queued, w.granted = true, false
	w.prev, w.next = q.last, nil
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
}

func (q *queue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
}

// grantNext takes out the first waiter and grants it a place or a value. It returns nil if there is
// none. The caller must wake the result after unlocking.
func (q *queue) grantNext() *waiter {
	w := q.first
	if w != nil {
		q.remove(w)
		w.granted = true
		q.grants++
	}
	return w
}

// redeem ends w's grant, if it has one.
func (q *queue) redeem(w *waiter) {
	if w.granted {
		w.granted = false
		q.grants--
	}
}

func (w *waiter) wake() {
	if w != nil {
		w.waker.Wake()
	}
}

// Channel returns the two ends of a queue of at most capacity values. It panics if capacity is
// below 1. Its memory grows and shrinks with the values in it, so a very large capacity costs
// nothing.
//
// Both ends may be used by many goroutines and tasks at once. The one that has waited longest is
// served first. Close either end when you no longer need it.
//
// Drop a pending [Sender.Send] or [Receiver.Recv] that you give up: the next place or value may be
// reserved for it already. If you forget it instead, that place or value is lost.
func Channel[T any](capacity int) (*Sender[T], *Receiver[T]) {
	if capacity < 1 {
		panic("future: Channel: capacity below 1")
	}
	c := &channel[T]{capacity: capacity}
	return &Sender[T]{c}, &Receiver[T]{c}
}

// put adds v if there is room for w. A nil w has not waited. mu is held.
func (c *channel[T]) put(v T, w *waiter) bool {
	if !mayTake(&c.senders, w, c.capacity-c.n) {
		return false
	}
	if c.n == len(c.buffer) {
		c.resize(min(max(minBuffer, 2*c.n), c.capacity))
	}
	c.buffer[(c.head+c.n)%len(c.buffer)] = v
	c.n++
	return true
}

// minBuffer is the least size of a ring in use, in values, unless the capacity is less.
const minBuffer = 16

// resize moves the values to a ring of another size.
func (c *channel[T]) resize(size int) {
	old := c.buffer
	c.buffer = make([]T, size)
	if first := copy(c.buffer, old[c.head:min(c.head+c.n, len(old))]); first < c.n {
		copy(c.buffer[first:], old[:c.n-first])
	}
	c.head = 0
}

// unget puts back a value that get returned, as the next to be received. The queue may then hold
// one more than its capacity. The caller must wake the result after unlocking. mu is held.
func (c *channel[T]) unget(v T) *waiter {
	if c.n == len(c.buffer) {
		c.resize(c.n + 1)
	}
	c.head = (c.head + len(c.buffer) - 1) % len(c.buffer)
	c.buffer[c.head] = v
	c.n++
	return c.receivers.grantNext()
}

// wakeSender wakes the sender to which the place of v was granted. If its waker panics or calls
// runtime.Goexit, v is put back, since the receiver cannot return it.
func (c *channel[T]) wakeSender(next *waiter, v T) {
	if next == nil {
		return
	}
	woken := false
	defer func() {
		if !woken {
			c.mu.Lock()
			other := c.unget(v)
			c.mu.Unlock()
			other.wake()
		}
	}()
	next.waker.Wake()
	woken = true
}

// mayTake reports whether w may take one of n places or values. A granted waiter may. One that has
// not waited, or a nil w, may if some are left that are not reserved, and no waiter is queued.
func mayTake(q *queue, w *waiter, n int) bool {
	if w != nil && (w.granted || w.queued) {
		return w.granted && n > 0
	}
	return n > q.grants && q.first == nil
}

// get takes out a value if there is one for w. A nil w has not waited. mu is held.
func (c *channel[T]) get(w *waiter) (v T, ok bool) {
	if c.n == 0 || !c.closed && !mayTake(&c.receivers, w, c.n) {
		return v, false
	}
	var zero T
	v, c.buffer[c.head] = c.buffer[c.head], zero
	c.head = (c.head + 1) % len(c.buffer)
	c.n--
	if size := len(c.buffer) / 2; size >= minBuffer && c.n <= size/2 {
		c.resize(size)
	}
	return v, true
}

// close closes both ends and wakes all waiters.
func (c *channel[T]) close() {
	c.mu.Lock()
	c.closed = true
	var all []*AtomicWaker
	for _, q := range []*queue{&c.senders, &c.receivers} {
		for w := q.grantNext(); w != nil; w = q.grantNext() {
			all = append(all, &w.waker)
		}
	}
	c.mu.Unlock()
	wake.Each(all, (*AtomicWaker).Wake)
}

// Sender is the sending end of a [Channel].
type Sender[T any] struct{ c *channel[T] }

// TrySend sends v if it can do so at once. It returns false if the channel is full or closed, or if
// other senders wait. It never blocks.
func (s *Sender[T]) TrySend(v T) bool {
	c := s.c
	c.mu.Lock()
	ok := !c.closed && c.put(v, nil)
	var next *waiter
	if ok {
		next = c.receivers.grantNext()
	}
	c.mu.Unlock()
	next.wake()
	return ok
}

// Send returns a future that sends v. It is ready with nil when v is in the channel, and with
// [ErrClosed] if the channel was closed before. If it is dropped before it is ready, v is not sent.
func (s *Sender[T]) Send(v T) rawwaker.Future[error] { return &send[T]{c: s.c, v: v} }

// Close closes the channel: each pending and later Send is ready with [ErrClosed]. Values that are
// in the channel can still be received; after them, Recv is ready with ErrClosed. A second Close
// has no effect.
func (s *Sender[T]) Close() { s.c.close() }

type send[T any] struct {
	c    *channel[T]
	v    T
	w    waiter
	done bool
}

func (f *send[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[error] {
	if f.done {
		panic(polledAfterCompletion)
	}
	f.w.waker.Register(cx.Waker())
	c := f.c
	c.mu.Lock()
	var err error
	var next *waiter
	switch {
	case c.closed:
		err = ErrClosed
	case c.put(f.v, &f.w):
		next = c.receivers.grantNext()
	default:
		if !f.w.queued {
			c.senders.push(&f.w)
		}
		c.mu.Unlock()
		return rawwaker.Pending[error]()
	}
	c.senders.redeem(&f.w)
	f.done = true
	c.mu.Unlock()
	var none T
	f.v = none
	f.w.waker.Drop()
	next.wake()
	return rawwaker.Ready(err)
}

// Drop implements [rawwaker.Dropper].
func (f *send[T]) Drop() {
	var none T
	f.v, f.done = none, true
	f.c.remove(&f.c.senders, &f.w)
}

// remove removes a waiter that is given up. Its grant passes to the next.
func (c *channel[T]) remove(q *queue, w *waiter) {
	c.mu.Lock()
	var next *waiter
	switch {
	case w.queued:
		q.remove(w)
	case w.granted:
		q.redeem(w)
		next = q.grantNext()
	}
	c.mu.Unlock()
	w.waker.Drop()
	next.wake()
}

// Receiver is the receiving end of a [Channel].
type Receiver[T any] struct{ c *channel[T] }

// TryRecv receives a value if it can do so at once. It returns false if the channel is empty, or if
// other receivers wait. It never blocks.
func (r *Receiver[T]) TryRecv() (v T, ok bool) {
	c := r.c
	c.mu.Lock()
	var next *waiter
	if v, ok = c.get(nil); ok {
		next = c.senders.grantNext()
	}
	c.mu.Unlock()
	c.wakeSender(next, v)
	return v, ok
}

// Recv returns a future of the next value. It is ready with [ErrClosed] if the channel is closed
// and empty. If it is dropped before it is ready, it takes no value.
func (r *Receiver[T]) Recv() rawwaker.Future[rawwaker.Result[T]] { return &recv[T]{c: r.c} }

// Close closes the channel, as [Sender.Close] does.
func (r *Receiver[T]) Close() { r.c.close() }

type recv[T any] struct {
	c    *channel[T]
	w    waiter
	done bool
}

func (f *recv[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if f.done {
		panic(polledAfterCompletion)
	}
	f.w.waker.Register(cx.Waker())
	c := f.c
	c.mu.Lock()
	var got rawwaker.Result[T]
	var next *waiter
	v, ok := c.get(&f.w)
	switch {
	case ok:
		got.Value = v
		next = c.senders.grantNext()
	case c.closed:
		got.Err = ErrClosed
	default:
		if !f.w.queued {
			c.receivers.push(&f.w)
		}
		c.mu.Unlock()
		return rawwaker.Pending[rawwaker.Result[T]]()
	}
	c.receivers.redeem(&f.w)
	f.done = true
	c.mu.Unlock()
	f.w.waker.Drop()
	c.wakeSender(next, got.Value)
	return rawwaker.Ready(got)
}

// Drop implements [rawwaker.Dropper].
func (f *recv[T]) Drop() {
	f.done = true
	f.c.remove(&f.c.receivers, &f.w)
}
