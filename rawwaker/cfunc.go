package rawwaker

import (
	"runtime"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// FutureFromRawFunc is [FutureFromRaw] for results that Go cannot hold as they are, such as structs
// with pointers to C memory. It owns raw: the caller must not use it any more.
//
//	f := rawwaker.FutureFromRawFunc(raw, func(r *C.reply) string {
//		defer C.reply_free(r)
//		return C.GoString(r.text)
//	})
//
// In the poll that is ready, C writes a C into zeroed C memory that is aligned for it. It may hold
// pointers to C memory. Then the C future is dropped, and take turns the result into a Go value on
// the polling goroutine. So nothing that C has allocated is left behind in a result that is never
// read. c is never nil, and valid during take only; take releases what *c points to.
//
// If take panics, the panic continues, the memory is freed, and the future has ended. If a callback
// of Go panics in the drop slot of a C future that was ready, take is called all the same, and its
// value is given up.
//
// The result is also a [Dropper], and a forgotten one is dropped, both as those of FutureFromRaw
// are. FutureFromRawFunc panics if take is nil, if the vtable is nil or has an empty slot, and in a
// build without cgo.
func FutureFromRawFunc[C, T any](raw RawFuture, take func(c *C) T) Future[T] {
	const call = "FutureFromRawFunc"
	raw.check(call)
	if take == nil {
		panic("rawwaker: FutureFromRawFunc of a nil function")
	}
	f := &takenFuture[C, T]{take: take}
	f.own(raw, unsafe.Sizeof(*new(C)))
	return f
}

type takenFuture[C, T any] struct {
	cfuture // first, as in a CFuture
	take    func(*C) T
}

// Poll implements [Future].
func (f *takenFuture[C, T]) Poll(cx *Context) Poll[T] {
	size := unsafe.Sizeof(*new(C))
	out := capi.NewBuffer(size)
	defer out.Free(size)
	returned := false
	defer func() {
		if !returned && f.written && f.take != nil {
			f.taken(out) // a panic of Go has left the drop slot
		}
	}()
	ready := f.poll(cx, out.Address())
	if returned = true; ready {
		return Ready(f.taken(out))
	}
	runtime.KeepAlive(f)
	return Pending[T]()
}

// taken calls take, once.
func (f *takenFuture[C, T]) taken(out *capi.Buffer) T {
	runtime.SetFinalizer(&f.cfuture, nil)
	take := f.take
	f.take = nil
	return take(at[C](out.Pointer()))
}

// at is C memory as a C, which has no address if it has no bytes.
func at[C any](p unsafe.Pointer) *C {
	if p == nil {
		return new(C)
	}
	// SAFETY: the memory is large enough and aligned for a C.
	return (*C)(p)
}

// Drop implements [Dropper].
func (f *takenFuture[C, T]) Drop() {
	if f.claim() {
		f.drop()
	}
	runtime.KeepAlive(f)
}
