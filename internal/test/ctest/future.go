//go:build cgo

package ctest

/*
#include <stdlib.h>
#include "future.h"

typedef struct future_numbers { uintptr_t data, vtable; } future_numbers;
static future_numbers future_out(rawwaker_future f) {
	future_numbers n = { (uintptr_t)f.data, (uintptr_t)f.vtable };
	return n;
}
static rawwaker_future future_in(future_numbers n) {
	rawwaker_future f = { (void *)n.data, (const rawwaker_future_vtable *)n.vtable };
	return f;
}
static future_numbers script_future(ctest_script *s) { return future_out(ctest_script_future(s)); }
static future_numbers op_future(ctest_op *op) { return future_out(ctest_op_future(op)); }
static uint8_t block_on(future_numbers f, void *out) { return ctest_block_on(future_in(f), out); }
static uint8_t hop(future_numbers f, void *out, int *polls) {
	return ctest_hop(future_in(f), out, polls);
}
static uint8_t poll_once(future_numbers f, uintptr_t wdata, uintptr_t wvtable, void *out) {
	rawwaker w = { (void *)wdata, (const rawwaker_vtable *)wvtable };
	return ctest_poll(future_in(f), w, out);
}
static void count_wake(void *arg) { ++*(uint64_t *)arg; }
static future_numbers fn_waker(uint64_t *wakes) {
	rawwaker w = rawwaker_from_fn(count_wake, wakes, free);
	future_numbers n = { (uintptr_t)w.data, (uintptr_t)w.vtable };
	return n;
}
static void future_drop(future_numbers n) {
	rawwaker_future f = future_in(n);
	f.vtable->drop(f.data);
}
static const rawwaker_future_vtable *holed_future(int slot) {
	static rawwaker_future_vtable all[2];
	ctest_script *s = ctest_script_new("");
	all[slot] = *ctest_script_future(s).vtable;
	ctest_script_free(s);
	if (slot == 0) all[slot].poll = NULL;
	if (slot == 1) all[slot].drop = NULL;
	return &all[slot];
}
*/
import "C"

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func futureNumbers(r rawwaker.RawFuture) C.future_numbers {
	return C.future_numbers{
		data: C.uintptr_t(r.Data), vtable: C.uintptr_t(uintptr(unsafe.Pointer(r.VTable))),
	}
}

func rawFuture(n C.future_numbers) rawwaker.RawFuture {
	vtable := uintptr(n.vtable)
	// SAFETY: the address of a vtable in C memory, which is never freed.
	v := *(**rawwaker.FutureVTable)(unsafe.Pointer(&vtable))
	return rawwaker.RawFuture{Data: uintptr(n.data), VTable: v}
}

// HoledFuture returns a future whose vtable lacks one slot (0 poll, 1 drop).
func HoledFuture(slot int) rawwaker.RawFuture {
	vtable := unsafe.Pointer(C.holed_future(C.int(slot)))
	return rawFuture(C.future_numbers{vtable: C.uintptr_t(uintptr(vtable))})
}

// Script is a future of a uint64 that performs one letter in each poll:
//
//	s wake itself, pending            r ready with 42            . pending
//	* the same, permanently           z ready, writing nothing   p panic with `why not`
//	k keep the waker (clone_from)     9 the code 9               q panic without a message
//	t keep it, wake it on a thread    b not return before Release
//	                                  h the same, then k
//	c call Go ([OnCall]), pending     R ready with 42, and call Go in the drop slot
//	S s, then c
//	K k, then c
type Script struct{ c *C.ctest_script }

func NewScript(letters string) *Script {
	l := C.CString(letters)
	defer C.free(unsafe.Pointer(l))
	return &Script{C.ctest_script_new(l)}
}

func (s *Script) Raw() rawwaker.RawFuture { return rawFuture(C.script_future(s.c)) }

// Wake wakes the kept waker, on a C thread.
func (s *Script) Wake() { C.ctest_script_wake(s.c) }

