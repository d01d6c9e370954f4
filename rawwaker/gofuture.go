package rawwaker

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// goFuture is a Go future that C holds, under a number that is never used again.
type goFuture struct {
	f    pollDropper
	cx   *Context // its waker is in state ended unless C is in a slot
	over bool     // Ready or panicked: f is nil
}

type pollDropper interface {
	poll(cx *Context, out uintptr) (ready bool)
	drop()
}

var goFutures wake.Table[goFuture]

func init() {
	capi.GoFutures.Poll = pollGoFuture
	capi.GoFutures.Drop = dropGoFuture
}

// FutureIntoRaw gives a Go future to C, which owns it. C polls it on any thread, with any waker,
// one poll at a time, and drops it exactly once. A drop before it was ready cancels it: f.Drop is
// called if f is a [Dropper]. C gives poll memory for a T. A [CFuture] becomes the C future that
// it is.
//
// A panic in Poll gives RAWWAKER_PANICKED with its text, as does a poll after completion. These
// abort the process with a line that names the slot, because C could not be told: [runtime.Goexit]
// in Poll, a panic in Drop, a poll or drop of a future that C has dropped, and one during another.
//
// It panics if T has Go pointers, which C must not keep (use [FutureIntoRawFunc]), and in a build
// without cgo.
func FutureIntoRaw[T any](f Future[T]) RawFuture {
	const call = "FutureIntoRaw"
	needCgo(call)
	checkPlain[T](call, ": use FutureIntoRawFunc")
	if c, ok := f.(*CFuture[T]); ok {
		return c.intoRaw()
	}
	return export(&typed[T]{f, func(out unsafe.Pointer, v T) {
		switch {
		case unsafe.Sizeof(v) == 0:
		case out == nil:
			panic(fmt.Sprintf("rawwaker: poll: out is NULL, and the result has %d bytes "+
				"(give poll memory for it)", unsafe.Sizeof(v)))
		default:
			*(*T)(out) = v
		}
	}}, unsafe.Sizeof(*new(T)))
}

// FutureIntoRawFunc is [FutureIntoRaw] for results that C cannot hold as they are, such as strings
// and errors. Before the poll returns RAWWAKER_READY, it calls put on the polling thread, which
// writes v to out in the form agreed on with C. out is what C gave poll, and may be nil.
//
// If put panics, the poll gives RAWWAKER_PANICKED; f was ready and is not dropped. It panics if put
// is nil, and in a build without cgo.
func FutureIntoRawFunc[T any](f Future[T], put func(out unsafe.Pointer, v T)) RawFuture {
	const call = "FutureIntoRawFunc"
	needCgo(call)
	if put == nil {
		panic("rawwaker: FutureIntoRawFunc of a nil function")
	}
	return export(&typed[T]{f, put}, capi.UnknownSize)
}

func export(f pollDropper, size uintptr) RawFuture {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		panic("rawwaker: a Go future in C is a 64-bit number, and pointers here are shorter")
	}
	wake.Futures.Add(1)
	id := goFutures.Put(&goFuture{f: f, cx: newLent()})
	raw := capi.Raw{Data: uintptr(id), VTable: capi.GoFutureVTable()}
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

func (t *typed[T]) poll(cx *Context, out uintptr) bool {
	p := t.f.Poll(cx)
	if !p.ready {
		return false
	}
	t.f = nil // a future that was ready is not dropped, even if put panics
	// SAFETY: C's memory for a T, or for what put agreed on with C, during this poll. It comes as a
	// number because cgo would look for Go pointers behind a pointer.
	t.put(*(*unsafe.Pointer)(unsafe.Pointer(&out)), p.value)
	return true
}

func (t *typed[T]) drop() {
	if d, ok := t.f.(Dropper); ok {
		d.Drop()
	}
}

// mustLookUp returns the future that C calls a slot of. It aborts if C has dropped that future.
func mustLookUp(g *goFuture, slot string) *goFuture {
	if g == nil {
		capi.Die(slot, "this Go future was dropped before")
	}
	return g
}

// mustBeUnique aborts unless this call alone is in a slot of the future.
func mustBeUnique(entered bool, slot string) {
	if !entered {
		capi.Die(slot, "another thread is in a slot of this Go future")
	}
}

// pollGoFuture is the slot poll.
func pollGoFuture(id uint64, w capi.Raw, box uint64, out uintptr) (code uint8) {
	g := mustLookUp(goFutures.Get(id), "poll")
	if wake.FreshContexts {
		mustBeUnique(g.cx.waker.state.load() == ended, "poll")
		g.cx = newLent()
	}
	mustBeUnique(g.cx.lend(w, box), "poll")
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
				capi.Die("poll", "runtime.Goexit in a Go future that C polls")
			}
			text := panicText(v)
			g.end() // first: it may come through C and set a text
			capi.SetPanic(text)
			code = capi.CodePanicked
		}
		g.cx.unlend()
	}()
	code = capi.CodePending
	if g.f.poll(g.cx, out) {
		g.over, g.f = true, nil
		code = capi.CodeReady
	}
	returned = true
	return code
}

// dropGoFuture is the slot drop.
func dropGoFuture(id uint64) {
	g := mustLookUp(goFutures.Take(id), "drop")
	mustBeUnique(g.cx.waker.state.retire(), "drop")
	wake.Futures.Add(-1)
	if !g.over {
		g.end()
	}
}

// end gives up a future that has not been ready.
func (g *goFuture) end() {
	f := g.f
	g.over, g.f = true, nil
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			capi.Die("drop", "panic in a Go future's Drop: "+panicText(v))
		}
		capi.Die("drop", "runtime.Goexit in a Go future's Drop")
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
