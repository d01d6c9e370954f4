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

// RawFuture is a future as C holds it: bit for bit the struct rawwaker_future. Nothing in Go drops
// it: [FutureFromRaw] takes it over. Data is a number, as in [RawWaker].
type RawFuture struct {
	Data   uintptr
	VTable *FutureVTable
}

// FutureVTable is bit for bit the struct rawwaker_future_vtable: the addresses of two C functions.
// It lives as long as the process.
type FutureVTable struct {
	Poll, Drop uintptr
}

// ForeignPanic is what a poll panics with if a future of C or Rust has panicked.
type ForeignPanic struct {
	Message string // as given to rawwaker_set_panic, cut at 1 KiB
}

func (p *ForeignPanic) Error() string {
	if p.Message == "" {
		return "rawwaker: a C future panicked without a message"
	}
	return "rawwaker: a C future panicked: " + p.Message
}

// CFuture is a future of C or Rust, awaited in Go like any other. It takes no goroutine and no
// thread.
//
// The C future is dropped exactly once: by the poll that ends it, by Drop, or, if it is forgotten,
// some time after the garbage collector finds it. Drop may be called at any time, on any goroutine,
// and more than once: of completion, panic and Drop, the first wins. A Drop that overlaps a poll
// takes effect when that poll returns.
type CFuture[T any] struct {
	cfuture   // first: the runtime sets a finalizer only on the beginning of an allocation
	value   T // written by C; the whole struct has no Go pointers
}

// cfuture is a CFuture without its type, or a stream of C. Its state word has two bits. polling is
// set during a poll, and stays set if that poll has ended the C future and called its drop slot.
// gaveUp is set by Drop, permanently: the C future has been dropped or, with polling, is dropped
// when the poll returns, unless that poll ends it.
type cfuture struct {
	_       noCopy
	state   uint32
	stream  bool // its words are those of a stream
	ended   bool // it was ready or has panicked; of the polling goroutine
	written bool // ended, and it has written its result
	last    bool // what polls it ends with it: see capi.NoteLast
	data    uintptr
	vtable  uintptr
}

const (
	polling uint32 = 1
	gaveUp  uint32 = 2 // by Drop
)

// FutureFromRaw makes a Go future of a C future, and owns it: the caller must not use raw any more.
//
// C writes the result into memory of the returned future, which is zeroed before. T must have the
// size and alignment that poll writes, and no Go pointers (a pointer of C's is a uintptr). A future
// that wakes itself is polled again without a return to Go, at most 64 times or about 100 us.
//
// It panics if T has Go pointers, if the vtable is nil or has an empty slot, and in a build without
// cgo.
func FutureFromRaw[T any](raw RawFuture) *CFuture[T] {
	raw.check("FutureFromRaw")
	checkPlain[T]("FutureFromRaw", cannotWrite)
	f := new(CFuture[T])
	f.own(raw, unsafe.Sizeof(f.value))
	return f
}

// own makes f the owner of raw, whose result has size bytes. f begins an allocation.
func (f *cfuture) own(raw RawFuture, size uintptr) {
	f.init(raw, size)
	runtime.SetFinalizer(f, (*cfuture).finalize)
}

func (f *cfuture) init(raw RawFuture, size uintptr) {
	f.data, f.vtable = raw.Words()
	if auditAll {
		audited := capi.AuditFuture(f.words(), size)
		f.data, f.vtable = audited.Data, audited.VTable
	}
}

// RawFutureAt reads a rawwaker_future in C memory, at p: the opposite of [RawFuture.Put].
func RawFutureAt(p unsafe.Pointer) RawFuture { return RawFutureOf(wordsAt(p)) }

// RawFutureOf puts together two words that came from C as numbers (uintptr_t).
func RawFutureOf(data, vtable uintptr) RawFuture {
	// SAFETY: vtable is the address of a static vtable in C memory, not of anything that Go moves
	// or frees.
	return RawFuture{Data: data, VTable: *(**FutureVTable)(unsafe.Pointer(&vtable))}
}

// Words returns the two words as numbers, for cgo.
func (r RawFuture) Words() (data, vtable uintptr) {
	// SAFETY: a vtable lives as long as the process, so its address as a number stays good.
	return r.Data, uintptr(unsafe.Pointer(r.VTable))
}

