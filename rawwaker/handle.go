package rawwaker

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// target is what a Waker wakes, with one reference of it where it is of C.
type target struct {
	kind uint32
	core *wake.Core
	raw  RawWaker
}

func newWaker(t target) *Waker {
	// SAFETY: kind foreign says that link is a *VTable, in memory that lives as long as the process; else it is nil.
	w := &Waker{state: t.kind, core: t.core, data: t.raw.Data, link: unsafe.Pointer(t.raw.VTable)}
	switch {
	case t.kind == foreign:
		w.arm()
	case t.kind&counted != 0:
		runtime.SetFinalizer(w, func(w *Waker) { w.core.Count(-1, "collected") })
	}
	return w
}

// drop gives the reference up, where there is one.
func (t target) drop() {
	if t.kind == foreign {
		debugGC()
		capi.Drop(t.raw.numbers())
	}
}

var noopVTable, boxVTable = func() (uintptr, uintptr) {
	if !capi.HasCgo {
		return 0, 0
	}
	return capi.Noop().VTable, capi.BoxVTable()
}()

// adopt takes one reference of C over. A box of this library goes back to the Go memory that it stands for.
func adopt(raw RawWaker) target {
	if auditAll {
		raw = audit(raw)
	}
	switch n := raw.numbers(); n.VTable {
	case noopVTable:
		return target{kind: noop}
	case boxVTable:
		if c := wake.CoreOf(n); c != nil {
			capi.Drop(n)
			k := kindOf(c)
			if wake.Tracing() {
				k |= counted
				c.Count(1, "from_raw")
			}
			return target{kind: k, core: c}
		}
	}
	return target{kind: foreign, raw: raw}
}

// auditAll: FFIWAKERDEBUG=audit=1. Then what crosses is wrapped, each reference for itself.
var auditAll = capi.AuditAll()

// audit wraps what comes from C, unless it is Go's own coming back: from that the wrapping is taken off.
func audit(raw RawWaker) RawWaker {
	n := raw.numbers()
	switch capi.AuditInner(n).VTable {
	case noopVTable, boxVTable:
		return fromNumbers(capi.AuditUnwrap(n))
	}
	if !capi.IsAudited(n) {
		n = capi.Audit(n)
	}
	return fromNumbers(n)
}

func kindOf(c *wake.Core) uint32 {
	if c.User() {
		return user
	}
	return core
}

// raw is the two words of a foreign waker.
func (w *Waker) raw() RawWaker { return RawWaker{Data: w.data, VTable: (*VTable)(w.link)} }

// boxRaw is the two words of the box that a Waker with ref holds.
func (w *Waker) boxRaw() RawWaker { return fromNumbers(capi.Raw{Data: w.data, VTable: boxVTable}) }

// other is the Waker that a held one or a view stands for.
func (w *Waker) other() *Waker {
	// SAFETY: with these kinds link is a *Waker; it was set before the kind, and neither changes into anything else.
	return (*Waker)(atomic.LoadPointer(&w.link))
}

// swap puts another Waker into a held one.
func (w *Waker) swap(n *Waker) (old *Waker) {
	// SAFETY: as in other.
	return (*Waker)(atomic.SwapPointer(&w.link, unsafe.Pointer(n)))
}

// heldNow is what w stands for by now, where that was n: a CloneFrom on w drops n after it has put another there.
func (w *Waker) heldNow(n *Waker) *Waker {
	if w == n || atomic.LoadUint32(&w.state)&kindMask != held {
		return n
	}
	return w.other()
}

// arm and disarm bracket the time in which a Waker holds a reference of C. Only for what newWaker made: the runtime sets
// no finalizer on a field.
func (w *Waker) arm() {
	debugHandles(1)
	runtime.SetFinalizer(w, (*Waker).finalize)
}

func (w *Waker) disarm() {
	runtime.SetFinalizer(w, nil)
	debugHandles(-1)
}

// uncount ends the counting of a Waker that was in state s and is now consumed.
func (w *Waker) uncount(s, flag uint32) {
	if s&counted != 0 {
		runtime.SetFinalizer(w, nil)
		w.core.Count(-1, consumedBy(flag))
	}
}

func (w *Waker) finalize() {
	s := atomic.LoadUint32(&w.state) // armed, so it is not consumed, nor held
	atomic.StoreUint32(&w.state, s|dropped)
	debugHandles(-1)
	t := target{kind: foreign, raw: w.raw()}
	if auditAll {
		capi.AuditAbandoned(t.raw.numbers())
	}
	if s&ref != 0 {
		t.raw = w.boxRaw()
	}
	if s&counted != 0 {
		w.core.Count(-1, "collected")
	}
	// Finalizers share one goroutine, and a foreign slot may block.
	wake.Later(t.drop)
}

// live returns the Waker that a borrowing call goes to and its state. It panics where that may not be used any more, and
// waits where it is being set.
func (w *Waker) live(call string) (*Waker, uint32) {
	via := w
	for {
		s := atomic.LoadUint32(&w.state)
		switch k := s & kindMask; {
		case k == view, k == held:
			via, w = w, w.other()
		case k == empty, k == over, s&gone != 0:
			if now := via.heldNow(w); now != w {
				w = now
				continue
			}
			misuse(call, s)
		case s&busy != 0:
			runtime.Gosched()
		default:
			return w, s
		}
	}
}

