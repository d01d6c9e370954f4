// Package rawwaker is Rust's task module for Go, with a layout that C can see: [Waker], [Context], [Poll], [Future], and
// [RawWaker], the two words {data, vtable} as which a waker crosses to C and Rust.
//
// A future does what it can each time it is polled. When it cannot go on it keeps a clone of the waker, returns Pending,
// and wakes that waker when it can:
//
//	func (f *Lamp) Poll(cx *rawwaker.Context) rawwaker.Poll[bool] {
//		f.waker.Register(cx.Waker()) // a future.AtomicWaker: keeps a clone
//		if f.lit.Load() {
//			f.waker.Drop() // who is Ready keeps nothing: Drop is not called after that
//			return rawwaker.Ready(true)
//		}
//		return rawwaker.Pending[bool]()
//	}
//
//	func (f *Lamp) Drop() { f.waker.Drop() } // for who gives it up before
//
//	func (f *Lamp) Light() {
//		f.lit.Store(true)
//		f.waker.Wake()
//	}
//
// An executor polls, sleeps until the waker is woken, and polls again: package blockon has one for a single future, package
// executor those for many.
//
// # The contract
//
// A future that returns Pending has kept the waker of that poll and will wake it when it can go on; the executor may sleep
// until then. A waker may be cloned, woken and dropped on any goroutine and any C thread, also after the task is over.
// Wakes coalesce. What was written before a wake is visible to the poll that follows. Waking only tells: it never polls
// and never blocks.
//
// # Across the border
//
// Wakers cross by [FromRaw], [Waker.IntoRaw] and [Waker.AsRaw], futures by [FutureFromRaw] and [FutureIntoRaw]. A C future
// takes no goroutine and no thread in Go; a Go future is polled by C on any thread. What cgo holds meanwhile is two numbers:
//
//	// static void start(uintptr_t words[2]) { rawwaker_future f = op_start(); words[0] = (uintptr_t)f.data; ... }
//	var words [2]C.uintptr_t
//	C.start(&words[0])
//	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(words[0]), uintptr(words[1])))
//	v, err := blockon.Await(ctx, f) // f is dropped, once, if ctx is over first
//
//	//export compute
//	func compute(out unsafe.Pointer) { // void compute(rawwaker_future *out);
//		rawwaker.FutureIntoRaw(answer()).Put(out)
//	}
//
// # Pinning
//
// In Rust a future is pinned before it is polled, because it may point into itself. Go's values do not move but for those
// on a stack, and a pointer into a stack moves with it, so a Go future may point into itself freely; what must not happen is
// that a copy is polled in place of the original, and that is Go's usual rule for a type with pointer methods. What C holds
// never moves and is never Go memory: a box from malloc, a vtable in the program's data, a number. A Waker and a Context
// carry a lock that go vet knows (copylocks), so copies of those are found there.
package rawwaker
