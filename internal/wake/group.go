package wake

import (
	"runtime"
	"sync"
	"weak"
)

// Relay is a target that passes wakes on to the task that polls it: a branch of a combinator, or a
// Broadcast. C's reference of its core must not keep it alive, because no task may want it any
// more; instead it keeps Root alive.
type Relay interface {
	Target

	// Root is the [Core.Root] of the waker that it was last polled with.
	Root() *Core

	// Group returns the group that finds its core, and its index there. It is called when the core
	// first crosses to C.
	Group() (g *Group, i int32)
}

// InitRelay makes c the core of t, before any other use.
func (c *Core) InitRelay(t Relay) { c.target, c.relay = t, true }

// Relay reports whether c was made by [Core.InitRelay].
func (c *Core) Relay() bool { return c.relay }

// Root is the core that must stay alive for what is polled under c. It is nil if there is none: the
// owner of what is polled keeps it alive, or nothing has to.
func (c *Core) Root() *Core {
	switch {
	case c.relay:
		return c.target.(Relay).Root()
	case c.inbox() != nil, c.weakly() != nil:
		return nil
	}
	return c
}

// Keep has the registry keep what Root returns now. A relay calls it after each change of its Root.
func (c *Core) Keep() {
	if x := c.crossing.Load(); x != nil && x != &ended {
		x.keep(c)
	}
}

// keep stores c's root in x, and looks once more for one that has changed meanwhile.
func (x *crossing) keep(c *Core) {
	for root := c.Root(); ; {
		x.root.Store(root)
		now := c.Root()
		if now == root {
			return
		}
		root = now
	}
}

// Group finds cores that C must not keep alive and that are collected together, such as the
// branches of a combinator. One weak pointer and one cleanup serve them all. With one each, every
// look-up would walk the list that the runtime keeps for the array they are in.
type Group struct {
	find func(i int32) *Core // returns nil if they were collected

	mu  sync.Mutex
	all *crossing
}

// NewGroup returns the group of the relays that owner keeps, each of which keeps owner. at returns
// the core of one of them.
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
	x.next, g.all = g.all, x
}

// collected closes the boxes that are left, on another goroutine: the last box of a Local may end
// its sink, and that may call a foreign slot.
func (g *Group) collected() {
	g.mu.Lock()
	all := g.all
	g.all = nil
	g.mu.Unlock()
	for x := all; x != nil; x = x.next {
		if x.live() {
			Later(func() {
				for ; x != nil; x = x.next {
					x.end()
				}
			})
			return
		}
	}
}
