//go:build cgo

package main

/*
#include <stdatomic.h>
#include <stdlib.h>

static int is_done(void *done) { return atomic_load((_Atomic unsigned *)done) != 0; }
*/
import "C"

import (
	"sync/atomic"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // for rawwaker.h
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func init() {
	// SAFETY: four zeroed bytes in C memory, aligned by calloc, and never freed.
	newDone = func() *atomic.Uint32 { return (*atomic.Uint32)(C.calloc(1, 4)) }
	isDone = func(done *atomic.Uint32) bool { return C.is_done(unsafe.Pointer(done)) != 0 }
	correctC = func(m *message, w *rawwaker.Waker) {
		m.value = 42
		ctest.Start(w.IntoRaw(), "crdw").Join()
	}
	lateC = func(m *message, w *rawwaker.Waker) {
		data, vtable := w.IntoRaw().Words()
		raw := capi.Raw{Data: data, VTable: vtable}
		capi.WakeByRef(raw)
		m.value = 42
		capi.Drop(raw)
	}
}
