//go:build cgo

package capi

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../.. -I${SRCDIR}/../../audit
#cgo !windows LDFLAGS: -lpthread
#cgo windows LDFLAGS: -Wl,-Bstatic -lpthread -Wl,-Bdynamic
#cgo noescape ffiwaker_read
#cgo nocallback ffiwaker_read
#cgo noescape ffiwaker_box_left
#cgo nocallback ffiwaker_box_left

#include "rawwaker.h"

// Numbers cross, not pointers: see doc.go. Slots may call back into Go, so no shim that calls one may be nocallback.
typedef struct ffiwaker_raw { uintptr_t data, vtable; } ffiwaker_raw;

static inline rawwaker ffiwaker_in(ffiwaker_raw w) {
	rawwaker r = { (void *)w.data, (const rawwaker_vtable *)w.vtable };
	return r;
}
static inline ffiwaker_raw ffiwaker_out(rawwaker w) {
	ffiwaker_raw r = { (uintptr_t)w.data, (uintptr_t)w.vtable };
	return r;
}

static ffiwaker_raw ffiwaker_clone(ffiwaker_raw w) { rawwaker r = ffiwaker_in(w); return ffiwaker_out(rawwaker_clone(&r)); }
static void ffiwaker_wake(ffiwaker_raw w) { rawwaker_wake(ffiwaker_in(w)); }
static void ffiwaker_wake_by_ref(ffiwaker_raw w) { rawwaker r = ffiwaker_in(w); rawwaker_wake_by_ref(&r); }
static void ffiwaker_drop(ffiwaker_raw w) { rawwaker_drop(ffiwaker_in(w)); }
static ffiwaker_raw ffiwaker_noop(void) { return ffiwaker_out(rawwaker_noop()); }

static uintptr_t ffiwaker_box_new(rawwaker_sink *s, uint64_t id, uint32_t flags) { return (uintptr_t)rawwaker_box_new(s, id, flags); }
static void ffiwaker_box_ref(uintptr_t b) { (void)rawwaker_box_ref((rawwaker_box *)b); }
static void ffiwaker_box_close(uintptr_t b) { rawwaker_box_close((rawwaker_box *)b); }
static uintptr_t ffiwaker_box_left(uintptr_t note, int *woken) {
	bool w;
	rawwaker_box *b = rawwaker_box_poll_left(note, &w);
	*woken = w;
	return (uintptr_t)b;
}
static int ffiwaker_box_adopt(uintptr_t b, uint64_t id) { return rawwaker_box_adopt((rawwaker_box *)b, id); }
static int ffiwaker_box_lent(uintptr_t b) { return rawwaker_box_lent((const rawwaker_box *)b); }
static int ffiwaker_box_retire(uintptr_t b) { return rawwaker_box_retire((rawwaker_box *)b); }
static uint64_t ffiwaker_box_id(ffiwaker_raw w) { rawwaker r = ffiwaker_in(w); return rawwaker_box_id(&r); }

// Takes the list where *list is 0, then reads from it.
static size_t ffiwaker_read(rawwaker_sink *s, uintptr_t *list, void *out, size_t n) {
	rawwaker_box *l = (rawwaker_box *)*list;
	if (l == NULL) l = rawwaker_sink_take(s);
	size_t got = rawwaker_box_read(&l, (rawwaker_notice *)out, n);
	*list = (uintptr_t)l;
	return got;
}
static int ffiwaker_sink_on_wake(rawwaker_sink *s, ffiwaker_raw w) { return rawwaker_sink_on_wake(s, ffiwaker_in(w)); }
static void *ffiwaker_head(rawwaker_sink *s) { void *h; uint32_t *f; rawwaker_sink_words(s, &h, &f); return h; }
static uint32_t *ffiwaker_flag(rawwaker_sink *s) { void *h; uint32_t *f; rawwaker_sink_words(s, &h, &f); return f; }
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// HasCgo says whether wakers can cross to C in this build.
const HasCgo = true

func in(w Raw) C.ffiwaker_raw {
	return C.ffiwaker_raw{data: C.uintptr_t(w.Data), vtable: C.uintptr_t(w.VTable)}
}
func out(w C.ffiwaker_raw) Raw { return Raw{Data: uintptr(w.data), VTable: uintptr(w.vtable)} }

// Clone calls the clone slot.
func Clone(w Raw) Raw {
	if auditing.Load() {
		return audited(SlotClone, w)
	}
	return out(C.ffiwaker_clone(in(w)))
}

// Wake calls the wake slot, which consumes.
func Wake(w Raw) {
	if auditing.Load() {
		audited(SlotWake, w)
		return
	}
	C.ffiwaker_wake(in(w))
}

