// Package future provides async/await, timers, channels, combinators and streams.
//
//   - [Async] and [Await] turn straight-line Go code into a future.
//   - [Ready], [Sleep], [Yield] and [PollFn] are the simplest futures. [Go] makes a future of any
//     blocking Go call. [Readable] and [Writable] wait for a descriptor.
//   - [Join], [JoinAll], [Race], [Timeout], [Map], [Then], [Shared] and [CatchPanic] combine
//     futures.
//   - [Oneshot] and [Channel] send values between tasks and goroutines.
//   - A [Stream] is a future of many values: [Next], [Collect], [ForEach], [Unordered] and others.
//   - [AtomicWaker] is for futures of your own.
//
// To run a future, give it to package blockon, or to an executor of package executor.
//
//	func delayAndReturn() rawwaker.Future[int] {
//		return future.Async(func(aw *future.Awaiter) int {
//			future.Await(aw, future.Sleep(100*time.Millisecond))
//			return 42
//		})
//	}
//
// # What holds for all of them
//
//   - A future does nothing before its first poll, except that the time of [Sleep] and [Timeout]
//     counts from their creation.
//   - A future may be made and polled on any goroutine, and polled on a different one each time,
//     but never by two at once. A poll after Ready panics with `future polled after completion`.
//   - A combinator owns the futures and streams that it is given: the caller must no longer poll or
//     drop them. The exception is [Next].
//   - To give a future up before it is ready, call Drop, if it is a [rawwaker.Dropper]. Package
//     blockon, the executors and the combinators do so. A future that was polled and then forgotten
//     may keep a place in a [Channel], and it keeps its task's waker until its event comes (the
//     deadline of a [Sleep], say).
//   - A call that is given a nil future, stream or function panics.
//
// # Faults
//
// A fault of one future does not affect the others. If a Poll, a Drop or a waker panics or calls
// [runtime.Goexit], the others are dropped or woken first, and then the panic continues on the
// goroutine that made the call. If a waker blocks, other goroutines wake the rest after some
// milliseconds; a waker that panics on one of those is reported on standard error.
package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

const polledAfterCompletion = rawwaker.PolledAfterCompletion
