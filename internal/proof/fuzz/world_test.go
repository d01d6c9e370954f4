package fuzz

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

const (
	wakers  = 8
	raws    = 4
	cells   = 2
	futures = 4
	deepest = 3
)

// kind is the kind of a task.
type kind int

const (
	noop     kind = iota
	function      // a Go function
	core          // a task of this library, which the program polls
	token         // in C: each reference is a malloc of its own
	cfn           // in C: rawwaker_from_fn
	kinds
	parker  // of a BlockOn
	cparker // of a rawwaker_block_on
)

// task is what a waker wakes: the object, and what the model expects of it.
type task struct {
	kind  kind
	index int

	wakes int // of a function
	seen  atomic.Int64

	core      wake.Core
	cx        rawwaker.Context
	word      uint32 // of a core, and of the parkers
	schedules int
	scheduled atomic.Int64
	ended     bool
	polled    bool // under its own Context: then it does not end

	token                           ctask
	byValue, byRef, refs, abandoned int // of a token
}

// ctask is a ctest.Task, if there is cgo.
type ctask interface {
	Waker() rawwaker.RawWaker
	Free()
	counts() (byValue, byRef, live, foul int)
}

// Schedule implements [wake.Target].
func (t *task) Schedule(wake.Place) { t.scheduled.Add(1) }

// Wake implements [rawwaker.Wake].
func (t *task) Wake() { t.seen.Add(1) }

// ref is one reference: of which task, and in which form Go or C holds it.
type ref struct {
	t  *task
	as form
	id int // of a token, each reference's own
}

type form int

const (
	nothing form = iota
	asNoop
	asGo  // in Go memory
	asBox // Go's, held by C
	asC   // two words of C; of a core that has ended, its box
)

func (r ref) same(o ref) bool {
	if r.as == asNoop || o.as == asNoop {
		return r.as == o.as
	}
	return r.as == o.as && r.t == o.t && r.id == o.id
}

// handle is a Waker.
type handle struct {
	w    *rawwaker.Waker
	ref  ref
	gone string // what a panic of its misuse names; "" if it is live
	held bool   // CloneFrom has made it stand for another
	box  bool   // it has crossed to C
}

// raw is a waker that C holds.
type raw struct {
	w   rawwaker.RawWaker
	ref ref
}

// cell is an AtomicWaker.
type cell struct {
	rawwaker.AtomicWaker
	ref   ref
	scope bool // a task's own waker, kept without a clone
}

// world is the state of one program.
type world struct {
	p     Program
	c     bool // wakers of C, and crossing
	at    int
	depth int
	ids   int
	err   error
	leave bool // a reference was abandoned: only the collector ends it
	gcs   int

	tasks   []*task
	wakers  [wakers]*handle
	raws    [raws]raw
	cells   [cells]cell
	futures [futures]*fut

	arrived chan struct{} // see settle
	probe   rawwaker.RawWaker
}

// failure is the panic of fail.
type failure struct{ error }

// fail ends the operation. It keeps the text, because C may be between it and the caller.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("operation %d: %s", w.at, fmt.Sprintf(format, args...))
	}
	panic(failure{w.err})
}

func (w *world) expect(ok bool, format string, args ...any) {
	if !ok {
		w.fail(format, args...)
	}
}

// panics calls f and expects a panic with that text; "": no panic.
func (w *world) panics(want string, f func()) {
	got := ""
	func() {
		defer func() {
			switch v := recover().(type) {
			case nil:
			case failure:
				panic(v)
			default:
				got = fmt.Sprint(v)
			}
		}()
		f()
	}()
	w.expect(got == want, "panic %q and not %q", got, want)
}

// must is panics for a call that panics only on a misused handle; true: it did not.
func (w *world) must(call string, f func(), all ...*handle) bool {
	for _, h := range all {
		if h.gone != "" {
			w.panics("rawwaker: "+call+h.gone, f)
			return false
		}
	}
	w.panics("", f)
	return true
}

const (
	isEmpty = " of an empty Waker"
	dropped = " after Drop"
	woken   = " after Wake"
	moved   = " after IntoRaw"
	isOver  = " of a borrowed waker whose task or poll has ended: Clone it to keep it"
)

