//go:build cgo

// Package broken holds wakers, futures, streams and executors, in C and in Go, that each break one
// rule.
//
// The conformance kits and the auditor must report the rule. Sound ones, which must pass, are there
// for comparison. Run each in a process of its own.
package broken

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../../.. -I${SRCDIR}/../../../audit
#cgo CFLAGS: -I${SRCDIR}/../../../wakertest/c
#include "broken.h"
#include "rawwaker_audit.h"

static const broken *entry(int i) { return &broken_all[i]; }
typedef struct words { uintptr_t data, vtable; } words;

static rawwaker_test_waker waker_of(int i) {
	return broken_waker((void *)(uintptr_t)&broken_all[i]);
}
static words words_of(rawwaker_test_waker s) {
	words w = { (uintptr_t)s.waker.data, (uintptr_t)s.waker.vtable };
	return w;
}
static size_t wakes(rawwaker_test_waker *s) { return s->wakes(s->arg); }
static long live(rawwaker_test_waker *s) { return s->live(s->arg); }
static void end(rawwaker_test_waker *s) { s->end(s->arg); }
static void free_waker(rawwaker_test_waker *s) { s->free(s->arg); }

extern void brokenCall(uintptr_t);
static void call(void *with) { brokenCall((uintptr_t)with); }
static void poll_waker(rawwaker_test_waker *s, uintptr_t with) {
	s->poll(s->arg, with ? call : NULL, (void *)with);
}
static void on_wake(rawwaker_test_waker *s, uintptr_t with) {
	s->on_wake(s->arg, with ? call : NULL, (void *)with);
}

static rawwaker_test_future future_of(int i) {
	return broken_future((void *)(uintptr_t)&broken_all[i]);
}
static words future_words(rawwaker_test_future s) {
	words w = { (uintptr_t)s.future.data, (uintptr_t)s.future.vtable };
	return w;
}
static void complete(rawwaker_test_future *s) { s->complete(s->arg); }
static long future_live(rawwaker_test_future *s) { return s->live(s->arg); }
static void free_future(rawwaker_test_future *s) { s->free(s->arg); }
static void future_waits(rawwaker_test_future *s) { broken_future_waits(s); }
static rawwaker_test_stream stream_of(int i) {
	return broken_stream((void *)(uintptr_t)&broken_all[i]);
}
static words stream_words(rawwaker_test_stream s) {
	words w = { (uintptr_t)s.stream.data, (uintptr_t)s.stream.vtable };
	return w;
}
static void produce(rawwaker_test_stream *s) { s->produce(s->arg); }
static void user(int i, words w) {
	rawwaker r = { (void *)w.data, (const rawwaker_vtable *)w.vtable };
	broken_user(&broken_all[i], r);
}
*/
import "C"

