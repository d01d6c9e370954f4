package future

import (
	"errors"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ErrClosed is the error of a receiver whose senders are gone, and of a sender whose receiver is.
var ErrClosed = errors.New("future: channel closed")

// oneshot is both ends: one allocation, seen as either.
type oneshot[T any] struct {
	value T           // written before sent is set, read after
	waker AtomicWaker // the receiver's
	state atomic.Uint32
	used  bool // the sender's: it has sent, or was dropped
	done  bool // the receiver's: its answer was given, or it was dropped
}

// The bits of a oneshot's state. Each is set once and stays.
const (
	sent    uint32 = 1 << iota // the value is there
	hungUp                     // the sender was dropped, or has nothing more to say
	gone                       // the receiver was dropped before it had its answer
	waiting                    // the receiver's waker is registered: who sets sent or hungUp wakes it
)

// Oneshot makes a channel for one value. Each end is for one goroutine at a time. A sender that is forgotten keeps its receiver
// waiting: Drop it where nothing will be sent.
func Oneshot[T any]() (*OneshotSender[T], *OneshotReceiver[T]) {
	o := new(oneshot[T])
	return (*OneshotSender[T])(o), (*OneshotReceiver[T])(o)
}

// OneshotSender is the sending end.
type OneshotSender[T any] oneshot[T]

// Send gives v to the receiver; false: that is gone. It panics after Send or Drop.
func (s *OneshotSender[T]) Send(v T) bool {
	if s.used {
		panic("future: Send on a OneshotSender that has sent or was dropped")
	}
	s.value = v
	if s.end(sent)&gone == 0 {
		return true
	}
	var none T
	s.value = none // nobody reads it any more
	return false
}

// Drop says that nothing will be sent: the receiver's answer is [ErrClosed]. After Send or Drop it does nothing.
func (s *OneshotSender[T]) Drop() {
	if !s.used {
		s.end(hungUp)
	}
}

// Closed says whether the receiver is gone, so that a Send would be in vain.
func (s *OneshotSender[T]) Closed() bool { return s.used || s.state.Load()&gone != 0 }

func (s *OneshotSender[T]) end(how uint32) (before uint32) {
	s.used = true
	before = s.state.Or(how)
	if before&waiting != 0 {
		s.waker.Wake()
	}
	return before
}

// OneshotReceiver is the receiving end: a future of the value.
type OneshotReceiver[T any] oneshot[T]

// Poll implements [rawwaker.Future]. The error is [ErrClosed] where the sender was dropped.
func (r *OneshotReceiver[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if r.done {
		panic(polledAfterCompletion)
	}
	s := r.state.Load()
	if s&(sent|hungUp) == 0 {
		// Register, then look again: who sends sees waiting, or this sees what was sent.
		r.waker.Register(cx.Waker())
		if s = r.state.Or(waiting); s&(sent|hungUp) == 0 {
			return rawwaker.Pending[rawwaker.Result[T]]()
		}
		r.waker.Drop() // unless an earlier poll had set waiting: then the sender takes it, or has
	}
	r.done = true
	if s&sent == 0 {
		return rawwaker.Ready(rawwaker.Result[T]{Err: ErrClosed})
	}
	return rawwaker.Ready(rawwaker.Result[T]{Value: r.take()})
}

// take empties a oneshot that the sender has done with, since it may be kept for long by that.
func (r *OneshotReceiver[T]) take() T {
	var none T
	v := r.value
	r.value = none
	return v
}

// Drop implements [rawwaker.Dropper].
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