func emptyHandle() *handle { return &handle{w: new(rawwaker.Waker), gone: isEmpty} }

func (w *world) newTask(k kind) *task {
	t := &task{kind: k, index: len(w.tasks)}
	w.tasks = append(w.tasks, t)
	return t
}

// The model's steps.

func (w *world) mClone(r ref) ref {
	if r.as == asC && r.t.kind == token {
		r.t.refs++
		w.ids++
		r.id = w.ids
	}
	return r
}

func (w *world) mDrop(r ref) {
	if r.as == asC && r.t.kind == token {
		r.t.refs--
	}
}

func (w *world) mNotify(t *task) {
	if t.word == wake.Parked {
		t.schedules++
	}
	t.word = wake.Notified
}

func (w *world) mWakeByRef(r ref) {
	switch {
	case r.as == asNoop:
	case r.t.kind == function:
		r.t.wakes++
	case r.t.kind == token:
		r.t.byRef++
	case r.t.kind == cparker, r.as == asGo:
		w.mNotify(r.t)
	case r.as == asBox && !r.t.ended:
		w.mNotify(r.t)
	}
}

func (w *world) mWake(r ref) {
	if r.as == asC && r.t.kind == token {
		r.t.byValue++
		r.t.refs--
		return
	}
	w.mWakeByRef(r)
}

// inC is the form in which C sees a handle that is lent or moved to it.
func (h *handle) inC() ref {
	r := h.ref
	switch {
	case r.as != asGo:
	case r.t.ended && !h.box:
		r = ref{as: asNoop}
	default:
		r.as = asBox
	}
	return r
}

// inGo is the form in which Go sees a reference that comes from C.
func (r ref) inGo() ref {
	if r.as == asBox {
		r.as = asGo
		if r.t.ended {
			r.as = asC
		}
	}
	return r
}

// put ends most operations: it stores a new handle, and drops the previous one.
func (w *world) put(at int, h *handle) {
	old := w.wakers[at]
	w.wakers[at] = h
	w.end(old)
}

func (w *world) end(h *handle) {
	if h.gone == "" {
		h.gone = dropped
		w.mDrop(h.ref)
		h.w.Drop()
	}
}

func (w *world) make(k kind) *handle {
	if w.c && (k == token || k == cfn) {
		return w.makeC(k)
	}
	switch k {
	case noop:
		return &handle{w: rawwaker.Noop(), ref: ref{w.newTask(noop), asNoop, 0}}
	case core:
		t := w.newTask(core)
		t.core.Init(t)
		wake.Rawwaker.Bind(&t.cx, &t.core)
		return &handle{w: t.cx.Waker().Clone(), ref: ref{t, asGo, 0}}
	}
	t := w.newTask(function)
	h := &handle{ref: ref{t, asGo, 0}}
	if k == function {
		h.w = rawwaker.FromFunc(func() { t.seen.Add(1) })
	} else {
		h.w = rawwaker.FromWake(t)
	}
	return h
}

func (w *world) clone(h *handle) *handle {
	return &handle{w: h.w.Clone(), ref: w.mClone(h.ref)}
}

// The operations.

func (w *world) task(x int) *task {
	if len(w.tasks) == 0 {
		return nil
	}
	return w.tasks[x%len(w.tasks)]
}