// WakeByRef calls the wake_by_ref slot.
func WakeByRef(w Raw) {
	if auditing.Load() {
		audited(SlotWakeByRef, w)
		return
	}
	C.ffiwaker_wake_by_ref(in(w))
}

// Drop calls the drop slot, which consumes.
func Drop(w Raw) {
	if auditing.Load() {
		audited(SlotDrop, w)
		return
	}
	C.ffiwaker_drop(in(w))
}

// Noop is rawwaker_noop.
func Noop() Raw { return out(C.ffiwaker_noop()) }

// BoxVTable is the address by which boxes are known.
func BoxVTable() uintptr {
	// SAFETY: a static address in C memory, good as a number for the life of the process.
	return uintptr(unsafe.Pointer(C.rawwaker_box_vtable()))
}

// LinkedABIVersion is what the compiled rawwaker.c says.
func LinkedABIVersion() uint32 { return uint32(C.rawwaker_abi_version()) }

// Live is how many counted C wakers are alive.
func Live() int { return int(C.rawwaker_live()) }

// Sink is a rawwaker_sink.
type Sink struct {
	sink *C.rawwaker_sink
	// Head and Sleeping are the sink's words in C memory, for Go's atomics: Sleeping is 0 while the runtime is awake, else the
	// number of its sleep. The race detector does not see C memory: what they hold orders nothing for it; the cgo call in
	// [Sink.Read] does.
	Head     *uintptr
	Sleeping *uint32
}

// SinkForever makes a sink that is never freed.
const SinkForever = C.RAWWAKER_SINK_FOREVER

// NewSink makes a sink.
func NewSink(flags uint32) (*Sink, error) {
	s, err := C.rawwaker_sink_new(C.uint32_t(flags))
	if s == nil {
		return nil, fmt.Errorf("ffiwaker: no descriptor for wakes from C: %w", err)
	}
	return &Sink{
		sink: s,
		// SAFETY: both are words of C memory, good until Drop; the head is read as a number only.
		Head:     (*uintptr)(C.ffiwaker_head(s)),
		Sleeping: (*uint32)(unsafe.Pointer(C.ffiwaker_flag(s))),
	}, nil
}

// Close gives the descriptor and the hook up; the rest works on, until Drop.
func (s *Sink) Close() { C.rawwaker_sink_close(s.sink) }

// Reaper makes s, which is for ever, the sink that is kicked if there are hooks to be dropped by [Reap]. It returns the address of a word
// that is not 0 meanwhile.
func (s *Sink) Reaper() *uintptr {
	// SAFETY: a static word of C memory, read as a number.
	return (*uintptr)(unsafe.Pointer(C.rawwaker_sink_reaper(s.sink)))
}

// Reap drops the hooks that a wake was calling when their sink was closed. Their drop slots are foreign.
func Reap() { C.rawwaker_sink_reap() }

// Drop ends the sink: its words and descriptor must not be used any more.
func (s *Sink) Drop() { C.rawwaker_sink_drop(s.sink) }

// OnWake has a C waker woken with the descriptor; the sink takes it over, unless the answer is false.
func (s *Sink) OnWake(w Raw) bool { return C.ffiwaker_sink_on_wake(s.sink, in(w)) != 0 }

// FD is the sink's descriptor.
func (s *Sink) FD() uintptr { return uintptr(C.rawwaker_sink_fd(s.sink)) }

// Sleep says that the caller is about to wait on the descriptor; false: read first.
func (s *Sink) Sleep() bool { return bool(C.rawwaker_sink_sleep(s.sink)) }

// Ack makes the descriptor unreadable.
func (s *Sink) Ack() { C.rawwaker_sink_ack(s.sink) }

// Kick makes the descriptor readable.
func (s *Sink) Kick() { C.rawwaker_sink_kick(s.sink) }

// Read reads notices into out; list carries the rest of a taken list between two calls and starts as 0. It returns 0
// when there is nothing more. This is a cgo call, so the race detector takes it for a synchronisation with every
// earlier cgo call, that of the waking side among them.
func (s *Sink) Read(list *uintptr, out []Notice) int {
	// SAFETY: C writes plain numbers into both before it returns, and keeps neither (noescape).
	return int(C.ffiwaker_read(s.sink, (*C.uintptr_t)(unsafe.Pointer(list)), unsafe.Pointer(&out[0]), C.size_t(len(out))))
}

