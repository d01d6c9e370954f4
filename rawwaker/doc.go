// Package rawwaker is Rust's task module for Go, in a layout that C can see.
//
// It has [Waker], [Context], [Poll] and [Future], as Rust has them, and [RawWaker], the two words
// {data, vtable} as which a waker crosses to C and Rust.
//
// Each time a future is polled it does what it can. If it cannot continue, it keeps a clone of the
// waker, returns Pending, and wakes that waker when it can:
//
//	func (f *Lamp) Poll(cx *rawwaker.Context) rawwaker.Poll[bool] {
//		f.waker.Register(cx.Waker()) // an AtomicWaker: it keeps a clone
//		if f.lit.Load() {
//			f.waker.Drop() // a future that is Ready holds nothing: Drop is not called after that
//			return rawwaker.Ready(true)
//		}
//		return rawwaker.Pending[bool]()
//	}
//
//	func (f *Lamp) Drop() { f.waker.Drop() } // if it is given up earlier
//
//	func (f *Lamp) Light() {
//		f.lit.Store(true)
//		f.waker.Wake()
//	}
//
// An executor polls, sleeps until the waker is woken, and polls again. Package blockon drives one
// future, package executor drives many.
//
// # The contract
//
// A future that returns Pending has kept the waker of that poll and will wake it when it can
// continue; the executor may sleep until then. A waker may be cloned, woken and dropped on any
// goroutine and any C thread, also after the task has ended. Wakes coalesce: however often a task
// was woken since its last poll, it is polled once more. Writes before a wake are visible to the
// poll that follows. A wake only notifies: it never polls and never blocks.
//
// # Between C and Go
//
// Wakers cross by [FromRaw], [Waker.IntoRaw] and [Waker.AsRaw], futures by [FutureFromRaw] and
// [FutureIntoRaw], streams by [StreamFromRaw] and [StreamIntoRaw]. Results that hold pointers cross
// by the functions whose names end in Func. In Go, a C future takes no goroutine and no thread. C
// may poll a Go future on any thread. In your own cgo, pass the two words as numbers:
//
//	// static void start(uintptr_t words[2]) {
//	//   rawwaker_future f = op_start();
//	//   words[0] = (uintptr_t)f.data, words[1] = (uintptr_t)f.vtable;
//	// }
//	var words [2]C.uintptr_t
//	C.start(&words[0])
//	f := rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(words[0]), uintptr(words[1])))
//	v, err := blockon.Await(ctx, f) // if ctx ends first, f is dropped
//
//	//export compute
//	func compute(out unsafe.Pointer) { // void compute(rawwaker_future *out);
//		rawwaker.FutureIntoRaw(answer()).Put(out)
//	}
//
// # Pinning
//
// Rust pins a future before it is polled, because it may point into itself. In Go it may do so
// without more: a value on the heap does not move, and when a stack moves, Go adjusts the pointers
// into it. What must not happen is that a copy is polled in place of the original, as with any type
// that has pointer methods. What C holds is never Go memory: it is a box from malloc, a vtable in
// the program's data, or a number. A Waker and a Context hold a lock that go vet knows (copylocks),
// so it reports copies of them.
package rawwaker
