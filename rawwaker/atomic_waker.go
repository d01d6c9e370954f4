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

// Register keeps a clone of w in place of what was kept. It clones nothing where that would wake the same task. Not for
// two goroutines at once: the later one's waker stays.
func (a *AtomicWaker) Register(w *Waker) {
	kept := a.waker.Swap(nil) // ours alone, so that nobody consumes it while it is compared
	if kept == nil || !kept.WillWake(w) {
		old := kept
		kept = w.Clone()
		dropWaker(old)
	}
	dropWaker(a.waker.Swap(kept))
}

// Wake takes the waker out and wakes it; nothing happens where there is none.
func (a *AtomicWaker) Wake() { a.wakeAt(wake.Anywhere) }

func (a *AtomicWaker) wakeAt(at wake.Place) {
	if w := a.waker.Swap(nil); w != nil {
		w.wakeAt(at)
	}
}

// Drop takes the waker out and drops it. The AtomicWaker may be used again.
func (a *AtomicWaker) Drop() { dropWaker(a.waker.Swap(nil)) }

func dropWaker(w *Waker) {
	if w != nil {
		w.Drop()
	}
}
