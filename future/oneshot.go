package future

import (
	"errors"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ErrClosed is the error of a receiver whose senders are gone, and of a sender whose receiver is.
var ErrClosed = errors.New("future: channel closed")

// oneshot is both ends in one allocation.
type oneshot[T any] struct {
	tx    OneshotSender[T]
	rx    OneshotReceiver[T]
	state atomic.Uint32
	waker AtomicWaker // the receiver's
	value T           // written before sent is set, read after
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
	o.tx.o, o.rx.o = o, o
	return &o.tx, &o.rx
}

// OneshotSender is the sending end.
type OneshotSender[T any] struct{ o *oneshot[T] }

// Send gives v to the receiver; false: that is gone. It panics after Send or Drop.
func (s *OneshotSender[T]) Send(v T) bool {
	o := s.take("Send")
	o.value = v
	return o.end(sent)&gone == 0
}

// Drop says that nothing will be sent: the receiver's answer is [ErrClosed]. After Send or Drop it does nothing.
func (s *OneshotSender[T]) Drop() {
	if s.o != nil {
		s.take("Drop").end(hungUp)
	}
}

// Closed says whether the receiver is gone, so that a Send would be in vain.
func (s *OneshotSender[T]) Closed() bool { return s.o == nil || s.o.state.Load()&gone != 0 }

func (s *OneshotSender[T]) take(call string) *oneshot[T] {
	o := s.o
	if o == nil {
		panic("future: " + call + " on a OneshotSender that has sent or was dropped")
	}
	s.o = nil
	return o
}

func (o *oneshot[T]) end(how uint32) (before uint32) {
	before = o.state.Or(how)
	if before&waiting != 0 {
		o.waker.Wake()
	}
	return before
}

// OneshotReceiver is the receiving end: a future of the value.
type OneshotReceiver[T any] struct {
	o    *oneshot[T]
	over bool // its answer was given, or it was dropped
}

// Poll implements [rawwaker.Future]. The error is [ErrClosed] where the sender was dropped.
func (r *OneshotReceiver[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if r.over {
		panic(completed)
	}
	o := r.o
	s := o.state.Load()
	if s&(sent|hungUp) == 0 {
		// Register, then look again: who sends sees waiting, or this sees what was sent.
		o.waker.Register(cx.Waker())
		if s = o.state.Or(waiting); s&(sent|hungUp) == 0 {
			return rawwaker.Pending[rawwaker.Result[T]]()
		}
		o.waker.Drop() // unless an earlier poll had set waiting: then the sender takes it, or has
	}
	r.over = true
	if s&sent == 0 {
		return rawwaker.Ready(rawwaker.Result[T]{Err: ErrClosed})
	}
	return rawwaker.Ready(rawwaker.Result[T]{Value: o.value})
}

// Drop implements [rawwaker.Dropper].
func (r *OneshotReceiver[T]) Drop() {
	if r.over {
		return
	}
	r.over = true
	if r.o.state.Or(gone)&waiting != 0 {
		r.o.waker.Drop()
	}
}
