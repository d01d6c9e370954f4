//go:build cgo

package fuzz

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// FuzzWakersOfC has wakers and futures of C and of Go, and each crosses to the other language and
// back.
func FuzzWakersOfC(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { run(t, Decode(data), true) })
}

type ctoken struct{ *ctest.Task }

func (t ctoken) counts() (byValue, byRef, live, foul int) {
	c := t.Counts()
	return c.Wakes, c.ByRefs, c.Live, c.Foul
}

func (w *world) makeC(k kind) *handle {
	t := w.newTask(k)
	r := ref{t, asC, 0}
	if k == cfn {
		return &handle{w: rawwaker.FromRaw(ctest.FnWaker()), ref: r}
	}
	t.token = ctoken{ctest.NewTask()}
	t.refs = 1
	w.ids++
	r.id = w.ids
	return &handle{w: rawwaker.FromRaw(t.token.Waker()), ref: r}
}

// settle waits until all wakes from C have arrived. The dispatcher starts functions in the order of
// their wakes. So settle wakes one more and waits for it: then all have begun, and have ended when
// none is left.
func (w *world) settle() {
	if w.arrived == nil {
		w.arrived = make(chan struct{}, 1)
		arrived := w.arrived
		w.probe = rawwaker.FromFunc(func() { arrived <- struct{}{} }).IntoRaw()
	}
	ctest.WakeByRef(w.probe)
	w.expect(arrives(w.arrived), "a wake from C does not arrive: a wake was lost")
	w.expect(called(), "a function that C has woken is not called, or does not return")
}

