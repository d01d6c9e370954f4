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
	common *bell

	prev, next *sleep // of the bell's list, under bells.mu
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
		panic(completed)
	}
	left := time.Until(f.deadline)
	if left > 0 {
		f.waker.Register(cx.Waker())
		if f.timer != nil || f.common != nil {
			left = time.Until(f.deadline) // it may have rung while the waker was changed, and found none
		}
	}
	if left <= 0 {
		f.Drop()
		return rawwaker.Ready(struct{}{})
	}
	switch {
	case f.timer != nil || f.common != nil:
	case left >= time.Second && left < far && !inBubble():
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
	if f.common != nil {
		f.leave()
	}
	f.waker.Drop()
}

// A bell is the one timer of all long sleeps that end in the same millisecond. The idea is that of tokio's timer wheel, whose slots
// are a millisecond wide; the order of the slots is left to the heap of Go's runtime.
type bell struct {
	at    int64 // milliseconds since started
	first *sleep
	timer *time.Timer
}

var (
	started = time.Now()
	bells   struct {
		mu  sync.Mutex
		all map[int64]*bell
	}
)

// far is where a number of milliseconds, or their sum with a time, might overflow.
const far = 100 * 365 * 24 * time.Hour

// inBubble says whether the calling goroutine is in a testing/synctest bubble: there a timer is the bubble's own, and must not be shared with
// others, nor those of others waited for. Times of a bubble have no monotonic reading; all others have one.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0) // not Equal: Round takes the monotonic reading away
}

// share puts f on the list of its bell. The waker is registered.
func (f *sleep) share() {
	at := int64((f.deadline.Sub(started) + time.Millisecond - 1) / time.Millisecond)
	bells.mu.Lock()
	defer bells.mu.Unlock()
	b := bells.all[at]
	if b == nil {
		if bells.all == nil {
			bells.all = make(map[int64]*bell)
		}
		b = &bell{at: at}
		bells.all[at] = b
		b.timer = time.AfterFunc(time.Until(started.Add(time.Duration(at)*time.Millisecond)), b.ring)
	}
	f.common = b
	if f.next = b.first; f.next != nil {
		f.next.prev = f
	}
	b.first = f
}

// leave takes f off the list. The last one turns the bell off.
func (f *sleep) leave() {
	b := f.common
	f.common = nil
	bells.mu.Lock()
	defer bells.mu.Unlock()
	switch {
	case f.prev != nil:
		f.prev.next = f.next
	case b.first == f:
		b.first = f.next
	default:
		return // it has rung
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	if b.first == nil && bells.all[b.at] == b {
		delete(bells.all, b.at)
		b.timer.Stop()
	}
}

// ring wakes all that are on the list. No lock is held over a wake.
func (b *bell) ring() {
	var all []*AtomicWaker
	bells.mu.Lock()
	if bells.all[b.at] == b {
		delete(bells.all, b.at)
	}
	for f := b.first; f != nil; {
		all = append(all, &f.waker)
		next := f.next
		f.prev, f.next = nil, nil
		f = next
	}
	b.first = nil
	bells.mu.Unlock()
	wake.Each(all, (*AtomicWaker).Wake)
}
