package fuzz

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// crowd is the world in which the threads run their parts at once. All of them may use each
// handle: of those that consume it one wins, and the others panic. The model checks what holds in
// any order.
type crowd struct {
	c       bool
	wakers  [wakers]atomic.Pointer[shared]
	cells   [cells]rawwaker.AtomicWaker // cell i is registered in by thread i only
	futures [Threads]gate
	gates   [Threads]gate
	running atomic.Int64
	maybe   atomic.Int64 // wakes of cells, which may have kept a waker or none

	mu      sync.Mutex // guards the rest
	err     error
	handles []*shared
	pairs   [][2]*shared // a panic reported that one of the two was consumed
	tasks   []*many
}

// shared is a Waker that several threads use.
type shared struct {
	w     *rawwaker.Waker
	t     *many
	ends  atomic.Int64 // calls that have consumed it
	after atomic.Int64 // calls that panicked because it was consumed
}

// many is a task that several threads wake.
type many struct {
	kind   kind
	made   atomic.Int64 // wakes of which each must arrive
	merged atomic.Int64 // wakes from C: at least one arrives after each
	seen   atomic.Int64

	core      wake.Core
	cx        rawwaker.Context
	dirty     atomic.Bool // a wake was made that no Consume has reported
	unsure    atomic.Bool // or its waker was consumed, so there was none
	asleep    bool        // of thread 0, the only one that polls
	scheduled atomic.Int64
	ended     atomic.Bool
	token     ctask
}

func (t *many) Schedule(wake.Place) { t.scheduled.Add(1) }
func (t *many) Wake()               { t.seen.Add(1) }

// gate is a future that becomes ready after a number of wakes.
type gate struct {
	waker        rawwaker.AtomicWaker
	opens, wants atomic.Int64
	polls        atomic.Int64
	waited       atomic.Bool
	ended        bool
}

// Poll implements [rawwaker.Future].
func (g *gate) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	g.polls.Add(1)
	g.waker.Register(cx.Waker())
	if g.opens.Load() < g.wants.Load() {
		return rawwaker.Pending[int]()
	}
	g.waker.Drop()
	return rawwaker.Ready(1)
}

func (w *crowd) fail(format string, args ...any) {
	w.mu.Lock()
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
	w.mu.Unlock()
}

// add registers w, so that it is dropped at the end.
func (w *crowd) add(k *rawwaker.Waker, t *many) *shared {
	h := &shared{w: k, t: t}
	w.mu.Lock()
	w.handles = append(w.handles, h)
	w.mu.Unlock()
	return h
}

func (w *crowd) make(k kind) *shared {
	t := &many{kind: k}
	w.mu.Lock()
	w.tasks = append(w.tasks, t)
	w.mu.Unlock()
	switch {
	case w.c && (k == token || k == cfn):
		return w.add(w.makeC(t), t)
	case k == noop:
		return w.add(rawwaker.Noop(), t)
	case k == core:
		t.core.Init(t)
		wake.Rawwaker.Bind(&t.cx, &t.core)
		return w.add(t.cx.Waker().Clone(), t)
	case k == function:
		return w.add(rawwaker.FromFunc(func() { t.seen.Add(1) }), t)
	default:
		t.kind = function
		return w.add(rawwaker.FromWake(t), t)
	}
}

// try makes a call that may find h consumed. True: the call succeeded.
func (w *crowd) try(h *shared, call string, f func()) (ok bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		text, found := strings.CutPrefix(fmt.Sprint(v), "rawwaker: "+call)
		// What the cell keeps decides which of the two the panic names.
		for _, of := range []string{"Clone", "WillWake"} {
			if call == "Register" && !found {
				text, found = strings.CutPrefix(fmt.Sprint(v), "rawwaker: "+of)
			}
		}
		switch {
		case found && (text == dropped || text == woken || text == moved):
			h.after.Add(1)
		case found && (call == "IntoRaw") && text == " during another call on the same Waker":
		default:
			w.fail("%s panics with %v\n%s", call, v, debug.Stack())
		}
	}()
	f()
	return true
}

// wake counts a wake of h, made by f.
func (w *crowd) wake(h *shared, call string, f func()) bool {
	h.t.dirty.Store(true) // before the wake: a Consume after it reports this one too
	if !w.try(h, call, f) {
		h.t.unsure.Store(true)
		return false
	}
	h.t.made.Add(1)
	return true
}

