//go:build cgo

// Package archive is what every library for C hosts has in it: the executor and the timers of ffiwaker.h, and all of
// rawwaker.h. Import it in a main package of your own, beside exported functions that give C your Go futures:
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
// and build that with `go build -buildmode=c-archive`. hosts/06_httpget is a whole one.
package archive

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/.. -I${SRCDIR}/../..
#include <stdint.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime/cgo"
	"syscall"
	"time"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// The exported halves of the functions in archive.c. An executor's address in C is a cgo.Handle: a number that is never used
// twice.

// guard lets nothing unwind into C: misuse ends the process with one line.
func guard(call string) {
	if v := recover(); v != nil {
		ffiwaker.Die(call, fmt.Sprint(v))
	}
}

func local(ex C.uintptr_t) (l *executor.Local) {
	defer func() {
		if recover() != nil {
			panic("this executor was dropped before")
		}
	}()
	return cgo.Handle(ex).Value().(*executor.Local)
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
	return C.uintptr_t(cgo.NewHandle(l))
}

//export ffiwakerExecutorSpawn
func ffiwakerExecutorSpawn(ex, data, vtable C.uintptr_t) {
	defer guard("ffiwaker_executor_spawn")
	executor.SpawnLocal(local(ex), rawwaker.Future[struct{}](
		rawwaker.FutureFromRaw[struct{}](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))))
}

//export ffiwakerExecutorTick
func ffiwakerExecutorTick(ex C.uintptr_t) C.int {
	defer guard("ffiwaker_executor_tick")
	if local(ex).Tick() {
		return 1
	}
	return 0
}

//export ffiwakerExecutorFD
func ffiwakerExecutorFD(ex C.uintptr_t) C.int {
	defer guard("ffiwaker_executor_fd")
	return C.int(local(ex).FD())
}

//export ffiwakerExecutorOnWake
func ffiwakerExecutorOnWake(ex, data, vtable C.uintptr_t) {
	defer guard("ffiwaker_executor_on_wake")
	local(ex).WakeWith(rawwaker.FromRaw(rawwaker.RawWakerOf(uintptr(data), uintptr(vtable))))
}

//export ffiwakerExecutorTasks
func ffiwakerExecutorTasks(ex C.uintptr_t) C.size_t {
	defer guard("ffiwaker_executor_tasks")
	return C.size_t(local(ex).Len())
}

//export ffiwakerExecutorDrop
func ffiwakerExecutorDrop(ex C.uintptr_t) {
	defer guard("ffiwaker_executor_drop")
	l := local(ex)
	cgo.Handle(ex).Delete()
	l.Close()
}

//export ffiwakerSleep
func ffiwakerSleep(ns C.uint64_t, out unsafe.Pointer) {
	defer guard("ffiwaker_sleep")
	const longest = 1<<63 - 1
	rawwaker.FutureIntoRaw(future.Sleep(time.Duration(min(uint64(ns), longest)))).Put(out)
}
