package rawwaker

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// goFuture is a Go future or stream that C holds, under a number that is never used again.
type goFuture struct {
	f    pollDropper
	cx   *Context // its waker is in state ended unless C is in a slot
	over bool     // no more polls: f is nil
}

type pollDropper interface {
	// poll returns a code for C. After it has returned over, there is no other poll, and no drop.
	poll(cx *Context, out uintptr) (code uint8, over bool)
	drop()
}

var goFutures wake.Table[goFuture] // and streams

// goKind is what the texts of a future or a stream name.
type goKind struct{ what, poll string }

var (
	kindFuture = goKind{"Go future", "poll"}
	kindStream = goKind{"Go stream", "poll_next"}
)

func init() {
	capi.GoFutures = kindFuture.slots()
	capi.GoStreams = kindStream.slots()
}

func (k goKind) slots() capi.Slots { return capi.Slots{Poll: k.pollSlot, Drop: k.dropSlot} }

// FutureIntoRaw gives a Go future to C, which owns it. C polls it on any thread, with any waker,
// one poll at a time, and drops it exactly once. A drop before it was ready cancels it: f.Drop is
// called if f is a [Dropper]. C gives poll memory for a T. A [CFuture] becomes the C future that
// it is.
//
// A panic in Poll gives RAWWAKER_PANICKED with its text, as does a poll after completion. These
// abort the process with a line that names the slot, because C could not be told: [runtime.Goexit]
// in Poll, a panic in Drop, a poll or drop of a future that C has dropped, and one during another.
//
// It panics if T has Go pointers, which C must not keep (use [FutureIntoRawFunc]), if f is nil, and
// in a build without cgo.
func FutureIntoRaw[T any](f Future[T]) RawFuture {
	const call = "FutureIntoRaw"
	needCgo(call)
	checkPlain[T](call, ": use FutureIntoRawFunc")
	if f == nil {
		panic("rawwaker: FutureIntoRaw of a nil future")
	}
	if c, ok := f.(*CFuture[T]); ok {
		return c.intoRaw()
	}
	return export(&typed[T]{f, write[T]("poll")}, unsafe.Sizeof(*new(T)))
}

// write returns a put for results that C can hold as they are.
func write[T any](slot string) func(out unsafe.Pointer, v T) {
	return func(out unsafe.Pointer, v T) {
		switch {
		case unsafe.Sizeof(v) == 0:
		case out == nil:
			panic(fmt.Sprintf("rawwaker: %s: out is NULL, and the result has %d bytes "+
				"(give %[1]s memory for it)", slot, unsafe.Sizeof(v)))
		default:
			*(*T)(out) = v
		}
	}
}

// FutureIntoRawFunc is [FutureIntoRaw] for results that C cannot hold as they are, such as strings
// and errors. Before the poll returns RAWWAKER_READY, it calls put on the polling thread, which
// writes v to out in the form agreed on with C. out is what C gave poll, and may be nil.
//
// If put panics, the poll gives RAWWAKER_PANICKED; f was ready and is not dropped. It panics if f
// or put is nil, and in a build without cgo.
func FutureIntoRawFunc[T any](f Future[T], put func(out unsafe.Pointer, v T)) RawFuture {
	const call = "FutureIntoRawFunc"
	needCgo(call)
	if f == nil {
		panic("rawwaker: FutureIntoRawFunc of a nil future")
	}
	if put == nil {
		panic("rawwaker: FutureIntoRawFunc of a nil function")
	}
	return export(&typed[T]{f, put}, capi.UnknownSize)
}

// number gives f the number that is its data in C.
func (k goKind) number(f pollDropper) uintptr {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		panic("rawwaker: a " + k.what + " in C is a 64-bit number, and pointers here are shorter")
	}
	wake.Futures.Add(1)
	return uintptr(goFutures.Put(&goFuture{f: f, cx: newLent()}))
}

