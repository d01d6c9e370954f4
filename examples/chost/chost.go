//go:build cgo

// Package chost is a host in C (chost.c: one thread, one loop, one waker of its own) that polls futures of Go, started from Go so that one
// process shows both sides; wakelab trace c-host draws it. A host that is a C program of its own: hosts/.
package chost

/*
#cgo CFLAGS: -I${SRCDIR}/../..
#include "chost.h"

// Numbers cross: a rawwaker in a Go variable would hold data as a pointer, which it need not be.
static int run(uintptr_t data, uintptr_t vtable, void *out) {
	rawwaker_future f = { (void *)data, (const rawwaker_future_vtable *)vtable };
	return chost_run(f, out);
}
static void wake(uintptr_t data, uintptr_t vtable, int threads, int times) {
	rawwaker w = { (void *)data, (const rawwaker_vtable *)vtable };
	chost_wake(w, threads, times);
}
*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"

	// It embeds rawwaker.h, without which the build cache would miss an edit of it (golang/go#24355).
	_ "github.com/seed-8a1b3254/ffiwaker"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Run has the C host poll f until it is ready, on the host's thread, and returns the result. It panics where f did, or where there is no thread.
func Run(f rawwaker.Future[int]) int {
	var out C.int64_t
	data, vtable := rawwaker.FutureIntoRawFunc(f, func(to unsafe.Pointer, v int) {
		// SAFETY: to is the host's out, an int64_t.
		*(*C.int64_t)(to) = C.int64_t(v)
	}).Words()
	got := C.run(C.uintptr_t(data), C.uintptr_t(vtable), unsafe.Pointer(&out))
	switch {
	case got < 0:
		panic(fmt.Sprintf("chost: no thread: %v", syscall.Errno(-got)))
	case got != C.RAWWAKER_READY:
		panic("chost: the future panicked")
	}
	return int(out)
}

// WakeFromThreads consumes w: so many threads of C wake it so many times each.
func WakeFromThreads(w *rawwaker.Waker, threads, times int) {
	data, vtable := w.IntoRaw().Words()
	C.wake(C.uintptr_t(data), C.uintptr_t(vtable), C.int(threads), C.int(times))
}
