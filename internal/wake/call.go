package wake

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Call is a user's function, as wakes call it. A wake from a user's goroutine calls it there. For
// any other wake it runs on a goroutine of its own, where it may block, panic or call Goexit
// without delaying or losing another wake. Such wakes coalesce: at most one call runs, and at
// most one more is due.
type Call struct {
	f     func()
	state atomic.Uint32
}

// The state of a Call. It does not cover calls on the goroutine that wakes.
//
//	idle     it has no goroutine
//	queued   a goroutine has been started and will call the function
//	running  it calls the function
//	again    a wake has come since that call began: it will call the function once more
//
// Every wake writes the word, also if nothing changes, so that what was written before the wake is
// visible to the call that follows.
const (
	idle uint32 = iota
	queued
	running
	again
)

// Calls is how many users' functions are queued or running on goroutines of their own: for tests
// that wait until all have been called.
var Calls atomic.Int64

// Init sets the function, before any other use.
func (c *Call) Init(f func()) { c.f = f }

// NewCall returns a Call of f.
func NewCall(f func()) *Call { return &Call{f: f} }

// Run calls the function: here if at is [Anywhere], else soon.
func (c *Call) Run(at Place) {
	if at == Anywhere {
		c.f()
		return
	}
	for {
		s := c.state.Load()
		next := s
		switch s {
		case idle:
			next = queued
		case running:
			next = again
		}
		if !c.state.CompareAndSwap(s, next) {
			continue
		}
		if s == idle {
			Calls.Add(1)
			at.Go(func() { c.goroutine(at) })
		}
		return
	}
}

// goroutine calls the function while there are wakes.
func (c *Call) goroutine(at Place) {
	returned := false
	defer func() {
		if !returned {
			c.replace(at)
		}
	}()
	if at == Worker {
		defer contain()
	}
	c.run()
	returned = true
}

// run calls the function until no wake has come during a call.
func (c *Call) run() {
	for {
		c.state.Swap(running) // acquires what the wakes before it released
		c.f()
		if c.rest() {
			return
		}
	}
}

// rest ends the goroutine's work, unless a call is due.
func (c *Call) rest() bool {
	if !c.state.CompareAndSwap(running, idle) {
		return false
	}
	Calls.Add(-1)
	return true
}

// replace has another goroutine make the call that is due, after the function has ended this one by
// Goexit or a panic.
func (c *Call) replace(at Place) {
	if !c.rest() {
		c.state.Swap(queued) // it was again
		at.Go(func() { c.goroutine(at) })
	}
}

// contain reports a panic and ends it.
func contain() {
	if v := recover(); v != nil {
		fmt.Fprintf(os.Stderr, "ffiwaker: a waker's function panicked: %v\n\n%s", v, debug.Stack())
	}
}

// Each calls f for each of all, in order, on this goroutine. If a call panics or calls
// runtime.Goexit, the others are made before that continues. If a call blocks, other goroutines of
// the caller's synctest bubble make the rest after some milliseconds; a panic on one of those is
// reported on standard error. The caller holds no lock that an f needs.
func Each[T any](all []T, f func(T)) {
	switch len(all) {
	case 0:
	case 1:
		f(all[0])
	default:
		e := &each[T]{all: all, f: f, stuck: 1}
		e.timer = time.AfterFunc(time.Hour, e.late) // late must find e.timer set
		e.timer.Reset(slowAfter)
		defer e.timer.Stop()
		e.run()
	}
}

type each[T any] struct {
	all  []T
	f    func(T)
	next atomic.Int64

	// Of late: what next is if each goroutine blocks in the call that it began, and how many
	// goroutines were started the last time.
	stuck, helpers int64
	timer          *time.Timer
}

func (e *each[T]) run() {
	over := false
	defer func() {
		if !over {
			e.run() // before the panic goes on
		}
	}()
	for {
		i := e.next.Add(1) - 1
		if i >= int64(len(e.all)) {
			break
		}
		e.f(e.all[i])
	}
	over = true
}

// late is called after each [slowAfter]. If all goroutines block, twice as many as the last time
// start, since the next calls may block too.
func (e *each[T]) late() {
	next := e.next.Load()
	left := int64(len(e.all)) - next
	if left <= 0 {
		return
	}
	if next == e.stuck {
		e.helpers = min(left, max(1, 2*e.helpers))
		for range e.helpers {
			go e.help()
		}
		next += e.helpers // what each of them begins
	}
	e.stuck = next
	e.timer.Reset(slowAfter)
}

func (e *each[T]) help() {
	defer contain() // the goroutine that called Each is not here to see a panic
	e.run()
}