func (w *crowd) open(g *gate) {
	g.opens.Add(1)
	w.maybe.Add(1)
	g.waker.Wake()
}

func (w *crowd) pollsOf(t *many) bool {
	if !t.core.Consume() {
		return false
	}
	t.dirty.Store(false)
	return true
}

// needsWaker are the operations on a waker x, which is made first if there is none.
var needsWaker = strings.Fields("clone wake wake_by_ref drop forget clone_from will_wake borrow " +
	"move")

// step runs one operation of thread who.
func (w *crowd) step(who int, own *ownC, o Operation) {
	operations.Add(1)
	slot := &w.wakers[o.X%wakers]
	h, other := slot.Load(), w.wakers[o.Y%wakers].Load()
	name := o.Name
	if h == nil && slices.Contains(needsWaker, name) {
		name = "make"
	}
	switch name {
	case "make":
		slot.Store(w.make(kind(o.Y) % kinds))
	case "clone":
		w.try(h, "Clone", func() { w.wakers[o.Y%wakers].Store(w.add(h.w.Clone(), h.t)) })
	case "wake":
		if w.wake(h, "Wake", h.w.Wake) {
			h.ends.Add(1)
		}
	case "wake_by_ref":
		w.wake(h, "WakeByRef", h.w.WakeByRef)
	case "drop", "forget":
		if w.try(h, "Drop", h.w.Drop) {
			h.ends.Add(1)
		}
	case "clone_from": // this thread's own takes one after the other
		var k rawwaker.Waker
		if w.try(h, "CloneFrom", func() { k.CloneFrom(h.w) }) {
			if other != nil && w.try(other, "CloneFrom", func() { k.CloneFrom(other.w) }) {
				h = other
			}
			w.wake(h, "WakeByRef", k.WakeByRef)
			k.Drop()
		}
	case "will_wake":
		if other != nil {
			var got bool
			either := new(shared) // the text of the panic does not name which of the two
			if !w.try(either, "WillWake", func() { got = h.w.WillWake(other.w) }) {
				w.mu.Lock()
				w.pairs = append(w.pairs, [2]*shared{h, other})
				w.mu.Unlock()
			}
			if got && h.t != other.t && (h.t.kind != noop || other.t.kind != noop) {
				w.fail("wakers of two tasks are equal")
			}
		}
	case "cell_register":
		if other == nil {
			return
		}
		if c := o.X % cells; c != who {
			w.maybe.Add(1)
			w.cells[c].Wake()
		} else {
			w.try(other, "Register", func() { w.cells[c].Register(other.w) })
		}
	case "cell_wake":
		w.maybe.Add(1)
		w.cells[o.X%cells].Wake()
	case "cell_take", "cell_drop":
		w.cells[o.X%cells].Drop()
	case "future":
		g := &w.futures[who]
		g.wants.Store(g.opens.Load() + 1)
		g.ended = false
	case "poll":
		if g := &w.futures[who]; other != nil && !g.ended {
			n := rawwaker.Noop()
			cx := rawwaker.NewContext(n)
			k := n
			// The context's waker must outlive the poll.
			if w.try(other, "Clone", func() { k = other.w.Clone() }) {
				cx = rawwaker.NewContext(k)
			}
			g.ended = g.Poll(cx).IsReady()
			k.Drop()
		}
	case "complete":
		if o.X&128 != 0 {
			w.open(&w.gates[o.X%Threads])
		} else {
			w.open(&w.futures[o.X%Threads])
		}
	case "cancel":
		w.futures[who].waker.Drop()
		w.futures[who].ended = true
	case "block_on":
		g := &w.gates[who]
		opens := g.opens.Load()
		g.wants.Store(opens + 3)
		g.polls.Store(0)
		g.waited.Store(true)
		w.blockOnGate(g, o.X&128 != 0)
		g.waited.Store(false)
		if polls, most := g.polls.Load(), g.opens.Load()-opens+4; polls > most {
			w.fail("a BlockOn has polled %d times, and was woken %d times at most", polls, most-4)
		}
	case "close":
		if h != nil && h.t.kind == core && h.t.ended.CompareAndSwap(false, true) {
			wake.Rawwaker.End(&h.t.cx)
		}
	case "read":
		if who == 0 && h != nil && h.t.kind == core {
			w.pollsOf(h.t)
			h.t.asleep = false
		}
	case "sleep":
		if who == 0 && h != nil && h.t.kind == core && !h.t.asleep {
			h.t.scheduled.Store(0)
			h.t.asleep = h.t.core.Sleep()
		}
	default:
		if h != nil {
			w.stepC(own, name, h, o)
		}
	}
}

