package rawwaker

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Waker asks an executor to poll a task again. Any goroutine may use it, and several at once.
//
// Wake and Drop consume it, and IntoRaw moves it out. Any use after that panics, for example with
// `rawwaker: WakeByRef after Drop`. Clone, WakeByRef, WillWake and AsRaw borrow it, as does a poll
// of a C future under [NewContext]. A Drop or Wake that overlaps a borrowing call on the same Waker
// takes effect when the last of them has returned; IntoRaw and CloneFrom panic instead.
//
// A Waker that holds a reference of C must be dropped or woken. [runtime.SetFinalizer] is the
// backstop: a forgotten one is dropped some time after the garbage collector finds it. A Waker made
// in Go holds nothing until it crosses to C.
//
// The zero Waker is empty: only [Waker.CloneFrom] may be called on it. Do not copy a Waker; go vet
// reports copies.
type Waker struct {
	_     noCopy
	state state
	core  *wake.Core // kinds core, user and scope
	// foreign, or lent by C: the vtable, in C memory; held, view: a *Waker; ref, counted: a *backstop
	link unsafe.Pointer
	data uintptr // foreign, or lent by C: C's data; with ref: the box
}

type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// FromRaw takes over one reference of a C waker: the returned Waker owns it, and the caller must
// not use raw any more. A waker that came from Go is recognised by its vtable's address and
// becomes what it was.
//
// It panics if the vtable is nil or has an empty slot, and in a build without cgo. It cannot check
// more of a vtable.
func FromRaw(raw RawWaker) *Waker {
	raw.check("FromRaw")
	debugGC()
	return newWaker(adopt(raw))
}

// Noop returns a waker whose wakes do nothing.
func Noop() *Waker { return newWaker(target{kind: noop}) }

// FromFunc returns a waker that calls wake for each wake, on the goroutine that wakes.
//
// If C or a timer wakes it, wake runs soon after on a goroutine of its own instead, where it may
// block without delaying another waker. Such wakes coalesce: one call runs at a time, and the wakes
// that come meanwhile lead to one more call. A panic there ends the program, as in any goroutine.
// FromFunc panics if wake is nil.
func FromFunc(wake func()) *Waker {
	if wake == nil {
		panic("rawwaker: FromFunc of a nil function")
	}
	return fromFunc(wake)
}

// Wake is what [FromWake] makes a waker of.
type Wake interface{ Wake() }

// FromWake is [FromFunc] for the method of a type. It panics if w is nil.
func FromWake(w Wake) *Waker {
	if w == nil {
		panic("rawwaker: FromWake of nil")
	}
	return fromFunc(w.Wake)
}

// function is the target of a waker of FromFunc.
type function struct {
	core wake.Core
	call wake.Call
}

// Schedule implements [wake.Target].
func (f *function) Schedule(at wake.Place) { f.call.Run(at) }

func fromFunc(wakes func()) *Waker {
	f := new(function)
	f.call.Init(wakes)
	f.core.InitFunc(f)
	c, kind := &f.core, user
	if wake.Tracing() {
		kind |= counted
		c.Made("FromFunc", "")
		c.Count(1, "from_func")
	}
	return newWaker(target{kind: kind, core: c})
}

// Clone returns a new Waker that wakes the same task. The caller owns it. For a C waker it calls
// the clone slot. It panics if w was consumed.
func (w *Waker) Clone() *Waker {
	if w.state.load()&^lent == core {
		return &Waker{state: state{uint32(core)}, core: w.core}
	}
	return newWaker(w.target("Clone"))
}

// CloneFrom makes w wake what src wakes. If it already does ([Waker.WillWake]), nothing is called.
// Otherwise it clones src, stores the clone in w, and then drops what w held. An empty w is just
// filled. It panics if w or src was consumed, or if another call on w is under way.
func (w *Waker) CloneFrom(src *Waker) {
	const call = "CloneFrom"
	for {
		s := w.state.load()
		if s.isLent() || s.kind() != held && s.isConsumed() {
			misuse(call, s)
		}
		if s != empty && !s.isBusy() && w.willWake(src, call) {
			return
		}
		n := newWaker(src.target(call))
		if s.kind() == held {
			w.swap(n).Drop()
			return
		}
		if s.inUse() {
			n.Drop()
			panic("rawwaker: CloneFrom during another call on the same Waker")
		}
		if !s.isBusy() && w.state.lock(s) {
			old := target{kind: s.kind()}
			if s.kind() == foreign {
				old.raw = w.raw()
			} else if s.hasRef() {
				old = target{kind: foreign, raw: w.boxRaw()}
			}
			w.disarm(s, dropped)
			// SAFETY: busy keeps every other goroutine from link until kind held says that it is
			// a *Waker.
			atomic.StorePointer(&w.link, unsafe.Pointer(n))
			w.state.setHeld()
			old.drop()
			return
		}
		n.Drop()
		runtime.Gosched()
	}
}

// Wake wakes the task and consumes w: Drop must not follow. It panics if w was consumed.
func (w *Waker) Wake() { w.wakeAt(wake.Anywhere) }

