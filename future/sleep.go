package future

import (
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type sleep struct {
	deadline time.Time
	timer    *time.Timer // nil before the first pending poll
	waker    AtomicWaker
	done     bool
}

// Sleep is ready once d has passed since it was created: the article's TimerFuture. It costs no goroutine and no CPU
// while it waits, and two polls in all where nothing else wakes its task.
func Sleep(d time.Duration) rawwaker.Future[struct{}] {
	return &sleep{deadline: time.Now().Add(d)}
}

func (f *sleep) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if f.done {
		panic(completed)
	}
	left := time.Until(f.deadline)
	if left <= 0 {
		f.Drop()
		return rawwaker.Ready(struct{}{})
	}
	f.waker.Register(cx.Waker())
	if f.timer == nil {
		f.timer = time.AfterFunc(left, f.waker.Wake)
	}
	return rawwaker.Pending[struct{}]()
}

// Drop implements [rawwaker.Dropper]: the timer is stopped and wakes nobody any more.
func (f *sleep) Drop() {
	f.done = true
	if f.timer != nil {
		f.timer.Stop()
	}
	f.waker.Drop()
}
