package future

import (
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// AtomicWaker is where a future keeps the waker of its latest poll, for whoever completes it on another goroutine. The
// zero value is empty. No lock is held anywhere, so none is held over a slot.
//
// To lose no wake, the polling side registers first and tests its condition after; the completing side makes the
// condition true first and wakes after. The idea is Rust's futures::task::AtomicWaker.
type AtomicWaker struct {
	// Every step is an exchange. So of a Register and a Wake, one comes after the other and sees what was written before
	// it: Wake finds the waker, or the test that follows Register finds the condition.
	waker atomic.Pointer[rawwaker.Waker]
}

// Register keeps a clone of w in place of what was kept. It clones nothing where that would wake the same task. Not for
// two goroutines at once: the later one's waker stays.
func (a *AtomicWaker) Register(w *rawwaker.Waker) {
	kept := a.waker.Swap(nil) // ours alone, so that nobody consumes it while it is compared
	if kept == nil || !kept.WillWake(w) {
		old := kept
		kept = w.Clone()
		drop(old)
	}
	drop(a.waker.Swap(kept))
}

// Wake takes the waker out and wakes it; nothing happens where there is none.
func (a *AtomicWaker) Wake() {
	if w := a.waker.Swap(nil); w != nil {
		w.Wake()
	}
}

// Drop takes the waker out and drops it. The AtomicWaker may be used again.
func (a *AtomicWaker) Drop() { drop(a.waker.Swap(nil)) }

func drop(w *rawwaker.Waker) {
	if w != nil {
		w.Drop()
	}
}
