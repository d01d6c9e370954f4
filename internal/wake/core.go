// Package wake is what all of ffiwaker's wakers rest on: the word that a wake sets, the parker that sleeps on it, and
// the box that lends it to C.
//
// How a wake travels. From Go it is one exchange on [Core]'s word and, where that found somebody asleep, one call of the
// target's Rouse. From C it is one exchange on a box's word in C memory; the first pushes the box on the process's sink,
// and whoever drains the sink (the dispatcher goroutine, or a [Parker] that spins) finds the core by the number in the
// box and wakes it as Go would.
package wake

import (
	"sync"
	"sync/atomic"
)

// The park/wake word of a Core.
//
// Empty: awake, and nothing came since the last poll began.
// Notified: a wake came. Set by every wake, taken away by the polling side only, both by exchange: a wake that finds it
// set still releases its writes to the poll that follows.
// Parked: asleep, or about to be. Never together with Notified: exactly the wake that takes Parked away calls Rouse.
const (
	Empty    uint32 = 0
	Notified uint32 = 1
	Parked   uint32 = 2
)

// Target is what a core rouses.
type Target interface {
	// Rouse makes the sleeper go on. It is called by the one wake that found the core parked, on any goroutine, the
	// dispatcher's among them: it must neither block nor run what a user wrote.
	Rouse()
}

// Core is the waking half of a task: what its wakers point to. A Core is never reused for another task once a waker of it
// has been given out.
type Core struct {
	word   atomic.Uint32
	ended  atomic.Bool
	user   bool // calling is user code: it is called for each wake, and never from the dispatcher
	handed bool // a Context has given its waker out; of the polling goroutine
	target Target

	crossed atomic.Bool // C may wake it
	mu      sync.Mutex  // guards box and id; no slot is called under it
	box     uintptr     // the box that lends this core to C, held; 0 while there is none
	id      uint64
}

// Init makes c the core of t, before any other use.
func (c *Core) Init(t Target) { c.target = t }

// NewFunc returns a core whose every wake calls t's Rouse, which a user wrote and which may do as it likes.
func NewFunc(t Target) *Core { return &Core{user: true, target: t} }

// User says whether c was made by [NewFunc].
func (c *Core) User() bool { return c.user }

// Wake notifies the task. It never polls, and blocks for nothing.
func (c *Core) Wake() {
	if c.Notify() {
		c.Rouse()
	}
}

// Notify is the first half of Wake. Where it took Parked away, the second half must follow: [Core.Rouse].
func (c *Core) Notify() (parked bool) { return c.word.Swap(Notified) == Parked }

// Rouse is the second half of Wake, and the whole of it for a core of [NewFunc].
func (c *Core) Rouse() { c.target.Rouse() }

// Hand notes that the borrowed waker was given out. On the polling goroutine only.
func (c *Core) Hand() {
	if !c.handed { // a store each time would delay the exchange of the wake that follows
		c.handed = true
	}
}

// Handed says whether [Core.Hand] was called, which makes c unfit for a second task.
func (c *Core) Handed() bool { return c.handed }

// Consume takes the notification away; false if there was none. On the polling side only.
func (c *Core) Consume() bool { return c.word.Swap(Empty) == Notified }

// End closes c's box: wakes do nothing from now on, wherever they come from.
func (c *Core) End() {
	c.ended.Store(true)
	c.closeBox()
}

// registry finds the core for the number in a box. A number is 32 bits of generation over 30 of index, shifted away from
// zero by the generation's start at 1; a slot whose generations are used up is not used again, so no number comes twice.
var registry struct {
	mu    sync.Mutex
	slots []slot
	free  []uint32
	live  int
}

type slot struct {
	gen  uint32
	core *Core
}

func register(c *Core) uint64 {
	r := &registry
	r.mu.Lock()
	defer r.mu.Unlock()
	var i uint32
	if n := len(r.free); n > 0 {
		i, r.free = r.free[n-1], r.free[:n-1]
	} else {
		i = uint32(len(r.slots))
		r.slots = append(r.slots, slot{})
	}
	s := &r.slots[i]
	s.gen++
	s.core = c
	r.live++
	return uint64(s.gen)<<32 | uint64(i)
}

func unregister(id uint64) {
	r := &registry
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[uint32(id)]
	if s.gen != uint32(id>>32) || s.core == nil {
		return
	}
	s.core = nil
	r.live--
	if s.gen != ^uint32(0) {
		r.free = append(r.free, uint32(id))
	}
}

func lookup(id uint64) *Core {
	r := &registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := uint32(id); int(i) < len(r.slots) && r.slots[i].gen == uint32(id>>32) {
		return r.slots[i].core
	}
	return nil
}

// Registered is how many cores C can reach: for tests that must end at zero.
func Registered() int {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	return registry.live
}

// Handles is how many Go handles hold a reference of C, counted where the tag ffiwakerdebug is set.
var Handles atomic.Int64
