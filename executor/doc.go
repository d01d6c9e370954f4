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
// C futures spawn as Go ones do ([rawwaker.FutureFromRaw]). A thread of C that wakes a task never enters Go: on an Executor the wake comes by
// the process's list, on a Local by its own.
//
// [Detach] spawns without a handle, as `go` does. A [Scope] is a group of tasks with one end, tied to a context.
//
// A waker, Drop or Poll of one task that panics, or calls runtime.Goexit, loses nothing of another task, and a waker that blocks delays none. A result that
// was taken is kept by nothing of this package's; the memory of a type T itself stays with the handle and with clones of the task's waker.
//
// # When something hangs
//
// [Dump] lists the tasks that are not over. With FFIWAKERDEBUG=tasks=1 in the environment, or after [Diagnose], it says of each where it was
// spawned, how often it was polled and when it was woken last; and a line on standard error names each task that nothing can wake any
// more, and each that holds its worker for over 100 ms. Polls are regions of runtime/trace at all times; with diagnosis they carry the
// spawn's place, and profiles have it under the label "task".
package executor
