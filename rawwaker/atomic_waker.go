package rawwaker

import (
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// AtomicWaker holds the waker of a future's latest poll, for the goroutine that completes the
// future. The zero value is empty. It takes no lock.
//
// To lose no wake, the polling side registers first and tests its condition after that; the
// completing side makes the condition true first and wakes after that. The idea is that of
// futures::task::AtomicWaker in Rust.
type AtomicWaker struct {
	// Every step is an exchange. So a Register and a Wake are ordered, and the later one sees
	// what was written before the earlier one: Wake finds the waker, or the test after Register
	// finds the condition.
	waker atomic.Pointer[Waker]
}

// Register keeps a clone of w for the next Wake, in place of what was registered before. (A waker
// that a task of this library lends to its polls is kept without a clone: it wakes no other task.)
// w stays the caller's; Register panics if it was consumed. Only one goroutine at a time may call
// it.
func (a *AtomicWaker) Register(w *Waker) {
	if w.lentByTask() {
		if old := a.waker.Swap(w); old != w {
			dropWaker(old)
		}
		return
	}
	w.live("Register") // misuse panics here, before anything is changed
	// Take what is registered out, so that no Wake consumes it while it is compared.
	kept := a.waker.Swap(nil)
	// Deferred because Clone panics if w is consumed meanwhile.
	defer func() { dropWaker(a.waker.Swap(kept)) }()
	if kept == nil || kept.ofTask() || !kept.WillWake(w) {
		old := kept
		kept = w.Clone()
		dropWaker(old)
	}
}

// Wake takes the waker out and wakes it. It does nothing if none is registered. Any goroutine may
// call it.
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

// take takes the waker out. If waking it can run nothing that a user wrote, it wakes it; else it
// returns what wakes it.
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

// Drop takes the waker out and drops it. The AtomicWaker may be used again after that.
func (a *AtomicWaker) Drop() { dropWaker(a.waker.Swap(nil)) }

func dropWaker(w *Waker) {
	if w != nil && !w.ofTask() {
		w.Drop()
	}
}

// lentByTask reports whether w is the waker that a task of this library lends to its polls. (With a
// link, C has lent it.)
func (w *Waker) lentByTask() bool { return w.state.load() == scope && w.link == nil }

// ofTask reports whether w, which was kept, lies in the Context of a task, which may have ended.
func (w *Waker) ofTask() bool {
	s := w.state.load()
	return s == scope || s == ended
}
