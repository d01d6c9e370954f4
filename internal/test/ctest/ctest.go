//go:build cgo

package ctest

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../../..
#include <stdlib.h>
#include "ctest.h"

static rawwaker raw_in(uintptr_t data, uintptr_t vtable) {
	rawwaker w = { (void *)data, (const rawwaker_vtable *)vtable };
	return w;
}
typedef struct numbers { uintptr_t data, vtable; } numbers;
static numbers raw_out(rawwaker w) {
	numbers n = { (uintptr_t)w.data, (uintptr_t)w.vtable };
	return n;
}
static numbers task_waker(ctest_task *t) { return raw_out(ctest_task_waker(t)); }
static numbers number_waker(uintptr_t first) { return raw_out(ctest_number_waker(first)); }
static ctest_thread *thread_start(numbers w, const char *l) {
	return ctest_thread_start(raw_in(w.data, w.vtable), l);
}
static void pool_give(ctest_pool *p, numbers w) { ctest_pool_give(p, raw_in(w.data, w.vtable)); }
static void cell_register(ctest_cell *c, numbers w) {
	rawwaker r = raw_in(w.data, w.vtable);
	rawwaker_cell_register(&c->cell, &r);
}
static void cell_wake(ctest_cell *c) { rawwaker_cell_wake(&c->cell); }
static int will_wake(numbers a, numbers b) {
	rawwaker x = raw_in(a.data, a.vtable), y = raw_in(b.data, b.vtable);
	return rawwaker_will_wake(&x, &y);
}
static int is_box(numbers a) {
	rawwaker x = raw_in(a.data, a.vtable);
	return rawwaker_is_box(&x);
}
static numbers clone(numbers w) {
	rawwaker r = raw_in(w.data, w.vtable);
	return raw_out(rawwaker_clone(&r));
}
static void wake(numbers w) { rawwaker_wake(raw_in(w.data, w.vtable)); }
static void wake_by_ref(numbers w) {
	rawwaker r = raw_in(w.data, w.vtable);
	rawwaker_wake_by_ref(&r);
}
static void drop(numbers w) { rawwaker_drop(raw_in(w.data, w.vtable)); }
static const rawwaker_vtable *holed(int slot) {
	rawwaker r = rawwaker_noop();
	static rawwaker_vtable all[4];
	rawwaker_vtable *v = &all[slot];
	*v = *r.vtable;
	if (slot == 0) v->clone = NULL;
	if (slot == 1) v->wake = NULL;
	if (slot == 2) v->wake_by_ref = NULL;
	if (slot == 3) v->drop = NULL;
	return v;
}
*/
import "C"