func (w *Waker) wakeAt(at wake.Place) {
	w, s := w.consume("Wake", woken)
	w.unref(s) // first: a user's function may panic
	switch s.kind() {
	case core:
		w.core.WakeAt(at)
	case user:
		w.core.Schedule(at)
	case foreign:
		switch {
		case s.inUse(): // the call that leaves last does it
		case at == wake.Anywhere:
			w.callLast(woken)
		default:
			at.Run(func() { w.callLast(woken) })
		}
	}
}

// WakeByRef wakes the task and does not consume w. It panics if w was consumed.
func (w *Waker) WakeByRef() {
	if s := w.state.load(); s&^lent != core || w.core.Notify() {
		w.wakeByRef(s)
	}
}

// wakeByRef is the rest of WakeByRef: the core was parked, or w, in state s, is not a plain core.
func (w *Waker) wakeByRef(s snapshot) {
	if s&^lent == core {
		w.core.Schedule(wake.Anywhere)
		return
	}
	for {
		w, s := w.live("WakeByRef")
		if s.isCounted() && wake.Tracing() {
			w.core.Trace("wake_by_ref")
		}
		switch s.owned() {
		case core:
			w.core.Wake()
		case user:
			w.core.Schedule(wake.Anywhere)
		case foreign:
			if !w.state.enter(s) {
				continue
			}
			defer w.leave() // also if a callback of Go's panics inside the slot
			debugGC()
			capi.WakeByRef(w.raw().numbers())
		}
		return
	}
}

// Drop consumes w without a wake. It panics if w was consumed.
func (w *Waker) Drop() {
	if w.state.dropCore() {
		return // it held nothing
	}
	w.drop()
}

func (w *Waker) drop() {
	w, s := w.consume("Drop", dropped)
	if s.kind() == foreign && !s.inUse() {
		w.callLast(dropped)
	}
	w.unref(s)
}

// WillWake reports whether w and o wake the same task. True is a guarantee, false is not. It calls
// no slot. It panics if w or o was consumed.
func (w *Waker) WillWake(o *Waker) bool { return w.willWake(o, "WillWake") }

// IntoRaw consumes w and returns its reference. The caller owns it and must have it woken or
// dropped, in C or by [FromRaw].
//
// A waker made in Go gets a box in C memory, which all its clones share. C clones, wakes and drops
// it on any thread without entering Go.
//
// It panics if w was consumed, if another call on w is under way, and in a build without cgo; then
// w is as it was.
func (w *Waker) IntoRaw() RawWaker {
	const call = "IntoRaw"
	needCgo(call)
	for {
		s := w.state.load()
		k := s.kind()
		if s.isConsumed() || s.hasRef() || s.isBusy() || k != core && k != user {
			w, s = w.consume(call, moved)
			switch {
			case s.kind() == noop:
				return fromNumbers(capi.Noop())
			case s.hasRef():
				return crossed(w.boxRaw().numbers(), true)
			case s.kind() == foreign:
				return w.raw()
			}
			raw, ok := w.core.Cross() // a held one
			return crossed(raw, ok)
		}
		// Cross first: it panics if descriptors or memory have run out, and then w is as it was.
		raw, ok := w.core.Cross()
		if w.state.consume(s, moved) {
			w.disarm(s, moved)
			return crossed(raw, ok)
		}
		if ok {
			capi.Drop(raw)
		}
	}
}

// AsRaw lends w to C without giving a reference. The two words are valid until w is consumed or
// collected, so C must have stopped using them, or have cloned them, by then. Those of a
// [Context]'s waker are valid until its task ends. It panics if w was consumed, and in a build
// without cgo.
func (w *Waker) AsRaw() RawWaker {
	const call = "AsRaw"
	needCgo(call)
	for {
		w, s := w.live(call)
		switch k := s.kind(); {
		case k == noop:
			return fromNumbers(capi.Noop())
		case k == foreign, s.isLent() && w.link != nil: // C's own words
			return w.raw()
		case k == scope:
			if raw, ok := w.core.Lend(); ok {
				return fromNumbers(raw)
			}
			// Its task ended since.
			return fromNumbers(capi.Noop())
		case s.hasRef():
			return w.boxRaw()
		default:
			raw, ok := w.core.Cross()
			if !ok {
				return crossed(raw, ok)
			}
			if w.state.lock(s) {
				w.data = raw.Data
				if s.isCounted() {
					w.guarded().box = raw.Data
				} else {
					w.guard(&backstop{box: raw.Data})
				}
				debugHandles(1)
				w.state.setRef(s)
				return fromNumbers(raw)
			}
			capi.Drop(raw)
		}
	}
}

// crossed is a Go-made waker as C sees it; if its task has ended, one that does nothing.
func crossed(raw capi.Raw, ok bool) RawWaker {
	if !ok {
		raw = capi.Noop()
	} else if auditAll {
		raw = capi.Audit(raw)
	}
	return fromNumbers(raw)
}

func needCgo(call string) {
	if !capi.HasCgo {
		panic("rawwaker: " + call + " needs cgo")
	}
}
