// Package executor polls many futures: [Executor] on several goroutines, [Local] on the caller's.
//
//	ex := executor.New()
//	defer ex.Close()
//	h := executor.Spawn(ex, future.Go(fetch)) // a *JoinHandle, itself a future
//	page := blockon.BlockOn(h.Outcome())
//
// A spawned future is a task. Wakes coalesce: however often a task was woken since its last poll,
// it is polled once more. Its polls never overlap; successive polls may run on different
// goroutines. If the future is a [rawwaker.Dropper], it is dropped exactly once, unless a poll
// returned Ready: by Abort, by Close, or after a panic of its own. What a task panics with stays
// in its [JoinHandle].
//
// C futures ([rawwaker.FutureFromRaw]) are spawned like Go futures. A C thread that wakes a task
// never enters Go: the wake goes through a lock-free list, the process's for an Executor, its own
// for a Local. A Local may belong to a C host's event loop, which waits for [Local.FD].
//
// [Detach] spawns without a handle, as a go statement does. A [Scope] is a group of tasks that end
// together, tied to a context.
//
// If a waker, Poll or Drop of one task panics or calls runtime.Goexit, no other task loses a wake,
// a poll or its result. A user's waker that blocks delays no other task. Once a result was taken,
// this package keeps no reference to it; the memory of a value of type T itself stays with the
// handle, and with clones of the task's waker.
//
// # When something hangs
//
// [Dump] lists the tasks that have not ended. If the environment has FFIWAKERDEBUG=tasks=1, or
// after [Diagnose], it also reports where each task was spawned, how often it was polled and when
// it was last woken. A line on standard error then names each task that nothing can wake any more,
// and each that holds its worker for over 100 ms.
//
// Polls are regions of runtime/trace at all times. Under diagnosis they have the spawn site, and
// profiles have it under the label "task".
package executor
