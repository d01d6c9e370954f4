package wake

import (
	"sync"
	"sync/atomic"
)

// crossing is what a core needs once C has seen it. The registry finds the core by it.
//
// The registry keeps alive a core that only C's reference may keep. It keeps alive neither a
// Relay's core nor one of a Local: those are of use only while they are polled. When such a core
// has been collected, its boxes are closed, and wakes from C do nothing from then on.
type crossing struct {
	core  *Core                // nil: group finds it
	group *Group               // of a Relay's core, and of a Local's
	next  *crossing            // in its group; guarded by the group's mu
	root  atomic.Pointer[Core] // of a Relay's core: see Relay
	weak  *weakCore            // of a Local's core
	index int32                // in its group

	ended bool       // the rest is guarded by mu
	mu    sync.Mutex // no slot is called under it
	box   uintptr    // the box that lends the core to C, held; 0: none
	id    uint64
	extra *extraBox // boxes that polls have made while another goroutine lent the core to C
}

type extraBox struct {
	box  uintptr
	id   uint64
	next *extraBox
}

// ended is the crossing of a core that has ended.
var ended crossing

// End closes c's boxes: wakes from C do nothing from now on.
func (c *Core) End() {
	if x := c.crossing.Swap(&ended); x != nil && x != &ended {
		x.end()
	}
}

// cross returns c's crossing, and makes it if there is none; nil: c has ended.
func (c *Core) cross() *crossing {
	x := c.crossing.Load()
	if x == nil {
		x = c.newCrossing()
	}
	if x == &ended {
		return nil
	}
	return x
}

func (c *Core) newCrossing() *crossing {
	var x *crossing
	switch {
	case c.relay:
		x = new(crossing)
		x.group, x.index = c.target.(Relay).Group()
	case c.inbox() != nil:
		x = newWeak(c)
	default:
		x = &crossing{core: c}
	}
	if !c.crossing.CompareAndSwap(nil, x) {
		return c.crossing.Load()
	}
	if x.group != nil {
		x.group.add(x)
	}
	if c.relay {
		x.keep(c)
	}
	return x
}

// live reports whether x has a box.
func (x *crossing) live() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.box != 0 || x.extra != nil
}

// find returns the core that x is of; nil: it was collected.
func (x *crossing) find() *Core {
	if x.group != nil {
		return x.group.find(x.index)
	}
	return x.core
}

// registry finds the crossing for the number in a box.
var registry Table[crossing]

// weakCore stands for the core of a Local's task in the wakers of a Go future that C holds and that
// the task polls. The task's own future keeps C's memory, and that keeps the Go future; a waker
// that refers to the task would close a cycle that no collector sees. So each wake looks the task
// up. It makes no cgo call.
type weakCore struct {
	core Core
	of   *crossing
	key  uintptr // of the task's core, in the trace
}

// newWeak returns the crossing of a Local's core, with its weakCore.
func newWeak(c *Core) *crossing {
	m := new(struct { // one allocation
		x crossing
		w weakCore
	})
	m.x.group, m.x.weak = GroupOfOne(c), &m.w
	m.w.of, m.w.key = &m.x, c.key()
	m.w.core.InitFunc(&m.w)
	return &m.x
}

// Schedule implements [Target].
func (w *weakCore) Schedule(at Place) {
	if c := w.of.find(); c != nil {
		c.WakeAt(at)
	}
}

// weakly returns the weakCore that c is in; nil: c is another core.
func (c *Core) weakly() *weakCore {
	if !c.user {
		return nil
	}
	w, _ := c.target.(*weakCore)
	return w
}

// Lender returns what a Go future that C polls keeps of the waker in whose box the number is: a
// core that the future may keep; or relay, because the core is of a [Relay], which the future must
// not keep, so it keeps a reference of C's. Neither: the number is 0, or the task has ended.
func Lender(id uint64) (c *Core, relay bool) {
	x := registry.Get(id)
	switch {
	case x == nil:
		return nil, false
	case x.weak != nil:
		return &x.weak.core, false
	}
	return x.core, x.group != nil
}

// coreOf returns the core for a number; nil: it has ended or was collected.
func coreOf(id uint64) *Core {
	if x := registry.Get(id); x != nil {
		return x.find()
	}
	return nil
}

// Registered is how many cores C can reach: for tests that must end at zero.
func Registered() int { return registry.Len() }
