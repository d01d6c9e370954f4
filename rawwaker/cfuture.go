package rawwaker

import (
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// RawFuture is a future as C holds it, bit for bit the struct rawwaker_future: nothing in Go looks after it.
// [FutureFromRaw] takes it over. For Data and VTable holds what is said at [RawWaker].
type RawFuture struct {
	Data   uintptr
	VTable *FutureVTable
}

// FutureVTable is bit for bit the struct rawwaker_future_vtable: the addresses of two C functions.
type FutureVTable struct {
	Poll, Drop uintptr
}

// ForeignPanic is what a poll panics with when a future of C or Rust has panicked.
type ForeignPanic struct {
	Message string // what it said by rawwaker_set_panic, cut at 1 KiB
}

func (p *ForeignPanic) Error() string {
	if p.Message == "" {
		return "rawwaker: a C future panicked and did not say why"
	}
	return "rawwaker: a C future panicked: " + p.Message
}

// CFuture is a future of C or Rust, awaited in Go as any other. It takes no goroutine and no thread.
//
// The C future is dropped exactly once: when a poll ends it, by Drop, or, where both are forgotten, some time after the
// collector has found it. Drop may be called at any time, on any goroutine, and more than once: of completion, panic and Drop
// the first wins. A Drop that overlaps a poll takes effect when that poll returns.
type CFuture[T any] struct {
	cfuture   // first: the runtime sets a finalizer on nothing but the beginning of an allocation
	value   T // written by C; the whole struct has no Go pointers
}

// The state of a CFuture: polling is set for the time of a poll, and stays set when that poll has ended the C future, whose
// drop slot was called by then; gaveUp is set by Drop, for ever, and then the C future is gone or, with polling, goes when the
// poll returns, unless the poll ends it.
type cfuture struct {
	_      noCopy
	state  uint32
	ended  bool // READY was returned, or the future has panicked: of whoever polls
	data   uintptr
	vtable uintptr
}

const (
	polling   uint32 = 1
	gaveUp    uint32 = 2 // by Drop
	completed        = "future polled after completion"
)

// FutureFromRaw makes a C future one of Go, and owns it. C writes the result into memory of the returned future, zeroed
// before; T must have the size and alignment that poll writes, and no Go pointers (a pointer of C's is a uintptr): it panics
// for such a T, for a nil vtable, for one with an empty slot, and in a build without cgo.
//
// A future that wakes itself is polled again without coming back to Go, up to 64 times or about 100 us.
func FutureFromRaw[T any](raw RawFuture) *CFuture[T] {
	raw.check("FutureFromRaw")
	checkPlain[T]("FutureFromRaw", ": C cannot write those")
	f := new(CFuture[T])
	f.data, f.vtable = raw.Words()
	if auditAll {
		f.data, f.vtable = capi.AuditFuture(f.data, f.vtable, unsafe.Sizeof(f.value))
	}
	runtime.SetFinalizer(&f.cfuture, (*cfuture).finalize)
	return f
}

// RawFutureOf puts two words together that came from C as numbers.
func RawFutureOf(data, vtable uintptr) RawFuture {
	// SAFETY: vtable is the address of a static vtable in C memory, not of anything that Go moves or frees.
	return RawFuture{Data: data, VTable: *(**FutureVTable)(unsafe.Pointer(&vtable))}
}

// Words takes r apart into two numbers, for cgo.
func (r RawFuture) Words() (data, vtable uintptr) {
	// SAFETY: a vtable lives as long as the process, so its address as a number stays good.
	return r.Data, uintptr(unsafe.Pointer(r.VTable))
}

// Put writes r to a rawwaker_future in C memory.
func (r RawFuture) Put(to unsafe.Pointer) { putWords(to, r.Data, r.VTable) }

func (r RawFuture) check(call string) {
	needCgo(call)
	switch {
	case r.VTable == nil:
		panic("rawwaker: " + call + " of a nil vtable")
	case r.VTable.Poll == 0:
		panic("rawwaker: " + call + " of a vtable with an empty slot poll")
	case r.VTable.Drop == 0:
		panic("rawwaker: " + call + " of a vtable with an empty slot drop")
	}
}

// Poll implements [Future].
func (f *CFuture[T]) Poll(cx *Context) Poll[T] {
	var out uintptr
	if unsafe.Sizeof(f.value) != 0 {
		// SAFETY: f is on the heap, for it has a finalizer, so it does not move; it is kept alive below.
		out = uintptr(unsafe.Pointer(&f.value))
	}
	ready := f.poll(cx, out)
	if ready {
		runtime.SetFinalizer(&f.cfuture, nil)
		return Ready(f.value)
	}
	runtime.KeepAlive(f)
	return Pending[T]()
}

// Drop implements [Dropper].
func (f *CFuture[T]) Drop() {
	if f.claim() {
		f.drop()
	}
	runtime.KeepAlive(f)
}

func (f *cfuture) finalize() {
	if f.claim() {
		data, vtable := f.data, f.vtable
		wake.Later(func() { capi.DropFuture(data, vtable) }) // the slot may block
	}
}

// claim is for whoever gives the future up. It is true for one caller, who must call the drop slot; not where a poll is under
// way or has ended the future.
func (f *cfuture) claim() bool {
	for {
		s := atomic.LoadUint32(&f.state)
		if s&gaveUp != 0 {
			return false
		}
		if atomic.CompareAndSwapUint32(&f.state, s, s|gaveUp) {
			return s&polling == 0
		}
	}
}

func (f *cfuture) drop() {
	debugGC()
	capi.DropFuture(f.data, f.vtable)
}

func (f *cfuture) poll(cx *Context, out uintptr) (ready bool) {
	if !atomic.CompareAndSwapUint32(&f.state, 0, polling) {
		switch s := atomic.LoadUint32(&f.state); {
		case s&polling == 0:
			panic("rawwaker: Poll of a CFuture after Drop")
		case f.ended:
			panic(completed)
		default:
			panic("rawwaker: Poll of a CFuture that is being polled")
		}
	}
	debugGC()
	got := capi.Polled{Code: capi.CodePending} // stays so where the waker may not be used, and that panics
	// Nobody else reads data during a poll, so C notes there what a panic or Goexit of a callback would leave behind.
	data, returned := f.data, false
	f.data = 0
	defer func() {
		ended := f.data&capi.NoteEnded != 0
		f.data = data
		if !returned { // a panic of Go's that C was inside
			capi.AuditUnwound(data, f.vtable)
		}
		switch {
		case got.Code != capi.CodePending:
		case ended:
			f.ended = true // the drop slot was called, and has not returned
		default:
			f.pending()
		}
	}()
	got = cx.pollRaw(data, f.vtable, out, &f.data)
	if returned = true; got.Code == capi.CodePending {
		return false
	}
	f.ended = true // its drop slot was called: polling stays set, so a Drop meanwhile or later does nothing
	switch got.Code {
	case capi.CodeReady:
		return true
	case capi.CodePanicked:
		panic(&ForeignPanic{got.Panic})
	}
	panic(fmt.Sprintf("rawwaker: slot poll of a C future gave %d, which is no code", got.Code))
}

// pending ends a poll that has not ended the C future.
func (f *cfuture) pending() {
	if !atomic.CompareAndSwapUint32(&f.state, polling, 0) {
		// Dropped meanwhile, by somebody who has left the slot to us.
		atomic.StoreUint32(&f.state, gaveUp)
		f.drop()
	}
}

// pollRaw polls a C future under cx's waker.
func (cx *Context) pollRaw(data, vtable, out uintptr, note *uintptr) capi.Polled {
	if cx.bound() && atomic.LoadUint32(&cx.waker.state)&^counted == scope {
		return cx.waker.core.PollRaw(data, vtable, out, note)
	}
	// Of NewContext, or lent by C: the waker may be consumed, and its task may end, on another thread meanwhile.
	b := cx.waker.borrow()
	defer b.giveBack()
	return capi.PollUnder(b.raw.numbers(), data, vtable, out, note)
}

// plain remembers which types have no Go pointers.
var plain sync.Map // of reflect.Type, bool

// checkPlain panics where T has Go pointers.
func checkPlain[T any](call, hint string) {
	switch any((*T)(nil)).(type) {
	case *struct{}, *bool, *int, *int32, *int64, *uint32, *uint64, *uintptr, *float64: // the usual ones, without a look-up
		return
	}
	t := reflect.TypeFor[T]()
	ok, known := plain.Load(t)
	if !known {
		ok = !pointers(t)
		plain.Store(t, ok)
	}
	if !ok.(bool) {
		panic("rawwaker: " + call + " of " + t.String() + ", which has Go pointers" + hint)
	}
}

func pointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && pointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice, reflect.String,
		reflect.UnsafePointer:
		return true
	}
	return false
}
