//go:build cgo

// Package archive holds what every library for C hosts contains: the executor and the timers of
// ffiwaker.h, and all of rawwaker.h and rawwaker_channel.h. Import it in a main package of your
// own, and export functions that give C your Go futures:
//
//	import (
//		"C"
//		"unsafe"
//
//		_ "github.com/seed-8a1b3254/ffiwaker/hosts/archive"
//		"github.com/seed-8a1b3254/ffiwaker/rawwaker"
//	)
//
//	//export answer
//	func answer(out unsafe.Pointer) { // void answer(rawwaker_future *out);
//		rawwaker.FutureIntoRaw(compute()).Put(out)
//	}
//
//	func main() {} // never called
//
// Build that package with `go build -buildmode=c-archive`. hosts/06_httpget is a complete example.
package archive

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/.. -I${SRCDIR}/../..
#include <stddef.h>
#include <stdint.h>

void ffiwaker_site(uintptr_t site, char *text, size_t size);
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"runtime/cgo"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
	"weak"

	_ "github.com/seed-8a1b3254/ffiwaker"         // for rawwaker.h
	_ "github.com/seed-8a1b3254/ffiwaker/channel" // rawwaker_channel.h is for C hosts too
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// These functions are called by those of archive.c. C holds an executor, and a task handle, as a
// cgo.Handle: a number that is never reused.

// guard is deferred by each exported function. If the function panics, because C misused it, guard
// prints one line with the name of the C function and ends the process: no panic may unwind into C.
func guard(call string) {
	if v := recover(); v != nil {
		text := fmt.Sprint(v)
		for _, by := range []string{"rawwaker: ", "ffiwaker: ", "executor: ", "future: "} {
			text = strings.TrimPrefix(text, by) // Die writes a prefix of its own
		}
		capi.Die(call, text)
	}
}

// host is what C's handle of an executor stands for.
type host struct {
	*executor.Local
	ticker atomic.Uintptr // the thread that ticks; 0 if none does; dropped at the end
	hooked atomic.Bool
}

const dropped = ^uintptr(0)

func lookUp(ex C.uintptr_t) *host {
	if ex == 0 {
		panic("the executor is NULL")
	}
	h, ok := value(ex).(*host)
	if !ok {
		panic("this executor was dropped before")
	}
	return h
}

// value returns nil if the handle was deleted.
func value(handle C.uintptr_t) (v any) {
	defer func() { _ = recover() }()
	return cgo.Handle(handle).Value()
}

// claim sets h.ticker to the given value, if no thread ticks h and h was not dropped. It panics
// otherwise. thread is the calling thread.
func (h *host) claim(thread, to uintptr) {
	if h.ticker.CompareAndSwap(0, to) {
		return
	}
	switch h.ticker.Load() {
	case thread:
		panic("called inside a tick of the same executor " +
			"(return from the poll, the drop slot or done first)")
	case dropped:
		panic("this executor was dropped before")
	default:
		panic("called while another thread ticks the executor (one thread at a time)")
	}
}

//export ffiwakerExecutorNew
func ffiwakerExecutorNew(code *C.int) C.uintptr_t {
	defer guard("ffiwaker_executor_new")
	l, err := executor.OpenLocal()
	if err != nil {
		*code = C.int(syscall.ENOMEM)
		if e := syscall.Errno(0); errors.As(err, &e) {
			*code = C.int(e)
		}
		return 0
	}
	l.FD()
	return C.uintptr_t(cgo.NewHandle(&host{Local: l}))
}

// sited is a future with the address in C that spawned it.
type sited struct {
	*rawwaker.CFuture[struct{}]
	site C.uintptr_t
}

// SpawnSite returns a name of that address, for a diagnosis.
func (s sited) SpawnSite() string {
	var text [256]C.char
	C.ffiwaker_site(s.site, &text[0], C.size_t(len(text)))
	return C.GoString(&text[0])
}

// diagnosed is true if executors ask for a task's site.
var diagnosed = trace.Debug("tasks") == "1" || trace.Debug("trace") != ""

type joinHandle = executor.JoinHandle[struct{}]

