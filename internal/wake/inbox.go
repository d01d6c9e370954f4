package wake

import (
	"math"
	"sync/atomic"
)

// Inbox is what an executor that a host ticks sleeps on: a flag, a descriptor, and the list of
// wakes from C. The cores of its [Task] targets have their boxes on it, so a C thread that wakes
// one makes the descriptor readable itself.
//
// The flag is 0 while the host is awake. Else it is the number of its sleep, new for each. Arm sets
// it. A wake that reads a number makes the descriptor readable, calls the hook, and then replaces
// that very number by 0. So does each wake that reads it, whatever others are about to do, and a
// late one ends no later sleep.
type Inbox struct {
	sleeper
	sleeps  atomic.Uint32 // the number of the latest sleep
	users   atomic.Int32  // calls that use the sleeper; below 0: closed, and the last one ends it
	closed  atomic.Bool
	over    atomic.Bool // the sleeper has ended
	watched atomic.Bool // FD was called
	hook    atomic.Pointer[hookTarget]
	core    *Core // of hook, for C. Written by a user, read by the last call
}

// hookTarget is all that wakes from C know of an inbox, because what C can reach must not keep the
// inbox alive.
type hookTarget struct {
	core Core // of OnWake, lent to C
	f    func(at Place)

	// Of WakeRaw: the calls under way. Below 0: closed, and the last call drops the host's waker.
	calls  atomic.Int32
	closed atomic.Bool
	drop   func() // may be foreign
}

// Schedule implements [Target]: each wake calls f, or comes while f runs and has it called again.
func (t *hookTarget) Schedule(at Place) {
	for again := true; again; again = !t.core.Sleep() {
		t.core.Consume()
		t.f(at)
	}
}

// enter reports whether the host's waker may be woken. leave follows in either case.
func (t *hookTarget) enter() bool { return t.calls.Add(1) > 0 }

func (t *hookTarget) leave(at Place) { t.last(t.calls.Add(-1), at) }

func (t *hookTarget) close(at Place) {
	if t.drop != nil && !t.closed.Swap(true) {
		t.last(t.calls.Add(math.MinInt32), at)
	}
}

// last drops the host's waker, once, when the last call has returned.
func (t *hookTarget) last(calls int32, at Place) {
	if calls == math.MinInt32 && t.calls.CompareAndSwap(math.MinInt32, math.MinInt32/2) {
		at.Run(t.drop)
	}
}

// enter reports whether the sleeper may be used, until leave.
func (in *Inbox) enter() bool {
	if in.users.Add(1) > 0 {
		return true
	}
	in.leave()
	return false
}

func (in *Inbox) leave() { in.last(in.users.Add(-1)) }

// last ends the sleeper, once, when the last call has returned. Later calls may still come.
func (in *Inbox) last(users int32) {
	if users != math.MinInt32 || !in.over.CompareAndSwap(false, true) {
		return
	}
	if in.core != nil {
		in.core.End()
	}
	in.end()
}

// Close closes the descriptor: at once, or when no thread writes to it any more. The cores of this
// inbox have ended before.
func (in *Inbox) Close() {
	if in.closed.Swap(true) {
		return
	}
	in.shut()
	if t := in.hook.Load(); t != nil {
		t.close(Anywhere)
	}
	in.last(in.users.Add(math.MinInt32))
}

// next returns a number for a sleep.
func (in *Inbox) next() uint32 {
	for {
		if n := in.sleeps.Add(1); n != 0 {
			return n
		}
	}
}

// Take wakes the host if it sleeps. The goroutine that has made a task runnable calls it after
// that.
func (in *Inbox) Take(at Place) {
	if !in.enter() {
		return
	}
	sleep := atomic.LoadUint32(in.armed)
	if sleep != 0 && in.watched.Load() {
		in.kick()
	}
	in.leave()
	if sleep == 0 {
		return
	}
	// A hook may be slow: the sleeper does not wait for it.
	in.CallHook(at)
	if in.enter() {
		atomic.CompareAndSwapUint32(in.armed, sleep, 0)
		in.leave()
	}
}

// CallHook calls the hook, if there is one.
func (in *Inbox) CallHook(at Place) {
	if t := in.hook.Load(); t != nil {
		t.f(at)
	}
}

// Arm makes the descriptor unreadable and sets the flag. idle reports whether there is nothing to
// run. False: there is, the flag is 0, and the descriptor is readable as before.
//
// The order matters. A late wake, whose task has already run, may write at any time and then end
// the sleep whose number it has read. So Arm must not take away a write by a wake that has read
// the new number.
func (in *Inbox) Arm(idle func() bool) bool {
	if !in.enter() {
		return true
	}
	defer in.leave()
	if in.watched.Load() {
		if in.listed() || !idle() {
			return false
		}
		in.quiet()
	}
	atomic.StoreUint32(in.armed, in.next())
	if !in.listed() && idle() {
		return true
	}
	atomic.StoreUint32(in.armed, 0)
	if in.watched.Load() {
		in.kick()
	}
	return false
}

// Asleep reports whether the host sleeps and there is nothing to run. It gives the sleep a new
// number, for a caller that has just set a descriptor or a hook: a wake that did not find those
// ends the earlier sleep only.
func (in *Inbox) Asleep(idle func() bool) bool {
	if !in.enter() {
		return true
	}
	defer in.leave()
	for {
		sleep := atomic.LoadUint32(in.armed)
		if sleep == 0 {
			return false
		}
		if atomic.CompareAndSwapUint32(in.armed, sleep, in.next()) {
			return !in.listed() && idle()
		}
	}
}

// FD returns the descriptor. It is readable while there is something to run, and until Arm finds
// nothing.
func (in *Inbox) FD(idle func() bool) (int, error) {
	if !in.enter() {
		return -1, nil
	}
	defer in.leave()
	fd, err := in.open()
	if err == nil && !in.watched.Swap(true) && !in.Asleep(idle) {
		in.kick()
	}
	return fd, err
}

// OnWake sets, once, what a wake calls that finds the host asleep, at any place. f must run a
// user's function by [Place.Run] or [Call] only. For wakes from C it runs on the library's
// goroutine. f must not keep the inbox's owner alive.
func (in *Inbox) OnWake(f func(at Place)) {
	if !in.enter() {
		return
	}
	defer in.leave()
	t := &hookTarget{f: f}
	t.core.Init(t)
	t.core.Sleep()
	in.core = &t.core
	in.tell(in.core)
	in.hook.Store(t)
}

// WakeRaw sets, once and instead of OnWake, a C waker for wakes from C, which it takes over, and
// wake, which may be foreign, for wakes from Go. After Close, when no call of wake is under way
// any more, drop is called: by Close or on a goroutine of the library's, never inside a wake.
// False: the inbox is closed, and nothing was taken over.
func (in *Inbox) WakeRaw(data, vtable uintptr, wake, drop func()) bool {
	if !in.enter() {
		return false
	}
	defer in.leave()
	in.tellRaw(data, vtable)
	t := &hookTarget{drop: drop}
	call := NewCall(func() {
		defer t.leave(Dispatcher) // the wake itself drops nothing
		if t.enter() {
			wake()
		}
	})
	t.f = call.Run
	in.hook.Store(t)
	if in.closed.Load() {
		t.close(Anywhere)
	}
	return true
}
