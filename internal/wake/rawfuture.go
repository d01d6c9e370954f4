package wake

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// RawFuture is a future of C that one call awaits, on one goroutine. Nothing else drops it.
type RawFuture struct {
	F interface {
		// Poll polls once under a *rawwaker.Context. If ready, out has the result.
		Poll(cx any, out uintptr) (ready bool)
		Drop()
		// Free lets another call use this memory. The future was ready or dropped before.
		Free()
	}
}

// Free gives f back after it was ready or dropped. It may be left out.
func (f *RawFuture) Free() { f.F.Free() }

// PollRaw polls f, whose result is a T without Go pointers.
func PollRaw[T any](f *RawFuture, cx any) (v T, ready bool) {
	size := unsafe.Sizeof(v)
	out := capi.NewBuffer(size)
	defer out.Free(size)
	ready = f.F.Poll(cx, out.Address())
	if ready && size != 0 {
		// SAFETY: the memory is large enough and aligned for a T.
		v = *(*T)(out.Pointer())
	}
	return v, ready
}
