package rawwaker

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// target is what a Waker wakes. If that is of C, it holds one reference.
type target struct {
	kind snapshot
	core *wake.Core
	raw  RawWaker
}

func newWaker(t target) *Waker {
	// SAFETY: kind foreign says that link is a *VTable, in memory that lives as long as the
	// process; else it is nil.
	w := &Waker{core: t.core, data: t.raw.Data, link: unsafe.Pointer(t.raw.VTable)}
	w.state.init(t.kind)
	switch {
	case t.kind == foreign:
		w.arm()
	case t.kind.isCounted():
		w.guard(&backstop{count: t.core.CountCollected()})
	}
	return w
}

// drop gives the reference up, if there is one.
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

// adopt takes over one reference of C. A box of this library becomes the core that it stands for.
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

// auditAll: each reference that crosses is wrapped by the auditor.
var auditAll = trace.AuditAll()

// audit wraps a waker that comes from C. If it is Go's own coming back, it unwraps it instead.
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

func kindOf(c *wake.Core) snapshot {
	if c.User() {
		return user
	}
	return core
}

// raw returns the two words of a foreign waker.
func (w *Waker) raw() RawWaker { return RawWaker{Data: w.data, VTable: (*VTable)(w.link)} }

// boxRaw returns the two words of the box that a Waker with ref holds.
func (w *Waker) boxRaw() RawWaker { return boxOf(w.data) }

func boxOf(data uintptr) RawWaker { return fromNumbers(capi.Raw{Data: data, VTable: boxVTable}) }

// other returns the Waker that w, held or a view, stands for.
func (w *Waker) other() *Waker {
	// SAFETY: with these kinds link is a *Waker; it was set before the kind, and neither changes
	// into anything else.
	return (*Waker)(atomic.LoadPointer(&w.link))
}

// swap puts another Waker into a held one.
func (w *Waker) swap(n *Waker) (old *Waker) {
	// SAFETY: as in other.
	return (*Waker)(atomic.SwapPointer(&w.link, unsafe.Pointer(n)))
}

// heldNow returns what w stands for by now; it was n. A CloneFrom on w drops n after it has stored
// another.
func (w *Waker) heldNow(n *Waker) *Waker {
	if w == n || w.state.load().kind() != held {
		return n
	}
	return w.other()
}

// arm sets the finalizer of a foreign Waker, until disarm. Only for a Waker that newWaker made: the
// runtime sets no finalizer on a field.
func (w *Waker) arm() {
	debugHandles(1)
	runtime.SetFinalizer(w, (*Waker).finalize)
}

// backstop ends a forgotten Waker of Go's that is counted or holds a reference of its box. Only
// that Waker refers to it, so it becomes unreachable with the Waker. The Waker has no finalizer
// itself, because the task that it leads to may keep it, and the runtime finalizes none of a cycle.
// For the same reason a backstop leads neither to the Waker nor to its core.
type backstop struct {
	count func()  // nil: it is not counted
	box   uintptr // 0: it holds no reference
}

// guard sets the backstop of a Waker of kind core or user, until disarm.
func (w *Waker) guard(b *backstop) {
	runtime.SetFinalizer(b, (*backstop).finalize)
	// SAFETY: a Go pointer in a Go field; guarded reads it back as the type that it has.
	w.link = unsafe.Pointer(b)
}

// guarded returns the backstop of a Waker that is counted or holds a reference of its box.
func (w *Waker) guarded() *backstop {
	// SAFETY: with kinds core and user, only guard sets link.
	return (*backstop)(w.link)
}

func (b *backstop) finalize() {
	if b.count != nil {
		b.count()
	}
	if b.box != 0 {
		debugHandles(-1)
		// The last reference of a Local's box may end a host's waker, which may block.
		wake.Later(target{kind: foreign, raw: boxOf(b.box)}.drop)
	}
}

// disarm takes back the finalizer of a Waker that was in state s and is now consumed, and ends its
// counting.
func (w *Waker) disarm(s, how snapshot) {
	switch {
	case s.kind() == foreign:
		runtime.SetFinalizer(w, nil)
	case s.hasRef(), s.isCounted():
		runtime.SetFinalizer(w.guarded(), nil)
	}
	if s.holdsC() {
		debugHandles(-1)
	}
	if s.isCounted() {
		w.core.Count(-1, consumedBy(how))
	}
}

func (w *Waker) finalize() {
	w.state.collect(w.state.load())
	debugHandles(-1)
	t := target{kind: foreign, raw: w.raw()}
	if auditAll {
		capi.AuditAbandoned(t.raw.numbers())
	}
	// Finalizers share one goroutine, and a foreign slot may block.
	wake.Later(t.drop)
}

