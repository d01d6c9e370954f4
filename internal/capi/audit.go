//go:build cgo

package capi

/*
#include <stdlib.h>
#include <pthread.h>

#include "rawwaker_audit.h"
#include "shim.h"
#include "trace.h"

// Texts that are kept permanently. C holds them, because a leak checker does not see what Go holds.
typedef struct ffiwaker_kept { const char *text; struct ffiwaker_kept *older; } ffiwaker_kept;
static ffiwaker_kept *ffiwaker_all_kept;
static void ffiwaker_keep(const char *text) {
	ffiwaker_kept *k = malloc(sizeof *k);
	if (k == NULL) return;
	k->text = text;
	k->older = __atomic_load_n(&ffiwaker_all_kept, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&ffiwaker_all_kept, &k->older, k, 0, __ATOMIC_ACQ_REL,
	                                    __ATOMIC_RELAXED)) {
	}
}

// One call, because the thread may be another for the next.
static rawwaker ffiwaker_slot(int slot, rawwaker w) {
	switch (slot) {
	case 0: return rawwaker_clone(&w);
	case 1: rawwaker_wake(w); break;
	case 2: rawwaker_wake_by_ref(&w); break;
	case 3: rawwaker_drop(w); break;
	}
	return w;
}
static ffiwaker_raw ffiwaker_audited(int slot, ffiwaker_raw w, const char *where, int locks,
                                     uint64_t goroutine) {
	const char *before = rawwaker_audit_at(where);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	rawwaker_audit_lock(locks);
	rawwaker got = ffiwaker_slot(slot, ffiwaker_waker(w));
	rawwaker_audit_lock(-locks);
	ffiwaker_trace_enter(outer);
	rawwaker_audit_at(before);
	return ffiwaker_of_waker(got);
}
static ffiwaker_raw ffiwaker_audit(ffiwaker_raw w, const char *where, uint64_t goroutine) {
	const char *before = rawwaker_audit_at(where);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	rawwaker got = rawwaker_audit(ffiwaker_waker(w));
	ffiwaker_trace_enter(outer);
	rawwaker_audit_at(before);
	return ffiwaker_of_waker(got);
}
static ffiwaker_raw ffiwaker_audit_future(ffiwaker_raw w, size_t size, uint64_t goroutine) {
	rawwaker_future f = ffiwaker_future(w);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	f = size == SIZE_MAX ? rawwaker_audit_future(f) : rawwaker_audit_future_sized(f, size);
	ffiwaker_trace_enter(outer);
	return ffiwaker_of_future(f);
}
static ffiwaker_raw ffiwaker_audit_stream(ffiwaker_raw w, size_t size, uint64_t goroutine) {
	rawwaker_stream s = ffiwaker_stream(w);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	s = size == SIZE_MAX ? rawwaker_audit_stream(s) : rawwaker_audit_stream_sized(s, size);
	ffiwaker_trace_enter(outer);
	return ffiwaker_of_stream(s);
}
static void ffiwaker_audit_unwound(ffiwaker_raw w) {
	rawwaker_future f = ffiwaker_future(w);
	rawwaker_stream s = ffiwaker_stream(w);
	rawwaker_audit_unwound(&f); // one of the two does nothing
	rawwaker_audit_stream_unwound(&s);
}
static ffiwaker_raw ffiwaker_audit_inner(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	return ffiwaker_of_waker(rawwaker_audit_inner(&r));
}
static int ffiwaker_audit_unwrap(ffiwaker_raw *w, uint64_t goroutine) {
	rawwaker r = ffiwaker_waker(*w);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	int ok = rawwaker_audit_unwrap(&r);
	ffiwaker_trace_enter(outer);
	*w = ffiwaker_of_waker(r);
	return ok;
}
static int ffiwaker_is_audited(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	return rawwaker_is_audited(&r);
}
static void ffiwaker_audit_abandoned(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	rawwaker_audit_abandoned(&r);
}
static size_t ffiwaker_audit_count(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	return rawwaker_audit_count(&r);
}

typedef struct ffiwaker_errand { int slot; ffiwaker_raw w; size_t times; } ffiwaker_errand;
static void *ffiwaker_run(void *arg) {
	ffiwaker_errand *e = arg;
	rawwaker w = ffiwaker_waker(e->w);
	for (size_t i = 0; i < e->times; i++) e->w = ffiwaker_of_waker(ffiwaker_slot(e->slot, w));
	return NULL;
}
static int ffiwaker_on_thread(ffiwaker_errand *e) {
	pthread_t t;
	int err = pthread_create(&t, NULL, ffiwaker_run, e);
	return err != 0 ? err : pthread_join(t, NULL);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// auditing: each slot that Go calls reports its caller to the auditor. Set once, by the first waker
// or future that is audited.
var auditing atomic.Bool

// AuditCallers has each slot that Go calls report its caller to the auditor from now on.
func AuditCallers() { auditing.Store(true) }

func audited(slot Slot, w Raw) Raw {
	return fromC(C.ffiwaker_audited(C.int(slot), toC(w), where(), C.int(locksHeld()), traced()))
}

// traced returns the goroutine's number if there is a trace, else 0.
func traced() C.uint64_t {
	if !tracing {
		return 0
	}
	return C.uint64_t(Goroutine())
}

// Audit is rawwaker_audit.
func Audit(w Raw) Raw {
	auditing.Store(true)
	return fromC(C.ffiwaker_audit(toC(w), where(), traced()))
}

// UnknownSize tells [AuditFuture] and [AuditStream] that the size of the result is not known.
const UnknownSize = ^uintptr(0)

// AuditFuture is rawwaker_audit_future_sized, or rawwaker_audit_future.
func AuditFuture(f Raw, size uintptr) Raw {
	auditing.Store(true)
	return fromC(C.ffiwaker_audit_future(toC(f), C.size_t(size), traced()))
}

// AuditStream is rawwaker_audit_stream_sized, or rawwaker_audit_stream.
func AuditStream(s Raw, size uintptr) Raw {
	auditing.Store(true)
	return fromC(C.ffiwaker_audit_stream(toC(s), C.size_t(size), traced()))
}

// AuditUnwound is rawwaker_audit_unwound or rawwaker_audit_stream_unwound: a Go panic has ended a
// poll of this future or stream.
func AuditUnwound(f Raw) { C.ffiwaker_audit_unwound(toC(f)) }

// IsAudited is rawwaker_is_audited.
func IsAudited(w Raw) bool { return C.ffiwaker_is_audited(toC(w)) != 0 }

// AuditInner is rawwaker_audit_inner.
func AuditInner(w Raw) Raw { return fromC(C.ffiwaker_audit_inner(toC(w))) }

// AuditUnwrap is rawwaker_audit_unwrap; it returns w itself if w is not wrapped.
func AuditUnwrap(w Raw) Raw {
	inner := toC(w)
	C.ffiwaker_audit_unwrap(&inner, traced())
	return fromC(inner)
}

// AuditAbandoned is rawwaker_audit_abandoned.
func AuditAbandoned(w Raw) { C.ffiwaker_audit_abandoned(toC(w)) }

// AuditCount is rawwaker_audit_count.
func AuditCount(w Raw) int { return int(C.ffiwaker_audit_count(toC(w))) }

// AuditLive is rawwaker_audit_live.
func AuditLive() int { return int(C.rawwaker_audit_live()) }

// AuditLeaks is rawwaker_audit_leaks.
func AuditLeaks() int { return int(C.rawwaker_audit_leaks()) }

// AuditFound is rawwaker_audit_found.
func AuditFound() int { return int(C.rawwaker_audit_found()) }

// AuditPrint is rawwaker_audit_print.
func AuditPrint(on bool) { C.rawwaker_audit_print(C.bool(on)) }

// AuditTake is rawwaker_audit_take.
func AuditTake() (rule, text string, ok bool) {
	var r, t *C.char
	if !C.rawwaker_audit_take(&r, &t) {
		return "", "", false
	}
	// SAFETY: the text is ours, from malloc; the rule is static.
	defer C.free(unsafe.Pointer(t))
	return C.GoString(r), C.GoString(t), true
}

// OnThread calls a slot some times on a thread that Go does not know, and returns what the last
// clone returned.
func OnThread(slot Slot, w Raw, times int) (Raw, error) {
	e := C.ffiwaker_errand{slot: C.int(slot), w: toC(w), times: C.size_t(times)}
	if err := C.ffiwaker_on_thread(&e); err != 0 {
		return w, fmt.Errorf("ffiwaker: no thread: %w", syscall.Errno(err))
	}
	return fromC(e.w), nil
}

// Stacks as texts in C memory, each once, permanently.
var stacks sync.Map // of [depth]uintptr, *C.char

const depth = 12

func where() *C.char {
	var pcs [depth]uintptr
	n := runtime.Callers(3, pcs[:])
	if text, ok := stacks.Load(pcs); ok {
		return text.(*C.char)
	}
	var b strings.Builder
	frames := runtime.CallersFrames(pcs[:n])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") && !strings.HasPrefix(f.Function, "testing.") {
			if b.Len() > 0 {
				b.WriteString("\n    ")
			}
			fmt.Fprintf(&b, "%s %s:%d", f.Function, f.File, f.Line)
		}
		if !more {
			break
		}
	}
	mine := C.CString(b.String())
	text, loaded := stacks.LoadOrStore(pcs, mine)
	if loaded {
		// SAFETY: it came from C.CString, and no other goroutine has seen it.
		C.free(unsafe.Pointer(mine))
	} else {
		C.ffiwaker_keep(mine)
	}
	return text.(*C.char)
}

// The locks that goroutines have reported by AuditLock.
var (
	held   sync.Map // of uint64, *int, each touched by its goroutine alone
	anyHas atomic.Int64
)

// AuditLock notes that the calling goroutine has taken (1) or released (-1) a lock under which no
// slot may be called.
func AuditLock(change int) {
	id := Goroutine()
	n, _ := held.LoadOrStore(id, new(int))
	*n.(*int) += change
	anyHas.Add(int64(change))
	if *n.(*int) == 0 {
		held.Delete(id)
	}
}

func locksHeld() int {
	if anyHas.Load() == 0 {
		return 0
	}
	if n, ok := held.Load(Goroutine()); ok {
		return *n.(*int)
	}
	return 0
}
