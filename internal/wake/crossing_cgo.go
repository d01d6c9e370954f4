//go:build cgo

package wake

import "github.com/seed-8a1b3254/ffiwaker/internal/capi"

var boxVTable = capi.BoxVTable()

// Cross lends c to C with one more reference. ok is false if the task has ended; a no-op waker
// does then.
func (c *Core) Cross() (w capi.Raw, ok bool) { return c.lend(true) }

// Lend lends c to C without a reference: until [Core.End].
func (c *Core) Lend() (w capi.Raw, ok bool) { return c.lend(false) }

func (c *Core) lend(ref bool) (w capi.Raw, ok bool) {
	if w := c.weakly(); w != nil {
		if c = w.of.find(); c == nil {
			return capi.Raw{}, false
		}
	}
	x := c.cross()
	if x == nil {
		return w, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return w, false
	}
	if x.box == 0 {
		if !x.make(c) {
			return w, false
		}
	}
	if ref {
		capi.BoxRef(x.box)
	}
	return capi.Raw{Data: x.box, VTable: boxVTable}, true
}

// make makes x's box; false: c is of a Local that is closed.
func (x *crossing) make(c *Core) bool {
	var s *capi.Sink
	if in := c.inbox(); in == nil {
		s = processSink()
	} else if in.enter() {
		defer in.leave() // the box keeps the sink from then on
		s = in.sink
	} else {
		return false
	}
	id := registry.Put(x)
	box := s.BoxNew(id, c.user)
	if box == 0 {
		registry.Take(id)
		panic("rawwaker: out of memory for a waker's box")
	}
	x.box, x.id = box, id
	if Tracing() {
		c.traceBox(box)
	}
	updateCanSpin()
	return true
}

// PollRaw polls a C future for c's task, again and again while the future wakes itself: see
// rawwaker_box_poll. A wake during the poll that no other thread has delivered to c is delivered by
// this call. If the future has ended, its drop slot has been called too. If a panic or Goexit
// leaves the poll, c's box is left as if the future were pending; note, a word on the heap that is
// 0, serves for that. It is called only while the task is being polled, so that c does not end
// meanwhile. If note is capi.NoteLast, c serves no other future, and the call in which f ends
// closes its box.
func (c *Core) PollRaw(f capi.Raw, out uintptr, note *uintptr) capi.Polled {
	var s *capi.Sink
	if in := c.inbox(); in != nil && in.enter() {
		defer in.leave()
		s = in.sink
	} else {
		s = processSink()
	}
	var box uintptr
	x := c.crossing.Load()
	if x != nil {
		x.mu.Lock()
		box = x.box
		x.mu.Unlock()
	}
	returned, last := false, *note == capi.NoteLast
	defer func() {
		if returned || *note == 0 {
			return
		}
		made, woken := capi.BoxLeft(*note)
		if box != 0 {
			made = 0
		}
		c.polled(made, woken)
	}()
	p := capi.PollUnderBox(s, box, f, out, note)
	returned = true
	if box != 0 {
		p.Box = 0 // the same
		if last && p.Code != capi.CodePending {
			x.closed()
		}
	}
	c.polled(p.Box, p.Woken)
	return p
}

// polled ends a poll: it adopts the box that the poll has made, if any, and delivers a wake that
// the poll has found.
func (c *Core) polled(made uintptr, woken bool) {
	if made != 0 {
		c.adopt(made)
	}
	if woken {
		c.Wake()
	}
}

// adopt takes over a box that a poll has made because the future kept its waker.
func (c *Core) adopt(box uintptr) {
	x := c.cross()
	if x == nil {
		capi.BoxClose(box)
		return
	}
	id := registry.Put(x)
	c.MarkEscaped()
	if Tracing() {
		c.traceBox(box)
	}
	x.mu.Lock()
	if x.box == 0 {
		x.box, x.id = box, id
	} else {
		x.extra = &extraBox{box, id, x.extra}
	}
	x.mu.Unlock()
	updateCanSpin()
	if capi.BoxAdopt(box, id) {
		capi.Live() // for the race detector, as in looped
		c.Wake()
	}
}

// Lent reports whether C holds a reference of c.
func (c *Core) Lent() bool {
	x := c.crossing.Load()
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for b := (&extraBox{x.box, x.id, x.extra}); b != nil; b = b.next {
		if b.box != 0 && capi.BoxLent(b.box) {
			return true
		}
	}
	return false
}

// closed forgets the box, which a poll has closed.
func (x *crossing) closed() {
	x.mu.Lock()
	id := x.id
	x.box, x.id = 0, 0
	x.mu.Unlock()
	registry.Take(id)
}

func (x *crossing) end() {
	x.mu.Lock()
	all := extraBox{x.box, x.id, x.extra}
	x.box, x.id, x.extra, x.ended = 0, 0, nil, true
	x.mu.Unlock()
	x.root.Store(nil)
	for b := &all; b != nil; b = b.next {
		if b.box != 0 {
			registry.Take(b.id)
			capi.BoxClose(b.box)
		}
	}
}

// retire frees the box if C has given up its last reference and Go has not lent it again since.
func (c *Core) retire(id uint64) {
	x := c.crossing.Load()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.id != id || !capi.BoxRetire(x.box) {
		return
	}
	registry.Take(id)
	x.box, x.id = 0, 0
}

// CoreOf returns the core of a waker that is a box of this process's Go, nil for any other.
func CoreOf(w capi.Raw) *Core {
	return coreOf(capi.BoxID(w))
}
