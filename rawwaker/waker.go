package rawwaker

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Waker says "poll me again". Any goroutine may use it, and several at once.
//
// Wake and Drop consume it, IntoRaw moves it out, and whoever uses it afterwards panics: `rawwaker: WakeByRef after Drop`.
// Clone, WakeByRef, WillWake and AsRaw borrow it; so does a poll of a C future under [NewContext]. A Drop or Wake that overlaps one
// of those on the same Waker takes effect when the last of them has returned; IntoRaw and CloneFrom then panic.
//
// A Waker that holds a reference of C must be dropped or woken. [runtime.SetFinalizer] is the backstop: what you forget is
// dropped some time after the collector has found it. A Waker made in Go holds nothing until it goes to C.
//
// The zero Waker is empty: only [Waker.CloneFrom] may be called on it. Do not copy a Waker; go vet sees it where you do.
type Waker struct {
	_     noCopy
	state uint32         // atomic, but for its first value: nobody else has the Waker yet
	core  *wake.Core     // of kinds core, user and scope
	link  unsafe.Pointer // foreign, or lent by C: the vtable, in C memory; held and view: a *Waker
	data  uintptr        // foreign, or lent by C: C's data; with ref: the box
}

type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// FromRaw takes over one reference of a C waker. It panics for a nil vtable or one with an empty slot, and in a build
// without cgo; what else a vtable may be, it trusts.
//
// A waker that came from Go is recognised by its vtable's address and is again what it was.
func FromRaw(raw RawWaker) *Waker {
	raw.check("FromRaw")
	debugGC()
	return newWaker(adopt(raw))
}

// Noop returns a waker that does nothing.
func Noop() *Waker { return newWaker(target{kind: noop}) }

// FromFunc returns a waker that calls wake for each wake, on the goroutine that wakes. Woken from C, or by a timer, wake runs on a
// goroutine of its own instead, a little later. Such wakes coalesce: one call runs at a time, and however many wakes come meanwhile
// lead to one call more. It may block there: it delays no other waker. A panic there ends the program, as any goroutine's does.
func FromFunc(wake func()) *Waker {
	if wake == nil {
		panic("rawwaker: FromFunc of a nil function")
	}
	return fromFunc(wake)
}

// Wake is the safe way to a waker of your own: a type that knows what to do when woken.
type Wake interface{ Wake() }

// FromWake is [FromFunc] for a method.
func FromWake(w Wake) *Waker {
	if w == nil {
		panic("rawwaker: FromWake of nil")
	}
	return fromFunc(w.Wake)
}

// function is what a waker of FromFunc wakes.
type function struct {
	core wake.Core
	call wake.Call
}

// Rouse implements [wake.Target].
func (f *function) Rouse(at wake.Place) { f.call.Run(at) }

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

// Clone returns a new Waker that wakes the same task.
func (w *Waker) Clone() *Waker {
	if atomic.LoadUint32(&w.state)&^lent == core {
		return &Waker{state: core, core: w.core}
	}
	return newWaker(w.target("Clone"))
}

// CloneFrom makes w wake what src wakes, and does nothing where it already does. Otherwise it clones src, stores that, then
// drops what w held; an empty w it only fills.
func (w *Waker) CloneFrom(src *Waker) {
	const call = "CloneFrom"
	for {
		s := atomic.LoadUint32(&w.state)
		if k := s & kindMask; k&lent != 0 || k != held && k != empty && s&gone != 0 {
			misuse(call, s)
		}
		if s != empty && s&busy == 0 && w.willWake(src, call) {
			return
		}
		n := newWaker(src.target(call))
		if s&kindMask == held {
			w.swap(n).Drop()
			return
		}
		if s&countMask != 0 {
			n.Drop()
			panic("rawwaker: CloneFrom during another call on the same Waker")
		}
		if s&busy == 0 && atomic.CompareAndSwapUint32(&w.state, s, s|busy) {
			old := target{kind: s & kindMask, raw: w.raw()}
			if old.kind == foreign || s&ref != 0 {
				w.disarm()
			}
			w.uncount(s, dropped)
			if s&ref != 0 {
				old = target{kind: foreign, raw: w.boxRaw()}
			}
			// SAFETY: busy keeps everybody else from link until kind held says that it is a *Waker.
			atomic.StorePointer(&w.link, unsafe.Pointer(n))
			atomic.StoreUint32(&w.state, held)
			old.drop()
			return
		}
		n.Drop()
		runtime.Gosched()
	}
}

// Wake wakes the task and consumes w: Drop must not follow.
func (w *Waker) Wake() { w.wakeAt(wake.Anywhere) }

