//go:build cgo

package ctest

// #include "callback.h"
import "C"

import (
	"runtime/cgo"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Callback returns a C future that calls poll with a borrowed waker and returns its code. If the
// code is ready, it writes size bytes, each 0x41.
func Callback(size uintptr, poll func(w rawwaker.RawWaker) uint8) rawwaker.RawFuture {
	c := C.ctest_callback_new(C.uintptr_t(cgo.NewHandle(poll)), C.uintptr_t(size))
	return rawwaker.RawFutureOf(uintptr(unsafe.Pointer(c)), uintptr(C.ctest_callback_vtable()))
}

//export ctestCallback
func ctestCallback(handle, data, vtable C.uintptr_t) C.uint8_t {
	poll := cgo.Handle(handle).Value().(func(rawwaker.RawWaker) uint8)
	return C.uint8_t(poll(rawWaker(uintptr(data), uintptr(vtable))))
}

//export ctestCallbackDrop
func ctestCallbackDrop(handle C.uintptr_t) { cgo.Handle(handle).Delete() }
