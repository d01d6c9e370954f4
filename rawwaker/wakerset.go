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
	under    atomic.Pointer[wake.Core]
	branches []branch
	left     int
	polled   bool // once: until then all are to be polled
}

// branch is one future's waker. Its core's word says whether it is on the list: not while Parked.
type branch struct {
	core wake.Core
	cx   Context
	next *branch
	set  *WakerSet
	i    int32

	done, polling bool // of who polls
}

// Init makes the set one of n, all of them to be polled.
func (s *WakerSet) Init(n int) {
	s.branches, s.left = make([]branch, n), n
	for i := range s.branches {
		b := &s.branches[i]
		b.set, b.i = s, int32(i)
		b.core.InitRelay(b)
		Bind(&b.cx, &b.core)
		if wake.Tracing() {
			b.core.Made("branch", "")
		}
	}
}

// Rouse implements [wake.Target].
func (b *branch) Rouse(at wake.Place) {
	b.push()
	b.set.parent.wakeAt(at)
}

// Under implements [wake.Relay].
func (b *branch) Under() *wake.Core { return b.set.under.Load() }

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
// to stay woken, and the combinator is woken for them.
func (s *WakerSet) Woken(cx *Context) iter.Seq2[int, *Context] {
	return func(yield func(int, *Context) bool) {
		s.parent.Register(cx.Waker()) // before the list is looked at
		if root := cx.root(); root != s.under.Load() {
			s.under.Store(root)
			for i := range s.branches {
				s.branches[i].core.Keep()
			}
		}
		r := rest{set: s}
		defer r.leave() // by a break, or by a panic: those that are left stay woken
		if !s.polled {
			s.polled = true
			for i := range s.branches {
				r.from = i + 1
				if !s.branches[i].poll(yield) {
					return
				}
			}
			return
		}
		r.from = len(s.branches)
		var fifo *branch
		for b := s.woken.Swap(nil); b != nil; {
			b.next, fifo, b = fifo, b, b.next
		}
		for b := fifo; b != nil; b = r.list {
			r.list = b.next // before it may be listed again
			if !b.poll(yield) {
				return
			}
		}
	}
}

// rest is what a call of Woken has not yielded: the branches from a number on, and a list.
type rest struct {
	set  *WakerSet
	from int
	list *branch
}

// leave lists them again and asks for the poll that they get: they are not asleep, so their own wakes no longer do.
func (r *rest) leave() {
	any := false
	for i := r.from; i < len(r.set.branches); i++ {
		any = true
		r.set.branches[i].push()
	}
	for b := r.list; b != nil; {
		next := b.next
		any = true
		b.push()
		b = next
	}
	if any {
		r.set.parent.Wake()
	}
}

// poll yields b, and lets it sleep.
func (b *branch) poll(yield func(int, *Context) bool) bool {
	if b.done {
		return true
	}
	b.core.Consume()
	b.polling = true
	defer b.polled()
	return yield(int(b.i), &b.cx)
}

// polled is the end of a poll, by a panic too: then b is asleep like any other, for whoever recovers.
func (b *branch) polled() {
	b.polling = false
	switch {
	case b.done:
		End(&b.cx)
	case !b.core.Sleep():
		b.Rouse(wake.Anywhere)
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
	if !b.polling { // else its core ends with the poll, in which C may be using the box
		End(&b.cx)
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
