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

	// Of the goroutine that polls or drops. After the first pending poll one of the two is set.
	timer  *time.Timer
	shared *sharedTimer

	prev, next *sleep // of shared's list, under sharedTimers.mu
}

// Sleep returns a future that is ready once d has passed since this call. If d is not positive, it
// is ready at its first poll.
//
// While it waits it uses no goroutine and no CPU. It is polled twice, unless something else wakes
// its task. Drop stops the timer.
//
// Sleeps of a second or more that end in the same millisecond share a timer, so they may be a
// millisecond late. If a waker of one of them blocks, the others are some milliseconds later; if it
// panics, the program ends, as for any timer. In a testing/synctest bubble each Sleep has a timer
// of its own and is exact.
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
			left = time.Until(f.deadline) // the timer may have fired during Register and found no waker
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

// Drop implements [rawwaker.Dropper].
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

// sharedTimer is the timer of all long sleeps that end in the same millisecond. tokio's timer wheel
// has slots of a millisecond too; here the heap of Go's runtime keeps their order.
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

// maxShared is the length from which a sleep has a timer of its own: the milliseconds until its end
// might overflow.
const maxShared = 100 * 365 * 24 * time.Hour

// inBubble reports whether the calling goroutine is in a testing/synctest bubble. A timer made
// there belongs to the bubble and must not be shared with goroutines outside. Only the times of a
// bubble have no monotonic reading.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0) // not Equal: Round removes the monotonic reading
}

// share puts f on the list of its shared timer. The waker was registered before.
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

// remove takes f off the list. The last one stops the timer.
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
		return // it has fired
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

// fire wakes all that are on the list, after unlocking.
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
