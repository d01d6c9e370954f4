package rawwaker

// The state word of a Waker: a kind, flags, and a count of borrowing calls under way that use a reference of C: its slots must
// not be called after the reference is gone. Calls of slots are counted for kind foreign; a poll of a C future under
// NewContext, or under what C has lent, counts itself in that Waker, whatever its kind, where that holds a reference.
//
// dropped, woken, moved: consumed, by Drop, Wake or IntoRaw; at most one of them, and for ever. Never with kind held or
// view, whose calls go to another Waker.
// last: consumed by Drop or Wake while the count was not 0; the call that counts down to 0 calls the slot, or gives up what ref
// stands for. Only with dropped or woken.
// ref: a Go-made waker that has shown itself to C, and holds one reference of its box in data. Never with kind foreign.
// busy: link or data are being set, for a few instructions and over no slot; everybody else waits. Never with a consumed
// flag, never with a count other than 0.
//
// counted: of a task that is being diagnosed, which is told of each clone and of its end; where there is a trace, of any Go-made waker. Only with
// kinds core, scope and user; such a Waker goes the slower ways.
//
// The kind of a Waker changes in two ways only: CloneFrom makes it held, for ever; the end of its task, or of the poll for
// which C has lent it, makes a lent one over.
const (
	countMask uint32 = 1<<20 - 1

	ref     uint32 = 1 << 20
	busy    uint32 = 1 << 21
	last    uint32 = 1 << 22
	dropped uint32 = 1 << 23
	woken   uint32 = 1 << 24
	moved   uint32 = 1 << 25
	counted uint32 = 1 << 26
	gone           = dropped | woken | moved

	lent uint32 = 1 << 31 // borrowed: lies in a Context

	kindMask uint32 = 15 << 28
	empty    uint32 = 0 << 28
	core     uint32 = 1 << 28 // a task of this library, woken on Go memory
	user     uint32 = 2 << 28 // a function in Go
	foreign  uint32 = 3 << 28 // two words of C
	noop     uint32 = 4 << 28
	held     uint32 = 5 << 28     // stands for the Waker that CloneFrom has put in link
	scope           = lent | core // of the task that a BlockOn or executor polls
	view            = lent | held // of NewContext: stands for the Waker in link
	over            = lent        // of a task that has ended, or of a poll of C that has returned

	// lent with foreign, user and noop: what C has lent for one poll of a Go future.
)

// misuse panics for a call on a Waker in state s, saying what went before.
func misuse(call string, s uint32) {
	before := " of a borrowed waker: Clone it first"
	switch {
	case s&dropped != 0:
		before = " after Drop"
	case s&woken != 0:
		before = " after Wake"
	case s&moved != 0:
		before = " after IntoRaw"
	case s&kindMask == empty:
		before = " of an empty Waker"
	case s&kindMask == over:
		before = " of a borrowed waker whose task or poll is over: Clone it to keep it"
	}
	panic("rawwaker: " + call + before)
}
