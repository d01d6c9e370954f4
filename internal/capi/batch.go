//go:build cgo

package capi

/*
#include "shim.h"

// Streams of C, polled by Go.

// A batch is a future of some items of a stream: ready when poll_next has given at least one, or
// the end, or has panicked. It is in a Buffer, so that Go finds what was read also if a panic of Go
// unwinds through poll_next.
typedef struct ffiwaker_batch {
	ffiwaker_raw stream;
	uintptr_t items; // 0 if they have no bytes
	size_t stride, max, n;
	uint8_t last;    // what poll_next has returned last
} ffiwaker_batch;

static bool ffiwaker_batch_over(const ffiwaker_batch *b) {
	return b->last != RAWWAKER_READY && b->last != RAWWAKER_PENDING;
}
static rawwaker_poll ffiwaker_batch_poll(void *data, rawwaker_context *cx, void *out) {
	ffiwaker_batch *b = data;
	rawwaker_stream s = ffiwaker_stream(b->stream);
	(void)out;
	do {
		b->last = s.vtable->poll_next(s.data, cx, (void *)(b->items + b->n * b->stride));
		b->n += b->last == RAWWAKER_READY;
	} while (b->last == RAWWAKER_READY && b->n < b->max);
	// A wake that came meanwhile is reported whatever this returns: see rawwaker_box_poll.
	if (b->last == RAWWAKER_DONE) return RAWWAKER_READY;
	return b->n > 0 && b->last == RAWWAKER_PENDING ? RAWWAKER_READY : b->last;
}
// Also called if the batch is ready and the stream is not at its end.
static void ffiwaker_batch_drop(void *data) {
	ffiwaker_batch *b = data;
	rawwaker_stream s = ffiwaker_stream(b->stream);
	if (ffiwaker_batch_over(b)) s.vtable->drop(s.data);
}
static const rawwaker_future_vtable ffiwaker_batch_future = {
	ffiwaker_batch_poll, ffiwaker_batch_drop
};
static uintptr_t ffiwaker_batch_vtable(void) { return (uintptr_t)&ffiwaker_batch_future; }
static void ffiwaker_stream_drop(ffiwaker_raw stream) {
	rawwaker_stream s = ffiwaker_stream(stream);
	s.vtable->drop(s.data);
}
*/
import "C"

import "unsafe"

// Batch is a future of C whose result is some items of a stream of C.
type Batch struct {
	buffer *Buffer
	c      *C.ffiwaker_batch // in buffer, before the items
}

// batchHeader returns the distance of the items, each of which is aligned as a Buffer of its size.
func batchHeader(stride uintptr) uintptr {
	align := min(max(stride&-stride, 16), 4096)
	return (unsafe.Sizeof(C.ffiwaker_batch{}) + align - 1) &^ (align - 1)
}

var batchVTable = uintptr(C.ffiwaker_batch_vtable())

// NewBatch returns a batch of at most max items of stride bytes. Poll its future by [PollUnder] or
// [PollUnderBox] once, or again if the stream was pending; both drop the stream if it has ended.
// Then take the items, also if a panic has left that poll, and give the batch back by Free.
func NewBatch(stream Raw, stride, max uintptr) Batch {
	header := batchHeader(stride)
	b := NewBuffer(header + stride*max)
	// SAFETY: the memory is large enough, and zeroed; its fields are numbers.
	c := (*C.ffiwaker_batch)(b.Pointer())
	c.stream = toC(stream)
	c.stride, c.max = C.size_t(stride), C.size_t(max)
	if stride != 0 {
		c.items = C.uintptr_t(b.Address() + header)
	}
	c.last = CodePending
	return Batch{b, c}
}

// Future returns the two words of the future.
func (b Batch) Future() Raw { return Raw{b.buffer.Address(), batchVTable} }

// Len returns how many items were read.
func (b Batch) Len() uintptr { return uintptr(b.c.n) }

// Item returns the address of an item.
func (b Batch) Item(i uintptr) unsafe.Pointer {
	// SAFETY: i is below Len, so the item is in the buffer.
	stride := uintptr(b.c.stride)
	return unsafe.Add(b.buffer.Pointer(), batchHeader(stride)+i*stride)
}

// Last returns what poll_next has returned last.
func (b Batch) Last() uint8 { return uint8(b.c.last) }

// Over reports whether the stream has ended: its drop slot was called.
func (b Batch) Over() bool { return b.Last() != CodeReady && b.Last() != CodePending }

// Free gives the batch back.
func (b Batch) Free() {
	stride := uintptr(b.c.stride)
	b.buffer.Free(batchHeader(stride) + stride*uintptr(min(b.c.n+1, b.c.max)))
}

// DropStream calls a stream's drop slot.
func DropStream(s Raw) { C.ffiwaker_stream_drop(toC(s)) }
