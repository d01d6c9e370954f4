// Package uring binds io_uring by liburing: reads and timeouts are futures, and the kernel's use of
// a buffer is awaited also if nobody wants the result any more.
package uring

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../..
#cgo pkg-config: liburing
#include <stdlib.h>

#include "uring.h"
*/
import "C"

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"time"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // rawwaker.c, and an edit of rawwaker.h rebuilds this
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Ring is an io_uring with a thread of its own. Any goroutine may use it.
type Ring struct{ r *C.ring }

// Open sets up a ring. The error is the kernel's if it refuses io_uring or is older than 5.19.
func Open() (Ring, error) {
	r, err := C.ring_open()
	if r == nil {
		return Ring{}, err
	}
	return Ring{r}, nil
}

// Close cancels what is in flight and returns when the kernel has ended it. Call it once, after the
// last Read and Timeout.
func (r Ring) Close() { C.ring_close(r.r) }

// Result is what an operation gives. If it was cancelled, Err is [syscall.ECANCELED].
type Result struct {
	Data []byte // of a read; empty at the end of the file
	Err  error
}

// Read returns the future of a read of up to n bytes from fd, which must not be O_NONBLOCK. Its
// first poll begins the read, and its Drop asks the kernel to end it.
func (r Ring) Read(fd, n int) rawwaker.Future[Result] {
	return future(C.ring_read(r.r, C.int(fd), C.uint(n)))
}

// Timeout returns a future that is ready d after its first poll.
func (r Ring) Timeout(d time.Duration) rawwaker.Future[Result] {
	return future(C.ring_timeout(r.r, C.int64_t(d)))
}

func future(f C.rawwaker_future) rawwaker.Future[Result] {
	return rawwaker.FutureFromRawFunc(rawwaker.RawFutureAt(unsafe.Pointer(&f)), take)
}

func take(v *C.ring_value) Result {
	defer C.free(unsafe.Pointer(v.data))
	if err := syscall.Errno(-v.result); v.result < 0 && err != syscall.ETIME {
		return Result{Err: err}
	}
	data := unsafe.Slice((*byte)(unsafe.Pointer(v.data)), max(v.result, 0))
	return Result{Data: bytes.Clone(data)}
}

// DoRead awaits a read. If ctx ends, it cancels the read and returns when the kernel has ended it:
// then no byte of fd is read any more. What was read before is returned beside ctx's error.
func (r Ring) DoRead(ctx context.Context, fd, n int) ([]byte, error) {
	f := C.ring_read(r.r, C.int(fd), C.uint(n))
	v, err := blockon.AwaitCancel(ctx, future(f), func() { C.rawwaker_oneshot_cancel(f) })
	return v.Data, errors.Join(err, v.Err)
}

// DoTimeout awaits a timeout, as DoRead awaits a read.
func (r Ring) DoTimeout(ctx context.Context, d time.Duration) error {
	f := C.ring_timeout(r.r, C.int64_t(d))
	v, err := blockon.AwaitCancel(ctx, future(f), func() { C.rawwaker_oneshot_cancel(f) })
	return errors.Join(err, v.Err)
}
