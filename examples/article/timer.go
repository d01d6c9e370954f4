package article

import (
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// TimerFuture is ready when its time has passed. Until then a timer holds its waker, so the
// executor can sleep. future.Sleep is the same in library quality.
type TimerFuture struct {
	expired atomic.Bool
	waker   future.AtomicWaker
	timer   *time.Timer
}

// Timer returns a TimerFuture whose time begins now.
func Timer(d time.Duration) *TimerFuture {
	f := new(TimerFuture)
	f.timer = time.AfterFunc(d, func() {
		f.expired.Store(true) // first set the condition,
		f.waker.Wake()        // then wake: the poll that follows sees the condition
	})
	return f
}

// Poll implements [rawwaker.Future].
func (f *TimerFuture) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	// First register the waker, then test the condition: if the timer expires in between, it wakes.
	f.waker.Register(cx.Waker())
	if f.expired.Load() {
		f.waker.Drop()
		return rawwaker.Ready(struct{}{})
	}
	return rawwaker.Pending[struct{}]()
}

// Drop implements [rawwaker.Dropper]: it cancels the timer.
func (f *TimerFuture) Drop() {
	f.timer.Stop()
	f.waker.Drop()
}
