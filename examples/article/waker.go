//go:build cgo

package article

/*
#include "rawwaker.h"

// The four slots of the dummy waker. They are C functions, because a vtable holds addresses of C
// functions: a RawWaker in Go holds the addresses and does not call them.
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
	// SAFETY: the vtable is static in C memory, and VTable has its layout.
	vtable := (*rawwaker.VTable)(unsafe.Pointer(raw.vtable))
	return rawwaker.RawWaker{Data: uintptr(raw.data), VTable: vtable}
}

// DummyWaker is the article's dummy_waker. In Rust it needs unsafe; here FromRaw trusts the vtable.
func DummyWaker() *rawwaker.Waker { return rawwaker.FromRaw(DummyRawWaker()) }
