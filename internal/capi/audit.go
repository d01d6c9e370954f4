//go:build cgo

package capi

/*
#include <stdlib.h>
#include <pthread.h>

#include "rawwaker_audit.h"
#include "trace.h"

typedef struct ffiwaker_words { uintptr_t data, vtable; } ffiwaker_words;

// Texts that are kept for ever, where a leak checker sees them: what Go holds it does not.
typedef struct ffiwaker_kept { const char *text; struct ffiwaker_kept *older; } ffiwaker_kept;
static ffiwaker_kept *ffiwaker_all_kept;
static void ffiwaker_keep(const char *text) {
	ffiwaker_kept *k = malloc(sizeof *k);
	if (k == NULL) return;
	k->text = text;
	k->older = __atomic_load_n(&ffiwaker_all_kept, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&ffiwaker_all_kept, &k->older, k, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
	}
}

static rawwaker ffiwaker_audit_in(ffiwaker_words w) {
	rawwaker r = { (void *)w.data, (const rawwaker_vtable *)w.vtable };
	return r;
}
static ffiwaker_words ffiwaker_audit_out(rawwaker w) {
	ffiwaker_words r = { (uintptr_t)w.data, (uintptr_t)w.vtable };
	return r;
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
static ffiwaker_words ffiwaker_audited(int slot, ffiwaker_words w, const char *where, int locks, uint64_t goroutine) {
	const char *before = rawwaker_audit_at(where);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	rawwaker_audit_lock(locks);
	rawwaker got = ffiwaker_slot(slot, ffiwaker_audit_in(w));
	rawwaker_audit_lock(-locks);
	ffiwaker_trace_enter(outer);
	rawwaker_audit_at(before);
	return ffiwaker_audit_out(got);
}
static ffiwaker_words ffiwaker_audit(ffiwaker_words w, const char *where, uint64_t goroutine) {
	const char *before = rawwaker_audit_at(where);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	rawwaker got = rawwaker_audit(ffiwaker_audit_in(w));
	ffiwaker_trace_enter(outer);
	rawwaker_audit_at(before);
	return ffiwaker_audit_out(got);
}
static ffiwaker_words ffiwaker_audit_future(ffiwaker_words w, size_t size, uint64_t goroutine) {
	rawwaker_future f = { (void *)w.data, (const rawwaker_future_vtable *)w.vtable };
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	f = size == SIZE_MAX ? rawwaker_audit_future(f) : rawwaker_audit_future_sized(f, size);
	ffiwaker_trace_enter(outer);
	ffiwaker_words r = { (uintptr_t)f.data, (uintptr_t)f.vtable };
	return r;
}
static void ffiwaker_audit_unwound(ffiwaker_words w) {
	rawwaker_future f = { (void *)w.data, (const rawwaker_future_vtable *)w.vtable };
	rawwaker_audit_unwound(&f);
}
static ffiwaker_words ffiwaker_audit_inner(ffiwaker_words w) {
	rawwaker r = ffiwaker_audit_in(w);
	return ffiwaker_audit_out(rawwaker_audit_inner(&r));
}
static int ffiwaker_audit_unwrap(ffiwaker_words *w, uint64_t goroutine) {
	rawwaker r = ffiwaker_audit_in(*w);
	uint64_t outer = ffiwaker_trace_enter(goroutine);
	int ok = rawwaker_audit_unwrap(&r);
	ffiwaker_trace_enter(outer);
	*w = ffiwaker_audit_out(r);
	return ok;
}
static int ffiwaker_is_audited(ffiwaker_words w) { rawwaker r = ffiwaker_audit_in(w); return rawwaker_is_audited(&r); }
static void ffiwaker_audit_abandoned(ffiwaker_words w) { rawwaker r = ffiwaker_audit_in(w); rawwaker_audit_abandoned(&r); }
static size_t ffiwaker_audit_count(ffiwaker_words w) { rawwaker r = ffiwaker_audit_in(w); return rawwaker_audit_count(&r); }

typedef struct ffiwaker_errand { int slot; ffiwaker_words w; size_t times; } ffiwaker_errand;
static void *ffiwaker_run(void *arg) {
	ffiwaker_errand *e = arg;
	rawwaker w = ffiwaker_audit_in(e->w);
	for (size_t i = 0; i < e->times; i++) e->w = ffiwaker_audit_out(ffiwaker_slot(e->slot, w));
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

// auditing: the slots that Go calls say where they are called from. Set by the first Audit, for ever.
var auditing atomic.Bool

var auditAll = func() bool {
	all := Debug("audit") == "1" || Tracing // a trace is what the auditor sees
	auditing.Store(all)
	return all
}()

// AuditAll says whether FFIWAKERDEBUG wants every waker and future wrapped that crosses: audit=1, or trace=FILE.
func AuditAll() bool { return auditAll }

func words(w Raw) C.ffiwaker_words {
	return C.ffiwaker_words{data: C.uintptr_t(w.Data), vtable: C.uintptr_t(w.VTable)}
}

func fromWords(w C.ffiwaker_words) Raw { return Raw{Data: uintptr(w.data), VTable: uintptr(w.vtable)} }

func audited(slot Slot, w Raw) Raw {
	return fromWords(C.ffiwaker_audited(C.int(slot), words(w), where(), C.int(locksHeld()), traced()))
}

// traced is the goroutine, where that is written down.
func traced() C.uint64_t {
	if !Tracing {
		return 0
	}
	return C.uint64_t(Goroutine())
}

// Audit is rawwaker_audit.
func Audit(w Raw) Raw {
	auditing.Store(true)
	return fromWords(C.ffiwaker_audit(words(w), where(), traced()))
}

// UnknownSize says to [AuditFuture] that only poll and its caller know how large the result is.
const UnknownSize = ^uintptr(0)

// AuditFuture is rawwaker_audit_future_sized, or rawwaker_audit_future.
func AuditFuture(data, vtable, size uintptr) (uintptr, uintptr) {
	auditing.Store(true)
	f := fromWords(C.ffiwaker_audit_future(words(Raw{data, vtable}), C.size_t(size), traced()))
	return f.Data, f.VTable
}

// AuditUnwound is rawwaker_audit_unwound: a panic of Go has ended a poll of this future.
func AuditUnwound(data, vtable uintptr) { C.ffiwaker_audit_unwound(words(Raw{data, vtable})) }

// IsAudited is rawwaker_is_audited.
func IsAudited(w Raw) bool { return C.ffiwaker_is_audited(words(w)) != 0 }

// AuditInner is rawwaker_audit_inner.
func AuditInner(w Raw) Raw { return fromWords(C.ffiwaker_audit_inner(words(w))) }

// AuditUnwrap is rawwaker_audit_unwrap; w itself where there was nothing to take off.
func AuditUnwrap(w Raw) Raw {
	inner := words(w)
	C.ffiwaker_audit_unwrap(&inner, traced())
	return fromWords(inner)
}

// AuditAbandoned is rawwaker_audit_abandoned.
func AuditAbandoned(w Raw) { C.ffiwaker_audit_abandoned(words(w)) }

// AuditCount is rawwaker_audit_count.
func AuditCount(w Raw) int { return int(C.ffiwaker_audit_count(words(w))) }

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

// OnThread calls a slot some times on a thread that Go does not know, and returns what the last clone gave.
func OnThread(slot Slot, w Raw, times int) (Raw, error) {
	e := C.ffiwaker_errand{slot: C.int(slot), w: words(w), times: C.size_t(times)}
	if err := C.ffiwaker_on_thread(&e); err != 0 {
		return w, fmt.Errorf("ffiwaker: no thread: %w", syscall.Errno(err))
	}
	return fromWords(e.w), nil
}

// Stacks as texts in C memory, each once, for ever.
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
		// SAFETY: ours, and nobody has seen it.
		C.free(unsafe.Pointer(mine))
	} else {
		C.ffiwaker_keep(mine)
	}
	return text.(*C.char)
}

// Locks that goroutines have told the auditor of.
var (
	held   sync.Map // of uint64, *int, each touched by its goroutine alone
	anyHas atomic.Int64
)

// AuditLock notes that the calling goroutine has taken (1) or given back (-1) a lock under which no slot may be called.
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
