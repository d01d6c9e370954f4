//go:build cgo

// Gofixture is Go's side of the tests of the Rust crate.
package main

/*
#include <stdint.h>
*/
import "C"

import (
	"context"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	_ "github.com/seed-8a1b3254/ffiwaker/hosts/archive"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func main() {}

//export goSleep
func goSleep(ms C.uint64_t, out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Sleep(time.Duration(ms) * time.Millisecond)).Put(out)
}

// v after two awaits.
//
//export goAsync
func goAsync(v C.uint64_t, out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Async(func(aw *future.Awaiter) uint64 {
		future.Await(aw, future.Yield())
		future.Await(aw, future.Sleep(time.Millisecond))
		return uint64(v)
	})).Put(out)
}

// v from a goroutine.
//
//export goGoroutine
func goGoroutine(v C.uint64_t, out unsafe.Pointer) {
	f := future.Go(func(context.Context) (uint64, error) { return uint64(v), nil })
	rawwaker.FutureIntoRawFunc(f, func(out unsafe.Pointer, r rawwaker.Result[uint64]) { *(*uint64)(out) = r.Value }).Put(out)
}

//export goPanics
func goPanics(out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Async(func(*future.Awaiter) uint64 { panic("a panic of Go's") })).Put(out)
}

var cancelled struct {
	sync.Mutex
	sync.Cond
	contexts, defers uint64
}

func init() { cancelled.L = &cancelled.Mutex }

// Never ready. Dropped, its context ends and its deferred call runs; both are counted.
//
//export goNever
func goNever(out unsafe.Pointer) {
	count := func(n *uint64) {
		cancelled.Lock()
		*n++
		cancelled.Unlock()
		cancelled.Broadcast()
	}
	rawwaker.FutureIntoRaw(future.Async(func(aw *future.Awaiter) uint64 {
		defer count(&cancelled.defers)
		future.Await(aw, future.Go(func(ctx context.Context) (int, error) {
			<-ctx.Done()
			count(&cancelled.contexts)
			return 0, nil
		}))
		return 0
	})).Put(out)
}

// Waits until n contexts and n bodies have ended; how many have, of both.
//
//export goAwaitCancelled
func goAwaitCancelled(n C.uint64_t) C.uint64_t {
	cancelled.Lock()
	defer cancelled.Unlock()
	for cancelled.contexts < uint64(n) || cancelled.defers < uint64(n) {
		cancelled.Wait()
	}
	return C.uint64_t(cancelled.contexts + cancelled.defers)
}

// BlockOn of a future of a uint64; 2, and the text, where it panics.
//
//export goBlockOn
func goBlockOn(data, vtable C.uintptr_t, out *C.uint64_t, text *C.uint8_t, n C.size_t) (code C.uint8_t) {
	defer func() {
		if v := recover(); v != nil {
			code = 2
			to := unsafe.Slice((*byte)(text), n)
			to[copy(to[:n-1], fmt.Sprint(v))] = 0
		}
	}()
	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	*out = C.uint64_t(blockon.BlockOn[uint64](f))
	return 0
}

// A future that is one of Go's around the given one.
//
//export goThrough
func goThrough(data, vtable C.uintptr_t, out unsafe.Pointer) {
	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	rawwaker.FutureIntoRaw(future.Async(func(aw *future.Awaiter) uint64 { return future.Await[uint64](aw, f) })).Put(out)
}

// The given future, into Go and out again.
//
//export goAgain
func goAgain(data, vtable C.uintptr_t, out unsafe.Pointer) {
	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	rawwaker.FutureIntoRaw[uint64](f).Put(out)
}

// A waker of a Go task that is over: it does nothing, as a box.
//
//export goWaker
func goWaker(out unsafe.Pointer) {
	rawwaker.FromFunc(func() {}).IntoRaw().Put(out)
}

// Polls a future of a uint64 so many times from one BlockOn, and drops it.
//
//export goRepoll
func goRepoll(data, vtable C.uintptr_t, polls C.uint64_t) {
	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	defer f.Drop()
	left := polls
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		f.Poll(cx)
		if left--; left == 0 {
			return rawwaker.Ready(0)
		}
		cx.Waker().WakeByRef()
		return rawwaker.Pending[int]()
	}))
}
