package article

import (
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// TimerFuture is ready after its time and sleeps until then: it hands its waker to a timer. future.Sleep is the same, ready
// to use.
type TimerFuture struct {
	expired atomic.Bool
	waker   future.AtomicWaker
	timer   *time.Timer
}

// Timer returns a TimerFuture whose time begins now.
func Timer(d time.Duration) *TimerFuture {
	f := new(TimerFuture)
	f.timer = time.AfterFunc(d, func() {
		f.expired.Store(true) // first make it true,
		f.waker.Wake()        // then wake: the poll that follows sees it
	})
	return f
}

// Poll implements [rawwaker.Future].
func (f *TimerFuture) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	// First keep the waker, then look: the timer may expire in between, and must find the one or have set the other.
	f.waker.Register(cx.Waker())
	if f.expired.Load() {
		f.waker.Drop()
		return rawwaker.Ready(struct{}{})
	}
	return rawwaker.Pending[struct{}]()
}

// Drop implements [rawwaker.Dropper]: it cancels.
func (f *TimerFuture) Drop() {
	f.timer.Stop()
	f.waker.Drop()
}
