// Package wake is the core of all of ffiwaker's wakers.
//
// A wake from Go is one exchange on the word of a [Core] and, if that finds the task parked, one
// call of its target's Schedule. A wake from C is one exchange on the word of a box in C memory.
// The first one pushes the box on a sink's list. The dispatcher goroutine drains the process's
// sink, finds the core by the number in the box, and wakes it as Go would. A [Parker] that spins
// watches its own box and takes the wake from there.
//
// docs/CONCURRENCY.md has the state words and the happens-before edges.
package wake

import (
	"sync/atomic"
	"weak"
)

// The word of a Core.
//
//   - Empty: awake, and no wake has come since the last poll began.
//   - Notified: a wake has come. Every wake sets it and only the polling side clears it, both by an
//     exchange: a wake that finds it set still releases its writes to the poll that follows.
//   - Parked: asleep, or about to be. Exactly one wake takes Parked away, and that one calls
//     Schedule.
const (
	Empty    uint32 = 0
	Notified uint32 = 1
	Parked   uint32 = 2
)

// Target is what a core schedules: a task, a goroutine that sleeps, or a user's function.
type Target interface {
	// Schedule has the task polled, or unparks the goroutine. Only the wake that found the core
	// parked calls it. It must not block. It runs a user's function by [Call.Run] only, and a
	// foreign slot by [Place.Run] only.
	Schedule(at Place)
}

// Place is the kind of goroutine that carries out a wake.
type Place uint8

const (
	// Anywhere is a user's goroutine: it may run anything.
	Anywhere Place = iota
	// Dispatcher is a goroutine of the library's: it must not run what a user wrote.
	Dispatcher
	// Worker is a goroutine that runs tasks, or closes an executor: a user's function must not
	// delay it, or end it by a panic.
	Worker
)

// Run runs f, which may call a foreign slot: here, or soon on another goroutine. For a user's
// function there is [Call].
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

// Core is the waking half of a task: what its wakers point to. Once a waker of it has escaped, a
// Core is never used for another task.
type Core struct {
	word    atomic.Uint32
	user    bool // of FromFunc: each wake calls Schedule, whatever the word is
	escaped bool // a Context has given its waker out; of the polling goroutine
	task    bool // its target is a Task
	relay   bool // its target is a Relay
	target  Target

	crossing atomic.Pointer[crossing] // nil: C has not seen it; &ended: it has ended
}

// Init makes c the core of t, before any other use.
func (c *Core) Init(t Target) { c.target = t }

// Target returns what c schedules.
func (c *Core) Target() Target { return c.target }

// Task is the target of an executor's task.
type Task interface {
	Target

	// Inbox is where wakes from C arrive: that of a Local. It is nil if they arrive at the
	// process's sink, as those of a task of an Executor do.
	Inbox() *Inbox
}

// InitTask makes c the core of t, before any other use.
func (c *Core) InitTask(t Task) { c.target, c.task = t, true }

// inbox is where wakes of c from C arrive; nil: at the process's sink.
func (c *Core) inbox() *Inbox {
	if !c.task {
		return nil
	}
	return c.target.(Task).Inbox()
}

// Counter is a target that counts its wakers: Count(1) for each clone, Count(-1) for each that is
// gone.
type Counter interface{ Count(n int) }

// Count counts a waker for c's target, and for the trace, which names what made or ended it.
func (c *Core) Count(n int, what string) {
	if Tracing() {
		c.traceCount(what, n)
	}
	if t, ok := c.target.(Counter); ok {
		t.Count(n)
	}
}

// CountCollected returns what a collected waker's finalizer calls. It does not keep c alive.
func (c *Core) CountCollected() (count func()) {
	var t *tracee
	if Tracing() {
		t = c.tracee()
	}
	p := weak.Make(c)
	return func() {
		if c := p.Value(); c != nil {
			c.Count(-1, "collected")
		} else if t != nil {
			t.traceCollected()
		}
	}
}

// InitFunc makes c a core whose every wake calls t's Schedule, before any other use.
func (c *Core) InitFunc(t Target) { c.target, c.user = t, true }

// User reports whether c was made by [Core.InitFunc].
func (c *Core) User() bool { return c.user }

// Plain reports whether a wake of c runs no user's function and no foreign slot.
func (c *Core) Plain() bool { return !c.user && !c.relay && c.inbox() == nil }

// Wake notifies the task. It never polls and never blocks.
func (c *Core) Wake() { c.WakeAt(Anywhere) }

// WakeAt is Wake at some place.
func (c *Core) WakeAt(at Place) {
	if c.Notify() {
		c.Schedule(at)
	}
}

// Notify is the first half of Wake. If it took Parked away, [Core.Schedule] must follow.
func (c *Core) Notify() (parked bool) { return c.word.Swap(Notified) == Parked }

// Schedule is the second half of Wake, and the whole of it for a core of [Core.InitFunc].
func (c *Core) Schedule(at Place) { c.target.Schedule(at) }

// Sleep ends a poll, for a poller that does not wait itself. False: a wake has come since
// [Core.Consume], so the task is to be polled again. True: the next wake calls Schedule.
func (c *Core) Sleep() bool { return c.word.CompareAndSwap(Empty, Parked) }

// Asleep reports whether the next wake calls Schedule. It is for diagnosis: the wake may have come
// by the time it returns.
func (c *Core) Asleep() bool { return c.word.Load() == Parked }

// MarkEscaped notes that the borrowed waker was given out. Only on the polling goroutine.
func (c *Core) MarkEscaped() {
	if !c.escaped { // a store each time would delay the exchange of the wake that follows
		c.escaped = true
	}
}

// Escaped reports whether the waker was given out, so that c may not serve a second task.
func (c *Core) Escaped() bool { return c.escaped || FreshContexts }

// Consume takes the notification away; false if there was none. Only on the polling side.
func (c *Core) Consume() bool { return c.word.Swap(Empty) == Notified }

// Clear is Consume for a word that is usually Empty: then there is no wake whose writes a poll must
// see, and a load is enough.
func (c *Core) Clear() {
	if c.word.Load() != Empty {
		c.word.Swap(Empty)
	}
}

// Handles is how many Go handles hold a reference of C. Only the tag ffiwakerdebug counts them.
var Handles atomic.Int64

// Futures is how many Go futures C holds.
var Futures atomic.Int64
