//go:build cgo

package capi

/*
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "shim.h"
#include "trace.h"

// Futures of C, polled by Go.

typedef struct ffiwaker_polled {
	uintptr_t box;    // made by this poll and kept by the future; or 0
	char *panic;      // from malloc; or NULL
	uint8_t code, woken;
} ffiwaker_polled;

// In a note, in place of what rawwaker_box_poll_noted has there: the future has ended, and its drop
// slot was called. With READY it has written its result. p.box and p.woken stand there, too.
enum { FFIWAKER_READY = 1, FFIWAKER_TOOK = 2, FFIWAKER_ENDED = 4 };

// In a note before a poll under a box: the box is closed in the call in which the future ends.
enum { FFIWAKER_LAST = 8 };

static ffiwaker_polled ffiwaker_end(ffiwaker_polled p, rawwaker_future f, uintptr_t *note) {
	// The text first: it is this thread's, and the drop slot's code may set another.
	if (p.code == RAWWAKER_PANICKED) p.panic = strdup(rawwaker_last_panic());
	if (p.code != RAWWAKER_PENDING) {
		// If an unwind leaves the slot, it must not be called again.
		*note = p.box | FFIWAKER_ENDED | (p.woken ? FFIWAKER_TOOK : 0) |
		        (p.code == RAWWAKER_READY ? FFIWAKER_READY : 0);
		f.vtable->drop(f.data);
	}
	return p;
}
static ffiwaker_polled ffiwaker_poll_under_box(rawwaker_sink *s, uintptr_t box, ffiwaker_raw future,
                                               uintptr_t out, uintptr_t *note) {
	rawwaker_future f = ffiwaker_future(future);
	rawwaker_box *b = (rawwaker_box *)box;
	bool woken, last = (*note & FFIWAKER_LAST) != 0;
	ffiwaker_polled p = { 0, NULL, rawwaker_box_poll_noted(s, &b, f, (void *)out, &woken, note), 0 };
	p.box = (uintptr_t)b;
	p.woken = woken;
	p = ffiwaker_end(p, f, note);
	if (last && p.code != RAWWAKER_PENDING && b != NULL) {
		rawwaker_box_close(b);
		p.box = 0;
	}
	return p;
}
static ffiwaker_polled ffiwaker_poll_under(ffiwaker_raw waker, ffiwaker_raw future, uintptr_t out,
                                           uintptr_t *note) {
	rawwaker_future f = ffiwaker_future(future);
	rawwaker w = ffiwaker_waker(waker);
	rawwaker_context cx = { &w };
	rawwaker_set_panic("", 0);
	ffiwaker_polled p = { 0, NULL, f.vtable->poll(f.data, &cx, (void *)out), 0 };
	return ffiwaker_end(p, f, note);
}
static ffiwaker_polled ffiwaker_traced_poll_under_box(uint64_t goroutine, rawwaker_sink *s,
                                                      uintptr_t box, ffiwaker_raw f, uintptr_t out,
                                                      uintptr_t *note) {
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	ffiwaker_polled p = ffiwaker_poll_under_box(s, box, f, out, note);
	ffiwaker_trace_enter(outer);
	return p;
}
static ffiwaker_polled ffiwaker_traced_poll_under(uint64_t goroutine, ffiwaker_raw w,
                                                  ffiwaker_raw f, uintptr_t out, uintptr_t *note) {
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	ffiwaker_polled p = ffiwaker_poll_under(w, f, out, note);
	ffiwaker_trace_enter(outer);
	return p;
}
static void ffiwaker_future_drop(ffiwaker_raw future) {
	rawwaker_future f = ffiwaker_future(future);
	f.vtable->drop(f.data);
}

// Futures of Go, polled by C. data is the future's number; the slots are Go's, in export.go.

extern uint8_t ffiwakerFuturePoll(uint64_t id, uintptr_t data, uintptr_t vtable, uint64_t box,
                                  uintptr_t out);
extern void ffiwakerFutureDrop(uint64_t id);

#define FFIWAKER_FORKED(what) \
	"ffiwaker: poll of " what " in a forked child: Go's threads do not exist there"

static rawwaker_poll ffiwaker_go_poll(void *data, rawwaker_context *cx, void *out) {
	const rawwaker *w = cx->waker;
	if (ffiwaker_forked()) {
		static const char why[] = FFIWAKER_FORKED("a Go future");
		rawwaker_set_panic(why, sizeof why - 1);
		return RAWWAKER_PANICKED;
	}
	int cancel = ffiwaker_hold_cancel();
	rawwaker_poll got = ffiwakerFuturePoll((uintptr_t)data, (uintptr_t)w->data, (uintptr_t)w->vtable,
	                                       rawwaker_box_id(w), (uintptr_t)out);
	ffiwaker_restore_cancel(cancel);
	return got;
}
static void ffiwaker_go_drop(void *data) {
	if (ffiwaker_forked()) return; // what it held in Go goes with the child
	int cancel = ffiwaker_hold_cancel();
	ffiwakerFutureDrop((uintptr_t)data);
	ffiwaker_restore_cancel(cancel);
}
static const rawwaker_future_vtable ffiwaker_go_future = { ffiwaker_go_poll, ffiwaker_go_drop };
static uintptr_t ffiwaker_go_future_vtable(void) { return (uintptr_t)&ffiwaker_go_future; }

// Streams of Go, the same.

extern uint8_t ffiwakerStreamPollNext(uint64_t id, uintptr_t data, uintptr_t vtable, uint64_t box,
                                      uintptr_t out);
extern void ffiwakerStreamDrop(uint64_t id);

static rawwaker_poll ffiwaker_go_poll_next(void *data, rawwaker_context *cx, void *out) {
	const rawwaker *w = cx->waker;
	if (ffiwaker_forked()) {
		static const char why[] = FFIWAKER_FORKED("a Go stream");
		rawwaker_set_panic(why, sizeof why - 1);
		return RAWWAKER_PANICKED;
	}
	int cancel = ffiwaker_hold_cancel();
	rawwaker_poll got = ffiwakerStreamPollNext((uintptr_t)data, (uintptr_t)w->data,
	                                           (uintptr_t)w->vtable, rawwaker_box_id(w),
	                                           (uintptr_t)out);
	ffiwaker_restore_cancel(cancel);
	return got;
}
static void ffiwaker_go_stream_drop(void *data) {
	if (ffiwaker_forked()) return; // what it held in Go goes with the child
	int cancel = ffiwaker_hold_cancel();
	ffiwakerStreamDrop((uintptr_t)data);
	ffiwaker_restore_cancel(cancel);
}
static const rawwaker_stream_vtable ffiwaker_go_stream = {
	ffiwaker_go_poll_next, ffiwaker_go_stream_drop
};
static uintptr_t ffiwaker_go_stream_vtable(void) { return (uintptr_t)&ffiwaker_go_stream; }

static void ffiwaker_die(const char *call, const char *why) {
	fprintf(stderr, "rawwaker: %s: %s\n", call, why);
	abort();
}
*/
import "C"