import (
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // links rawwaker.c
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func numbers(r rawwaker.RawWaker) C.numbers {
	return C.numbers{data: C.uintptr_t(r.Data), vtable: C.uintptr_t(uintptr(unsafe.Pointer(r.VTable)))}
}

func raw(n C.numbers) rawwaker.RawWaker { return rawWaker(uintptr(n.data), uintptr(n.vtable)) }

func rawWaker(data, vtable uintptr) rawwaker.RawWaker {
	// SAFETY: the address of a vtable in C memory, which is never freed.
	return rawwaker.RawWaker{Data: data, VTable: *(**rawwaker.VTable)(unsafe.Pointer(&vtable))}
}

// The operations of rawwaker.h, called in C.

func Clone(w rawwaker.RawWaker) rawwaker.RawWaker { return raw(C.clone(numbers(w))) }
func Wake(w rawwaker.RawWaker)                    { C.wake(numbers(w)) }
func WakeByRef(w rawwaker.RawWaker)               { C.wake_by_ref(numbers(w)) }
func Drop(w rawwaker.RawWaker)                    { C.drop(numbers(w)) }
func IsBox(w rawwaker.RawWaker) bool              { return C.is_box(numbers(w)) != 0 }
func WillWake(a, b rawwaker.RawWaker) bool {
	return C.will_wake(numbers(a), numbers(b)) != 0
}

// Holed returns a waker whose vtable lacks one slot (0 clone, 1 wake, 2 wake_by_ref, 3 drop).
func Holed(slot int) rawwaker.RawWaker {
	return raw(C.numbers{vtable: C.uintptr_t(uintptr(unsafe.Pointer(C.holed(C.int(slot)))))})
}

// Task is a task whose wakers count their calls. Each reference is allocated separately, so that
// ASan reports a use after its end.
type Task struct{ c *C.ctest_task }

func NewTask() *Task { return &Task{C.ctest_task_new()} }

// Free frees the task. Call it after the last waker has ended.
func (t *Task) Free() { C.ctest_task_free(t.c) }

// Waker returns a new reference.
func (t *Task) Waker() rawwaker.RawWaker { return raw(C.task_waker(t.c)) }

// Counts are the calls of a Task's wakers. Made + Clones = Wakes + Drops + Live, always. Foul
// counts the slots called with data that is no reference.
type Counts struct{ Made, Clones, Wakes, ByRefs, Drops, Live, Foul int }

func (t *Task) Counts() Counts {
	c := C.ctest_task_counts(t.c)
	return Counts{
		int(c.made), int(c.clones), int(c.wakes), int(c.by_refs), int(c.drops), int(c.live),
		int(c.foul),
	}
}

// Log returns the slots called, in order: c clone, w wake, r wake_by_ref, d drop.
func (t *Task) Log() string {
	var b [4096]byte
	n := C.ctest_task_log(t.c, (*C.char)(unsafe.Pointer(&b[0])), C.size_t(len(b)))
	return string(b[:n])
}

// Hold makes each wake, wake_by_ref and drop wait inside its slot until Release.
func (t *Task) Hold() { C.ctest_task_hold(t.c, true) }

// Release ends Hold.
func (t *Task) Release() { C.ctest_task_hold(t.c, false) }

// AwaitInside returns when n slots wait because of Hold.
func (t *Task) AwaitInside(n int) { C.ctest_task_await(t.c, C.int(n)) }

// NumberWaker returns a waker whose data is first, a number and not an address. The data of each
// clone is the next number.
func NumberWaker(first uintptr) rawwaker.RawWaker { return raw(C.number_waker(C.uintptr_t(first))) }

// NumberFaults returns how many slots were called with a number that no clone returned.
func NumberFaults() int { return int(C.ctest_number_faults()) }

// Oneshot uses a oneshot in C, as ctest_oneshot.
func Oneshot(use int) { C.ctest_oneshot(C.int(use)) }

// NumberRefs returns the number of live references of NumberWakers.
func NumberRefs() int { return int(C.ctest_number_refs()) }

// Thread is a C thread that Go does not know.
type Thread struct{ c *C.ctest_thread }

// Start performs the letters with w on a new thread: c clone, r wake_by_ref, w wake the newest, d
// drop the newest, i count one arrival. The letters must consume w and all clones.
func Start(w rawwaker.RawWaker, letters string) *Thread {
	l := C.CString(letters)
	defer C.free(unsafe.Pointer(l))
	return &Thread{C.thread_start(numbers(w), l)}
}

// Arrivals returns how many letters i the threads of this process have performed.
func Arrivals() int { return int(C.ctest_arrivals()) }

func (t *Thread) Join() { C.ctest_thread_join(t.c) }

// Pool is C threads that take wakers out of a queue and clone, wake and drop them at random until
// each reference has ended.
type Pool struct{ c *C.ctest_pool }

func NewPool(threads int, seed uint64) *Pool {
	return &Pool{C.ctest_pool_start(C.int(threads), C.uint64_t(seed))}
}

// Give adds a waker to the queue. The pool takes ownership.
func (p *Pool) Give(w rawwaker.RawWaker) { C.pool_give(p.c, numbers(w)) }

// End waits until every reference has ended, and returns the number of operations.
func (p *Pool) End() int { return int(C.ctest_pool_end(p.c)) }

// Cell is a rawwaker_cell.
type Cell struct{ c *C.ctest_cell }

func NewCell() *Cell { return &Cell{C.ctest_cell_new()} }

func (c *Cell) Register(w rawwaker.RawWaker) { C.cell_register(c.c, numbers(w)) }
func (c *Cell) Wake()                        { C.cell_wake(c.c) }
func (c *Cell) Free()                        { C.ctest_cell_free(c.c) }
