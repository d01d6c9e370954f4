//go:build cgo

package rawwaker_test

import (
	"fmt"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// A waker from C. FromRaw takes ownership of the reference; Wake consumes it.
func ExampleFromRaw() {
	task := ctest.NewTask() // a task in C, which logs the slots that are called
	defer task.Free()
	w := rawwaker.FromRaw(task.Waker())
	w.WakeByRef()
	w.Wake()
	fmt.Println(task.Log()) // r wake_by_ref, w wake
	// Output: rw
}

// A Go waker for C. IntoRaw consumes the Waker, and C owns the reference.
func ExampleWaker_IntoRaw() {
	woken := make(chan struct{})
	w := rawwaker.FromFunc(func() { close(woken) })
	thread := ctest.Start(w.IntoRaw(), "w") // a C thread, which calls rawwaker_wake
	<-woken
	thread.Join()
	fmt.Println("woken by a C thread")
	// Output: woken by a C thread
}

// A future from C. The goroutine sleeps until a C thread completes the operation.
func ExampleFutureFromRaw() {
	op := ctest.NewOp() // an asynchronous operation in C
	f := rawwaker.FutureFromRaw[uint64](op.Raw())
	go op.Complete(42) // in C: sets the value, and wakes
	fmt.Println(blockon.BlockOn(f))
	// Output: 42
}

// A Go future for C. C polls and drops it; here rawwaker_block_on does, on a C thread.
func ExampleFutureIntoRaw() {
	raw := rawwaker.FutureIntoRaw(future.Ready(uint64(42)))
	code, out := ctest.BlockOn(raw)
	fmt.Println(code, out) // 0 is RAWWAKER_READY
	// Output: 0 42
}
