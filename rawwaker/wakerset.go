package rawwaker

import (
	"iter"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// WakerSet gives each future that a combinator awaits a waker of its own, so that only those that
// were woken are polled. The zero WakerSet is empty: call [WakerSet.Init] once.
//
//	func (f *all) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
//		for i, cx := range f.set.Woken(cx) {
//			if p := f.futures[i].Poll(cx); p.IsReady() {
//				f.sum += p.Value()
//				f.set.Done(i)
//			}
//		}
//		if f.set.Left() == 0 {
//			return rawwaker.Ready(f.sum)
//		}
//		return rawwaker.Pending[int]()
//	}
//
// Only the polling goroutine calls Woken and Done; any goroutine may use the wakers. The
// combinator's own Drop calls [WakerSet.Drop] and drops its futures.
//
// The idea is that of FuturesUnordered in Rust's futures crate.
type WakerSet struct {
	parent   AtomicWaker
	woken    atomic.Pointer[branch] // pushed one by one, taken whole
	root     atomic.Pointer[wake.Core]
	branches []branch
	left     int

	crosses sync.Once // the first branch that crosses to C makes group
	group   *wake.Group

	// To be polled, of the polling goroutine: the branches from fresh on, which never were, and
	// then the list from next to last, oldest wake first. last is valid while next is not nil.
	fresh      int
	next, last *branch

	polling *branch    // the one that is being polled
	task    *wake.Core // whose Root is root, if that cannot change; else nil
}

// branch is one future's waker. It is on one of the lists unless its core's word is Parked.
type branch struct {
	core wake.Core
	cx   Context
	next *branch
	set  *WakerSet
	i    int32

	done bool // of the polling goroutine
}

// Init makes the set one of n futures, all of which are to be polled. Call it before any other use.
func (s *WakerSet) Init(n int) {
	s.branches, s.left = make([]branch, n), n
	for i := range s.branches {
		b := &s.branches[i]
		b.set, b.i = s, int32(i)
		b.core.InitRelay(b)
		b.cx.bind(&b.core)
		if wake.Tracing() {
			b.core.Made("branch", "")
		}
	}
}

// Schedule implements [wake.Target].
func (b *branch) Schedule(at wake.Place) {
	b.push()
	b.set.parent.wakeAt(at)
}

// Root implements [wake.Relay].
func (b *branch) Root() *wake.Core { return b.set.root.Load() }

// Group implements [wake.Relay]. Each branch keeps its set alive.
func (b *branch) Group() (g *wake.Group, i int32) {
	s := b.set
	s.crosses.Do(func() {
		at := func(s *WakerSet, i int32) *wake.Core { return &s.branches[i].core }
		s.group = wake.NewGroup(s, at)
	})
	return s.group, b.i
}

func (b *branch) push() {
	for {
		head := b.set.woken.Load()
		b.next = head
		if b.set.woken.CompareAndSwap(head, b) {
			return
		}
	}
}

// Woken yields the futures that were woken since they were last polled, oldest wake first, each
// with the context to poll it with; at first it yields all. cx is that of the combinator's own
// poll: each of the set's wakes wakes its waker.
//
// A future that is woken during its poll is left for the next poll of the combinator, which it asks
// for. If the loop ends early, by a break or a panic, the rest stay woken, and the combinator is
// woken for them.
func (s *WakerSet) Woken(cx *Context) iter.Seq2[int, *Context] {
	return func(yield func(int, *Context) bool) { s.each(cx, yield, false) }
}

// WokenNext is Woken for a stream, which breaks at its first item and whose owner then asks for the
// next item without a wake. So a break wakes no task, and the futures that it left are yielded
// before others. After a break, return Ready.
func (s *WakerSet) WokenNext(cx *Context) iter.Seq2[int, *Context] {
	return func(yield func(int, *Context) bool) { s.each(cx, yield, true) }
}

// each is Woken and WokenNext. rest is the end of a loop, also by a panic.
func (s *WakerSet) each(cx *Context, yield func(int, *Context) bool, stream bool) {
	took := !stream
	if took {
		s.take(cx)
	}
	defer s.rest(stream)
	for {
		b := s.pop()
		if b == nil {
			if took {
				return
			}
			took = true
			s.take(cx)
			continue
		}
		if b.done {
			continue
		}
		b.core.Consume()
		s.polling = b
		more := yield(int(b.i), &b.cx)
		s.polled(b)
		if !more {
			return
		}
	}
}

// polled ends b's poll and lets it sleep.
func (s *WakerSet) polled(b *branch) {
	s.polling = nil
	if b.done {
		b.cx.end()
	} else if !b.core.Sleep() {
		b.Schedule(wake.Anywhere)
	}
}

// rest ends a loop. After a panic it lets the branch that was being polled sleep like any other.
// Unless this is a stream, whose owner asks again by itself, it wakes the combinator for the
// branches that are left: they are not asleep, so their own wakes no longer do.
func (s *WakerSet) rest(stream bool) {
	if s.polling == nil && (stream || !s.more()) {
		return
	}
	defer func() {
		if !stream && s.left > 0 && s.more() {
			s.parent.Wake()
		}
	}()
	if b := s.polling; b != nil {
		s.polled(b)
	}
}

// take appends the woken branches to the list, in the order of their wakes.
func (s *WakerSet) take(cx *Context) {
	w := cx.Waker()
	s.parent.Register(w) // before the list is read
	if w.core != s.task || !w.lentByTask() {
		s.findRoot(cx)
	}
	newest := s.woken.Load()
	if newest == nil {
		return
	}
	newest = s.woken.Swap(nil)
	var oldest *branch
	for b := newest; b != nil; {
		b.next, oldest, b = oldest, b, b.next
	}
	if s.next == nil {
		s.next = oldest
	} else {
		s.last.next = oldest
	}
	s.last = newest
}

// pop takes out the next branch to poll. That precedes the poll, which may panic, and during
// which a wake may list the branch again.
func (s *WakerSet) pop() *branch {
	b := s.next
	if i := s.fresh; i < len(s.branches) {
		s.fresh, b = i+1, &s.branches[i]
	} else if b != nil {
		s.next = b.next
	}
	return b
}

// more reports whether pop has another branch.
func (s *WakerSet) more() bool { return s.fresh < len(s.branches) || s.next != nil }

// findRoot finds the core that C's references of the branches keep alive.
func (s *WakerSet) findRoot(cx *Context) {
	s.task = nil
	if w := &cx.waker; w.lentByTask() && !w.core.Relay() {
		s.task = w.core
	}
	if root := cx.root(); root != s.root.Load() {
		s.root.Store(root)
		for i := range s.branches {
			s.branches[i].core.Keep()
		}
	}
}

// Done records that future i was ready or was given up: its wakes do nothing from now on. It may be
// called inside that future's poll.
func (s *WakerSet) Done(i int) {
	b := &s.branches[i]
	if b.done {
		return
	}
	b.done = true
	s.left--
	if b != s.polling { // else its core ends with the poll, in which C may be using the box
		b.core.Notify() // it is not asleep any more, so a wake of a clone wakes no one
		b.cx.end()
	}
}

// Left returns how many futures are not done.
func (s *WakerSet) Left() int { return s.left }

// Drop is Done for all that are left, and drops the combinator's waker.
func (s *WakerSet) Drop() {
	for i := range s.branches {
		s.Done(i)
	}
	s.parent.Drop()
}