// Put writes r to a rawwaker_future in C memory, at to.
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
		// SAFETY: f is on the heap, for it has a finalizer, so it does not move; it is kept alive
		// below.
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

func (f *cfuture) words() capi.Raw { return capi.Raw{Data: f.data, VTable: f.vtable} }

func (f *cfuture) finalize() {
	if f.claim() {
		drop, words := f.dropSlot(), f.words()
		wake.Later(func() { drop(words) }) // the slot may block
	}
}

func (f *cfuture) dropSlot() func(capi.Raw) {
	if f.stream {
		return capi.DropStream
	}
	return capi.DropFuture
}

// claim gives the future up. It is true for one caller, which must call the drop slot. It is false
// for all if a poll is under way or has ended the future.
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
	f.dropSlot()(f.words())
}

// enter begins a poll, which run ends.
func (f *cfuture) enter(call string) {
	for {
		if s := atomic.LoadUint32(&f.state); s != 0 {
			f.misused(call, s)
		}
		if atomic.CompareAndSwapUint32(&f.state, 0, polling) {
			return
		}
	}
}

// misused panics, because no poll may begin in state s.
func (f *cfuture) misused(call string, s uint32) {
	switch {
	case s&polling == 0:
		panic("rawwaker: " + call + " after Drop")
	case f.ended:
		panic(PolledAfterCompletion)
	default:
		panic("rawwaker: " + call + " that is being polled")
	}
}

func (f *cfuture) poll(cx *Context, out uintptr) (ready bool) {
	f.enter("Poll of a CFuture")
	switch got := f.run(cx, f.words(), out, nil); got.Code {
	case capi.CodePending:
		return false
	case capi.CodeReady:
		return true
	default:
		panic(failure(got, "poll of a C future"))
	}
}

// failure is what a poll panics with.
func failure(got capi.Polled, slot string) any {
	if got.Code == capi.CodePanicked {
		return &ForeignPanic{got.Panic}
	}
	return fmt.Sprintf("rawwaker: slot %s returned %d, which is not a rawwaker_poll", slot, got.Code)
}

// run polls words: f's, or those of a batch of f's stream.
func (f *cfuture) run(cx *Context, words capi.Raw, out uintptr, b *capi.Batch) (got capi.Polled) {
	debugGC()
	got.Code = capi.CodePending // stays so if the waker was consumed, which panics
	// Only the poll reads data during a poll, so C notes there what a panic or Goexit of a callback
	// would leave behind.
	data, returned := f.data, false
	f.data = 0
	if f.last {
		f.data = capi.NoteLast
	}
	defer func() {
		note := f.data
		f.data = data
		if !returned { // a Go panic has unwound through C
			capi.AuditUnwound(f.words())
		}
		// If it has ended, its drop slot was called, and may not have returned. polling stays set,
		// so a Drop meanwhile or later does nothing.
		f.ended = got.Code != capi.CodePending || note&capi.NoteEnded != 0
		f.written = got.Code == capi.CodeReady || f.ended && note&capi.NoteReady != 0
		if b != nil {
			f.ended = b.Over()
		}
		if !f.ended {
			f.pending()
		}
	}()
	got = cx.pollRaw(words, out, &f.data)
	returned = true
	return got
}

// pending ends a poll that has not ended the C future.
func (f *cfuture) pending() {
	if !atomic.CompareAndSwapUint32(&f.state, polling, 0) {
		// A Drop came meanwhile and left the slot to this call.
		atomic.StoreUint32(&f.state, gaveUp)
		f.drop()
	}
}

const cannotWrite = ": C cannot write those"

// plain caches which types have no Go pointers.
var plain sync.Map // of reflect.Type, bool

// checkPlain panics if T has Go pointers.
func checkPlain[T any](call, hint string) { checkPlainOf((*T)(nil), call, hint) }

// checkPlainOf is checkPlain; pointer is a *T.
func checkPlainOf(pointer any, call, hint string) {
	switch pointer.(type) {
	// The usual ones, without a look-up.
	case *struct{}, *bool, *int, *int32, *int64, *uint32, *uint64, *uintptr, *float64:
		return
	}
	t := reflect.TypeOf(pointer).Elem()
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
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Pointer,
		reflect.Slice, reflect.String, reflect.UnsafePointer:
		return true
	}
	return false
}
