//go:build cgo

package capi

/*
#cgo noescape ffiwaker_read
#cgo nocallback ffiwaker_read

#include "shim.h"

// Takes the list if *list is 0, then reads from it.
static size_t ffiwaker_read(rawwaker_sink *s, uintptr_t *list, void *out, size_t n) {
	rawwaker_box *l = (rawwaker_box *)*list;
	if (l == NULL) l = rawwaker_sink_take(s);
	size_t got = rawwaker_box_read(&l, (rawwaker_notice *)out, n);
	*list = (uintptr_t)l;
	return got;
}
static int ffiwaker_sink_on_wake(rawwaker_sink *s, ffiwaker_raw w) {
	return rawwaker_sink_on_wake(s, ffiwaker_waker(w));
}
static void *ffiwaker_head(rawwaker_sink *s) {
	void *h;
	uint32_t *f;
	rawwaker_sink_words(s, &h, &f);
	return h;
}
static uint32_t *ffiwaker_flag(rawwaker_sink *s) {
	void *h;
	uint32_t *f;
	rawwaker_sink_words(s, &h, &f);
	return f;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Sink is a rawwaker_sink.
type Sink struct {
	sink *C.rawwaker_sink
	// Head and Sleeping are the sink's words in C memory, for Go's atomics: Sleeping is 0 while
	// the runtime is awake, else the number of its sleep. The race detector does not see C
	// memory: what they hold orders nothing for it; the cgo call in [Sink.Read] does.
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

// Reaper makes s, which is never freed, the sink that is kicked if there are hooks to be dropped by
// [Reap]. It returns the address of a word that is not 0 meanwhile.
func (s *Sink) Reaper() *uintptr {
	// SAFETY: a static word of C memory, read as a number.
	return (*uintptr)(unsafe.Pointer(C.rawwaker_sink_reaper(s.sink)))
}

// Reap drops the hooks that a wake was calling when their sink was closed. Their drop slots are
// foreign.
func Reap() { C.rawwaker_sink_reap() }

// Drop ends the sink: its words and descriptor must not be used any more.
func (s *Sink) Drop() { C.rawwaker_sink_drop(s.sink) }

// OnWake has a C waker woken with the descriptor; the sink takes it over, unless the answer is
// false.
func (s *Sink) OnWake(w Raw) bool { return C.ffiwaker_sink_on_wake(s.sink, toC(w)) != 0 }

// FD is the sink's descriptor.
func (s *Sink) FD() uintptr { return uintptr(C.rawwaker_sink_fd(s.sink)) }

// Sleep announces that the caller is about to wait on the descriptor; false: read first.
func (s *Sink) Sleep() bool { return bool(C.rawwaker_sink_sleep(s.sink)) }

// Ack makes the descriptor unreadable.
func (s *Sink) Ack() { C.rawwaker_sink_ack(s.sink) }

// Kick makes the descriptor readable.
func (s *Sink) Kick() { C.rawwaker_sink_kick(s.sink) }

// Read reads notices into out; list carries the rest of a taken list between two calls and starts
// as 0. It returns 0 when there is nothing more. This is a cgo call, so the race detector takes
// it for a synchronisation with every earlier cgo call, that of the waking side among them.
func (s *Sink) Read(list *uintptr, out []Notice) int {
	// SAFETY: C writes plain numbers into both before it returns, and keeps neither (noescape).
	return int(C.ffiwaker_read(s.sink, (*C.uintptr_t)(unsafe.Pointer(list)), unsafe.Pointer(&out[0]),
		C.size_t(len(out))))
}