// together runs the threads' parts at once.
func together(p Program, c bool) error {
	before := balanced()
	w := &crowd{c: c}
	w.running.Store(Threads)
	var ready atomic.Int64
	for who := range Threads {
		go func() {
			defer w.running.Add(-1)
			defer func() {
				if v := recover(); v != nil {
					w.fail("panic: %v\n%s", v, debug.Stack())
				}
			}()
			var own ownC
			// Else the first may end before the last has begun.
			for ready.Add(1); ready.Load() < Threads; {
				runtime.Gosched()
			}
			for _, o := range p.Ops {
				if o.Who == who {
					w.step(who, &own, o)
				}
			}
			w.endC(&own)
		}()
	}
	// This goroutine opens the gates of those that still wait.
	for from := time.Now(); w.running.Load() > 0; time.Sleep(20 * time.Microsecond) {
		for i := range w.gates {
			if w.gates[i].waited.Load() {
				w.open(&w.gates[i])
			}
		}
		if time.Since(from) > time.Minute {
			return fmt.Errorf("a BlockOn never returns: a wake was lost")
		}
	}
	for i := range w.cells {
		w.cells[i].Drop()
	}
	for i := range w.gates {
		w.gates[i].waker.Drop()
		w.futures[i].waker.Drop()
	}
	for _, pair := range w.pairs {
		if pair[0].ends.Load()+pair[1].ends.Load() == 0 {
			w.fail("a call reported that one of two wakers was consumed, but no call has consumed either")
		}
	}
	for _, h := range w.handles {
		w.judgeHandle(h)
	}
	w.settleC()
	for _, t := range w.tasks {
		w.judge(t)
		if t.kind == core && !t.ended.Load() {
			wake.Rawwaker.End(&t.cx)
		}
	}
	if w.err != nil {
		return w.err
	}
	return nothingLeft(before, false, func() error {
		for _, t := range w.tasks {
			if t.token != nil {
				if _, _, live, foul := t.token.counts(); live != 0 || foul != 0 {
					return fmt.Errorf("%d references are left, %d calls on an invalid one", live, foul)
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

// judgeHandle checks that each reference ended exactly once, and that a call that reported its end
// was right.
func (w *crowd) judgeHandle(h *shared) {
	ends, after := h.ends.Load(), h.after.Load()
	if ends > 1 {
		w.fail("a waker was consumed %d times", ends)
	}
	if ends == 0 && after > 0 {
		w.fail("a call reported that a waker was consumed, but no call has consumed it")
	}
	if ends == 0 && !w.try(h, "Drop", h.w.Drop) {
		w.fail("a waker that no call has consumed cannot be dropped")
	}
}

func (w *crowd) judge(t *many) {
	made, maybe, merged, seen := t.made.Load(), w.maybe.Load(), t.merged.Load(), t.seen.Load()
	switch {
	case t.token != nil:
		byValue, byRef, _, _ := t.token.counts()
		seen = int64(byValue + byRef)
	case t.kind == core:
		if t.asleep && !t.core.Asleep() && t.scheduled.Load() == 0 {
			w.fail("a task that slept was woken, but not scheduled: a wake was lost")
		}
		// The box of a task that has ended wakes nothing.
		if !w.pollsOf(t) && t.dirty.Load() && !t.unsure.Load() && !t.ended.Load() {
			w.fail("a task was woken, but Consume does not report it: a wake was lost")
		}
		return
	case t.kind != function:
		return
	}
	least := made
	if merged > 0 {
		least++
	}
	if seen < least {
		w.fail("%d of %d wakes have arrived: a wake was lost", seen, least)
	}
	if seen > made+maybe+merged {
		w.fail("%d wakes have arrived, but at most %d were made", seen, made+maybe+merged)
	}
}
