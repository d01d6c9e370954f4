package future

import (
	"errors"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ErrClosed is the error of a [Channel] that is closed, and of a [OneshotReceiver] whose sender was
// dropped.
var ErrClosed = errors.New("future: channel closed")

// oneshot is both ends in one allocation: OneshotSender and OneshotReceiver are views of it.
type oneshot[T any] struct {
	value T           // written before sent is set, read after it was seen
	waker AtomicWaker // the receiver's
	state atomic.Uint32
	used  bool // the sender's: it has sent or was dropped
	done  bool // the receiver's: it was ready or was dropped
}

// The bits of a oneshot's state. Bits are only added.
const (
	sent    uint32 = 1 << iota // value is set
	hungUp                     // the sender was dropped
	gone                       // the receiver was dropped before it was ready
	waiting                    // the receiver's waker is registered; setting sent or hungUp wakes it
)

// Oneshot returns the two ends of a channel for one value.
//
// The ends may be used at the same time, each by one goroutine at a time. If nothing will be sent,
// drop the sender: a receiver whose sender was forgotten waits permanently.
func Oneshot[T any]() (*OneshotSender[T], *OneshotReceiver[T]) {
	o := new(oneshot[T])
	return (*OneshotSender[T])(o), (*OneshotReceiver[T])(o)
}

// OneshotSender is the sending end of a [Oneshot].
type OneshotSender[T any] oneshot[T]

// Send sends v and wakes the receiver. It returns false if the receiver was dropped. It never
// blocks. It panics after Send or Drop.
func (s *OneshotSender[T]) Send(v T) bool {
	if s.used {
		panic("future: Send: the OneshotSender has sent or was dropped")
	}
	s.value = v
	if s.end(sent)&gone == 0 {
		return true
	}
	var none T
	s.value = none // no receiver will read it
	return false
}

// Drop closes the channel if nothing was sent: the receiver is ready with [ErrClosed]. After Send
// or Drop it has no effect.
func (s *OneshotSender[T]) Drop() {
	if !s.used {
		s.end(hungUp)
	}
}

// Closed reports whether a value can no longer be sent: the receiver or the sender was dropped, or
// a value was sent.
func (s *OneshotSender[T]) Closed() bool { return s.used || s.state.Load()&gone != 0 }

func (s *OneshotSender[T]) end(how uint32) (before uint32) {
	s.used = true
	before = s.state.Or(how)
	if before&waiting != 0 {
		s.waker.Wake()
	}
	return before
}

// OneshotReceiver is the receiving end of a [Oneshot]: a future of the value.
type OneshotReceiver[T any] oneshot[T]

// Poll implements [rawwaker.Future]. The error is [ErrClosed] if the sender was dropped without
// sending.
func (r *OneshotReceiver[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if r.done {
		panic(polledAfterCompletion)
	}
	s := r.state.Load()
	if s&(sent|hungUp) == 0 {
		// Register, then check again: either the sender sees waiting, or this sees sent.
		r.waker.Register(cx.Waker())
		if s = r.state.Or(waiting); s&(sent|hungUp) == 0 {
			return rawwaker.Pending[rawwaker.Result[T]]()
		}
		r.waker.Drop() // does nothing if an earlier poll had set waiting and the sender took it
	}
	r.done = true
	if s&sent == 0 {
		return rawwaker.Ready(rawwaker.Result[T]{Err: ErrClosed})
	}
	return rawwaker.Ready(rawwaker.Result[T]{Value: r.take()})
}

// take takes the value out, because the sender may keep the oneshot alive for long.
func (r *OneshotReceiver[T]) take() T {
	var none T
	v := r.value
	r.value = none
	return v
}

// Drop implements [rawwaker.Dropper]. From then on Send returns false.
func (r *OneshotReceiver[T]) Drop() {
	if r.done {
		return
	}
	r.done = true
	before := r.state.Or(gone)
	if before&sent != 0 {
		r.take()
	}
	if before&waiting != 0 {
		r.waker.Drop()
	}
}