func (w *world) table() map[string]func(x, y int) {
	return map[string]func(x, y int){
		"make": func(x, y int) { w.put(x%wakers, w.make(kind(y)%kinds)) },
		"clone": func(x, y int) {
			h := w.wakers[x%wakers]
			var n *handle
			if w.must("Clone", func() { n = &handle{w: h.w.Clone()} }, h) {
				n.ref = w.mClone(h.ref)
				w.put(y%wakers, n)
			}
		},
		"wake": func(x, y int) {
			h := w.wakers[x%wakers]
			if w.must("Wake", h.w.Wake, h) {
				h.gone = woken
				w.mWake(h.ref)
			}
		},
		"wake_by_ref": func(x, y int) {
			h := w.wakers[x%wakers]
			if w.must("WakeByRef", h.w.WakeByRef, h) {
				w.mWakeByRef(h.ref)
			}
		},
		"drop": func(x, y int) {
			h := w.wakers[x%wakers]
			if w.must("Drop", h.w.Drop, h) {
				h.gone = dropped
				w.mDrop(h.ref)
			}
		},
		"forget": func(x, y int) {
			h := w.wakers[x%wakers]
			w.wakers[x%wakers] = emptyHandle()
			if h.gone != "" {
				return
			}
			w.abandon(h.ref)
			w.leave = w.leave || h.box
		},
		"clone_from":    w.cloneFrom,
		"will_wake":     w.willWake,
		"borrow":        func(x, y int) { w.borrow(w.wakers[x%wakers], y) },
		"move":          func(x, y int) { w.move(w.wakers[x%wakers], y%raws) },
		"back":          func(x, y int) { w.back(&w.raws[x%raws], x/16%4, y%wakers) },
		"cell_register": w.register,
		"cell_wake":     func(x, y int) { w.cellWake(&w.cells[x%cells]) },
		"cell_take":     func(x, y int) { w.cellDrop(&w.cells[x%cells]) },
		"cell_drop":     func(x, y int) { w.cellDrop(&w.cells[x%cells]) },
		"future":        w.newFuture,
		"poll":          func(x, y int) { w.poll(w.futures[x%futures], y) },
		"complete":      func(x, y int) { w.complete(w.futures[x%futures]) },
		"cancel":        func(x, y int) { w.cancel(x % futures) },
		"block_on":      w.blockOn,
		"ref": func(x, y int) {
			t := w.task(x)
			if t == nil || t.kind != core {
				return
			}
			if t.ended {
				w.panics("rawwaker: Clone"+isOver, func() { t.cx.Waker().Clone() })
				return
			}
			w.put(y%wakers, &handle{w: t.cx.Waker().Clone(), ref: ref{t, asGo, 0}})
		},
		"close": func(x, y int) {
			if t := w.task(x); t != nil && t.kind == core && !t.ended && !t.polled {
				t.ended = true
				wake.Rawwaker.End(&t.cx)
			}
		},
		"read": func(x, y int) {
			if t := w.task(x); t != nil && t.kind == core {
				got := t.core.Consume()
				w.expect(got == (t.word == wake.Notified),
					"Consume of task %d returned %v%s", t.index, got, lost(!got))
				t.word = wake.Empty
			}
		},
		"sleep": func(x, y int) {
			if t := w.task(x); t != nil && t.kind == core {
				got := t.core.Sleep()
				w.expect(got == (t.word == wake.Empty),
					"Sleep of task %d returned %v%s", t.index, got, lost(got))
				if got {
					t.word = wake.Parked
				}
			}
		},
		"retire": func(x, y int) {
			if w.gcs++; w.gcs == 1 && y%4 == 0 { // it takes as long as a hundred other operations
				runtime.GC()
			}
		},
	}
}

func lost(yes bool) string {
	if yes {
		return ": a wake was lost"
	}
	return ""
}

func (w *world) cloneFrom(x, y int) {
	d, s := w.wakers[x%wakers], w.wakers[y%wakers]
	f := func() { d.w.CloneFrom(s.w) }
	order := []*handle{d, s}
	switch {
	case d.gone == isEmpty && !d.held:
		order = []*handle{s}
	case d.held:
		order = []*handle{s, d}
	}
	if !w.must("CloneFrom", f, order...) || d.gone == "" && d.ref.same(s.ref) {
		return
	}
	old := d.ref
	d.ref = w.mClone(s.ref)
	if d.gone == "" {
		w.mDrop(old)
	}
	d.gone, d.held, d.box = "", true, false
}

func (w *world) willWake(x, y int) {
	a, b := w.wakers[x%wakers], w.wakers[y%wakers]
	var got bool
	if w.must("WillWake", func() { got = a.w.WillWake(b.w) }, b, a) {
		w.expect(got == a.ref.same(b.ref), "WillWake returned %v", got)
	}
}

