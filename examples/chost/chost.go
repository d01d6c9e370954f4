//go:build cgo

// Package chost is a C host, chost.c, that polls Go futures in its loop, with a waker of its own.
//
// It is started from Go, so that one process has both sides: wakelab trace c-host shows them. Hosts
// that are C programs are in hosts/.
package chost

/*
#cgo CFLAGS: -I${SRCDIR}/../..
#include "chost.h"

// The two words cross as numbers: data need not be a pointer.
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

	// It embeds rawwaker.h: without that, the build cache misses an edit of it (golang/go#24355).
	_ "github.com/seed-8a1b3254/ffiwaker"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Run makes the C host poll f on its thread until f is ready, and returns the result. It panics if
// f panics, or if the host cannot start its thread.
func Run(f rawwaker.Future[int]) int {
	var out C.int64_t
	data, vtable := rawwaker.FutureIntoRawFunc(f, func(to unsafe.Pointer, v int) {
		// SAFETY: to is the host's out, which is an int64_t.
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

// WakeFromThreads consumes w: each of threads C threads wakes it times times.
func WakeFromThreads(w *rawwaker.Waker, threads, times int) {
	data, vtable := w.IntoRaw().Words()
	C.wake(C.uintptr_t(data), C.uintptr_t(vtable), C.int(threads), C.int(times))
}