// Kept returns whether the script keeps a waker.
func (s *Script) Kept() bool { return bool(C.ctest_script_kept(s.c)) }

// Hold makes polls wait in the letters b and h until Release.
func (s *Script) Hold()    { C.ctest_script_hold(s.c, true) }
func (s *Script) Release() { C.ctest_script_hold(s.c, false) }

// AwaitInside returns when a poll waits in b or h.
func (s *Script) AwaitInside() { C.ctest_script_await(s.c) }
func (s *Script) Polls() int   { return int(C.ctest_script_polls(s.c)) }
func (s *Script) Drops() int   { return int(C.ctest_script_drops(s.c)) }

// Misses returns how often, at k and t, will_wake was false.
func (s *Script) Misses() int { return int(C.ctest_script_misses(s.c)) }
func (s *Script) Free()       { C.ctest_script_free(s.c) }

// Op is a C operation, which the test completes, and its future of a uint64.
type Op struct{ c *C.ctest_op }

// NewOp returns an operation. Call Complete once, and Raw at most once.
func NewOp() Op { return Op{C.ctest_op_new()} }

// Raw returns the future. The caller owns it.
func (o Op) Raw() rawwaker.RawFuture { return rawFuture(C.op_future(o.c)) }

// Complete makes the future ready with v and wakes its waker.
func (o Op) Complete(v uint64) { C.ctest_op_complete(o.c, C.uint64_t(v)) }

// CompleteAll completes each operation with its index, on several C threads, and returns when all
// are complete.
func CompleteAll(ops []Op, threads int) {
	if len(ops) == 0 {
		return
	}
	// SAFETY: an Op is one pointer to C memory.
	first := (**C.ctest_op)(unsafe.Pointer(&ops[0]))
	C.ctest_ops_complete_all(first, C.uint32_t(len(ops)), C.int(threads))
}

// OpsLive returns how many operations of the process were not freed.
func OpsLive() int { return int(C.ctest_ops_live()) }

// OpsDropped returns how many drop slots of operations' futures were called in the process.
func OpsDropped() int { return int(C.ctest_ops_dropped()) }

// BlockOn calls rawwaker_block_on on a C thread. It returns the code and what was written to out.
func BlockOn(f rawwaker.RawFuture) (code uint8, out uint64) {
	o := (*C.uint64_t)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(o))
	code = uint8(C.block_on(futureNumbers(f), unsafe.Pointer(o)))
	return code, uint64(*o)
}

// Hop polls f until it is ready, each time on a new C thread.
func Hop(f rawwaker.RawFuture) (code uint8, out uint64, polls int) {
	o := (*C.uint64_t)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(o))
	var n C.int
	code = uint8(C.hop(futureNumbers(f), unsafe.Pointer(o), &n))
	return code, uint64(*o), int(n)
}

// PollOnce polls f on this thread under w, which it borrows.
func PollOnce(f rawwaker.RawFuture, w rawwaker.RawWaker) (code uint8, out uint64) {
	o := (*C.uint64_t)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(o))
	n := numbers(w)
	code = uint8(C.poll_once(futureNumbers(f), n.data, n.vtable, unsafe.Pointer(o)))
	return code, uint64(*o)
}

// PollNowhere is PollOnce with a NULL out.
func PollNowhere(f rawwaker.RawFuture, w rawwaker.RawWaker) (code uint8) {
	n := numbers(w)
	return uint8(C.poll_once(futureNumbers(f), n.data, n.vtable, nil))
}

// FnWaker returns a waker of rawwaker_from_fn. All its clones are equal.
func FnWaker() rawwaker.RawWaker {
	n := C.fn_waker((*C.uint64_t)(C.calloc(1, 8)))
	return rawWaker(uintptr(n.data), uintptr(n.vtable))
}

func DropFuture(f rawwaker.RawFuture) { C.future_drop(futureNumbers(f)) }

// LastPanic returns the message of this thread's last panic. Lock the goroutine to its thread.
func LastPanic() string { return C.GoString(C.rawwaker_last_panic()) }