func export(f pollDropper, size uintptr) RawFuture {
	raw := capi.Raw{Data: kindFuture.number(f), VTable: capi.GoFutureVTable()}
	if auditAll {
		raw = capi.AuditFuture(raw, size)
	}
	return RawFutureOf(raw.Data, raw.VTable)
}

// intoRaw moves the C future out of f.
func (f *CFuture[T]) intoRaw() RawFuture {
	if !atomic.CompareAndSwapUint32(&f.state, 0, gaveUp) {
		panic("rawwaker: FutureIntoRaw of a CFuture that has ended or is being polled")
	}
	runtime.SetFinalizer(&f.cfuture, nil)
	return RawFutureOf(f.data, f.vtable)
}

type typed[T any] struct {
	f   Future[T]
	put func(out unsafe.Pointer, v T)
}

func (t *typed[T]) poll(cx *Context, out uintptr) (code uint8, over bool) {
	p := t.f.Poll(cx)
	if !p.ready {
		return capi.CodePending, false
	}
	t.f = nil // a future that was ready is not dropped, even if put panics
	t.put(memory(out), p.value)
	return capi.CodeReady, true
}

// memory is what C has given a poll for its result.
func memory(out uintptr) unsafe.Pointer {
	// SAFETY: C's memory for a T, or for what put agreed on with C, during this poll. It comes as a
	// number because cgo would look for Go pointers behind a pointer.
	return *(*unsafe.Pointer)(unsafe.Pointer(&out))
}

func (t *typed[T]) drop() {
	if d, ok := t.f.(Dropper); ok {
		d.Drop()
	}
}

// mustLookUp returns the future that C calls a slot of. It aborts if C has dropped that future.
func (k goKind) mustLookUp(g *goFuture, slot string) *goFuture {
	if g == nil {
		capi.Die(slot, "this "+k.what+" was dropped before")
	}
	return g
}

// mustBeUnique aborts unless this call alone is in a slot of the future.
func (k goKind) mustBeUnique(entered bool, slot string) {
	if !entered {
		capi.Die(slot, "another thread is in a slot of this "+k.what)
	}
}

// pollSlot is the slot poll of a future, or poll_next of a stream.
func (k goKind) pollSlot(id uint64, w capi.Raw, box uint64, out uintptr) (code uint8) {
	g := k.mustLookUp(goFutures.Get(id), k.poll)
	if wake.FreshContexts {
		k.mustBeUnique(g.cx.waker.state.load() == ended, k.poll)
		g.cx = newLent()
	}
	k.mustBeUnique(g.cx.lend(w, box), k.poll)
	if g.over {
		g.cx.unlend()
		capi.SetPanic(PolledAfterCompletion)
		return capi.CodePanicked
	}
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if v == nil {
				capi.Die(k.poll, "runtime.Goexit in a "+k.what+" that C polls")
			}
			text := panicText(v)
			k.end(g) // first: it may come through C and set a text
			capi.SetPanic(text)
			code = capi.CodePanicked
		}
		g.cx.unlend()
	}()
	code, over := g.f.poll(g.cx, out)
	if over {
		g.over, g.f = true, nil
	}
	returned = true
	return code
}

// dropSlot is the slot drop.
func (k goKind) dropSlot(id uint64) {
	g := k.mustLookUp(goFutures.Take(id), "drop")
	k.mustBeUnique(g.cx.waker.state.retire(), "drop")
	wake.Futures.Add(-1)
	if !g.over {
		k.end(g)
	}
}

// end gives up a future or stream that has not ended.
func (k goKind) end(g *goFuture) {
	f := g.f
	g.over, g.f = true, nil
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			capi.Die("drop", "panic in a "+k.what+"'s Drop: "+panicText(v))
		}
		capi.Die("drop", "runtime.Goexit in a "+k.what+"'s Drop")
	}()
	f.drop()
	returned = true
}

// panicText is the text of a panic for C.
func panicText(v any) string {
	if p, ok := v.(*ForeignPanic); ok {
		return p.Message
	}
	return fmt.Sprint(v)
}
