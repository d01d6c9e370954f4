//go:build cgo

package article

/*
#include "rawwaker.h"

// The dummy waker's four slots: C functions, because a vtable holds the addresses of C code. A RawWaker in Go carries
// addresses and never runs them itself.
static void no_op(void *data) { (void)data; }
static rawwaker clone(void *data);

static const rawwaker_vtable vtable = {clone, no_op, no_op, no_op};

static rawwaker dummy_raw_waker(void) {
	rawwaker w = {NULL, &vtable};
	return w;
}
static rawwaker clone(void *data) {
	(void)data;
	return dummy_raw_waker();
}
*/
import "C"

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// DummyRawWaker is the article's dummy_raw_waker: no data, and a vtable that does nothing.
func DummyRawWaker() rawwaker.RawWaker {
	raw := C.dummy_raw_waker()
	// SAFETY: the vtable is static in C memory, and VTable is bit for bit its type.
	return rawwaker.RawWaker{Data: uintptr(raw.data), VTable: (*rawwaker.VTable)(unsafe.Pointer(raw.vtable))}
}

// DummyWaker is the article's dummy_waker. The unsafe of its Rust is hidden in FromRaw, which trusts the vtable.
func DummyWaker() *rawwaker.Waker { return rawwaker.FromRaw(DummyRawWaker()) }
