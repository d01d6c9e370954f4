//go:build cgo

package capi

/*
#cgo noescape ffiwaker_box_left
#cgo nocallback ffiwaker_box_left

#include <stdlib.h>
#include <string.h>

#include "shim.h"

static uintptr_t ffiwaker_box_new(rawwaker_sink *s, uint64_t id, uint32_t flags) {
	return (uintptr_t)rawwaker_box_new(s, id, flags);
}
static void ffiwaker_box_ref(uintptr_t b) { (void)rawwaker_box_ref((rawwaker_box *)b); }
static void ffiwaker_box_close(uintptr_t b) { rawwaker_box_close((rawwaker_box *)b); }
static uintptr_t ffiwaker_box_left(uintptr_t note, int *woken) {
	bool w;
	rawwaker_box *b = rawwaker_box_poll_left(note, &w);
	*woken = w;
	return (uintptr_t)b;
}
static size_t ffiwaker_box_id_offset(void) {
	rawwaker_box_field all[16];
	size_t n = rawwaker_box_look(NULL, all, 16);
	for (size_t i = 0; i < n && i < 16; i++)
		if (strcmp(all[i].name, "id") == 0) return all[i].offset;
	abort(); // the fields are those of the same release
}
static int ffiwaker_box_lent(uintptr_t b) { return rawwaker_box_lent((const rawwaker_box *)b); }
static int ffiwaker_box_retire(uintptr_t b) { return rawwaker_box_retire((rawwaker_box *)b); }
static uint64_t ffiwaker_box_id(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	return rawwaker_box_id(&r);
}
*/
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// BoxVTable is the address by which boxes are known.
func BoxVTable() uintptr {
	// SAFETY: a static address in C memory, good as a number for the life of the process.
	return uintptr(unsafe.Pointer(C.rawwaker_box_vtable()))
}

// BoxNew makes a box that carries id, held by the caller; 0: out of memory. With tell it comes
// back when C drops last.
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

// BoxLeft ends the poll that [PollUnderBox] has not returned from. box is 0, or what the poll has
// made and the future has kept.
func BoxLeft(note uintptr) (box uintptr, woken bool) {
	if note&NoteEnded != 0 {
		return note &^ (NoteEnded | NoteReady | noteTook), note&noteTook != 0
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

var boxIDAt = uintptr(C.ffiwaker_box_id_offset())

// BoxAdopt gives the box that PollUnderBox has made its id; true: it was woken meanwhile. It takes
// the steps of rawwaker_box_adopt without a call into C: nothing else closes the box meanwhile.
func BoxAdopt(box uintptr, id uint64) bool {
	at := box + boxIDAt
	// SAFETY: as in BoxWord.
	atomic.StoreUint64(*(**uint64)(unsafe.Pointer(&at)), id)
	return atomic.SwapUint32(BoxWord(box), BoxIdle) == BoxWoken
}

// BoxRetire answers a notice that said Last; true: the box is freed.
func BoxRetire(box uintptr) bool { return C.ffiwaker_box_retire(C.uintptr_t(box)) != 0 }

// BoxLent reports whether C holds a reference.
func BoxLent(box uintptr) bool { return C.ffiwaker_box_lent(C.uintptr_t(box)) != 0 }

// BoxID is the id in a box, 0 in any other waker.
func BoxID(w Raw) uint64 { return uint64(C.ffiwaker_box_id(toC(w))) }