// abandon leaves a reference to the collector.
func (w *world) abandon(r ref) {
	if r.as != asC {
		return
	}
	w.leave = true
	if r.t.kind == token {
		r.t.abandoned++
	}
}

// Cells.

func (w *world) register(x, y int) {
	c := &w.cells[x%cells]
	if x&16 == 0 {
		h := w.wakers[y%wakers]
		w.registerIn(c, h.w, h.ref, h.gone, false)
		return
	}
	if t := w.task(y); t != nil && t.kind == core {
		gone := ""
		if t.ended {
			gone = isOver
		}
		w.registerIn(c, t.cx.Waker(), ref{t, asGo, 0}, gone, true)
	}
}

func (w *world) registerIn(c *cell, k *rawwaker.Waker, r ref, gone string, scope bool) {
	if gone != "" {
		w.panics("rawwaker: Register"+gone, func() { c.Register(k) })
		return
	}
	w.panics("", func() { c.Register(k) })
	old, wasScope := c.ref, c.scope
	switch {
	case scope:
		c.ref, c.scope = r, true
	case old.as != nothing && !wasScope && old.same(r):
		return
	default:
		c.ref, c.scope = w.mClone(r), false
	}
	if !wasScope {
		w.mDrop(old)
	}
}

func (w *world) cellWake(c *cell) {
	r := c.ref
	c.ref = ref{}
	if r.as != nothing {
		w.mWake(r)
	}
	c.Wake()
}

func (w *world) cellDrop(c *cell) {
	if !c.scope {
		w.mDrop(c.ref)
	}
	c.ref = ref{}
	c.Drop()
}

// Futures.

// fut is a future in Go, with the scripts of fuzz.c. In the C world C polls some of them, and some
// are C futures.
type fut struct {
	w                     *world
	script, polls, nested int
	slot                  int // the handle that gets a BlockOn's waker; -1: not polled by a BlockOn
	completed, busy       bool
	drops, turn           int
	last                  string // the result of the last poll
	cell                  cell
	under                 ref
	scope                 bool // under is a task's own waker, in its Context
	inC
}

const (
	pending  = "pending"
	ready    = "ready"
	panicked = "why not"
)

// Poll implements [rawwaker.Future].
func (f *fut) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	w, k := f.w, cx.Waker()
	if f.turn++; f.turn > 1 {
		w.expect(f.slot >= 0, "a second poll of one call")
		w.expect(f.under.t.word == wake.Notified, "polled again without a wake")
		f.under.t.word = wake.Empty
	}
	f.polls++
	if f.script&32 == 0 {
		w.registerIn(&f.cell, k, f.under, "", f.scope)
	}
	if f.turn == 1 {
		if f.slot >= 0 {
			w.put(f.slot, &handle{w: k.Clone(), ref: w.mClone(f.under)})
		}
		w.depth++
		w.run(f.nested, true)
		w.depth--
	}
	how := f.script & 3
	done := f.completed || f.slot >= 0 && f.polls > 3
	if how == 1 || how == 2 {
		done = f.polls > f.script>>2&3
	}
	wakes := f.script&64 != 0
	if !done {
		wakes = f.script&16 != 0 || f.slot >= 0 && f.under.t.word != wake.Notified
	}
	if wakes {
		w.mWakeByRef(f.under)
		k.WakeByRef()
	}
	switch {
	case !done:
		f.last = pending
		return rawwaker.Pending[int]()
	case how == 2:
		f.last = panicked
		panic(panicked)
	}
	f.last = ready
	w.cellDrop(&f.cell)
	return rawwaker.Ready(f.polls)
}

// Drop implements [rawwaker.Dropper].
func (f *fut) Drop() {
	f.drops++
	f.w.expect(f.drops == 1 && f.last != ready,
		"a future was dropped %d times, after %s", f.drops, f.last)
	f.w.cellDrop(&f.cell)
}

func (w *world) newFuture(x, y int) {
	if old := w.futures[x%futures]; old != nil && old.busy {
		return
	}
	w.cancel(x % futures)
	f := &fut{w: w, script: y, slot: -1}
	w.futures[x%futures] = f
	if w.c {
		w.toC(f, x/16%4)
	}
}

