// Package executor drives many futures: on worker goroutines, or in the loop of a host.
//
// An [Executor] runs tasks on several goroutines. A [Local] runs them on the goroutine that ticks
// it, which may belong to the event loop of a C host.
//
//	ex := executor.New()
//	defer ex.Close()
//	h := executor.Spawn(ex, future.Go(fetch)) // a *JoinHandle, itself a future
//	page := blockon.BlockOn(h.Outcome())
//
// Wakes coalesce: however often a task was woken since its last poll, it is polled once more. Its
// polls never overlap; successive polls may run on different goroutines. Its future is dropped
// exactly once, if it is a [rawwaker.Dropper] and has not returned Ready: by Abort or Close, or
// after it panicked. The [JoinHandle] holds what a task panicked with.
//
// C futures are spawned like Go futures ([rawwaker.FutureFromRaw]). A C thread that wakes a task
// never enters Go.
//
// [Detach] spawns a task without a handle, as a go statement does. A [Scope] is a group of tasks
// that end together, tied to a context.
//
// If a waker, Drop or Poll of one task panics or calls runtime.Goexit, no other task loses
// anything, and a waker that blocks delays no other. This package keeps no result that was taken;
// the memory of a T itself stays with the handle and with clones of the task's waker.
//
// # When something hangs
//
// [Dump] lists the tasks that have not ended. With FFIWAKERDEBUG=tasks=1 in the environment, or
// after [Diagnose], it lists for each where it was spawned, how often it was polled, and when it
// was last woken. A line on standard error then names each task that nothing can wake any more,
// and each that holds its worker for over 100 ms. Polls are always regions of runtime/trace; with
// diagnosis, the regions and the profiles' label "task" name the place of the spawn.
package executor