//export ffiwakerExecutorSpawn
func ffiwakerExecutorSpawn(ex, data, vtable, site C.uintptr_t, handle C.int) C.uintptr_t {
	call := "ffiwaker_executor_spawn"
	if handle != 0 {
		call = "ffiwaker_executor_spawn_task"
	}
	defer guard(call)
	l := lookUp(ex).Local
	c := rawwaker.FutureFromRaw[struct{}](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	var f rawwaker.Future[struct{}] = c
	if diagnosed {
		f = sited{c, site}
	}
	task := executor.SpawnLocal(l, f)
	if handle == 0 {
		return 0
	}
	// Weak, because C's handle must keep neither the executor nor the task's memory.
	return C.uintptr_t(cgo.NewHandle(weak.Make(task)))
}

// The kinds of tick; archive.c has the same numbers.
const (
	tickOne = iota
	tickUpTo
	tickFor
)

//export ffiwakerExecutorTick
func ffiwakerExecutorTick(ex, thread C.uintptr_t, kind C.int, most C.uint64_t) C.size_t {
	defer guard([...]string{
		"ffiwaker_executor_tick", "ffiwaker_executor_tick_n", "ffiwaker_executor_tick_for",
	}[kind])
	h := lookUp(ex)
	h.claim(uintptr(thread), uintptr(thread))
	defer h.ticker.Store(0)
	switch kind {
	case tickOne:
		if h.Tick() {
			return 1
		}
		return 0
	case tickUpTo:
		return C.size_t(h.TickN(int(min(uint64(most), math.MaxInt))))
	default:
		return C.size_t(h.TickFor(duration(most)))
	}
}

// duration returns ns as a duration, at most 292 years.
func duration(ns C.uint64_t) time.Duration {
	return time.Duration(min(uint64(ns), math.MaxInt64))
}

//export ffiwakerExecutorFD
func ffiwakerExecutorFD(ex C.uintptr_t) C.int {
	defer guard("ffiwaker_executor_fd")
	return C.int(lookUp(ex).FD())
}

//export ffiwakerExecutorOnWake
func ffiwakerExecutorOnWake(ex, data, vtable C.uintptr_t) {
	defer guard("ffiwaker_executor_on_wake")
	h := lookUp(ex)
	if h.hooked.Swap(true) {
		panic("this executor has a hook already (it is set once)")
	}
	h.WakeWith(rawwaker.FromRaw(rawwaker.RawWakerOf(uintptr(data), uintptr(vtable))))
}

//export ffiwakerExecutorTasks
func ffiwakerExecutorTasks(ex C.uintptr_t) C.size_t {
	defer guard("ffiwaker_executor_tasks")
	return C.size_t(lookUp(ex).Len())
}

//export ffiwakerExecutorDrop
func ffiwakerExecutorDrop(ex, thread C.uintptr_t) {
	defer guard("ffiwaker_executor_drop")
	h := lookUp(ex)
	h.claim(uintptr(thread), dropped)
	cgo.Handle(ex).Delete()
	h.Close()
}

// lookUpTask returns the weak pointer that C's handle of a task stands for. It is nil once the task
// has ended and was collected.
func lookUpTask(t C.uintptr_t) weak.Pointer[joinHandle] {
	if t == 0 {
		panic("the task is NULL")
	}
	w, ok := value(t).(weak.Pointer[joinHandle])
	if !ok {
		panic("this handle was dropped before")
	}
	return w
}

//export ffiwakerTaskAbort
func ffiwakerTaskAbort(t C.uintptr_t) {
	defer guard("ffiwaker_task_abort")
	if task := lookUpTask(t).Value(); task != nil {
		task.Abort()
	}
}

//export ffiwakerTaskClone
func ffiwakerTaskClone(t C.uintptr_t) C.uintptr_t {
	defer guard("ffiwaker_task_clone")
	return C.uintptr_t(cgo.NewHandle(lookUpTask(t)))
}

//export ffiwakerTaskDrop
func ffiwakerTaskDrop(t C.uintptr_t) {
	defer guard("ffiwaker_task_drop")
	lookUpTask(t)
	cgo.Handle(t).Delete()
}

//export ffiwakerSleep
func ffiwakerSleep(ns C.uint64_t, out unsafe.Pointer) {
	defer guard("ffiwaker_sleep")
	rawwaker.FutureIntoRaw(future.Sleep(duration(ns))).Put(out)
}
