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
	x := new(crossing)
	switch {
	case c.relay:
		x.group, x.index = c.target.(Relay).Group()
	case c.inbox() != nil:
		x.group = GroupOfOne(c)
	default:
		x.core = c
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

// coreOf returns the core for a number; nil: it has ended or was collected.
func coreOf(id uint64) *Core {
	if x := registry.Get(id); x != nil {
		return x.find()
	}
	return nil
}

// Registered is how many cores C can reach: for tests that must end at zero.
func Registered() int { return registry.Len() }