// consume sets one of the consumed flags. It returns the Waker concerned and its state before, to the one caller who may
// now act on it; that one is disarmed.
func (w *Waker) consume(call string, flag uint32) (*Waker, uint32) {
	via := w
	for {
		s := atomic.LoadUint32(&w.state)
		switch k := s & kindMask; {
		case k == held:
			via, w = w, w.other()
			continue
		case k == empty, k&lent != 0, s&gone != 0:
			if now := via.heldNow(w); now != w {
				w = now
				continue
			}
			misuse(call, s)
		case s&busy != 0:
			runtime.Gosched()
			continue
		}
		after := s | flag
		if s&countMask != 0 {
			if flag == moved {
				panic("rawwaker: " + call + " during another call on the same Waker")
			}
			after |= last
		}
		if atomic.CompareAndSwapUint32(&w.state, s, after) {
			if s&kindMask == foreign || s&ref != 0 {
				w.disarm()
			}
			w.uncount(s, flag)
			return w, s
		}
	}
}

// consumedBy is what a consumed flag is called in a trace.
func consumedBy(flag uint32) string {
	switch flag {
	case woken:
		return "wake"
	case dropped:
		return "drop"
	}
	return "into_raw"
}

// enter counts a call in that uses the reference of C which w holds, or which C has lent; false: look again.
func (w *Waker) enter(s uint32) bool {
	if s&countMask == countMask {
		panic("rawwaker: more than a million calls at once on the same Waker")
	}
	return atomic.CompareAndSwapUint32(&w.state, s, s+1)
}

// leave counts it out, and gives the reference up if a consuming call came meanwhile.
func (w *Waker) leave() {
	s := atomic.AddUint32(&w.state, ^uint32(0))
	if s&countMask != 0 || s&last == 0 {
		return
	}
	// Nobody enters any more: one call sees 0.
	if s&kindMask == foreign {
		w.callLast(s & gone)
	} else {
		w.unref(s)
	}
}

// borrow is [Waker.AsRaw] for a poll of C: the two words are good until giveBack, also if w is consumed meanwhile, or its task ends.
func (w *Waker) borrow() borrowed {
	for {
		t, s := w.live("AsRaw")
		switch {
		case s&kindMask == noop:
			return borrowed{raw: fromNumbers(capi.Noop())}
		case s&kindMask == scope:
			// C holds no reference by what the core lends, and the task may end on another goroutine.
			raw, ok := t.core.Cross()
			if !ok {
				raw = capi.Noop()
			}
			return borrowed{raw: fromNumbers(raw), own: ok}
		case s&(ref|lent) == 0 && s&kindMask != foreign:
			// Makes t hold a reference, unless its task has ended.
			if raw := t.AsRaw(); raw.numbers().VTable == noopVTable {
				return borrowed{raw: raw}
			}
		case t.enter(s):
			if s&ref != 0 {
				return borrowed{raw: t.boxRaw(), from: t}
			}
			return borrowed{raw: t.raw(), from: t}
		}
	}
}

// borrowed is what borrow gives.
type borrowed struct {
	raw  RawWaker
	from *Waker // which counts it
	own  bool   // raw is a reference of its own
}

func (b *borrowed) giveBack() {
	switch {
	case b.from != nil:
		b.from.leave()
	case b.own:
		capi.Drop(b.raw.numbers())
	}
}

// callLast makes the consuming call of a foreign waker that is disarmed.
func (w *Waker) callLast(flag uint32) {
	debugGC()
	if flag == woken {
		capi.Wake(w.raw().numbers())
	} else {
		capi.Drop(w.raw().numbers())
	}
	runtime.KeepAlive(w)
}

// unref gives up the reference that AsRaw has made a Go-made waker hold, which was in state s and is consumed.
func (w *Waker) unref(s uint32) {
	if s&ref != 0 && s&countMask == 0 { // else whoever leaves last does
		capi.Drop(w.boxRaw().numbers())
	}
}

// target is a clone of what w wakes.
func (w *Waker) target(call string) target {
	for {
		w, s := w.live(call)
		k := s & kindMask &^ lent
		if k != foreign {
			if s&counted != 0 {
				k |= counted
				w.core.Count(1, "clone")
			}
			return target{kind: k, core: w.core}
		}
		if !w.enter(s) {
			continue
		}
		defer w.leave() // also if a callback of Go's panics inside the slot
		debugGC()
		raw := fromNumbers(capi.Clone(w.raw().numbers()))
		if s&lent != 0 && raw.numbers().VTable == boxVTable {
			return target{kind: foreign, raw: raw} // a relay's: see lend
		}
		return adopt(raw)
	}
}

func (w *Waker) willWake(o *Waker, call string) bool {
	o, so := o.live(call)
	w, sw := w.live(call)
	a, b := sw&kindMask&^lent, so&kindMask&^lent
	if a == foreign || b == foreign {
		return a == b && w.raw() == o.raw()
	}
	return w.core == o.core // nil of a no-op
}
