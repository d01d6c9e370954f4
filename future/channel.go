package future

import (
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// channel is a bounded queue, and those who wait at its two ends, first come, first served. No slot is granted under mu.
type channel[T any] struct {
	mu        sync.Mutex
	capacity  int
	buffer    []T // a ring, which grows to capacity
	head, n   int
	closed    bool // by either end: nothing more goes in
	senders   queue
	receivers queue
}

// waiter is one that waits at an end of a channel. It is on the queue, or it was granted: then a place or a value is meant for it, and
// it hands the call on should it be dropped before it takes that.
type waiter struct {
	waker      AtomicWaker
	prev, next *waiter
	queued     bool
	granted    bool
}

type queue struct {
	first, last *waiter
	grants      int // waiters that were granted and have not taken what is meant for them: nobody else may
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

// call takes out the first; nil: there is none. Who is given must be woken when the lock is not held.
func (q *queue) grantNext() *waiter {
	w := q.first
	if w != nil {
		q.remove(w)
		w.granted = true
		q.grants++
	}
	return w
}

// redeem ends the call that w has had, if it has.
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

// Channel makes a queue for at most capacity values, which is at least 1: its memory comes and goes with the values that are in it, so a very
// large capacity is as good as none. Both ends may be used by many goroutines and tasks at once; who waits longest is served first. Close
// either end when you are done with it.
//
// A [Sender.Send] or [Receiver.Recv] that was polled and is pending has a place in the queue of those that wait, and may have been given the next
// place or value, which no other gets: Drop it where you give it up. One that is forgotten keeps that place or value for good.
func Channel[T any](capacity int) (*Sender[T], *Receiver[T]) {
	if capacity < 1 {
		panic("future: Channel of a capacity below 1")
	}
	c := &channel[T]{capacity: capacity}
	return &Sender[T]{c}, &Receiver[T]{c}
}

// put is false where there is no room for w, or, where that is nil, for one that has not waited. mu is held.
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

// minBuffer is the size of a ring that holds anything, in values, where the capacity is not less: it does not shrink below that.
const minBuffer = 16

// resize moves what is in the ring to one of another size.
func (c *channel[T]) resize(size int) {
	old := c.buffer
	c.buffer = make([]T, size)
	if first := copy(c.buffer, old[c.head:min(c.head+c.n, len(old))]); first < c.n {
		copy(c.buffer[first:], old[:c.n-first])
	}
	c.head = 0
}

// unget puts back what a get has given, as the next that is received. It may be one more than the capacity then. Who waits for it must be
// woken when the lock is not held. mu is held.
func (c *channel[T]) unget(v T) *waiter {
	if c.n == len(c.buffer) {
		c.resize(c.n + 1)
	}
	c.head = (c.head + len(c.buffer) - 1) % len(c.buffer)
	c.buffer[c.head] = v
	c.n++
	return c.receivers.grantNext()
}

// granted wakes the sender that a get has granted. Should its waker panic or call runtime.Goexit, which is not the receiver's business, v is
// put back, since the receiver cannot return it.
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

// may says whether w, or one that has not waited, may have one of n: who was granted may, and who comes anew where some are left that
// nobody was granted for.
func mayTake(q *queue, w *waiter, n int) bool {
	if w != nil && (w.granted || w.queued) {
		return w.granted && n > 0
	}
	return n > q.grants && q.first == nil
}

// get is likewise false where there is nothing for w. mu is held.
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

// close lets nothing more in, and calls everybody.
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

// Sender is the end of a [Channel] where values go in.
type Sender[T any] struct{ c *channel[T] }

// TrySend is false where there is no room, or others wait for it, or the channel is closed.
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

// Send is ready when v is in the channel; with [ErrClosed], when it will never be. Dropped before, it sends nothing.
func (s *Sender[T]) Send(v T) rawwaker.Future[error] { return &send[T]{c: s.c, v: v} }

// Close lets nothing more in. What is in the channel is still received, and after that [ErrClosed].
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

// remove takes a waiter away from its end. The call that it has had goes to the next.
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

// Receiver is the end of a [Channel] where values come out.
type Receiver[T any] struct{ c *channel[T] }

// TryRecv is false where there is nothing, or others wait for it.
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

// Recv is ready with a value, or with [ErrClosed] when the channel is closed and empty. Dropped before, it takes nothing.
func (r *Receiver[T]) Recv() rawwaker.Future[rawwaker.Result[T]] { return &recv[T]{c: r.c} }

// Close lets nothing more in: who sends gets [ErrClosed]. What is in the channel may still be received.
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