import (
	"runtime"
	"runtime/cgo"
	"strings"
	"testing"

	_ "github.com/seed-8a1b3254/ffiwaker"       // links rawwaker.c
	_ "github.com/seed-8a1b3254/ffiwaker/audit" // links rawwaker_audit.c
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// Entries returns the entries written in C, in the order of table.c.
func Entries() []Entry {
	var all []Entry
	for i := 0; ; i++ {
		e := C.entry(C.int(i))
		if e.name == nil {
			return all
		}
		text := func(s *C.char) string {
			if s == nil {
				return ""
			}
			return C.GoString(s)
		}
		all = append(all, Entry{
			Name: text(e.name), Kind: text(e.kind), Does: text(e.does), Kit: text(e.kit),
			Audit: text(e.audit), Detector: bool(e.tsan), index: i,
		})
	}
}

func raw(w C.words) rawwaker.RawWaker {
	return rawwaker.RawWakerOf(uintptr(w.data), uintptr(w.vtable))
}

func rawFuture(w C.words) rawwaker.RawFuture {
	return rawwaker.RawFutureOf(uintptr(w.data), uintptr(w.vtable))
}

//export brokenCall
func brokenCall(with C.uintptr_t) { cgo.Handle(with).Value().(func())() }

// Waker returns a new waker of an entry.
func Waker(e Entry) wakertest.Waker {
	s := C.waker_of(C.int(e.index))
	var hook cgo.Handle
	return wakertest.Waker{
		Raw:   raw(C.words_of(s)),
		Wakes: func() int { return int(C.wakes(&s)) },
		Live:  func() int { return int(C.live(&s)) },
		Poll: func(during func()) {
			if during == nil {
				C.poll_waker(&s, 0)
				return
			}
			h := cgo.NewHandle(during)
			defer h.Delete()
			C.poll_waker(&s, C.uintptr_t(h))
		},
		OnWake: func(f func()) {
			if f == nil {
				C.on_wake(&s, 0)
				hook.Delete()
				return
			}
			hook = cgo.NewHandle(f)
			C.on_wake(&s, C.uintptr_t(hook))
		},
		End:  func() { C.end(&s) },
		Free: func() { C.free_waker(&s) },
	}
}

// Future returns a new future of an entry for the scenario t.
func Future(t testing.TB, e Entry) wakertest.Future[uint64] {
	s := C.future_of(C.int(e.index))
	if strings.HasSuffix(t.Name(), "/set_before_wake") {
		// A wake from C is delivered to Go later, so the condition would be set before the poll
		// that this scenario makes inside the wake.
		C.future_waits(&s)
	}
	return wakertest.Future[uint64]{
		Future:   rawwaker.FutureFromRaw[uint64](rawFuture(C.future_words(s))),
		Complete: func() { C.complete(&s) },
		Live:     func() int { return int(C.future_live(&s)) },
		Free:     func() { C.free_future(&s) },
	}
}

// Use runs the misuse of an entry with an audited waker.
func Use(e Entry) {
	data, vtable := wakertest.Audit(rawwaker.FromFunc(func() {}).IntoRaw()).Words()
	C.user(C.int(e.index), C.words{data: C.uintptr_t(data), vtable: C.uintptr_t(vtable)})
}

// UseFuture executes an audited future of an entry correctly.
func UseFuture(e Entry) {
	s := C.future_of(C.int(e.index))
	audited := wakertest.AuditFuture(rawFuture(C.future_words(s)))
	f := rawwaker.FutureFromRaw[uint64](audited)
	one, two := rawwaker.FromFunc(func() {}), rawwaker.FromFunc(func() {})
	poll := func(w *rawwaker.Waker) bool {
		defer func() { _ = recover() }() // an unknown code panics
		return f.Poll(rawwaker.NewContext(w)).IsReady()
	}
	if e.Name == "knows_one_thread" {
		elsewhere(func() { poll(one) })
		f.Drop()
		return
	}
	ready := poll(one) || poll(two) || poll(two)
	if e.Name != "keeps_its_waker_over_drop" {
		C.complete(&s)
		if !ready {
			poll(two)
		}
	}
	f.Drop()
}

// elsewhere calls f on another thread.
func elsewhere(f func()) {
	runtime.LockOSThread() // so that the other goroutine runs on another thread
	defer runtime.UnlockOSThread()
	done := make(chan bool)
	go func() {
		runtime.LockOSThread()
		f()
		close(done)
	}()
	<-done
}

// UseStream reads an audited stream of an entry to its end correctly.
func UseStream(e Entry) {
	s := C.stream_of(C.int(e.index))
	w := C.stream_words(s)
	audited := wakertest.AuditStream(rawwaker.RawStreamOf(uintptr(w.data), uintptr(w.vtable)))
	stream := rawwaker.StreamFromRaw[uint64](audited)
	one, two := rawwaker.FromFunc(func() {}), rawwaker.FromFunc(func() {})
	poll := func(w *rawwaker.Waker) (over bool) {
		defer func() { over = recover() != nil || over }() // an unknown code panics
		p := stream.PollNext(rawwaker.NewContext(w))
		return p.IsReady() && !p.Value().Ok
	}
	if e.Name == "stream_knows_one_thread" {
		elsewhere(func() { poll(one) })
		stream.Drop()
		return
	}
	over := poll(one) || poll(two)
	if e.Name != "stream_keeps_its_waker_over_drop" {
		for i := C.size_t(0); i <= s.count && !over; i++ {
			C.produce(&s)
			over = poll(two)
		}
	}
	stream.Drop()
}
