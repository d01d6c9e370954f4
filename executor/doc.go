// Package executor drives many futures: [Executor] on several goroutines, [Local] on the one that ticks or runs it, which may
// belong to an event loop of a C host.
//
//	ex := executor.New()
//	defer ex.Close()
//	h := executor.Spawn(ex, future.Go(fetch)) // a *JoinHandle, itself a future
//	page := blockon.BlockOn(h.Outcome())
//
// A task is polled once for each time that it was woken since its last poll, by one goroutine at a time, and another one each
// time. Its future is dropped exactly once, if it is a [rawwaker.Dropper] and has not returned Ready: by Abort or Close, or
// after a panic of its own. What a task panics with stays in its [JoinHandle].
//
// C futures spawn as Go ones do ([rawwaker.FutureFromRaw]).
package executor
