//go:build cgo

package article

/*
#cgo CFLAGS: -I${SRCDIR}/../.. -I${SRCDIR}/../../audit

#include "article.h"
#include "rawwaker_audit.h"

// What never meets Go is in no trace of its own accord: where all that crosses is audited, these are, too.
static int audited;
static inline void audit(int on) { audited = on; }
static rawwaker_poll block_on(rawwaker_future f, void *out) { return rawwaker_block_on(audited ? rawwaker_audit_future(f) : f, out); }

void articleGoPrintln(void *to, char *line);

// C has its own const, which an exported Go function cannot say.
static inline void println_to_go(void *to, const char *line) { articleGoPrintln(to, (char *)line); }

static inline rawwaker_poll countdown(uint32_t count, void *to) {
	return article_countdown(block_on, count, println_to_go, to);
}
static inline rawwaker_poll simple(int32_t *out) { return article_simple(block_on, out); }
static inline rawwaker_poll simple_twice(int32_t *out) { return article_simple_twice(block_on, out); }
static inline rawwaker_poll timer(uint64_t ms) { return article_timer(block_on, ms); }
static inline rawwaker_poll delay(uint64_t ms, int32_t *out) { return article_delay_and_return(block_on, ms, out); }

// Two words as numbers: a rawwaker_future in a Go variable would hold data as a pointer, which it need not be.
typedef struct words { uintptr_t data, vtable; } words;
static inline words timer_future(uint64_t ms) {
	rawwaker_future f = article_timer_future(ms);
	return (words){(uintptr_t)f.data, (uintptr_t)f.vtable};
}
*/
import "C"

import (
	"bytes"
	"io"
	"runtime"
	"runtime/cgo"
	"time"
	"unsafe"

	// It embeds rawwaker.h, without which the build cache would miss an edit of it (golang/go#24355).
	_ "github.com/seed-8a1b3254/ffiwaker" // for rawwaker.h
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func init() {
	if trace.AuditAll() {
		C.audit(1)
	}
}

// HasC says whether C's examples are in this build.
const HasC = true

// CSimple runs article.c's SimpleFuture on C's rawwaker_block_on. The result is 42.
func CSimple() int {
	var out C.int32_t
	run(func() C.rawwaker_poll { return C.simple(&out) })
	return int(out)
}

// CSimpleTwice runs it with one poll too many, and panics as C says.
func CSimpleTwice() int {
	var out C.int32_t
	run(func() C.rawwaker_poll { return C.simple_twice(&out) })
	return int(out)
}

// CTimer runs article.c's TimerFuture on C's rawwaker_block_on: this thread sleeps until another wakes it.
func CTimer(d time.Duration) {
	run(func() C.rawwaker_poll { return C.timer(milliseconds(d)) })
}

// CDelay runs article.c's delay_and_return on C's rawwaker_block_on. The result is 42, after d.
func CDelay(d time.Duration) int {
	var out C.int32_t
	run(func() C.rawwaker_poll { return C.delay(milliseconds(d), &out) })
	return int(out)
}

// CCountdown runs article.c's CountdownFuture from 3 on C's rawwaker_block_on, then writes what it printed to w.
func CCountdown(w io.Writer) {
	var printed bytes.Buffer // and not w: that may panic, and no panic may cross C
	to := cgo.NewHandle(&printed)
	defer to.Delete()
	run(func() C.rawwaker_poll { return C.countdown(3, unsafe.Pointer(&to)) })
	w.Write(printed.Bytes())
}

//export articleGoPrintln
func articleGoPrintln(to unsafe.Pointer, line *C.char) {
	// SAFETY: to is the address of CCountdown's handle, which C lends back while that call lasts.
	printed := (*cgo.Handle)(to).Value().(*bytes.Buffer)
	printed.WriteString(C.GoString(line))
	printed.WriteByte('\n')
}

// run makes one call of C and turns its panic into Go's.
func run(call func() C.rawwaker_poll) C.rawwaker_poll {
	runtime.LockOSThread() // the message is the thread's
	defer runtime.UnlockOSThread()
	poll := call()
	if poll == C.RAWWAKER_PANICKED {
		panic(C.GoString(C.rawwaker_last_panic()))
	}
	return poll
}

func milliseconds(d time.Duration) C.uint64_t { return C.uint64_t(max(d, 0).Milliseconds()) }

// CTimerFuture returns article.c's TimerFuture for an executor in Go: its waker goes to C, and a thread of C wakes it.
func CTimerFuture(d time.Duration) rawwaker.Future[struct{}] {
	f := C.timer_future(milliseconds(d))
	return rawwaker.FutureFromRaw[struct{}](rawwaker.RawFutureOf(uintptr(f.data), uintptr(f.vtable)))
}