// called waits until no user function is due.
func called() bool {
	for deadline := time.Now().Add(time.Minute); wake.Calls.Load() != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func arrives(arrived chan struct{}) bool {
	select {
	case <-arrived:
		return true
	case <-time.After(time.Minute):
		return false
	}
}

func (w *world) wakeInC(r raw) {
	w.mWake(r.ref)
	ctest.Wake(r.w)
	w.settle()
}

func (w *world) wakeByRefInC(r raw) {
	w.mWakeByRef(r.ref)
	ctest.WakeByRef(r.w)
	w.settle()
}

func (w *world) dropInC(r raw) {
	w.mDrop(r.ref)
	ctest.Drop(r.w)
}

func (w *world) cloneInC(r raw) raw {
	c := raw{ctest.Clone(r.w), w.mClone(r.ref)}
	w.expect(ctest.WillWake(c.w, r.w) == c.ref.same(r.ref), "will_wake of a clone in C")
	return c
}

// lend is AsRaw.
func (w *world) lend(h *handle) raw {
	r := raw{h.w.AsRaw(), h.inC()}
	if h.ref.as == asGo && r.ref.as == asBox {
		h.box = true
	}
	return r
}

func (w *world) borrow(h *handle, way int) {
	if !w.c {
		return
	}
	var r raw
	if !w.must("AsRaw", func() { r = w.lend(h) }, h) {
		return
	}
	switch way % 8 {
	case 0:
		w.dropInC(w.cloneInC(r))
	case 1:
		w.wakeByRefInC(r)
	case 2:
		w.wakeInC(w.cloneInC(r))
	case 3:
		box := r.ref.as == asBox || r.ref.as == asC && r.ref.t.kind != token
		w.expect(ctest.IsBox(r.w) == box, "is_box is not %v", box)
	case 4: // on a thread that Go did not create
		w.mWakeByRef(r.ref)
		_, err := capi.OnThread(capi.SlotWakeByRef, numbersOf(r.w), 1)
		w.expect(err == nil, "%v", err)
		w.settle()
	case 5:
		c := w.cloneInC(r)
		n := &handle{w: rawwaker.FromRaw(c.w), ref: c.ref.inGo()}
		got := n.w.WillWake(h.w)
		w.expect(got == n.ref.same(h.ref), "WillWake of a waker that has come back returned %v", got)
		w.end(n)
	case 6:
		c := ctest.NewCell()
		c.Register(r.w)
		w.mWake(w.mClone(r.ref))
		c.Wake()
		w.settle()
		c.Free()
	}
}

func numbersOf(r rawwaker.RawWaker) capi.Raw {
	data, vtable := r.Words()
	return capi.Raw{Data: data, VTable: vtable}
}

func (w *world) move(h *handle, at int) {
	if !w.c {
		return
	}
	r := raw{ref: h.inC()}
	if !w.must("IntoRaw", func() { r.w = h.w.IntoRaw() }, h) {
		return
	}
	h.gone = moved
	old := w.raws[at]
	w.raws[at] = r
	if old.ref.as != nothing {
		w.dropInC(old)
	}
}

func (w *world) back(at *raw, way, to int) {
	r := *at
	*at = raw{}
	if r.ref.as == nothing {
		return
	}
	switch way {
	case 1:
		w.wakeInC(r)
	case 2:
		w.dropInC(r)
	case 3:
		c := w.mClone(r.ref)
		w.mWakeByRef(c)
		w.mWake(c)
		w.mDrop(r.ref)
		ctest.Start(r.w, "crwd").Join()
		w.settleTwice(r.ref)
	default:
		w.put(to, &handle{w: rawwaker.FromRaw(r.w), ref: r.ref.inGo()})
	}
}

// settleTwice is settle after two consecutive wakes, which may have coalesced.
func (w *world) settleTwice(r ref) {
	w.settle()
	if r.as == asBox && r.t.kind == function && int(r.t.seen.Load()) == r.t.wakes-1 {
		r.t.wakes--
	}
}

func (w *world) finishC() {
	for i, r := range w.raws {
		w.raws[i] = raw{}
		switch {
		case r.ref.as == nothing:
		case w.p.Mode&Early != 0:
			w.wakeInC(r)
		default:
			w.dropInC(r)
		}
	}
	if w.arrived != nil {
		ctest.Drop(w.probe)
	}
}

// inC is the C side of a future, if it has one.
type inC struct {
	raw       rawwaker.RawFuture // a Go future that C polls
	exported  bool
	c         *rawwaker.CFuture[uint64] // a C future
	script    *ctest.Script
	letters   string
	op        ctest.Op
	isOp      bool
	completed bool
	kept      ref // of a C future
}

func (f *fut) ofC() bool { return f.exported || f.c != nil }

// toC makes a new future cross: way 1 to C, ways 2 and 3 from C.
func (w *world) toC(f *fut, way int) {
	how := f.script & 3
	switch {
	case way == 0:
	case way == 1:
		f.exported = true
		f.raw = rawwaker.FutureIntoRaw[int](f)
	case how == 0 || how == 3:
		f.isOp = true
		f.op = ctest.NewOp()
		f.c = rawwaker.FutureFromRaw[uint64](f.op.Raw())
	default:
		letter := "k"
		if f.script&16 != 0 {
			letter = "s"
		} else if f.script&32 != 0 {
			letter = "."
		}
		f.letters = strings.Repeat(letter, f.script>>2&3) + "rp"[how-1:how]
		f.inC.script = ctest.NewScript(f.letters)
		f.c = rawwaker.FutureFromRaw[uint64](f.inC.script.Raw())
	}
}

func (w *world) pollC(f *fut, h *handle, way int) {
	if f.exported {
		w.pollExported(f, h)
		return
	}
	r, t := h.ref, h.ref.t
	own := way == 1 && r.as == asGo && t.kind == core && !t.ended
	var cx *rawwaker.Context
	if own {
		cx = &t.cx
		r.as = asBox
	} else {
		cx = rawwaker.NewContext(h.w)
		r = h.inC()
		h.box = h.box || r.as == asBox
	}
	before := 0
	if !f.isOp {
		before = f.inC.script.Polls()
	}
	got, text := w.guarded(func() rawwaker.Poll[int] {
		if p := f.c.Poll(cx); p.IsReady() {
			return rawwaker.Ready(int(p.Value()))
		}
		return rawwaker.Pending[int]()
	})
	if text == "rawwaker: a C future panicked: why not" {
		text = panicked
	}
	value := 42
	if f.isOp {
		value = 7
		w.keep(f, r)
		f.last = pending
		if f.inC.completed {
			f.last = ready
		}
	} else {
		w.letters(f, r, f.inC.script.Polls()-before, own)
	}
	w.settle()
	w.judge(f, got.IsReady(), text)
	if f.last == ready {
		w.expect(got.Value() == value, "a C future's value is %d", got.Value())
	}
	if f.last != pending {
		w.endC(f)
	}
}

// letters is what the model expects of n polls of a script. Only the last of them may have been one
// that did not wake itself.
func (w *world) letters(f *fut, r ref, n int, own bool) {
	w.expect(n == 1 || own && n > 0, "a C future was polled %d times", n)
	for i := range n {
		letter := f.letters[0]
		f.letters = f.letters[1:]
		w.expect(letter == 's' || i == n-1, "a C future was polled again, but had not woken itself")
		switch letter {
		case 's':
			w.mWakeByRef(r)
		case 'k':
			w.keep(f, r)
		}
		f.last = map[byte]string{'r': ready, 'p': panicked}[letter]
		if f.last == "" {
			f.last = pending
		}
	}
}

// keep is clone_from, as a C future keeps a waker.
func (w *world) keep(f *fut, r ref) {
	if f.kept.as != nothing && f.kept.same(r) {
		return
	}
	old := f.kept
	f.kept = w.mClone(r)
	w.mDrop(old)
}

// endC is called for a C future that has been dropped.
func (w *world) endC(f *fut) {
	w.mDrop(f.kept)
	f.kept = ref{}
	switch {
	case f.isOp && !f.inC.completed:
		f.op.Complete(0)
	case f.inC.script != nil:
		w.expect(f.inC.script.Drops() == 1, "a C future was dropped %d times", f.inC.script.Drops())
		f.inC.script.Free()
	}
	f.inC = inC{}
	f.drops = 1
}

func (w *world) pollExported(f *fut, h *handle) {
	r := w.lend(h)
	f.under = r.ref
	if r.ref.as == asBox || r.ref.as == asC && (r.ref.t.kind == core || r.ref.t.kind == parker) {
		f.under.as = asGo
		if r.ref.t.ended {
			f.under = ref{t: r.ref.t, as: asNoop}
		}
	}
	code, out := ctest.PollOnce(f.raw, r.w)
	w.judgeCode(f, code, out)
	if f.last == pending {
		return
	}
	ctest.DropFuture(f.raw)
	f.inC = inC{}
	w.expect(f.drops == 1 || f.last == ready && f.drops == 0,
		"a Go future in C was dropped %d times", f.drops)
}

func (w *world) judgeCode(f *fut, code uint8, out uint64) {
	text := ""
	if code == capi.CodePanicked {
		text = panicked
	}
	w.judge(f, code == capi.CodeReady, text)
	if f.last == ready {
		w.expect(int(out) == f.polls, "a Go future's value in C is %d and not %d", out, f.polls)
	}
}

// completeC completes a C future; false: f is not one.
func (w *world) completeC(f *fut) bool {
	switch {
	case f.isOp && !f.inC.completed:
		f.inC.completed = true
		kept := f.kept
		f.kept = ref{}
		if kept.as != nothing {
			w.mWake(kept)
		}
		f.op.Complete(7)
		w.settle()
	case f.inC.script != nil && f.kept.as != nothing:
		w.mWake(w.mClone(f.kept)) // the script wakes a clone
		f.inC.script.Wake()
		w.settle()
	}
	return f.c != nil
}

func (w *world) cancelC(f *fut) {
	if f.exported {
		ctest.DropFuture(f.raw)
		w.expect(f.drops == 1, "a Go future that C has cancelled was dropped %d times", f.drops)
		return
	}
	f.c.Drop()
	w.endC(f)
}

func (w *world) blockOnInC(f *fut) {
	t := w.newTask(cparker)
	f.under = ref{t, asC, 0}
	code, out := ctest.BlockOn(rawwaker.FutureIntoRaw[int](f))
	w.judgeCode(f, code, out)
	w.expect(f.drops == 1 || f.last == ready && f.drops == 0,
		"rawwaker_block_on has dropped its future %d times", f.drops)
}

// ownC is what one thread of a crowd has in C.
type ownC struct {
	raws  [raws]rawwaker.RawWaker
	tasks [raws]*many
}

func (w *crowd) makeC(t *many) *rawwaker.Waker {
	if t.kind == cfn {
		return rawwaker.FromRaw(ctest.FnWaker())
	}
	t.token = ctoken{ctest.NewTask()}
	return rawwaker.FromRaw(t.token.Waker())
}

// wakeInC counts a wake that C is about to make.
func (t *many) wakeInC() {
	if t.kind == function {
		t.merged.Add(1)
	} else {
		t.made.Add(1)
	}
}

func (w *crowd) stepC(own *ownC, name string, h *shared, o Operation) {
	if !w.c {
		return
	}
	switch at := o.X % raws; name {
	case "borrow": // of a clone: lent words are valid only until another thread consumes the handle
		var k *rawwaker.Waker
		if !w.try(h, "Clone", func() { k = h.w.Clone() }) {
			return
		}
		r := k.AsRaw()
		h.t.wakeInC()
		if o.Y&1 == 0 {
			ctest.WakeByRef(r)
		} else {
			ctest.Wake(ctest.Clone(r))
		}
		k.Drop()
	case "move":
		at = o.Y % raws
		var r rawwaker.RawWaker
		if !w.try(h, "IntoRaw", func() { r = h.w.IntoRaw() }) {
			return
		}
		h.ends.Add(1)
		if own.tasks[at] != nil {
			ctest.Drop(own.raws[at])
		}
		own.raws[at], own.tasks[at] = r, h.t
	case "back":
		t, r := own.tasks[at], own.raws[at]
		if t == nil {
			return
		}
		own.tasks[at] = nil
		switch o.X / 16 % 4 {
		case 1:
			t.wakeInC()
			ctest.Wake(r)
		case 2:
			ctest.Drop(r)
		default:
			w.wakers[o.Y%wakers].Store(w.add(rawwaker.FromRaw(r), t))
		}
	}
}

func (w *crowd) endC(own *ownC) {
	for i, t := range own.tasks {
		if t != nil {
			ctest.Drop(own.raws[i])
		}
	}
}

// settleC waits for all wakes from C.
func (w *crowd) settleC() {
	if !w.c {
		return
	}
	arrived := make(chan struct{}, 1)
	r := rawwaker.FromFunc(func() { arrived <- struct{}{} }).IntoRaw()
	ctest.Wake(r)
	if !arrives(arrived) || !called() {
		w.fail("a wake from C does not arrive: a wake was lost")
	}
}

func (w *crowd) blockOnGate(g *gate, inC bool) {
	if w.c && inC {
		ctest.BlockOn(rawwaker.FutureIntoRaw[int](g))
		return
	}
	blockon.BlockOn(g)
}
