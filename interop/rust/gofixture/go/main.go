//go:build cgo

// Gofixture is Go's half of the Rust crate's tests. Each function that takes out writes the two
// words of a future or waker to it. Each that takes data and vtable takes over the future that they
// are.
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

// goSleep writes a future that is ready, with no result, after ms milliseconds.
//
//export goSleep
func goSleep(ms C.uint64_t, out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Sleep(time.Duration(ms) * time.Millisecond)).Put(out)
}

// goAsync writes a future that is v after two awaits.
//
//export goAsync
func goAsync(v C.uint64_t, out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Async(func(aw *future.Awaiter) uint64 {
		future.Await(aw, future.Yield())
		future.Await(aw, future.Sleep(time.Millisecond))
		return uint64(v)
	})).Put(out)
}

// goGoroutine writes a future that is v, from a goroutine.
//
//export goGoroutine
func goGoroutine(v C.uint64_t, out unsafe.Pointer) {
	f := future.Go(func(context.Context) (uint64, error) { return uint64(v), nil })
	write := func(out unsafe.Pointer, r rawwaker.Result[uint64]) { *(*uint64)(out) = r.Value }
	rawwaker.FutureIntoRawFunc(f, write).Put(out)
}

// goPanics writes a future that panics.
//
//export goPanics
func goPanics(out unsafe.Pointer) {
	body := func(*future.Awaiter) uint64 { panic("a panic of Go's") }
	rawwaker.FutureIntoRaw(future.Async(body)).Put(out)
}

// cancelled counts the contexts and bodies of goNever that have ended.
var cancelled struct {
	sync.Mutex
	sync.Cond
	contexts, defers uint64
}

func init() { cancelled.L = &cancelled.Mutex }

// goNever writes a future that is never ready. When it is dropped, its context is cancelled and its
// deferred call runs; both are counted.
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

// goAwaitCancelled waits until n contexts and n bodies have ended. It returns how many have ended,
// of both kinds together.
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

// goBlockOn runs BlockOn of a future of a uint64, writes its result to *out and returns 0. If the
// future panics, it returns 2 and writes the text to the n bytes at text, with a 0 at the end.
//
//export goBlockOn
func goBlockOn(
	data, vtable C.uintptr_t, out *C.uint64_t, text *C.uint8_t, n C.size_t,
) (code C.uint8_t) {
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

// goThrough writes a Go future that awaits the given one.
//
//export goThrough
func goThrough(data, vtable C.uintptr_t, out unsafe.Pointer) {
	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	body := func(aw *future.Awaiter) uint64 { return future.Await[uint64](aw, f) }
	rawwaker.FutureIntoRaw(future.Async(body)).Put(out)
}

// goStream writes a Go stream whose items are those of the given stream of uint64, plus 1.
//
//export goStream
func goStream(data, vtable C.uintptr_t, out unsafe.Pointer) {
	s := rawwaker.StreamFromRaw[uint64](rawwaker.RawStreamOf(uintptr(data), uintptr(vtable)))
	more := future.MapStream(s, func(v uint64) uint64 { return v + 1 })
	rawwaker.StreamIntoRaw(more).Put(out)
}

// goAgain takes the given future into Go and writes it out again.
//
//export goAgain
func goAgain(data, vtable C.uintptr_t, out unsafe.Pointer) {
	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(data), uintptr(vtable)))
	rawwaker.FutureIntoRaw[uint64](f).Put(out)
}

// goWaker writes a Go waker that does nothing when it is woken. In C it is a box.
//
//export goWaker
func goWaker(out unsafe.Pointer) {
	rawwaker.FromFunc(func() {}).IntoRaw().Put(out)
}

// goRepoll polls a future of a uint64 polls times inside one BlockOn, and drops it.
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
