// Package callback binds liburing without ffiwaker, for comparison: an exported callback, a
// [cgo.Handle] and a channel for each operation.
package callback

/*
#cgo CFLAGS: -std=gnu11
#cgo pkg-config: liburing
#include "uring.h"
*/
import "C"

import (
	"context"
	"runtime/cgo"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Ring is an io_uring with a thread of its own. Any goroutine may use it.
type Ring struct{ r *C.loop }

// Open sets up a ring. The error is the kernel's if it refuses io_uring or is older than 5.19.
func Open() (Ring, error) {
	r, err := C.loop_open()
	if r == nil {
		return Ring{}, err
	}
	return Ring{r}, nil
}

// Close cancels what is in flight and returns when the kernel has ended it. Call it once, after the
// last DoRead and DoTimeout.
func (r Ring) Close() { C.loop_close(r.r) }

// Result is what an operation gives. If it was cancelled, Err is [syscall.ECANCELED].
type Result struct {
	Data []byte // of a read; empty at the end of the file
	Err  error
}

// Completed counts operations that were not cancelled, for measure.
var Completed atomic.Int64

//export ended
func ended(handle C.uintptr_t, result C.int, data *C.char) {
	h := cgo.Handle(handle)
	done := h.Value().(chan Result)
	h.Delete()
	if err := syscall.Errno(-result); result < 0 && err != syscall.ETIME {
		done <- Result{Err: err}
		return
	}
	Completed.Add(1)
	done <- Result{Data: C.GoBytes(unsafe.Pointer(data), max(result, 0))}
}

// DoRead awaits a read of up to n bytes from fd, which must not be O_NONBLOCK. If ctx ends, the
// read goes on, and what it reads is lost.
func (r Ring) DoRead(ctx context.Context, fd, n int) ([]byte, error) {
	done := make(chan Result, 1) // the callback never waits
	C.loop_read(r.r, C.int(fd), C.uint(n), C.uintptr_t(cgo.NewHandle(done)))
	v := await(ctx, done)
	return v.Data, v.Err
}

// DoTimeout awaits a timeout, as DoRead awaits a read.
func (r Ring) DoTimeout(ctx context.Context, d time.Duration) error {
	done := make(chan Result, 1)
	C.loop_timeout(r.r, C.int64_t(d), C.uintptr_t(cgo.NewHandle(done)))
	return await(ctx, done).Err
}

func await(ctx context.Context, done chan Result) Result {
	select {
	case v := <-done:
		return v
	case <-ctx.Done():
		return Result{Err: ctx.Err()}
	}
}
