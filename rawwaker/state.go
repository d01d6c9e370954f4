package rawwaker

import "sync/atomic"

// state is the state word of a Waker: a kind, flags, and a count of calls under way that borrow a
// reference of C, whose slots must not be called after the reference is gone. Calls of slots are
// counted for kind foreign. A poll of a C future under NewContext, or under what C has lent, counts
// itself in the Waker whose reference it uses, whatever that Waker's kind is.
//
// Flags:
//
//   - dropped, woken, moved: consumed, by Drop, Wake or IntoRaw. At most one of them, permanently.
//     Never with kind held or view, whose calls go to another Waker.
//   - last: consumed by Drop or Wake while the count was not 0. The call that counts down to 0
//     calls the slot, or gives up what ref stands for. Only with dropped or woken.
//   - ref: a Go-made waker that has crossed to C and holds one reference of its box in data. Never
//     with kind foreign.
//   - busy: link or data are being set, for a few instructions and not during a slot; every other
//     caller waits. Never with a consumed flag, never with a count other than 0.
//   - counted: the target counts this waker, because its task is being diagnosed or there is a
//     trace. Only with kinds core, scope and user. Such a Waker takes the slower paths.
//
// The kind of a Waker changes in two ways only. CloneFrom makes it held, permanently. The end of
// its task, or of the poll for which C has lent it, makes a lent one ended.
//
// Each method is one transition. Those with a parameter s go from s and return false if the state
// is another by now. docs/CONCURRENCY.md has the diagram.
type state struct{ word uint32 } // accessed atomically, except in init

// snapshot is a state at one moment.
type snapshot uint32

const (
	countMask snapshot = 1<<20 - 1

	ref     snapshot = 1 << 20
	busy    snapshot = 1 << 21
	last    snapshot = 1 << 22
	dropped snapshot = 1 << 23
	woken   snapshot = 1 << 24
	moved   snapshot = 1 << 25
	counted snapshot = 1 << 26

	consumedMask = dropped | woken | moved

	lent snapshot = 1 << 31 // borrowed: lies in a Context

	kindMask snapshot = 15 << 28
	empty    snapshot = 0 << 28
	core     snapshot = 1 << 28 // a task of this library, woken in Go memory
	user     snapshot = 2 << 28 // a Go function
	foreign  snapshot = 3 << 28 // two words of C
	noop     snapshot = 4 << 28
	held     snapshot = 5 << 28     // stands for the Waker that CloneFrom has put in link
	scope             = lent | core // of the task that a BlockOn or executor polls
	view              = lent | held // of NewContext: stands for the Waker in link
	ended             = lent        // of a task that has ended, or of a poll by C that has returned

	// lent with foreign, user and noop: what C has lent for one poll of a Go future.
)

func (s snapshot) kind() snapshot { return s & kindMask }

// owned is the kind that a clone has.
func (s snapshot) owned() snapshot { return s & kindMask &^ lent }

func (s snapshot) isLent() bool     { return s&lent != 0 }
func (s snapshot) isConsumed() bool { return s&consumedMask != 0 }
func (s snapshot) isBusy() bool     { return s&busy != 0 }
func (s snapshot) isCounted() bool  { return s&counted != 0 }
func (s snapshot) hasRef() bool     { return s&ref != 0 }

// inUse reports whether borrowing calls are under way.
func (s snapshot) inUse() bool { return s&countMask != 0 }

// unusable reports whether a borrowing call panics.
func (s snapshot) unusable() bool {
	k := s.kind()
	return k == empty || k == ended || s.isConsumed()
}

// holdsC reports whether the Waker holds a reference of C, so that a finalizer is set.
func (s snapshot) holdsC() bool { return s.kind() == foreign || s.hasRef() }

// init sets the first state, while no other goroutine has the Waker.
func (s *state) init(first snapshot) { s.word = uint32(first) }

func (s *state) load() snapshot { return snapshot(atomic.LoadUint32(&s.word)) }

func (s *state) swap(from, to snapshot) bool {
	return atomic.CompareAndSwapUint32(&s.word, uint32(from), uint32(to))
}

func (s *state) store(to snapshot) { atomic.StoreUint32(&s.word, uint32(to)) }

// enter counts a borrowing call in, which uses the reference of C that the Waker holds or C has
// lent.
func (s *state) enter(from snapshot) bool {
	if from&countMask == countMask {
		panic("rawwaker: more than a million calls at once on the same Waker")
	}
	return s.swap(from, from+1)
}

// leave counts a borrowing call out. ends: the Waker was consumed meanwhile, and this call is the
// last, which has to end it.
func (s *state) leave() (now snapshot, ends bool) {
	now = snapshot(atomic.AddUint32(&s.word, ^uint32(0)))
	return now, !now.inUse() && now&last != 0
}

// consume sets how, one of the consumed flags, and last if calls are under way.
func (s *state) consume(from, how snapshot) bool {
	to := from | how
	if from.inUse() {
		to |= last
	}
	return s.swap(from, to)
}

// dropCore consumes a Waker that is of kind core and has no flags: the usual one, which holds
// nothing.
func (s *state) dropCore() bool { return s.swap(core, core|dropped) }

// collect is the finalizer's transition: no other goroutine has the Waker any more.
func (s *state) collect(from snapshot) { s.store(from | dropped) }

// lock sets busy, for setRef or setHeld, which ends it.
func (s *state) lock(from snapshot) bool { return s.swap(from, from|busy) }

// setRef ends lock: from has now crossed to C, and data is its box.
func (s *state) setRef(from snapshot) { s.store(from | ref) }

// setHeld ends lock: the Waker now stands for the one in link.
func (s *state) setHeld() { s.store(held) }

// end says that the task has ended.
func (s *state) end() { s.store(ended) }

// lend begins a poll by C; false: one is under way.
func (s *state) lend(as snapshot) bool { return s.swap(ended, as) }

// unlend ends a poll by C; false: a borrowing call is under way.
func (s *state) unlend() bool {
	from := s.load()
	return !from.inUse() && s.swap(from, ended)
}

// retire says that C has dropped the future; false: a poll by C is under way.
func (s *state) retire() bool { return s.swap(ended, ended|busy) }

// consumedBy names a consumed flag in a trace.
func consumedBy(how snapshot) string {
	switch how {
	case woken:
		return "wake"
	case dropped:
		return "drop"
	}
	return "into_raw"
}

// misuse panics for a call on a Waker in state s, and names what went before.
func misuse(call string, s snapshot) {
	before := " of a borrowed waker: Clone it first"
	switch {
	case s&dropped != 0:
		before = " after Drop"
	case s&woken != 0:
		before = " after Wake"
	case s&moved != 0:
		before = " after IntoRaw"
	case s.kind() == empty:
		before = " of an empty Waker"
	case s.kind() == ended:
		before = " of a borrowed waker whose task or poll has ended: Clone it to keep it"
	}
	panic("rawwaker: " + call + before)
}
