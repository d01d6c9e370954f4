//go:build cgo && linux

package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -I${SRCDIR}/..
#cgo LDFLAGS: -lpthread
#cgo nocallback bench_nothing
#cgo noescape bench_nothing
#include "bench.h"

typedef struct numbers { uintptr_t data, vtable; } numbers;
static rawwaker in(uintptr_t data, uintptr_t vtable) { return (rawwaker){(void *)data, (const rawwaker_vtable *)vtable}; }
static numbers plain_waker(void) { rawwaker w = bench_plain_waker(); return (numbers){(uintptr_t)w.data, (uintptr_t)w.vtable}; }
static void thread_register(bench_thread *t, uintptr_t d, uintptr_t v) { rawwaker w = in(d, v); bench_thread_register(t, &w); }
static void rally_start(bench_rally *r, uintptr_t d, uintptr_t v) { bench_rally_start(r, in(d, v)); }
*/
import "C"

import (
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // so that the build cache sees an edit of rawwaker.h
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func now() uint64 { return uint64(C.bench_now()) }

// Loops in C, in nanoseconds for each of n.

func cExchange(n int) float64  { return float64(C.bench_exchange(C.uint64_t(n))) / float64(n) }
func cWakeByRef(n int) float64 { return float64(C.bench_wake_by_ref(C.uint64_t(n))) / float64(n) }
func cCloneDrop(n int) float64 { return float64(C.bench_clone_drop(C.uint64_t(n))) / float64(n) }

func cNothing() { C.bench_nothing() }

func vtableOf(w rawwaker.RawWaker) C.uintptr_t { return C.uintptr_t(uintptr(unsafe.Pointer(w.VTable))) }

// plainWaker is a C waker whose slots do nothing.
func plainWaker() rawwaker.RawWaker {
	n := C.plain_waker()
	vtable := uintptr(n.vtable)
	// SAFETY: the address of a static vtable in C memory.
	return rawwaker.RawWaker{Data: uintptr(n.data), VTable: *(**rawwaker.VTable)(unsafe.Pointer(&vtable))}
}

// cThread is a thread of C that wakes, by a waker or by calling Go.
type cThread struct{ t *C.bench_thread }

func startThread(call bool, n int, sleepNS int, handshake bool) cThread {
	how, shake := C.int(C.BENCH_WAKE), C.int(0)
	if call {
		how = C.BENCH_CALL
	}
	if handshake {
		shake = 1
	}
	return cThread{C.bench_thread_start(how, C.uint32_t(n), C.uint32_t(sleepNS), shake)}
}

func (t cThread) register(w rawwaker.RawWaker) {
	C.thread_register(t.t, C.uintptr_t(w.Data), vtableOf(w))
}
func (t cThread) ready()             { C.bench_thread_ready(t.t) }
func (t cThread) woken() int         { return int(C.bench_thread_woken(t.t)) }
func (t cThread) began(i int) uint64 { return uint64(C.bench_thread_began(t.t, C.uint32_t(i))) }
func (t cThread) ended(i int) uint64 { return uint64(C.bench_thread_ended(t.t, C.uint32_t(i))) }
func (t cThread) join()              { C.bench_thread_join(t.t) }
func (t cThread) free()              { C.bench_thread_free(t.t) } // after join

// called is where the peer's exported callback sends.
var called = make(chan struct{}, 1<<16)

//export benchCallback
func benchCallback(C.uint32_t) { called <- struct{}{} }

// rally is two words in C memory and a thread that answers.
type rally struct {
	r          *C.bench_rally
	ping, pong *uint32
}

func newRally(n int) rally {
	r := C.bench_rally_new(C.uint32_t(n))
	// SAFETY: two words of C memory, until end.
	return rally{r, (*uint32)(unsafe.Pointer(C.bench_rally_ping(r))), (*uint32)(unsafe.Pointer(C.bench_rally_pong(r)))}
}
func (r rally) start(w rawwaker.RawWaker) { C.rally_start(r.r, C.uintptr_t(w.Data), vtableOf(w)) }
func (r rally) end()                      { C.bench_rally_end(r.r) }

func cRally(n int) float64 { return float64(C.bench_rally_c(C.uint32_t(n))) }