// live returns the Waker that a borrowing call goes to, and its state. It panics if that was
// consumed, and waits while it is busy.
func (w *Waker) live(call string) (*Waker, snapshot) {
	via := w
	for {
		s := w.state.load()
		switch k := s.kind(); {
		case k == view, k == held:
			via, w = w, w.other()
		case s.unusable():
			if now := via.heldNow(w); now != w {
				w = now
				continue
			}
			misuse(call, s)
		case s.isBusy():
			runtime.Gosched()
		default:
			return w, s
		}
	}
}

// consume sets how, one of the consumed flags. Exactly one call succeeds; the others panic. It
// returns the Waker concerned, disarmed, and its state before.
func (w *Waker) consume(call string, how snapshot) (*Waker, snapshot) {
	via := w
	for {
		s := w.state.load()
		switch {
		case s.kind() == held:
			via, w = w, w.other()
			continue
		case s.isLent(), s.unusable():
			if now := via.heldNow(w); now != w {
				w = now
				continue
			}
			misuse(call, s)
		case s.isBusy():
			runtime.Gosched()
			continue
		case s.inUse() && how == moved:
			panic("rawwaker: " + call + " during another call on the same Waker")
		}
		if w.state.consume(s, how) {
			w.disarm(s, how)
			return w, s
		}
	}
}

// leave counts out a call that state.enter has counted in, and gives the reference up if a
// consuming call came meanwhile.
func (w *Waker) leave() {
	s, ends := w.state.leave()
	if !ends {
		return
	}
	// No call enters any more, so exactly one leave comes here.
	if s.kind() == foreign {
		w.callLast(s & consumedMask)
	} else {
		w.unref(s)
	}
}

// borrow is [Waker.AsRaw] for a poll of a C future: the two words are valid until giveBack, also if
// w is consumed or its task ends meanwhile.
func (w *Waker) borrow() borrowed {
	for {
		t, s := w.live("AsRaw")
		switch {
		case s.kind() == noop:
			return borrowed{raw: fromNumbers(capi.Noop())}
		case s.kind() == scope:
			// What Lend gives holds no reference, and the task may end on another goroutine.
			raw, ok := t.core.Cross()
			if !ok {
				raw = capi.Noop()
			}
			return borrowed{raw: fromNumbers(raw), own: ok}
		case !s.hasRef() && !s.isLent() && s.kind() != foreign:
			// Makes t hold a reference, unless its task has ended.
			if raw := t.AsRaw(); raw.numbers().VTable == noopVTable {
				return borrowed{raw: raw}
			}
		case t.state.enter(s):
			if s.hasRef() {
				return borrowed{raw: t.boxRaw(), from: t}
			}
			return borrowed{raw: t.raw(), from: t}
		}
	}
}

// borrowed is what borrow returns.
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

// callLast calls the consuming slot of a foreign waker, which is disarmed.
func (w *Waker) callLast(how snapshot) {
	debugGC()
	if how == woken {
		capi.Wake(w.raw().numbers())
	} else {
		capi.Drop(w.raw().numbers())
	}
	runtime.KeepAlive(w)
}

// unref gives up the box's reference that AsRaw has made w hold. w was in state s and is consumed.
func (w *Waker) unref(s snapshot) {
	if s.hasRef() && !s.inUse() { // else the call that leaves last does it
		capi.Drop(w.boxRaw().numbers())
	}
}

// target returns a clone of what w wakes.
func (w *Waker) target(call string) target {
	for {
		w, s := w.live(call)
		k := s.owned()
		if k != foreign {
			if s.isCounted() {
				k |= counted
				w.core.Count(1, "clone")
			}
			return target{kind: k, core: w.core}
		}
		if !w.state.enter(s) {
			continue
		}
		defer w.leave() // also if a callback of Go's panics inside the slot
		debugGC()
		raw := fromNumbers(capi.Clone(w.raw().numbers()))
		if s.isLent() && raw.numbers().VTable == boxVTable {
			return target{kind: foreign, raw: raw} // a relay's: see lend
		}
		return adopt(raw)
	}
}

func (w *Waker) willWake(o *Waker, call string) bool {
	o, so := o.live(call)
	w, sw := w.live(call)
	a, b := sw.owned(), so.owned()
	if a == foreign || b == foreign {
		return a == b && w.raw() == o.raw()
	}
	return w.core == o.core // nil of a no-op
}
