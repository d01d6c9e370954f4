package rawwaker

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// RawWaker is a waker as C holds it, bit for bit the struct rawwaker of rawwaker.h: data at 0, vtable after it. It is one
// reference, which nothing in Go looks after: [FromRaw] takes it over.
//
// In cgo of your own pass the two words as numbers, [RawWaker.Words] and [RawWakerOf], and put the struct together in C, or
// write it to C memory by [RawWaker.Put]: a C.rawwaker in a Go variable has a pointer for data, and Go aborts where that is
// not one.
//
// Data is a number and never a Go pointer. C hosts may use any integer as data, and Go aborts a program in which a
// pointer variable holds such an integer; and what C keeps, Go's collector does not see.
type RawWaker struct {
	Data   uintptr
	VTable *VTable
}

// VTable is bit for bit the struct rawwaker_vtable: the addresses of four C functions. A VTable that a RawWaker points to
// lives in C memory, or in pinned Go memory, for as long as the process.
type VTable struct {
	Clone, Wake, WakeByRef, Drop uintptr
}

// RawWakerOf puts two words together that came from C as numbers (uintptr_t).
func RawWakerOf(data, vtable uintptr) RawWaker {
	// SAFETY: vtable is the address of a static vtable in C memory, not of anything that Go moves or frees. The number is read
	// as a pointer through its own address, which is what a RawWaker received from C is.
	return RawWaker{Data: data, VTable: *(**VTable)(unsafe.Pointer(&vtable))}
}

// Words takes r apart into two numbers, for cgo: there a C.rawwaker would hold data as a pointer.
func (r RawWaker) Words() (data, vtable uintptr) {
	// SAFETY: a vtable lives as long as the process, so its address as a number stays good.
	return r.Data, uintptr(unsafe.Pointer(r.VTable))
}

// Put writes r to a rawwaker in C memory.
func (r RawWaker) Put(to unsafe.Pointer) { putWords(to, r.Data, r.VTable) }

func putWords[V any](to unsafe.Pointer, data uintptr, vtable *V) {
	// SAFETY: C's memory for two words; neither is a Go pointer.
	*(*[2]uintptr)(to) = [2]uintptr{data, uintptr(unsafe.Pointer(vtable))}
}

func (r RawWaker) numbers() capi.Raw {
	data, vtable := r.Words()
	return capi.Raw{Data: data, VTable: vtable}
}

func fromNumbers(n capi.Raw) RawWaker { return RawWakerOf(n.Data, n.VTable) }

// check panics unless r has a vtable with four slots.
func (r RawWaker) check(call string) {
	if !capi.HasCgo {
		panic("rawwaker: " + call + " needs cgo")
	}
	if r.VTable == nil {
		panic("rawwaker: " + call + " of a nil vtable")
	}
	if v := r.VTable; v.Clone != 0 && v.Wake != 0 && v.WakeByRef != 0 && v.Drop != 0 {
		return
	}
	for _, slot := range []struct {
		name string
		at   uintptr
	}{{"clone", r.VTable.Clone}, {"wake", r.VTable.Wake}, {"wake_by_ref", r.VTable.WakeByRef}, {"drop", r.VTable.Drop}} {
		if slot.at == 0 {
			panic("rawwaker: " + call + " of a vtable with an empty slot " + slot.name)
		}
	}
}
