//go:build cgo

package article

/*
#cgo CFLAGS: -I${SRCDIR}/../.. -I${SRCDIR}/../../audit

#include "article.h"
#include "rawwaker_audit.h"

// The auditor also writes traces: without it, wakelab would not show futures that never reach Go.
static int audited;
static inline void audit(int on) { audited = on; }
static rawwaker_poll block_on(rawwaker_future f, void *out) {
	return rawwaker_block_on(audited ? rawwaker_audit_future(f) : f, out);
}

void articleGoPrintln(void *to, char *line);

// A cast, because an exported Go function has no const parameters.
static inline void println_to_go(void *to, const char *line) {
	articleGoPrintln(to, (char *)line);
}

static inline rawwaker_poll countdown(uint32_t count, void *to) {
	return article_countdown(block_on, count, println_to_go, to);
}
static inline rawwaker_poll simple(int32_t *out) { return article_simple(block_on, out); }
static inline rawwaker_poll simple_twice(int32_t *out) {
	return article_simple_twice(block_on, out);
}
static inline rawwaker_poll timer(uint64_t ms) { return article_timer(block_on, ms); }
static inline rawwaker_poll delay(uint64_t ms, int32_t *out) {
	return article_delay_and_return(block_on, ms, out);
}

// The two words of a future as numbers: its data need not be a pointer, but the field of a
// rawwaker_future in a Go variable would have that type.
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
	"os"
	"runtime"
	"runtime/cgo"
	"strings"
	"time"
	"unsafe"

	// They embed the headers: without that, the build cache misses an edit (golang/go#24355).
	_ "github.com/seed-8a1b3254/ffiwaker"       // rawwaker.h
	_ "github.com/seed-8a1b3254/ffiwaker/audit" // rawwaker_audit.h
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func init() {
	debug := os.Getenv("FFIWAKERDEBUG")
	if strings.Contains(debug, "audit=1") || strings.Contains(debug, "trace=") {
		C.audit(1)
	}
}

// HasC is true if this build has the examples in C.
const HasC = true

// CSimple runs article.c's SimpleFuture on C's rawwaker_block_on. The result is 42.
func CSimple() int {
	var out C.int32_t
	run(func() C.rawwaker_poll { return C.simple(&out) })
	return int(out)
}

// CSimpleTwice runs it with one poll too many, and panics with C's message.
func CSimpleTwice() int {
	var out C.int32_t
	run(func() C.rawwaker_poll { return C.simple_twice(&out) })
	return int(out)
}

// CTimer runs article.c's TimerFuture on C's rawwaker_block_on: this thread sleeps until another
// one wakes it.
func CTimer(d time.Duration) {
	run(func() C.rawwaker_poll { return C.timer(milliseconds(d)) })
}

// CDelay runs article.c's delay_and_return on C's rawwaker_block_on. The result is 42, after d.
func CDelay(d time.Duration) int {
	var out C.int32_t
	run(func() C.rawwaker_poll { return C.delay(milliseconds(d), &out) })
	return int(out)
}

// CCountdown runs article.c's CountdownFuture from 3 on C's rawwaker_block_on, then writes its
// output to w.
func CCountdown(w io.Writer) {
	var printed bytes.Buffer // not w: its Write may panic, and no panic may unwind through C
	to := cgo.NewHandle(&printed)
	defer to.Delete()
	run(func() C.rawwaker_poll { return C.countdown(3, unsafe.Pointer(&to)) })
	w.Write(printed.Bytes())
}

//export articleGoPrintln
func articleGoPrintln(to unsafe.Pointer, line *C.char) {
	// SAFETY: to is the address of CCountdown's handle, which is valid during that call.
	printed := (*cgo.Handle)(to).Value().(*bytes.Buffer)
	printed.WriteString(C.GoString(line))
	printed.WriteByte('\n')
}

// run calls C, and panics if C reports a panic.
func run(call func() C.rawwaker_poll) C.rawwaker_poll {
	runtime.LockOSThread() // the message belongs to the thread
	defer runtime.UnlockOSThread()
	poll := call()
	if poll == C.RAWWAKER_PANICKED {
		panic(C.GoString(C.rawwaker_last_panic()))
	}
	return poll
}

func milliseconds(d time.Duration) C.uint64_t { return C.uint64_t(max(d, 0).Milliseconds()) }

// CTimerFuture returns article.c's TimerFuture for an executor in Go: its waker crosses to C, and a
// C thread wakes it.
func CTimerFuture(d time.Duration) rawwaker.Future[struct{}] {
	f := C.timer_future(milliseconds(d))
	return rawwaker.FutureFromRaw[struct{}](rawwaker.RawFutureOf(uintptr(f.data), uintptr(f.vtable)))
}
