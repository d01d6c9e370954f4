// Package uring binds io_uring by liburing: reads and timeouts are futures, and the kernel's use of
// a buffer is awaited also if its result is not wanted any more.
package uring

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../..
#cgo pkg-config: liburing
#include <stdlib.h>

#include "uring.h"
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
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
func Open() (*Ring, error) {
	r, err := C.ring_open()
	if r == nil {
		return nil, err
	}
	return &Ring{r}, nil
}

// Close cancels what is in flight and returns when the kernel has ended it. That, and what comes
// later, gives [syscall.ECANCELED]. Call it once.
func (r *Ring) Close() {
	C.ring_close(r.r)
	runtime.AddCleanup(r, func(r *C.ring) { C.ring_free(r) }, r.r)
}

// Result is what was read, empty at the end of the file, or an error.
type Result = rawwaker.Result[[]byte]

// Read returns the future of a read of up to n bytes from fd, which must not be O_NONBLOCK. Its
// first poll begins the read, and its Drop asks the kernel to end it.
func (r *Ring) Read(fd, n int) rawwaker.Future[Result] {
	return r.future(C.ring_read(r.r, C.int(fd), C.uint(n)))
}

// Timeout returns a future that is ready d after its first poll.
func (r *Ring) Timeout(d time.Duration) rawwaker.Future[Result] {
	return r.future(C.ring_timeout(r.r, C.int64_t(d)))
}

func (r *Ring) future(f C.rawwaker_future) rawwaker.Future[Result] {
	runtime.KeepAlive(r) // until f has been made
	return rawwaker.FutureFromRawFunc(rawwaker.RawFutureAt(unsafe.Pointer(&f)), take)
}

func take(v *C.ring_value) Result {
	defer C.free(unsafe.Pointer(v.data))
	if err := syscall.Errno(-v.result); v.result < 0 && err != syscall.ETIME {
		return Result{Err: err}
	}
	return Result{Value: C.GoBytes(unsafe.Pointer(v.data), max(v.result, 0))}
}

// DoRead awaits a read. If ctx ends, it cancels the read and returns when the kernel has ended it:
// then no byte of fd is read any more. What was read before is returned beside ctx's error.
func (r *Ring) DoRead(ctx context.Context, fd, n int) ([]byte, error) {
	return r.await(ctx, C.ring_read(r.r, C.int(fd), C.uint(n)))
}

// DoTimeout awaits a timeout, as DoRead awaits a read.
func (r *Ring) DoTimeout(ctx context.Context, d time.Duration) error {
	_, err := r.await(ctx, C.ring_timeout(r.r, C.int64_t(d)))
	return err
}

func (r *Ring) await(ctx context.Context, f C.rawwaker_future) ([]byte, error) {
	v, err := blockon.AwaitCancel(ctx, r.future(f), func() { C.rawwaker_oneshot_cancel(f) })
	return v.Value, errors.Join(err, v.Err)
}
