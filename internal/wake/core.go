// Package wake is what all of ffiwaker's wakers rest on: the word that a wake sets, the parker that sleeps on it, and
// the box that lends it to C.
//
// How a wake travels. From Go it is one exchange on [Core]'s word and, where that found somebody asleep, one call of the
// target's Rouse. From C it is one exchange on a box's word in C memory; the first pushes the box on the process's sink,
// and the dispatcher goroutine, which drains the sink, finds the core by the number in the box and wakes it as Go would. A
// [Parker] that spins watches its own box, and takes a wake from there.
package wake

import (
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
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
	// Rouse makes the sleeper go on. It is called by the one wake that found the core parked, at any place. It must not
	// block; what a user wrote it runs by [Call.Run], foreign slots by [Place.Run].
	Rouse(at Place)
}

// Place is where a wake is carried out.
type Place uint8

const (
	Anywhere   Place = iota // a user's goroutine that wakes: it may run anything
	Dispatcher              // a goroutine of the library's, such as the one that brings the wakes of C: it must not run what a user wrote
	Worker                  // a goroutine that runs tasks, or closes: what one user wrote must not hold up the others' tasks, nor end it by a panic
)

// Run runs f, which may call a foreign slot: here, or soon on another goroutine. For what a user wrote there is [Call].
func (at Place) Run(f func()) {
	switch at {
	case Anywhere:
		f()
	case Worker:
		go f()
	default:
		Later(f)
	}
}

// Go starts f on a goroutine.
func (at Place) Go(f func()) { go f() }

// Core is the waking half of a task: what its wakers point to. A Core is never reused for another task once a waker of it
// has been given out.
type Core struct {
	word   atomic.Uint32
	user   bool // of FromFunc: its target is roused by each wake
	handed bool // a Context has given its waker out; of the polling goroutine
	local  bool // its target is a Local
	relay  bool // its target is a Relay
	target Target

	crossing atomic.Pointer[crossing] // nil: C has not seen it; &over: it has ended
}

// crossing is what a core needs once C has seen it.
//
// The registry finds a core by it. It keeps a core that C's reference alone must keep, but neither a Relay's nor one of a Local:
// those are of use only as long as somebody polls, so nothing that C holds may keep them from being collected. When such a core
// has been collected, its boxes are closed, and wakes of C do nothing from then on.
type crossing struct {
	core  *Core                // nil: group has it
	group *Group               // of a Relay's core, and of a Local's
	kin   *crossing            // the next of its group; of the group's mu
	under atomic.Pointer[Core] // of a Relay's core: see Relay
	index int32                // in its group

	ended bool       // the rest is mu's
	mu    sync.Mutex // no slot is called under it
	box   uintptr    // the box that lends the core to C, held; 0 while there is none
	id    uint64
	more  *boxed // further ones, which polls have made while another goroutine lent the core to C
}

type boxed struct {
	box  uintptr
	id   uint64
	next *boxed
}

var over crossing

// Init makes c the core of t, before any other use.
func (c *Core) Init(t Target) { c.target = t }

// Target is whose core c is.
func (c *Core) Target() Target { return c.target }

// Local is a target whose wakes from C go to an inbox of its own, where that is not nil.
type Local interface {
	Target
	Inbox() *Inbox
}

// InitLocal makes c the core of t, before any other use.
func (c *Core) InitLocal(t Local) { c.target, c.local = t, true }

// Relay is a target that only passes wakes on, to whoever polls it: a combinator's branch, or a Shared. The reference that C has
// of its core must not keep it, for nobody else may want it any more; but it keeps Under.
type Relay interface {
	Target

	// Under is the [Core.Root] of the waker that it was polled with last.
	Under() *Core

	// Group is what finds its core, and its index there. It is asked when C is to have the core.
	Group() (g *Group, i int32)
}

// Group finds cores that nothing which C holds may keep, and that are collected together, such as those of a combinator's branches.
// One weak pointer and one cleanup serve them all: each of their own would be an entry in the one list that the runtime keeps of the
// array that they are in, and it looks an entry up by walking that list.
type Group struct {
	find func(i int32) *Core // nil: they were collected

	mu  sync.Mutex
	all *crossing
}

// NewGroup returns the group of the relays that owner keeps, each of which keeps owner. at is the core of one of them.
func NewGroup[T any](owner *T, at func(owner *T, i int32) *Core) *Group {
	w := weak.Make(owner)
	g := &Group{find: func(i int32) *Core {
		if owner := w.Value(); owner != nil {
			return at(owner, i)
		}
		return nil
	}}
	runtime.AddCleanup(owner, (*Group).collected, g)
	return g
}

// GroupOfOne returns the group of a core that is alone.
func GroupOfOne(c *Core) *Group { return NewGroup(c, func(c *Core, _ int32) *Core { return c }) }

func (g *Group) add(x *crossing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x.kin, g.all = g.all, x
}