// BoxNew makes a box that carries id, held by the caller; 0: out of memory. With tell it comes back when C drops last.
func (s *Sink) BoxNew(id uint64, tell bool) uintptr {
	var flags C.uint32_t
	if tell {
		flags = C.RAWWAKER_BOX_TELL
	}
	return uintptr(C.ffiwaker_box_new(s.sink, C.uint64_t(id), flags))
}

// BoxRef counts one reference for C.
func BoxRef(box uintptr) { C.ffiwaker_box_ref(C.uintptr_t(box)) }

// BoxClose ends the caller's hold.
func BoxClose(box uintptr) { C.ffiwaker_box_close(C.uintptr_t(box)) }

// BoxLeft ends the poll that [PollUnderBox] has not returned from. box is 0, or what the poll has made and the future has kept.
func BoxLeft(note uintptr) (box uintptr, woken bool) {
	if note&NoteEnded != 0 {
		return note &^ (NoteEnded | noteTook), note&noteTook != 0
	}
	var w C.int
	box = uintptr(C.ffiwaker_box_left(C.uintptr_t(note), &w))
	return box, w != 0
}

// The states of a box's word that Go uses: rawwaker_box_word.
const (
	BoxIdle  = C.RAWWAKER_BOX_IDLE
	BoxWoken = C.RAWWAKER_BOX_WOKEN
	BoxLoop  = C.RAWWAKER_BOX_LOOP
)

var boxWord = uintptr(C.rawwaker_box_word())

// BoxWord is the address of a box's word, good while the box is held.
func BoxWord(box uintptr) *uint32 {
	box += boxWord
	// SAFETY: an address in C memory, which Go neither moves nor frees.
	return *(**uint32)(unsafe.Pointer(&box))
}

// BoxAdopt gives the box that PollUnderBox has made its id; true: it was woken meanwhile.
func BoxAdopt(box uintptr, id uint64) bool {
	return C.ffiwaker_box_adopt(C.uintptr_t(box), C.uint64_t(id)) != 0
}

// BoxRetire answers a notice that said Last; true: the box is freed.
func BoxRetire(box uintptr) bool { return C.ffiwaker_box_retire(C.uintptr_t(box)) != 0 }

// BoxLent says whether C holds a reference.
func BoxLent(box uintptr) bool { return C.ffiwaker_box_lent(C.uintptr_t(box)) != 0 }

// BoxID is the id in a box, 0 in any other waker.
func BoxID(w Raw) uint64 { return uint64(C.ffiwaker_box_id(in(w))) }

// Layouts is what the C compiler says of the public structs.
func Layouts() []Layout {
	var w C.rawwaker
	var v C.rawwaker_vtable
	var cx C.rawwaker_context
	var f C.rawwaker_future
	var fv C.rawwaker_future_vtable
	var n C.rawwaker_notice
	return []Layout{
		{"rawwaker", unsafe.Sizeof(w), []Field{
			{"data", unsafe.Offsetof(w.data), unsafe.Sizeof(w.data)},
			{"vtable", unsafe.Offsetof(w.vtable), unsafe.Sizeof(w.vtable)},
		}},
		{"rawwaker_vtable", unsafe.Sizeof(v), []Field{
			{"clone", unsafe.Offsetof(v.clone), unsafe.Sizeof(v.clone)},
			{"wake", unsafe.Offsetof(v.wake), unsafe.Sizeof(v.wake)},
			{"wake_by_ref", unsafe.Offsetof(v.wake_by_ref), unsafe.Sizeof(v.wake_by_ref)},
			{"drop", unsafe.Offsetof(v.drop), unsafe.Sizeof(v.drop)},
		}},
		{"rawwaker_context", unsafe.Sizeof(cx), []Field{
			{"waker", unsafe.Offsetof(cx.waker), unsafe.Sizeof(cx.waker)},
		}},
		{"rawwaker_future", unsafe.Sizeof(f), []Field{
			{"data", unsafe.Offsetof(f.data), unsafe.Sizeof(f.data)},
			{"vtable", unsafe.Offsetof(f.vtable), unsafe.Sizeof(f.vtable)},
		}},
		{"rawwaker_future_vtable", unsafe.Sizeof(fv), []Field{
			{"poll", unsafe.Offsetof(fv.poll), unsafe.Sizeof(fv.poll)},
			{"drop", unsafe.Offsetof(fv.drop), unsafe.Sizeof(fv.drop)},
		}},
		{"rawwaker_notice", unsafe.Sizeof(n), []Field{
			{"id", unsafe.Offsetof(n.id), unsafe.Sizeof(n.id)},
			{"woken", unsafe.Offsetof(n.woken), unsafe.Sizeof(n.woken)},
			{"last", unsafe.Offsetof(n.last), unsafe.Sizeof(n.last)},
		}},
	}
}
