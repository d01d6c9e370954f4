//go:build cgo && linux

package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -I${SRCDIR}/..
#cgo LDFLAGS: -lpthread
#cgo nocallback bench_nothing
#cgo noescape bench_nothing
#include "bench.h"

// Go holds the two words of a waker as numbers: only numbers cross from Go to C.
typedef struct words { uintptr_t data, vtable; } words;
static rawwaker waker_of(uintptr_t data, uintptr_t vtable) {
	return (rawwaker){(void *)data, (const rawwaker_vtable *)vtable};
}
static words plain_waker(void) {
	rawwaker w = bench_plain_waker();
	return (words){(uintptr_t)w.data, (uintptr_t)w.vtable};
}
static void thread_register(bench_thread *t, uintptr_t data, uintptr_t vtable) {
	rawwaker w = waker_of(data, vtable);
	bench_thread_register(t, &w);
}
static void echo_start(bench_echo *e, uintptr_t data, uintptr_t vtable) {
	bench_echo_start(e, waker_of(data, vtable));
}
*/
import "C"

import (
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // makes the build cache see an edit of rawwaker.h
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func now() uint64 { return uint64(C.bench_now()) }

// These three run a loop in C and return nanoseconds per operation.

func cExchange(n int) float64  { return float64(C.bench_exchange(C.uint64_t(n))) / float64(n) }
func cWakeByRef(n int) float64 { return float64(C.bench_wake_by_ref(C.uint64_t(n))) / float64(n) }
func cCloneDrop(n int) float64 { return float64(C.bench_clone_drop(C.uint64_t(n))) / float64(n) }

func cNothing() { C.bench_nothing() }

func vtableOf(w rawwaker.RawWaker) C.uintptr_t {
	return C.uintptr_t(uintptr(unsafe.Pointer(w.VTable)))
}

// plainWaker returns a C waker whose slots do nothing.
func plainWaker() rawwaker.RawWaker {
	n := C.plain_waker()
	vtable := uintptr(n.vtable)
	// SAFETY: the address of a static vtable in C memory.
	return rawwaker.RawWaker{
		Data:   uintptr(n.data),
		VTable: *(**rawwaker.VTable)(unsafe.Pointer(&vtable)),
	}
}

// cThread is a C thread that wakes through a waker or calls Go: see bench_thread in bench.h.
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
func (t cThread) free()              { C.bench_thread_free(t.t) }

// called receives what the peers' exported callback sends.
var called = make(chan struct{}, 1<<16)

//export benchCallback
func benchCallback(C.uint32_t) { called <- struct{}{} }

// echo is two words in C memory and a C thread that answers: see bench_echo in bench.h.
type echo struct {
	e          *C.bench_echo
	ping, pong *uint32
}

func newEcho(n int) echo {
	e := C.bench_echo_new(C.uint32_t(n))
	// SAFETY: two words of C memory that live until end.
	return echo{
		e,
		(*uint32)(unsafe.Pointer(C.bench_echo_ping(e))),
		(*uint32)(unsafe.Pointer(C.bench_echo_pong(e))),
	}
}
func (e echo) start(w rawwaker.RawWaker) { C.echo_start(e.e, C.uintptr_t(w.Data), vtableOf(w)) }
func (e echo) end()                      { C.bench_echo_end(e.e) }

func cRoundTrip(n int) float64 { return float64(C.bench_round_trip(C.uint32_t(n))) }
