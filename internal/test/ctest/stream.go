//go:build cgo

package ctest

/*
#include <stdlib.h>
#include "stream.h"

typedef struct stream_numbers { uintptr_t data, vtable; } stream_numbers;
static stream_numbers feed_stream(ctest_feed *f) {
	rawwaker_stream s = ctest_feed_stream(f);
	stream_numbers n = { (uintptr_t)s.data, (uintptr_t)s.vtable };
	return n;
}
static stream_numbers query_future(ctest_query *q) {
	rawwaker_future f = ctest_query_future(q);
	stream_numbers n = { (uintptr_t)f.data, (uintptr_t)f.vtable };
	return n;
}
static rawwaker_stream stream_in(uintptr_t data, uintptr_t vtable) {
	rawwaker_stream s = { (void *)data, (const rawwaker_stream_vtable *)vtable };
	return s;
}
static uint8_t poll_next(uintptr_t data, uintptr_t vtable, uintptr_t wdata, uintptr_t wvtable,
                         void *out) {
	rawwaker w = { (void *)wdata, (const rawwaker_vtable *)wvtable };
	return ctest_poll_next(stream_in(data, vtable), w, out);
}
static void stream_drop(uintptr_t data, uintptr_t vtable) {
	rawwaker_stream s = stream_in(data, vtable);
	s.vtable->drop(s.data);
}
static uint8_t poll_forked(uintptr_t data, uintptr_t vtable, uintptr_t wdata, uintptr_t wvtable,
                           char *text, size_t size) {
	rawwaker w = { (void *)wdata, (const rawwaker_vtable *)wvtable };
	return ctest_poll_forked(stream_in(data, vtable), w, text, size);
}
static const rawwaker_stream_vtable *holed_stream(int slot) {
	static rawwaker_stream_vtable all[2];
	ctest_feed *f = ctest_feed_new("", false);
	all[slot] = *ctest_feed_stream(f).vtable;
	ctest_feed_free(f);
	if (slot == 0) all[slot].poll_next = NULL;
	if (slot == 1) all[slot].drop = NULL;
	return &all[slot];
}
*/
import "C"

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Reply is a C result that owns a text in C memory.
type Reply C.ctest_reply

// Take returns the text, and frees it.
func (r *Reply) Take() string {
	text := C.GoString(r.text)
	C.ctest_reply_free((*C.ctest_reply)(r))
	return text
}

// RepliesLive returns how many replies of the process were not freed.
func RepliesLive() int { return int(C.ctest_replies_live()) }

// Query is an [Op] whose result is a [Reply], with the decimal digits of a number.
type Query struct{ c *C.ctest_query }

// NewQuery returns a query. Complete it once; call Raw at most once.
func NewQuery() Query { return Query{C.ctest_query_new()} }

// Raw returns the future. The caller owns it.
func (q Query) Raw() rawwaker.RawFuture {
	n := C.query_future(q.c)
	return rawwaker.RawFutureOf(uintptr(n.data), uintptr(n.vtable))
}

// Complete makes the future ready and wakes its waker.
func (q Query) Complete(n uint64) { C.ctest_query_complete(q.c, C.uint64_t(n)) }

// CompleteQueries completes each with its index, on a C thread, and returns when all are complete.
func CompleteQueries(all []Query) {
	// SAFETY: a Query is one pointer to C memory.
	C.ctest_queries_complete((**C.ctest_query)(unsafe.Pointer(&all[0])), C.uint32_t(len(all)))
}

// Feed is a stream that performs one letter in each poll. Its items are the numbers from 1, as
// uint64 or as [Reply].
//
//	i an item                  s wake itself, pending           d done
//	* the same, permanently    k keep the waker, pending        D done, and call Go in the drop slot
//	. pending                  t keep it, wake it on a thread   p panic with `why not`
//	9 the code 9               c call Go ([OnCall]), pending
//
// A poll after the last letter aborts.
type Feed struct{ c *C.ctest_feed }

func NewFeed(letters string, replies bool) *Feed {
	l := C.CString(letters)
	defer C.free(unsafe.Pointer(l))
	return &Feed{C.ctest_feed_new(l, C.bool(replies))}
}

func (f *Feed) Raw() rawwaker.RawStream {
	n := C.feed_stream(f.c)
	return rawwaker.RawStreamOf(uintptr(n.data), uintptr(n.vtable))
}

// Wake wakes the kept waker, on a C thread.
func (f *Feed) Wake()      { C.ctest_feed_wake(f.c) }
func (f *Feed) Polls() int { return int(C.ctest_feed_polls(f.c)) }
func (f *Feed) Drops() int { return int(C.ctest_feed_drops(f.c)) }
func (f *Feed) Free()      { C.ctest_feed_free(f.c) }

// PollNextOnce polls s on this thread under w, which it borrows.
func PollNextOnce(s rawwaker.RawStream, w rawwaker.RawWaker) (code uint8, out uint64) {
	o := (*C.uint64_t)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(o))
	return pollNext(s, w, unsafe.Pointer(o)), uint64(*o)
}

// PollNextNowhere is PollNextOnce with a NULL out.
func PollNextNowhere(s rawwaker.RawStream, w rawwaker.RawWaker) (code uint8) {
	return pollNext(s, w, nil)
}

func pollNext(s rawwaker.RawStream, w rawwaker.RawWaker, out unsafe.Pointer) uint8 {
	data, vtable := s.Words()
	wdata, wvtable := w.Words()
	return uint8(C.poll_next(C.uintptr_t(data), C.uintptr_t(vtable), C.uintptr_t(wdata),
		C.uintptr_t(wvtable), out))
}

func DropStream(s rawwaker.RawStream) {
	data, vtable := s.Words()
	C.stream_drop(C.uintptr_t(data), C.uintptr_t(vtable))
}

// PollNextForked polls s once and drops it in a forked child. It returns the code and the message.
func PollNextForked(s rawwaker.RawStream, w rawwaker.RawWaker) (code uint8, text string) {
	const size = 1024
	p := C.malloc(size)
	defer C.free(p)
	data, vtable := s.Words()
	wdata, wvtable := w.Words()
	code = uint8(C.poll_forked(C.uintptr_t(data), C.uintptr_t(vtable), C.uintptr_t(wdata),
		C.uintptr_t(wvtable), (*C.char)(p), size))
	return code, C.GoString((*C.char)(p))
}

// HoledStream returns a stream whose vtable lacks one slot (0 poll_next, 1 drop).
func HoledStream(slot int) rawwaker.RawStream {
	return rawwaker.RawStreamOf(0, uintptr(unsafe.Pointer(C.holed_stream(C.int(slot)))))
}

// TwoWords is C memory for a rawwaker_future or a rawwaker_stream.
func TwoWords() (at unsafe.Pointer, free func()) {
	p := C.calloc(2, C.size_t(unsafe.Sizeof(uintptr(0))))
	return p, func() { C.free(p) }
}
