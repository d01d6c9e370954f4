package rawwaker

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// RawWaker is a waker as C holds it: bit for bit the struct rawwaker of rawwaker.h, data at
// offset 0 and vtable after it. It is one reference, and nothing in Go drops it: [FromRaw] takes
// it over.
//
// Data is a number, never a Go pointer. A C host may use any integer as data, and Go aborts a
// program in which a pointer variable holds such an integer. Also, Go's garbage collector does not
// see what C keeps.
//
// For the same reason do not keep a C.rawwaker in a Go variable in your own cgo. Pass the two words
// as numbers ([RawWaker.Words], [RawWakerOf]) and put the struct together in C, or write it to C
// memory with [RawWaker.Put].
type RawWaker struct {
	Data   uintptr
	VTable *VTable
}

// VTable is bit for bit the struct rawwaker_vtable: the addresses of four C functions. A VTable
// that a RawWaker points to is in C memory, or in pinned Go memory, and lives as long as the
// process.
type VTable struct {
	Clone, Wake, WakeByRef, Drop uintptr
}

// RawWakerOf puts together two words that came from C as numbers (uintptr_t).
func RawWakerOf(data, vtable uintptr) RawWaker {
	// SAFETY: vtable is the address of a static vtable in C memory, not of anything that Go moves
	// or frees. The number is read as a pointer through its own address.
	return RawWaker{Data: data, VTable: *(**VTable)(unsafe.Pointer(&vtable))}
}

// Words returns the two words as numbers, for cgo.
func (r RawWaker) Words() (data, vtable uintptr) {
	// SAFETY: a vtable lives as long as the process, so its address as a number stays good.
	return r.Data, uintptr(unsafe.Pointer(r.VTable))
}

// Put writes r to a rawwaker in C memory, at to.
func (r RawWaker) Put(to unsafe.Pointer) { putWords(to, r.Data, r.VTable) }

func putWords[V any](to unsafe.Pointer, data uintptr, vtable *V) {
	// SAFETY: C's memory for two words; neither is a Go pointer.
	*(*[2]uintptr)(to) = [2]uintptr{data, uintptr(unsafe.Pointer(vtable))}
}

func wordsAt(p unsafe.Pointer) (data, vtable uintptr) {
	// SAFETY: C's memory for two words, read as numbers.
	words := *(*[2]uintptr)(p)
	return words[0], words[1]
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
	v := r.VTable
	for i, at := range [...]uintptr{v.Clone, v.Wake, v.WakeByRef, v.Drop} {
		if at == 0 {
			panic("rawwaker: " + call + " of a vtable with an empty slot " + capi.SlotNames[i])
		}
	}
}
