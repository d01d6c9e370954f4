//go:build cgo

package wake

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker"
)

// The process's sink. Neither it nor its descriptor is ever closed: wakes may come for as long as C has threads.
var (
	sink      *ffiwaker.Sink
	sinkErr   error
	boxVTable = ffiwaker.BoxVTable()
)

// The dispatcher starts here, outside any testing/synctest bubble: one goroutine and one descriptor for each program.
func init() {
	if sinkErr = probe(4); sinkErr != nil {
		return
	}
	if sink, sinkErr = ffiwaker.NewSink(ffiwaker.SinkForever); sinkErr == nil {
		go dispatch(watch(sink)) // here, so that the netpoller takes its own now
	}
}

// probe says whether there are so many descriptors to be had: one for the sink, two for Go's netpoller, which ends the
// process where it cannot have them.
func probe(n int) error {
	if n == 0 {
		return nil
	}
	s, err := ffiwaker.NewSink(0)
	if err != nil {
		return err
	}
	defer s.Drop()
	return probe(n - 1)
}

// started is what the dispatcher is to start, for those who may not.
var started struct {
	mu  sync.Mutex
	all []func()
}

// startElsewhere has the dispatcher start a goroutine.
func startElsewhere(f func()) {
	started.mu.Lock()
	started.all = append(started.all, f)
	started.mu.Unlock()
	sink.Kick()
}

func startAll() {
	started.mu.Lock()
	all := started.all
	started.all = nil
	started.mu.Unlock()
	for _, f := range all {
		go f()
	}
}

// dispatch brings the wakes of C to Go. In sleep it waits until the sink's descriptor is readable.
func dispatch(sleep func()) {
	var notices [256]ffiwaker.Notice
	for {
		drain(sink, notices[:], Dispatcher)
		startAll()
		if sink.Sleep() {
			sleep()
		}
	}
}

// drain reads a sink until it is empty, and wakes what it finds.
func drain(sink *ffiwaker.Sink, notices []ffiwaker.Notice, at Place) {
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
func processSink() *ffiwaker.Sink {
	if sinkErr != nil {
		panic("rawwaker: " + sinkErr.Error())
	}
	return sink
}

// Cross lends c to C with one reference more; ok is false where the task is over and a no-op does.
func (c *Core) Cross() (w ffiwaker.Raw, ok bool) { return c.lend(true) }

// Lend lends c to C without a reference: until [Core.End].
func (c *Core) Lend() (w ffiwaker.Raw, ok bool) { return c.lend(false) }

func (c *Core) lend(ref bool) (w ffiwaker.Raw, ok bool) {
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
		ffiwaker.BoxRef(x.box)
	}
	return ffiwaker.Raw{Data: x.box, VTable: boxVTable}, true
}

// make is false where c is of a Local that is closed.
func (x *crossing) make(c *Core) bool {
	var s *ffiwaker.Sink
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
// during the poll that nobody else has brought to c is brought by this call. Where the future has ended, its drop slot has
// been called too. Only while the task is being polled, so that c does not end meanwhile.
func (c *Core) PollRaw(data, vtable, out uintptr) ffiwaker.Polled {
	var s *ffiwaker.Sink
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
	p := ffiwaker.PollUnderBox(s, box, data, vtable, out)
	if box == 0 && p.Box != 0 {
		c.adopt(p.Box)
	}
	if p.Woken {
		c.Wake()
	}
	return p
}

// adopt takes over a box that a poll has made because the future kept its waker.
func (c *Core) adopt(box uintptr) {
	x := c.cross()
	if x == nil {
		ffiwaker.BoxClose(box)
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
	if ffiwaker.BoxAdopt(box, id) {
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
		if b.box != 0 && ffiwaker.BoxLent(b.box) {
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
			ffiwaker.BoxClose(b.box)
		}
	}
}

// retire frees the box where C has given up its last reference and Go has not lent it again since.
func (c *Core) retire(id uint64) {
	x := c.crossing.Load()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.id != id || !ffiwaker.BoxRetire(x.box) {
		return
	}
	registry.Take(id)
	x.box, x.id = 0, 0
}

// CoreOf returns the core of a waker that is a box of this process's Go, nil for any other.
func CoreOf(w ffiwaker.Raw) *Core {
	return CoreOfID(ffiwaker.BoxID(w))
}

// CoreOfID returns the core of the number in a box, nil where it is over or the number 0.
func CoreOfID(id uint64) *Core {
	if id == 0 {
		return nil
	}
	return coreOf(id)
}

// spin waits a little for a wake from C, taking the sink's list itself, so that a hot exchange with a C thread goes through
// neither descriptor nor dispatcher. Only where this core has crossed to C, and another CPU could wake it.
func (p *Parker) spin() bool {
	if p.crossing.Load() == nil || !canSpin.Load() || !spinning.CompareAndSwap(false, true) {
		return false
	}
	var notices [16]ffiwaker.Notice
	// Producers write the descriptor only where they take this flag away; while it is 0, whoever spins watches the list.
	slept := atomic.SwapUint32(sink.Sleeping, 0) != 0
	woken := false
	for range spinTries {
		if woken = p.word.Load() == Notified; woken {
			break
		}
		if atomic.LoadUintptr(sink.Head) != 0 {
			drain(sink, notices[:], Spinner)
		}
	}
	if slept {
		// Back to the dispatcher, which sleeps on: what was listed meanwhile was announced to nobody.
		for atomic.StoreUint32(sink.Sleeping, 1); atomic.LoadUintptr(sink.Head) != 0; atomic.StoreUint32(sink.Sleeping, 1) {
			atomic.StoreUint32(sink.Sleeping, 0)
			drain(sink, notices[:], Spinner)
		}
	}
	spinning.Store(false)
	return woken || p.word.Load() == Notified
}

// canSpin: some other CPU can run Go meanwhile. Looked at again whenever a core crosses.
var canSpin atomic.Bool