func (w *world) poll(f *fut, y int) {
	h := w.wakers[y%wakers]
	if f == nil || f.busy {
		return
	}
	if h.gone != "" {
		w.panics("rawwaker: NewContext"+h.gone, func() { rawwaker.NewContext(h.w) })
		return
	}
	// The lent waker outlives the poll, whatever the poll does.
	h = w.clone(h)
	f.turn, f.under, f.scope, f.nested, f.busy = 0, h.ref, false, y>>6, true
	defer func() { f.busy = false }()
	if f.ofC() {
		w.pollC(f, h, y>>4&3)
	} else {
		cx := (*rawwaker.Context)(nil)
		if t := h.ref.t; y>>4&3 == 1 && h.ref.as == asGo && t.kind == core && !t.ended {
			cx, f.scope = &t.cx, true
			was := t.polled
			t.polled = true
			defer func() { t.polled = was }()
		} else {
			cx = rawwaker.NewContext(h.w)
		}
		got, text := w.guarded(func() rawwaker.Poll[int] { return f.Poll(cx) })
		w.judge(f, got.IsReady(), text)
		if got.IsReady() {
			w.expect(got.Value() == f.polls, "a future's value is %d and not %d", got.Value(), f.polls)
		}
	}
	f.busy = false
	if f.last != pending { // a future that panicked is abandoned, unless that has been done
		i := slices.Index(w.futures[:], f)
		w.futures[i] = nil
		if f.last == panicked && f.drops == 0 {
			f.Drop()
		}
	}
	w.end(h)
}

// guarded polls and catches a panic of the future.
func (w *world) guarded(poll func() rawwaker.Poll[int]) (got rawwaker.Poll[int], text string) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case failure:
			panic(v)
		default:
			text = fmt.Sprint(v)
		}
	}()
	return poll(), ""
}

func (w *world) judge(f *fut, isReady bool, text string) {
	if w.err != nil {
		panic(failure{w.err})
	}
	got := pending
	if isReady {
		got = ready
	}
	if text != "" {
		got = text
	}
	w.expect(got == f.last, "a poll gave %s and not %s", got, f.last)
}

func (w *world) complete(f *fut) {
	if f == nil || w.completeC(f) {
		return
	}
	f.completed = true
	w.cellWake(&f.cell)
}

func (w *world) cancel(i int) {
	f := w.futures[i]
	if f == nil || f.busy {
		return
	}
	w.futures[i] = nil
	if f.ofC() {
		w.cancelC(f)
	} else {
		f.Drop()
	}
}

func (w *world) blockOn(x, y int) {
	if w.depth >= deepest {
		return
	}
	f := &fut{w: w, script: x, nested: y % 8, slot: y / 8 % wakers, busy: true}
	if w.c && x&128 != 0 {
		w.blockOnInC(f)
		return
	}
	t := w.newTask(parker)
	f.under, f.scope = ref{t, asGo, 0}, true
	got, text := w.guarded(func() rawwaker.Poll[int] { return rawwaker.Ready(blockon.BlockOn(f)) })
	t.ended = true
	w.judge(f, got.IsReady(), text)
	if got.IsReady() {
		w.expect(got.Value() == f.polls && f.drops == 0,
			"BlockOn returned %d, want %d, after %d drops", got.Value(), f.polls, f.drops)
	} else {
		w.expect(f.drops == 1, "BlockOn has dropped its future %d times", f.drops)
	}
}

// The program.

// step runs the operation w.at.
func (w *world) step() {
	o := w.p.Ops[w.at]
	operations.Add(1)
	w.table()[o.Name](o.X, o.Y)
}

// run runs n operations: each on its own goroutine, or, inside a poll, all on this one, which is
// busy.
func (w *world) run(n int, inside bool) {
	for ; n > 0; n-- {
		if inside {
			if w.at++; w.at >= len(w.p.Ops) {
				return
			}
			w.step()
			continue
		}
		if w.at >= len(w.p.Ops) {
			return
		}
		if w.p.Ops[w.at].Who == 0 {
			w.guard(w.step)
		} else {
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.guard(w.step)
			}()
			<-done
		}
		if w.err == nil {
			w.guard(w.compare)
		}
		if w.err != nil {
			return
		}
		w.at++
	}
}