// collected closes the boxes that are left, on another goroutine: with the last box of a Local its sink may go, and with that a foreign
// slot be called.
func (g *Group) collected() {
	g.mu.Lock()
	all := g.all
	g.all = nil
	g.mu.Unlock()
	for x := all; x != nil; x = x.kin {
		if x.live() {
			Later(func() {
				for ; x != nil; x = x.kin {
					x.end()
				}
			})
			return
		}
	}
}

// InitRelay makes c the core of t, before any other use.
func (c *Core) InitRelay(t Relay) { c.target, c.relay = t, true }

// Root is the core for whose sake what is polled under c must be kept alive; nil: there is none, because the owner of what is
// polled keeps it, or nobody has to.
func (c *Core) Root() *Core {
	switch {
	case c.relay:
		return c.target.(Relay).Under()
	case c.inbox() != nil:
		return nil
	}
	return c
}

// Keep has the registry keep what Under gives by now: after each change.
func (c *Core) Keep() {
	if x := c.crossing.Load(); x != nil && x != &over {
		x.keep(c)
	}
}

// keep has x keep what c's target is under.
func (x *crossing) keep(c *Core) {
	for root := c.Root(); ; {
		x.under.Store(root)
		now := c.Root()
		if now == root {
			return
		}
		root = now // it has changed meanwhile
	}
}

// Relay says whether c was made by [Core.InitRelay].
func (c *Core) Relay() bool { return c.relay }

// Plain says whether a wake of c runs nothing that a user wrote, and no foreign slot.
func (c *Core) Plain() bool { return !c.user && !c.relay && c.inbox() == nil }

// Counter is a target that is told how many wakers of it live: one for each clone, less one for each that is gone.
type Counter interface{ Count(n int) }

// Count tells c's target, and the trace what has made or ended the waker.
func (c *Core) Count(n int, what string) {
	if Tracing() {
		c.traceCount(what, n)
	}
	if t, ok := c.target.(Counter); ok {
		t.Count(n)
	}
}

// inbox is where C's wakes of c arrive; nil: at the process's.
func (c *Core) inbox() *Inbox {
	if !c.local {
		return nil
	}
	return c.target.(Local).Inbox()
}

// NewFunc returns a core whose every wake calls t's Rouse.
func NewFunc(t Target) *Core {
	c := new(Core)
	c.InitFunc(t)
	return c
}

// InitFunc makes c one as [NewFunc] does, before any other use.
func (c *Core) InitFunc(t Target) { c.target, c.user = t, true }

// User says whether c was made by [NewFunc] or [Core.InitFunc].
func (c *Core) User() bool { return c.user }

// Wake notifies the task. It never polls, and blocks for nothing.
func (c *Core) Wake() { c.WakeAt(Anywhere) }

// WakeAt is Wake at some place.
func (c *Core) WakeAt(at Place) {
	if c.Notify() {
		c.Rouse(at)
	}
}

// Notify is the first half of Wake. Where it took Parked away, the second half must follow: [Core.Rouse].
func (c *Core) Notify() (parked bool) { return c.word.Swap(Notified) == Parked }

// Rouse is the second half of Wake, and the whole of it for a core of [NewFunc].
func (c *Core) Rouse(at Place) { c.target.Rouse(at) }

// Sleep is the polling side's end of a poll, where it does not wait itself: false, a wake has come since [Core.Consume], and
// the task is to be polled again; true, the next wake rouses it.
func (c *Core) Sleep() bool { return c.word.CompareAndSwap(Empty, Parked) }

// Asleep says whether the next wake rouses: for diagnosis, it may have come by now.
func (c *Core) Asleep() bool { return c.word.Load() == Parked }

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

// Clear is Consume for a word that may well be empty: then there is no wake whose writes a poll must see.
func (c *Core) Clear() {
	if c.word.Load() != Empty {
		c.word.Swap(Empty)
	}
}

// End closes c's boxes: wakes of C do nothing from now on.
func (c *Core) End() {
	if x := c.crossing.Swap(&over); x != nil && x != &over {
		x.end()
	}
}

// cross returns c's crossing, made where there is none; nil: c has ended.
func (c *Core) cross() *crossing {
	x := c.crossing.Load()
	if x == nil {
		x = c.newCrossing()
	}
	if x == &over {
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

// live says whether x has a box.
func (x *crossing) live() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.box != 0 || x.more != nil
}

// find is the core that x is of; nil: it was collected.
func (x *crossing) find() *Core {
	if x.group != nil {
		return x.group.find(x.index)
	}
	return x.core
}

// registry finds the core for the number in a box.
var registry Table[crossing]

// coreOf returns the core for a number, nil where it is over.
func coreOf(id uint64) *Core {
	if x := registry.Get(id); x != nil {
		return x.find()
	}
	return nil
}

// Registered is how many cores C can reach: for tests that must end at zero.
func Registered() int { return registry.Len() }

// Handles is how many Go handles hold a reference of C, counted where the tag ffiwakerdebug is set.
var Handles atomic.Int64

// Futures is how many Go futures C holds.
var Futures atomic.Int64
