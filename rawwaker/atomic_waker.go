package rawwaker

import (
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// AtomicWaker is where a future keeps the waker of its latest poll, for whoever completes it on another goroutine. The
// zero value is empty. No lock is held anywhere, so none is held over a slot.
//
// To lose no wake, the polling side registers first and tests its condition after; the completing side makes the
// condition true first and wakes after. The idea is Rust's futures::task::AtomicWaker.
type AtomicWaker struct {
	// Every step is an exchange. So of a Register and a Wake, one comes after the other and sees what was written before
	// it: Wake finds the waker, or the test that follows Register finds the condition.
	waker atomic.Pointer[Waker]
}

// Register keeps w, for which it clones it where w is not a task's own: a task of this library lends its waker to no other
// task, so there w itself will do until the task is over, and after that wakes nobody. Not for two goroutines at once: the
// later one's waker stays.
func (a *AtomicWaker) Register(w *Waker) {
	if w.lentByTask() {
		if old := a.waker.Swap(w); old != w {
			dropWaker(old)
		}
		return
	}
	w.live("Register")                               // misuse panics before anything is taken out, and so changes nothing
	kept := a.waker.Swap(nil)                        // ours alone, so that nobody consumes it while it is compared
	defer func() { dropWaker(a.waker.Swap(kept)) }() // also where another goroutine consumes w meanwhile, and this panics
	if kept == nil || kept.ofTask() || !kept.WillWake(w) {
		old := kept
		kept = w.Clone()
		dropWaker(old)
	}
}

// Wake takes the waker out and wakes it; nothing happens where there is none.
func (a *AtomicWaker) Wake() { a.wakeAt(wake.Anywhere) }

func (a *AtomicWaker) wakeAt(at wake.Place) {
	switch w := a.waker.Swap(nil); {
	case w == nil:
	case w.ofTask():
		w.core.WakeAt(at)
	default:
		w.wakeAt(at)
	}
}

// take is Wake in two steps: it takes the waker out, and wakes it only if that can run nothing of a user's. Else it returns what does.
func (a *AtomicWaker) take() (wakes func()) {
	w := a.waker.Swap(nil)
	switch {
	case w == nil:
		return nil
	case w.ofTask():
		if !w.core.Plain() {
			return w.core.Wake
		}
		w.core.Wake()
	case w.state.load().kind() == core && w.core.Plain():
		w.Wake()
	default:
		return w.Wake
	}
	return nil
}

func init() {
	wake.Rawwaker.Wake = func(aw any, at wake.Place) { aw.(*AtomicWaker).wakeAt(at) }
	wake.Rawwaker.Take = func(aw any) func() { return aw.(*AtomicWaker).take() }
}

// Drop takes the waker out and drops it. The AtomicWaker may be used again.
func (a *AtomicWaker) Drop() { dropWaker(a.waker.Swap(nil)) }

func dropWaker(w *Waker) {
	if w != nil && !w.ofTask() {
		w.Drop()
	}
}

// lentByTask says whether w is what a task of this library lends to its polls: with a link it is what C has lent.
func (w *Waker) lentByTask() bool { return w.state.load() == scope && w.link == nil }

// ofTask says whether w, which was kept, lies in the Context of a task, which may be over.
func (w *Waker) ofTask() bool {
	s := w.state.load()
	return s == scope || s == ended
}
