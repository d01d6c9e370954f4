//go:build cgo

package wake

import (
	"runtime"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// The process's sink. Neither it nor its descriptor is ever closed: wakes may come for as long as C has threads.
var (
	sink      *capi.Sink
	sinkErr   error
	boxVTable = capi.BoxVTable()
)

// The dispatcher starts here, outside any testing/synctest bubble: one goroutine and one descriptor for each program.
func init() {
	if sinkErr = probe(4); sinkErr != nil {
		return
	}
	if sink, sinkErr = capi.NewSink(capi.SinkForever); sinkErr == nil {
		go dispatch(watch(sink)) // here, so that the netpoller takes its own now
	}
}

// probe says whether there are so many descriptors to be had: one for the sink, two for Go's netpoller, which ends the
// process where it cannot have them.
func probe(n int) error {
	if n == 0 {
		return nil
	}
	s, err := capi.NewSink(0)
	if err != nil {
		return err
	}
	defer s.Drop()
	return probe(n - 1)
}

// dispatch brings the wakes of C to Go. In sleep it waits until the sink's descriptor is readable.
func dispatch(sleep func()) {
	var notices [256]capi.Notice
	left := sink.Reaper()
	for {
		drain(sink, notices[:], Dispatcher)
		if atomic.LoadUintptr(left) != 0 {
			go capi.Reap() // runs foreign slots, which may block
		}
		if sink.Sleep() {
			sleep()
			atomic.StoreUint32(sink.Sleeping, 0) // no wake needs to write before the next sleep
		}
	}
}

// drain reads a sink until it is empty, and wakes what it finds.
func drain(sink *capi.Sink, notices []capi.Notice, at Place) {
	var list uintptr
	for {
		n := sink.Read(&list, notices)
		if n == 0 {
			return
		}
		for _, notice := range notices[:n] {
			c := coreOf(notice.ID)
			if c == nil {
				continue // closed since, or collected
			}
			if Tracing() && notice.Woken != 0 {
				c.Trace("delivered")
			}
			switch {
			case notice.Woken == 0:
			case c.user:
				c.Rouse(at)
			default:
				c.WakeAt(at)
			}
			if notice.Last != 0 {
				c.retire(notice.ID)
			}
		}
	}
}

// processSink panics where there were no descriptors.
func processSink() *capi.Sink {
	if sinkErr != nil {
		panic("rawwaker: " + sinkErr.Error())
	}
	return sink
}

// Cross lends c to C with one reference more; ok is false where the task is over and a no-op does.
func (c *Core) Cross() (w capi.Raw, ok bool) { return c.lend(true) }

// Lend lends c to C without a reference: until [Core.End].
func (c *Core) Lend() (w capi.Raw, ok bool) { return c.lend(false) }

func (c *Core) lend(ref bool) (w capi.Raw, ok bool) {
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

// make is false where c is of a Local that is closed.
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
	lookForCPUs()
	return true
}

func lookForCPUs() { canSpin.Store(runtime.GOMAXPROCS(0) > 1) }

// PollRaw polls a C future on behalf of c's task, and on for as long as the future wakes itself: rawwaker_box_poll. A wake
// during the poll that nobody else has brought to c is brought by this call. If the future has ended, its drop slot has
// been called too. If a panic or Goexit leaves the poll, c's box is as if the future were pending; note is a word on the heap, for that, which
// is 0.
// Only while the task is being polled, so that c does not end meanwhile.
func (c *Core) PollRaw(data, vtable, out uintptr, note *uintptr) capi.Polled {
	var s *capi.Sink
	if in := c.inbox(); in != nil && in.enter() {
		defer in.leave()
		s = in.sink
	} else {
		s = processSink()
	}
	var box uintptr
	if x := c.crossing.Load(); x != nil {
		x.mu.Lock()
		box = x.box
		x.mu.Unlock()
	}
	returned := false
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
	p := capi.PollUnderBox(s, box, data, vtable, out, note)
	returned = true
	if box != 0 {
		p.Box = 0 // the same
	}
	c.polled(p.Box, p.Woken)
	return p
}

// polled ends a poll: it takes over the box that the poll has made, if any, and brings a wake that the poll has found.
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
	c.Hand()
	if Tracing() {
		c.traceBox(box)
	}
	x.mu.Lock()
	if x.box == 0 {
		x.box, x.id = box, id
	} else {
		x.more = &boxed{box, id, x.more}
	}
	x.mu.Unlock()
	lookForCPUs()
	if capi.BoxAdopt(box, id) {
		c.Wake()
	}
}