func (w *Waker) wakeAt(at wake.Place) {
	w, s := w.consume("Wake", woken)
	w.unref(s) // first: a user's function may panic
	switch s & kindMask {
	case core:
		w.core.WakeAt(at)
	case user:
		w.core.Rouse(at)
	case foreign:
		switch {
		case s&countMask != 0: // whoever leaves last calls
		case at == wake.Anywhere:
			w.callLast(woken)
		default:
			at.Run(func() { w.callLast(woken) })
		}
	}
}

// WakeByRef wakes the task and keeps w.
func (w *Waker) WakeByRef() {
	// Small enough to be inlined into a future that wakes itself.
	if s := atomic.LoadUint32(&w.state); s&^lent != core || w.core.Notify() {
		w.wakeByRef(s)
	}
}

// wakeByRef goes on where WakeByRef in state s could not end: it took a core's sleep away, or this is no core.
func (w *Waker) wakeByRef(s uint32) {
	if s&^lent == core {
		w.core.Rouse(wake.Anywhere)
		return
	}
	for {
		w, s := w.live("WakeByRef")
		if s&counted != 0 && wake.Tracing() {
			w.core.Trace("wake_by_ref")
		}
		switch s & kindMask &^ lent {
		case core:
			w.core.Wake()
		case user:
			w.core.Rouse(wake.Anywhere)
		case foreign:
			if !w.enter(s) {
				continue
			}
			defer w.leave() // also if a callback of Go's panics inside the slot
			debugGC()
			capi.WakeByRef(w.raw().numbers())
		}
		return
	}
}

// Drop gives w up without waking anybody.
func (w *Waker) Drop() {
	if atomic.CompareAndSwapUint32(&w.state, core, core|dropped) {
		return // it held nothing
	}
	w.drop()
}

func (w *Waker) drop() {
	w, s := w.consume("Drop", dropped)
	if s&kindMask == foreign && s&countMask == 0 {
		w.callLast(dropped)
	}
	w.unref(s)
}

// WillWake says whether a wake of o is a wake of w: true is a guarantee, false is not. It calls no slot.
func (w *Waker) WillWake(o *Waker) bool { return w.willWake(o, "WillWake") }

// IntoRaw consumes w and hands its reference to the caller, who must see that it is woken or dropped, in C or by
// [FromRaw]. It panics, and changes nothing, while another call on w is under way; it panics in a build without cgo.
//
// A waker made in Go gets a box in C memory, shared by all its clones. C code clones, wakes and drops it on any thread
// without entering Go.
func (w *Waker) IntoRaw() RawWaker {
	const call = "IntoRaw"
	needCgo(call)
	for {
		s := atomic.LoadUint32(&w.state)
		k := s & kindMask
		if s&(gone|ref|busy) != 0 || k != core && k != user {
			w, s = w.consume(call, moved)
			switch {
			case s&kindMask == noop:
				return fromNumbers(capi.Noop())
			case s&ref != 0:
				return crossed(w.boxRaw().numbers(), true)
			case s&kindMask == foreign:
				return w.raw()
			}
			raw, ok := w.core.Cross() // a held one
			return crossed(raw, ok)
		}
		// Cross first: it panics where descriptors or memory have run out, and then w is as it was.
		raw, ok := w.core.Cross()
		if atomic.CompareAndSwapUint32(&w.state, s, s|moved) {
			w.uncount(s, moved)
			return crossed(raw, ok)
		}
		if ok {
			capi.Drop(raw)
		}
	}
}

// AsRaw lends w to C: the two words hold for as long as w does, so C must be through with them, or have cloned them,
// before w is consumed or collected. Those of a [Context]'s waker are good until its task is over. It panics in a build
// without cgo.
func (w *Waker) AsRaw() RawWaker {
	const call = "AsRaw"
	needCgo(call)
	for {
		w, s := w.live(call)
		switch k := s & kindMask; {
		case k == noop:
			return fromNumbers(capi.Noop())
		case k == foreign, k&lent != 0 && w.link != nil: // C's own words
			return w.raw()
		case k == scope:
			if raw, ok := w.core.Lend(); ok {
				return fromNumbers(raw)
			}
			// Its task ended since.
			return fromNumbers(capi.Noop())
		case s&ref != 0:
			return w.boxRaw()
		default:
			raw, ok := w.core.Cross()
			if !ok {
				return crossed(raw, ok)
			}
			if atomic.CompareAndSwapUint32(&w.state, s, s|busy) {
				w.data = raw.Data
				if s&counted != 0 {
					runtime.SetFinalizer(w, nil) // finalize counts, too
				}
				w.arm()
				atomic.StoreUint32(&w.state, s|ref)
				return fromNumbers(raw)
			}
			capi.Drop(raw)
		}
	}
}

// crossed is a Go-made waker as C sees it: a waker whose task is over is one that does nothing.
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
