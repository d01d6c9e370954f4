package rawwaker

import (
	"iter"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// WakerSet gives each of the futures that a combinator awaits a waker of its own, so that only those are polled that were
// woken. The zero WakerSet is empty: [WakerSet.Init] it once.
//
//	func (f *all) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
//		for i, cx := range f.set.Woken(cx) {
//			if p := f.futures[i].Poll(cx); p.IsReady() {
//				f.sum += p.Value()
//				f.set.Done(i)
//			}
//		}
//		if f.set.Left() == 0 { // all are done
//			return rawwaker.Ready(f.sum)
//		}
//		return rawwaker.Pending[int]()
//	}
//
// Woken and Done are for the goroutine that polls; the wakers may be used by any. Whoever gives the combinator up calls Drop,
// and drops its futures.
//
// The idea is that of FuturesUnordered in Rust's futures crate.
type WakerSet struct {
	parent   AtomicWaker
	woken    atomic.Pointer[branch] // pushed one by one, taken whole
	root     atomic.Pointer[wake.Core]
	group    atomic.Pointer[wake.Group] // made when the first branch goes to C
	branches []branch
	left     int

	// To be polled, of the polling goroutine: the branches from fresh on, which never were, and then this list, oldest wake first.
	fresh      int
	next, last *branch // last means something while next is not nil

	polling *branch    // which is being polled
	task    *wake.Core // whose Root is root, if that cannot change; else nil
}

// branch is one future's waker. Its core's word says whether it is on one of the lists: not while Parked.
type branch struct {
	core wake.Core
	cx   Context
	next *branch
	set  *WakerSet
	i    int32

	done bool // of who polls
}

// Init makes the set one of n, all of them to be polled.
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

// Group implements [wake.Relay]. Each branch keeps its set.
func (b *branch) Group() (g *wake.Group, i int32) {
	s := b.set
	g = s.group.Load()
	if g == nil {
		g = wake.NewGroup(s, func(s *WakerSet, i int32) *wake.Core { return &s.branches[i].core })
		if !s.group.CompareAndSwap(nil, g) {
			g = s.group.Load()
		}
	}
	return g, b.i
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

// Woken yields those that have been woken since they were polled last, oldest wake first, with the context to poll them with;
// at first, all. cx is that of the combinator's own poll: its waker is woken with any of the set's. One that is woken while it is
// being polled is left for the next poll, which it asks for. If the loop ends early, by a break or a panic, those that it has not come
// to stay woken, at no cost for each, and the combinator is woken for them.
func (s *WakerSet) Woken(cx *Context) iter.Seq2[int, *Context] {
	return func(yield func(int, *Context) bool) { s.each(cx, yield, false) }
}

// WokenNext is Woken for a stream, which breaks at its first item and whose owner then asks for the next one without a wake: a break
// wakes nobody, and those that it left are yielded before others are looked for. After a break return Ready.
func (s *WakerSet) WokenNext(cx *Context) iter.Seq2[int, *Context] {
	return func(yield func(int, *Context) bool) { s.each(cx, yield, true) }
}

// each is both loops. What a loop does at its end, and at a panic, is rest.
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

// polled is the end of b's poll, which lets it sleep.
func (s *WakerSet) polled(b *branch) {
	s.polling = nil
	if b.done {
		b.cx.end()
	} else if !b.core.Sleep() {
		b.Schedule(wake.Anywhere)
	}
}

// rest is the end of a loop. After a panic the branch that was being polled is asleep like any other, for whoever recovers. But for a
// stream, whose owner asks by itself, it asks for the poll that those get which are left: they are not asleep, so their own wakes no
// longer do.
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

// take appends to the list what has been woken, in the order of the wakes.
func (s *WakerSet) take(cx *Context) {
	w := cx.Waker()
	s.parent.Register(w) // before the list is looked at
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

// pop takes out the next that is to be polled, before its poll: that may panic, and a wake may list it again.
func (s *WakerSet) pop() *branch {
	b := s.next
	if i := s.fresh; i < len(s.branches) {
		s.fresh, b = i+1, &s.branches[i]
	} else if b != nil {
		s.next = b.next
	}
	return b
}

// more says whether pop has one more to give.
func (s *WakerSet) more() bool { return s.fresh < len(s.branches) || s.next != nil }

// findRoot finds the core for whose sake C's references of the branches keep something.
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

// Done says that future i was ready, or was given up: its wakes do nothing from now on. It may be called inside that future's poll.
func (s *WakerSet) Done(i int) {
	b := &s.branches[i]
	if b.done {
		return
	}
	b.done = true
	s.left--
	if b != s.polling { // else its core ends with the poll, in which C may be using the box
		b.cx.end()
	}
}

// Left is how many are not done.
func (s *WakerSet) Left() int { return s.left }

// Drop ends all that are left, and gives the combinator's waker up.
func (s *WakerSet) Drop() {
	for i := range s.branches {
		s.Done(i)
	}
	s.parent.Drop()
}