import "unsafe"

// What a poll slot may give.
const (
	CodeReady    = C.RAWWAKER_READY
	CodePending  = C.RAWWAKER_PENDING
	CodePanicked = C.RAWWAKER_PANICKED
	CodeDone     = C.RAWWAKER_DONE // of a stream
)

func polled(p C.ffiwaker_polled) Polled {
	got := Polled{Box: uintptr(p.box), Code: uint8(p.code), Woken: p.woken != 0}
	if p.panic != nil {
		got.Panic = C.GoString(p.panic)
		// SAFETY: ffiwaker_end's own, from malloc.
		C.free(unsafe.Pointer(p.panic))
	}
	return got
}

// NoteEnded is set in a note if the future has ended and its drop slot was called; NoteReady, too,
// if it has written its result.
const (
	NoteEnded = C.FFIWAKER_ENDED
	NoteReady = C.FFIWAKER_READY

	noteTook = C.FFIWAKER_TOOK
)

// NoteLast, in the note before [PollUnderBox], has the box closed by the call in which the future
// ends.
const NoteLast = C.FFIWAKER_LAST

// PollUnderBox is rawwaker_box_poll_noted, with the future's drop slot called if it has ended. If
// a panic or Goexit of a callback unwinds through it, *note, which is on the heap and was 0 or
// [NoteLast], goes to [BoxLeft].
func PollUnderBox(s *Sink, box uintptr, f Raw, out uintptr, note *uintptr) Polled {
	// SAFETY: note points to one number, which C writes during this call only; cgo keeps it from
	// being collected.
	at := (*C.uintptr_t)(unsafe.Pointer(note))
	if tracing {
		return polled(C.ffiwaker_traced_poll_under_box(traced(), s.sink, C.uintptr_t(box), toC(f),
			C.uintptr_t(out), at))
	}
	return polled(C.ffiwaker_poll_under_box(s.sink, C.uintptr_t(box), toC(f), C.uintptr_t(out), at))
}

// PollUnder polls a future once under any waker, which it borrows, and calls its drop slot if
// it has ended. Of the note it sets [NoteEnded] and [NoteReady] only.
func PollUnder(w, f Raw, out uintptr, note *uintptr) Polled {
	// SAFETY: as in PollUnderBox.
	at := (*C.uintptr_t)(unsafe.Pointer(note))
	if tracing {
		return polled(C.ffiwaker_traced_poll_under(traced(), toC(w), toC(f), C.uintptr_t(out), at))
	}
	return polled(C.ffiwaker_poll_under(toC(w), toC(f), C.uintptr_t(out), at))
}

// DropFuture calls a future's drop slot.
func DropFuture(f Raw) { C.ffiwaker_future_drop(toC(f)) }

// GoFutureVTable is the vtable of the futures whose data is a number that GoFutures knows.
func GoFutureVTable() uintptr { return uintptr(C.ffiwaker_go_future_vtable()) }

// GoStreamVTable is the same for streams and GoStreams.
func GoStreamVTable() uintptr { return uintptr(C.ffiwaker_go_stream_vtable()) }

// SetPanic is rawwaker_set_panic, to be called on the thread of the poll that is about to say
// CodePanicked.
func SetPanic(text string) {
	if text == "" {
		C.rawwaker_set_panic(nil, 0)
		return
	}
	// SAFETY: C copies the bytes before it returns.
	C.rawwaker_set_panic((*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text)))
}

// Die prints the one line of an abort, and aborts.
func Die(call, why string) {
	C.ffiwaker_die(C.CString(call), C.CString(why))
}
