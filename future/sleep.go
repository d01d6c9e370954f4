package future

import (
	"sync"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type sleep struct {
	deadline time.Time
	waker    AtomicWaker
	done     bool

	// Of who polls or drops. At most one of the two is there; neither before the first pending poll.
	timer  *time.Timer
	shared *sharedTimer

	prev, next *sleep // of the bell's list, under sharedTimers.mu
}

// Sleep is ready once d has passed since it was created: the article's TimerFuture. It costs no goroutine and no CPU
// while it waits, and two polls in all where nothing else wakes its task. One of a second or more may come up to a millisecond
// late: those that end in the same millisecond share a timer. (A waker of one of them that blocks delays the others by some milliseconds more;
// one that panics ends the program, as in any timer.) In a testing/synctest bubble each has a timer of its own, and is exact.
func Sleep(d time.Duration) rawwaker.Future[struct{}] {
	return &sleep{deadline: time.Now().Add(d)}
}

func (f *sleep) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if f.done {
		panic(polledAfterCompletion)
	}
	left := time.Until(f.deadline)
	if left > 0 {
		f.waker.Register(cx.Waker())
		if f.timer != nil || f.shared != nil {
			left = time.Until(f.deadline) // it may have rung while the waker was changed, and found none
		}
	}
	if left <= 0 {
		f.Drop()
		return rawwaker.Ready(struct{}{})
	}
	switch {
	case f.timer != nil || f.shared != nil:
	case left >= time.Second && left < maxShared && !inBubble():
		f.share()
	default:
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
	if f.shared != nil {
		f.remove()
	}
	f.waker.Drop()
}

// A bell is the one timer of all long sleeps that end in the same millisecond. The idea is that of tokio's timer wheel, whose slots
// are a millisecond wide; the order of the slots is left to the heap of Go's runtime.
type sharedTimer struct {
	at    int64 // milliseconds since epoch
	first *sleep
	timer *time.Timer
}

var (
	epoch        = time.Now()
	sharedTimers struct {
		mu  sync.Mutex
		all map[int64]*sharedTimer
	}
)

// maxShared is where a number of milliseconds, or their sum with a time, might overflow.
const maxShared = 100 * 365 * 24 * time.Hour

// inBubble says whether the calling goroutine is in a testing/synctest bubble: there a timer is the bubble's own, and must not be shared with
// others, nor those of others waited for. Times of a bubble have no monotonic reading; all others have one.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0) // not Equal: Round takes the monotonic reading away
}

// share puts f on the list of its bell. The waker is registered.
func (f *sleep) share() {
	at := int64((f.deadline.Sub(epoch) + time.Millisecond - 1) / time.Millisecond)
	sharedTimers.mu.Lock()
	defer sharedTimers.mu.Unlock()
	t := sharedTimers.all[at]
	if t == nil {
		if sharedTimers.all == nil {
			sharedTimers.all = make(map[int64]*sharedTimer)
		}
		t = &sharedTimer{at: at}
		sharedTimers.all[at] = t
		t.timer = time.AfterFunc(time.Until(epoch.Add(time.Duration(at)*time.Millisecond)), t.fire)
	}
	f.shared = t
	if f.next = t.first; f.next != nil {
		f.next.prev = f
	}
	t.first = f
}

// remove takes f off the list. The last one turns the bell off.
func (f *sleep) remove() {
	t := f.shared
	f.shared = nil
	sharedTimers.mu.Lock()
	defer sharedTimers.mu.Unlock()
	switch {
	case f.prev != nil:
		f.prev.next = f.next
	case t.first == f:
		t.first = f.next
	default:
		return // it has rung
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	if t.first == nil && sharedTimers.all[t.at] == t {
		delete(sharedTimers.all, t.at)
		t.timer.Stop()
	}
}

// fire wakes all that are on the list. No lock is held over a wake.
func (t *sharedTimer) fire() {
	var all []*AtomicWaker
	sharedTimers.mu.Lock()
	if sharedTimers.all[t.at] == t {
		delete(sharedTimers.all, t.at)
	}
	for f := t.first; f != nil; {
		all = append(all, &f.waker)
		next := f.next
		f.prev, f.next = nil, nil
		f = next
	}
	t.first = nil
	sharedTimers.mu.Unlock()
	wake.Each(all, (*AtomicWaker).Wake)
}
