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
	cx   *Context // its waker's state says whether C is in a slot: then it is not over
	over bool     // Ready or panicked: f is gone
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

// FutureIntoRaw hands a Go future to C, which polls it on any thread, a different one each time if it likes, with any
// waker, and drops it exactly once; dropping it before it was ready cancels it, where it is a [Dropper]. C must give poll memory
// for a T. It panics for a T with Go pointers, which C must not keep: [FutureIntoRawFunc] is for those. It panics in a build
// without cgo.
//
// A panic in Poll becomes RAWWAKER_PANICKED with its text; so does a poll after completion. There is nowhere to report
// [runtime.Goexit] in Poll to, nor a panic in Drop, nor a poll or drop of a future that C has dropped before, nor one during
// another: they abort the process, with a line that names the slot.
//
// A [CFuture] goes back as the C future that it is.
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
			panic(fmt.Sprintf("rawwaker: poll: out is NULL, and the result has %d bytes (give poll memory for it)", unsafe.Sizeof(v)))
		default:
			*(*T)(out) = v
		}
	}}, unsafe.Sizeof(*new(T)))
}

// FutureIntoRawFunc is FutureIntoRaw for results that C cannot hold as they are, strings and errors among them: put
// writes one to out, in whatever form was agreed on with C, before the poll returns RAWWAKER_READY. What put panics with, the
// future panics with; the future has been ready by then and is not dropped. out is what C gave: NULL if C gave that.
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
	data, vtable := uintptr(goFutures.Put(&goFuture{f: f, cx: newLent()})), capi.GoFutureVTable()
	if auditAll {
		data, vtable = capi.AuditFuture(data, vtable, size)
	}
	return RawFutureOf(data, vtable)
}

// intoRaw moves the C future out of f.
func (f *CFuture[T]) intoRaw() RawFuture {
	if !atomic.CompareAndSwapUint32(&f.state, 0, gaveUp) {
		panic("rawwaker: FutureIntoRaw of a CFuture that is over or being polled")
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
	// SAFETY: C's memory for a T, or what put agreed on with C, for the time of this poll; it comes as a number because cgo would
	// look for Go pointers behind a pointer.
	t.put(*(*unsafe.Pointer)(unsafe.Pointer(&out)), p.value)
	return true
}

func (t *typed[T]) drop() {
	if d, ok := t.f.(Dropper); ok {
		d.Drop()
	}
}

// found does not return where C has dropped the future before, and lone not where it is in a slot already.
func found(g *goFuture, slot string) {
	if g == nil {
		capi.Die(slot, "this Go future was dropped before")
	}
}

func lone(entered bool, slot string) {
	if !entered {
		capi.Die(slot, "another thread is in a slot of this Go future")
	}
}

// pollGoFuture is the slot poll.
func pollGoFuture(id uint64, w capi.Raw, box uint64, out uintptr) (code uint8) {
	g := goFutures.Get(id)
	found(g, "poll")
	if freshContexts {
		lone(atomic.LoadUint32(&g.cx.waker.state) == over, "poll")
		g.cx = newLent()
	}
	lone(g.cx.lend(w, box), "poll")
	if g.over {
		g.cx.unlend()
		capi.SetPanic(completed)
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
	g := goFutures.Take(id)
	found(g, "drop")
	lone(atomic.CompareAndSwapUint32(&g.cx.waker.state, over, over|busy), "drop")
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

// panicText is what C is told of a panic.
func panicText(v any) string {
	if p, ok := v.(*ForeignPanic); ok {
		return p.Message
	}
	return fmt.Sprint(v)
}
