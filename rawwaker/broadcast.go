package rawwaker

import (
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Broadcast is the waker of one future that several tasks wait for. A wake of it wakes them all,
// and the first to be polled polls the future. Each has a [BroadcastWaiter]. The zero Broadcast
// is empty: call [Broadcast.Init] once.
//
//	func (h *handle) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
//		h.wait.Register(cx.Waker()) // before any state is read
//		// If the future has completed, return its result. Else, under the lock that guards that:
//		inner := h.b.Enter(&h.wait, cx)
//		if inner == nil { // another task polls it, or nothing has woken it
//			return rawwaker.Pending[int]()
//		}
//		p := h.future.Poll(inner)
//		// If p is ready, record that the future has completed.
//		h.b.Exit(p.IsReady())
//		return p
//	}
//
// Its methods may be called on any goroutine. A reference that only C still has does not keep the
// Broadcast from being collected.
type Broadcast struct {
	core wake.Core
	cx   Context
	root atomic.Pointer[wake.Core]

	mu      sync.Mutex
	first   *BroadcastWaiter
	polling bool // between Enter and Exit
	woken   bool // since the latest poll began; at first, too
}

// BroadcastWaiter is one waiting task. The zero value does not wait.
type BroadcastWaiter struct {
	waker      AtomicWaker
	prev, next *BroadcastWaiter
	listed     bool
	root       *wake.Core // of the waker
}

// Init prepares b, whose future is to be polled. Call it before any other use.
func (b *Broadcast) Init() {
	b.woken = true
	b.core.InitRelay((*broadcastRelay)(b))
	b.cx.bind(&b.core)
	if wake.Tracing() {
		b.core.Made("broadcast", "")
	}
}

// Register keeps waker for the next wake: see [AtomicWaker.Register].
func (w *BroadcastWaiter) Register(waker *Waker) { w.waker.Register(waker) }

// Enter adds w to the waiters, until it is woken or left. If the caller, which is being polled with
// cx, is to poll the future, Enter returns the context for that poll, and [Broadcast.Exit] must
// follow; else it returns nil. w has registered before.
func (b *Broadcast) Enter(w *BroadcastWaiter, cx *Context) *Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.listed {
		w.listed = true
		if w.next = b.first; w.next != nil {
			w.next.prev = w
		}
		b.first = w
	}
	w.root = cx.root()
	if b.polling || !b.woken {
		return nil
	}
	b.polling, b.woken = true, false
	b.keep(w.root)
	b.core.Consume()
	return &b.cx
}

// Exit ends the poll that Enter has begun, also if it panicked. over: the future needs no more
// polls. Then its waker does nothing from now on, and all waiters are woken.
func (b *Broadcast) Exit(over bool) {
	var all []*AtomicWaker
	b.mu.Lock()
	b.polling = false
	if !over && !b.core.Sleep() {
		b.woken = true
	}
	if over || b.woken {
		all = b.take()
	}
	b.mu.Unlock()
	if over {
		b.cx.end()
	}
	wake.WakeAll(all, wake.Anywhere)
}

// End records that the future was given up: its waker does nothing from now on. It must not be
// called during a poll.
func (b *Broadcast) End() { b.cx.end() }

// Leave removes w, which is not woken any more, and drops its waker.
func (b *Broadcast) Leave(w *BroadcastWaiter) {
	b.mu.Lock()
	if w.listed {
		if w.prev != nil {
			w.prev.next = w.next
		} else {
			b.first = w.next
		}
		if w.next != nil {
			w.next.prev = w.prev
		}
		w.prev, w.next, w.listed = nil, nil, false
	}
	if b.root.Load() == w.root {
		b.keep(nil)
		if b.first != nil {
			b.keep(b.first.root)
		}
	}
	w.root = nil
	b.mu.Unlock()
	w.waker.Drop()
}

// keep has C's reference keep one of the waiters alive, and through it the others. mu is held.
func (b *Broadcast) keep(root *wake.Core) {
	if root != b.root.Load() {
		b.root.Store(root)
		b.core.Keep()
	}
}

// take empties the list, so that each waiter is woken once. mu is held.
func (b *Broadcast) take() (all []*AtomicWaker) {
	for w := b.first; w != nil; {
		all = append(all, &w.waker)
		next := w.next
		w.prev, w.next, w.listed = nil, nil, false
		w = next
	}
	b.first = nil
	return all
}

// broadcastRelay is a Broadcast as the target of its core; users must not call these.
type broadcastRelay Broadcast

// Schedule implements [wake.Target]. No goroutine polls: while one does, the core is not asleep.
func (r *broadcastRelay) Schedule(at wake.Place) {
	b := (*Broadcast)(r)
	b.mu.Lock()
	b.woken = true
	all := b.take()
	b.mu.Unlock()
	wake.WakeAll(all, at)
}

// Root implements [wake.Relay].
func (r *broadcastRelay) Root() *wake.Core { return r.root.Load() }

// Group implements [wake.Relay].
func (r *broadcastRelay) Group() (g *wake.Group, i int32) { return wake.GroupOfOne(&r.core), 0 }