// Lent says whether C holds a reference of c.
func (c *Core) Lent() bool {
	x := c.crossing.Load()
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for b := (&boxed{x.box, x.id, x.more}); b != nil; b = b.next {
		if b.box != 0 && capi.BoxLent(b.box) {
			return true
		}
	}
	return false
}

func (x *crossing) end() {
	x.mu.Lock()
	all := boxed{x.box, x.id, x.more}
	x.box, x.id, x.more, x.ended = 0, 0, nil, true
	x.mu.Unlock()
	x.under.Store(nil)
	for b := &all; b != nil; b = b.next {
		if b.box != 0 {
			registry.Take(b.id)
			capi.BoxClose(b.box)
		}
	}
}

// retire frees the box where C has given up its last reference and Go has not lent it again since.
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
	return CoreOfID(capi.BoxID(w))
}

// CoreOfID returns the core of the number in a box, nil where it is over or the number 0.
func CoreOfID(id uint64) *Core {
	if id == 0 {
		return nil
	}
	return coreOf(id)
}

// spin waits a little for a wake from C, in the word of the parker's own box, so that a hot exchange with a C thread goes through
// neither descriptor nor dispatcher. It touches nothing that another task's wake needs: a spinner that is stopped delays its own
// wakes only. Only where this core has crossed to C, and another CPU could wake it.
//
// After a wake the box stays in LOOP, over the poll that follows, for the next one may come before the next park. It leaves it before the
// parker sleeps; at the end of the core it is closed, as any box.
func (p *Parker) spin() (woken bool) {
	if p.loop != nil && atomic.LoadUint32(p.loop) == capi.BoxWoken {
		p.looped(capi.BoxLoop)
		return true
	}
	x := p.crossing.Load()
	if x == nil {
		return false
	}
	if canSpin.Load() && spinning.CompareAndSwap(false, true) {
		if p.loop == nil {
			p.enterLoop(x)
		}
		for range spinTries {
			if p.word.Load() == Notified || p.loop != nil && atomic.LoadUint32(p.loop) == capi.BoxWoken {
				woken = true
				break
			}
		}
		spinning.Store(false)
	}
	if p.loop == nil {
		return woken
	}
	if !woken {
		return p.looped(capi.BoxIdle)
	}
	if atomic.LoadUint32(p.loop) == capi.BoxWoken {
		p.looped(capi.BoxLoop)
	}
	return true
}

// enterLoop leaves the word alone if a wake is on its way here through the list.
func (p *Parker) enterLoop(x *crossing) {
	x.mu.Lock()
	box := x.box // stays until the core's end
	x.mu.Unlock()
	if box == 0 {
		return
	}
	if word := capi.BoxWord(box); atomic.CompareAndSwapUint32(word, capi.BoxIdle, capi.BoxLoop) {
		p.loop = word
	}
}

// looped takes a wake out of the box that is in LOOP, which it leaves in next: LOOP or IDLE.
func (p *Parker) looped(next uint32) (woken bool) {
	woken = atomic.SwapUint32(p.loop, next) == capi.BoxWoken
	if next == capi.BoxIdle {
		p.loop = nil
	}
	if woken {
		capi.Live() // any call of C: the race detector takes it for a synchronisation with the call that has woken
		if Tracing() {
			p.Trace("delivered")
		}
	}
	return woken
}

// canSpin: some other CPU can run Go meanwhile. Looked at again whenever a core crosses.
var canSpin atomic.Bool