// guard records a panic of f.
func (w *world) guard(f func()) {
	defer func() {
		if v := recover(); v != nil && w.err == nil {
			w.err = fmt.Errorf("operation %d: panic: %v\n%s", w.at, v, debug.Stack())
		}
	}()
	f()
}

// compare checks everything that is visible after each operation.
func (w *world) compare() {
	for _, t := range w.tasks {
		got := int(t.seen.Load())
		w.expect(got == t.wakes, "task %d: %d of %d wakes of a function have arrived%s",
			t.index, got, t.wakes, lost(got < t.wakes))
		got = int(t.scheduled.Load())
		w.expect(got == t.schedules, "task %d was scheduled %d times, want %d%s",
			t.index, got, t.schedules, lost(got < t.schedules))
		if t.token == nil {
			continue
		}
		byValue, byRef, live, foul := t.token.counts()
		w.expect(byValue == t.byValue && byRef == t.byRef,
			"task %d: %d and %d of %d and %d wakes have arrived%s",
			t.index, byValue, byRef, t.byValue, t.byRef, lost(byValue < t.byValue || byRef < t.byRef))
		w.expect(live <= t.refs && live >= t.refs-t.abandoned,
			"task %d: %d references live, want %d, of which %d are left to the collector",
			t.index, live, t.refs, t.abandoned)
		w.expect(foul == 0, "task %d: a slot was called on an invalid reference", t.index)
	}
}

// sequence runs a program one operation after the other.
func sequence(p Program, c bool) error {
	before := balanced()
	w := &world{p: p, c: c}
	for i := range w.wakers {
		w.wakers[i] = emptyHandle()
	}
	w.run(Most, false)
	w.guard(func() {
		if w.err == nil {
			w.finish()
			w.compare()
		}
	})
	if w.err != nil {
		return w.err
	}
	w.wakers, w.futures = [wakers]*handle{}, [futures]*fut{}
	return nothingLeft(before, w.leave, func() error {
		for _, t := range w.tasks {
			if t.token != nil {
				if _, _, live, _ := t.token.counts(); live != t.refs-t.abandoned {
					return fmt.Errorf("task %d: %d references are left, %d were abandoned",
						t.index, live, t.abandoned)
				}
			}
		}
		for _, t := range w.tasks {
			if t.token != nil {
				t.token.Free()
			}
		}
		return nil
	})
}

// finish drops all that is left.
func (w *world) finish() {
	for i := range w.futures {
		w.cancel(i)
	}
	for i := range w.cells {
		w.cellDrop(&w.cells[i])
	}
	for _, h := range w.wakers {
		if w.p.Mode&Early != 0 && h.gone == "" {
			h.gone = woken
			w.mWake(h.ref)
			h.w.Wake()
		}
		w.end(h)
	}
	w.finishC()
	for _, t := range w.tasks {
		if t.kind == core && !t.ended {
			wake.Rawwaker.End(&t.cx)
		}
	}
}

// balances are the counts that must be the same at the beginning and the end of a program.
var balances = []struct {
	what string
	now  func() int
}{
	{"wakers of C", capi.Live},
	{"cores that C knows", wake.Registered},
	{"handles", func() int { return int(wake.Handles.Load()) }},
	{"futures in C", func() int { return int(wake.Futures.Load()) }},
}

func balanced() (now []int) {
	for _, b := range balances {
		now = append(now, b.now())
	}
	return now
}

// nothingLeft waits until all that a program has made is gone: for the dispatcher, and for the
// collector if something was left to it. What existed before belongs to a program that has failed.
func nothingLeft(before []int, collect bool, and func() error) (err error) {
	const pause = 100 * time.Microsecond
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(pause) {
		if collect {
			runtime.GC()
		}
		err = nil
		for i, n := range balanced() {
			if n > before[i] {
				err = errors.Join(err, fmt.Errorf("%d %s left, %d before",
					n, balances[i].what, before[i]))
			}
		}
		if err == nil {
			err = and()
		}
		if err == nil {
			return nil
		}
	}
	return err
}
