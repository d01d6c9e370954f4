// Package future has the futures that programs begin with: ready-made leaves ([Ready], [Sleep], [Yield], [PollFn]), any
// blocking Go call as a future ([Go]), a descriptor's readiness ([Readable], [Writable]), async/await ([Async], [Await]); what puts
// futures together ([Join], [JoinAll], [Race], [Timeout], [Map], [Then], [Shared], [CatchPanic]); channels ([Oneshot],
// [Channel]); and futures of many values ([Stream], [Next], [Collect], [ForEach], [Unordered] and others).
//
//	func delayAndReturn() rawwaker.Future[int] {
//		return future.Async(func(aw *future.Awaiter) int {
//			future.Await(aw, future.Sleep(100*time.Millisecond))
//			return 42
//		})
//	}
//
// Futures are lazy: nothing happens before the first poll, but for Sleep's deadline, which counts from its creation. None
// may be polled by two goroutines at once; each may be polled by a different one each time. Polled again after Ready, all
// of them panic with `future polled after completion`. Those that hold something implement [rawwaker.Dropper]: give them
// up early with Drop. (package blockon does that for you.) One that was polled and is forgotten without a Drop is in the way of others
// (see [Channel]) or keeps its task's waker until what it waits for has come (a [Sleep], a [Readable]).
//
// What one future, waker or Drop does wrong stays with it: a panic or runtime.Goexit reaches the goroutine that has called it after all others
// were dropped or woken, and one waker that blocks delays the others by milliseconds at most. A nil future, stream or function is refused
// with a panic at the call that it is given to.
package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

const completed = rawwaker.PolledAfterCompletion
