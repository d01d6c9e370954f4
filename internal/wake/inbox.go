package wake

import (
	"math"
	"sync/atomic"
	"weak"
)

// Inbox is what an executor that a host ticks sleeps on: a flag, a descriptor, and the list of C's wakes. The cores of
// its [Local] targets have their boxes on it, so a C thread that wakes one makes the descriptor readable itself.
//
// The flag is 1 while the host sleeps, or may begin to. Arm sets it; whoever takes it away makes the descriptor readable
// and calls the hook: once, however many wakes come.
type Inbox struct {
	sleeper
	users   atomic.Int32 // calls under way; below 0: closed, and the last one out ends the sleeper
	closed  atomic.Bool
	over    atomic.Bool // the sleeper is ended
	watched atomic.Bool // somebody has asked for the descriptor
	hook    atomic.Pointer[hookTarget]
	core    *Core // of hook, for C; once it exists. Written by a user, read by the last one out
}

// hookTarget is all that C's wakes know of an inbox: what C can reach must not keep the inbox from being collected.
type hookTarget struct {
	f    func(at Place)
	drop func() // when the inbox ends; may be foreign
}

func (t *hookTarget) Rouse(at Place) { t.f(at) }

// enter says whether the sleeper may be used, until leave.
func (in *Inbox) enter() bool {
	if in.users.Add(1) > 0 {
		return true
	}
	in.leave()
	return false
}

func (in *Inbox) leave() {
	in.last(in.users.Add(-1), Dispatcher) // perhaps
}

// last ends the sleeper when the last one is out, once: later calls come and go, too.
func (in *Inbox) last(users int32, at Place) {
	if users != math.MinInt32 || !in.over.CompareAndSwap(false, true) {
		return
	}
	if in.core != nil {
		in.core.End()
	}
	in.end()
	if t := in.hook.Load(); t != nil && t.drop != nil {
		at.Run(t.drop) // nobody calls f any more
	}
}

// Close gives the descriptor up. Cores of this inbox must have ended before.
func (in *Inbox) Close() {
	if in.closed.Swap(true) {
		return
	}
	in.last(in.users.Add(math.MinInt32), Anywhere)
}

// Take takes the flag away, and rouses the host where it was set. Whoever has made something runnable calls it after.
func (in *Inbox) Take(at Place) {
	if !in.enter() {
		return
	}
	defer in.leave()
	if atomic.LoadUint32(in.armed) != 0 && atomic.SwapUint32(in.armed, 0) != 0 {
		if in.watched.Load() {
			in.kick()
		}
		if t := in.hook.Load(); t != nil {
			t.f(at)
		}
	}
}

// Arm sets the flag; idle must then say whether there is still nothing to run. False: there is, and the flag is away again.
func (in *Inbox) Arm(idle func() bool) bool {
	if !in.enter() {
		return true
	}
	defer in.leave()
	if in.watched.Load() {
		in.quiet()
	}
	atomic.StoreUint32(in.armed, 1)
	if !in.listed() && idle() {
		return true
	}
	atomic.StoreUint32(in.armed, 0)
	return false
}

// FD is the descriptor. It is readable from a taken flag until the next Arm.
func (in *Inbox) FD() (int, error) {
	if !in.enter() {
		return -1, nil
	}
	defer in.leave()
	fd, err := in.open()
	if err == nil && !in.watched.Swap(true) && atomic.LoadUint32(in.armed) == 0 {
		in.kick() // the flag was taken when nobody watched
	}
	return fd, err
}

// OnWake sets, once, what the one who takes the flag away calls, at any place. For wakes of C that is the library's goroutine.
// f must not keep the inbox's owner from being collected.
func (in *Inbox) OnWake(f func(at Place)) {
	if !in.enter() {
		return
	}
	defer in.leave()
	t := &hookTarget{f: f}
	in.core = NewFunc(t)
	in.tell(in.core)
	in.hook.Store(t)
}

// WakeRaw sets, once and in place of OnWake, a C waker, which it takes over, for wakes of C; and for those of Go wake, which
// may be foreign. When the inbox ends, drop is called, by Close or on the library's goroutine, and wake not any more. It is false where the
// inbox is closed, and then nothing was taken over.
func (in *Inbox) WakeRaw(data, vtable uintptr, wake, drop func()) bool {
	if !in.enter() {
		return false
	}
	defer in.leave()
	in.tellRaw(data, vtable)
	weakly := weak.Make(in) // what has a finalizer and is in a cycle is not finalized
	entered := func() {
		if in := weakly.Value(); in != nil && in.enter() {
			defer in.leave()
			wake()
		}
	}
	in.hook.Store(&hookTarget{func(at Place) { at.Run(entered) }, drop})
	return true
}

// Idle says whether C has woken nothing that is still to be drained, and the flag is set, so that the next wake rouses the host.
func (in *Inbox) Idle() bool {
	if !in.enter() {
		return true
	}
	defer in.leave()
	return !in.listed() && atomic.LoadUint32(in.armed) != 0
}
