/* ffiwaker.h - an executor for a C event loop, and timers, both run by Go.
 *
 * Link libffiwaker (-lffiwaker -lpthread; pkg-config ffiwaker). It contains rawwaker.c: do not
 * compile rawwaker.c too. Two wakers are equal only if they have the same vtable address, and two
 * copies of rawwaker.c have two of each vtable.
 *
 *   ffiwaker_executor *ex = ffiwaker_executor_new();
 *   ffiwaker_executor_spawn(ex, my_future, &result, on_done, NULL);
 *   for (;;) {
 *     while (ffiwaker_executor_tick(ex)) {}
 *     if (ffiwaker_executor_tasks(ex) == 0) break;   // after the ticks: a task that has completed
 *                                                    // causes no wake
 *     poll ffiwaker_executor_fd(ex) for reading, among the loop's other descriptors
 *   }
 *
 *   WHERE THE FUNCTIONS MAY BE CALLED
 *
 *   Threads       Any thread may call any function, also a thread that Go did not create. If a
 *                 function must not be called by two threads at once, its contract line states it.
 *                 Each call enters Go, which takes about 0.1 us; the first call of each thread
 *                 takes about 0.1 ms. The first call in the process waits until Go's packages are
 *                 initialised.
 *   Signals       Do not call these functions, nor poll or drop a Go future, in a signal handler.
 *                 rawwaker_wake_by_ref of a waker made by Go may be called in one: it does not
 *                 enter Go.
 *   Cancellation  No function is a cancellation point, nor is a poll or drop of a Go future: a
 *                 pthread_cancel takes effect after the call. Asynchronous cancellation must be off
 *                 during each call. longjmp and C++ exceptions must not leave a poll, a drop slot,
 *                 done or the hook.
 *   fork          In a child process that has not called exec, Go's threads do not exist. There
 *                 the drop slot of a Go future, ffiwaker_task_drop and ffiwaker_executor_drop do
 *                 nothing, so no drop slot of a task and no done is called. A poll of a Go future
 *                 returns RAWWAKER_PANICKED. Every other function except
 *                 ffiwaker_in_forked_child prints one line and aborts. rawwaker_wake_by_ref is
 *                 memory-safe; as the child shares the parent's descriptor, it may wake the parent
 *                 spuriously.
 *   Constructors  With libffiwaker.a, a call from a constructor of the program never returns if Go
 *                 starts after that constructor. This is so if the program's objects precede the
 *                 archive on the linker's command line. A call from a function in .preinit_array
 *                 never returns, with either library. With libffiwaker.so, or in a library that is
 *                 loaded later by dlopen, a constructor may call any function.
 *   dlclose       Go cannot be unloaded. The library stays loaded, and so does a library that
 *                 libffiwaker.a was linked into.
 *
 *   The last lines of each function's comment are its contract, as in rawwaker.h: takes | gives |
 *   threads | signals | fails. "fails: as all" means that the function aborts in a forked child, on
 *   an executor that was dropped before, and on NULL.
 *   docs/EMBEDDING.md lists the signals that Go handles, the threads that it starts, and what
 *   starting it costs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FFIWAKER_H
#define FFIWAKER_H

#include "rawwaker.h"

/* If a build hides symbols by default, define this as an export attribute. */
#ifndef FFIWAKER_API
#define FFIWAKER_API RAWWAKER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------- the executor -- */

/* Runs tasks on the thread that ticks it. It starts no thread. */
typedef struct ffiwaker_executor ffiwaker_executor;

/* Returns a new executor without tasks. End it by ffiwaker_executor_drop.
 * takes - | gives an executor | threads any | signals no | fails: NULL, with errno (EMFILE,
 * ENFILE, ENOMEM); abort in a forked child */
FFIWAKER_API ffiwaker_executor *ffiwaker_executor_new(void);

/* The code that done receives, in addition to those of rawwaker_poll, if the task was aborted or
 * its executor dropped. *out was not written. No poll returns it. */
enum { FFIWAKER_ABORTED = 64 };

/* Makes f a task of ex. Only ticks poll it.
 * When f returns READY or PANICKED, three things happen in this order, on the thread that ticks:
 * the poll has written *out, f is dropped, and done(arg, code) is called if done is not NULL.
 * After RAWWAKER_PANICKED, rawwaker_last_panic() returns the reason inside done.
 * If ex is dropped first, the dropping thread drops f and then calls done with FFIWAKER_ABORTED.
 * So done is called exactly once for each task.
 * out must stay valid until then. If another thread ticks ex, done may run before this call has
 * returned. done may spawn, abort, and use task handles; it must not tick or drop ex.
 * takes f | gives - | threads any | signals no | fails: as all; abort on a NULL vtable, an empty
 * slot, a code that poll may not return, out of memory */
FFIWAKER_API void ffiwaker_executor_spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                                          void (*done)(void *arg, rawwaker_poll code), void *arg);

/* Polls one task that is new or was woken, or ends one that was aborted, and returns true.
 * Returns false if there was none. From then on ex is armed: the next wake, spawn or abort makes
 * the descriptor readable and calls the hook. Only a tick that returns false makes the descriptor
 * unreadable, so a host may stop after any number of ticks.
 * A tick inside a tick of the same executor aborts.
 * takes - | gives true if it polled or ended a task | threads any, one at a time | signals no |
 * fails: as all; abort inside another tick or while another thread ticks */
FFIWAKER_API bool ffiwaker_executor_tick(ffiwaker_executor *ex);

/* Polls up to n tasks in one call into Go, and returns how many. A task that it only ends, because
 * it was aborted, counts as one.
 * If the result is less than n, no task is left and ex is armed, as after a tick that returns
 * false. If it is n, tasks may be left, the descriptor stays readable and ex is not armed: call
 * again. If n is 0, the call does nothing and returns 0.
 * takes - | gives the count | threads any, one at a time | signals no | fails: as
 * ffiwaker_executor_tick */
FFIWAKER_API size_t ffiwaker_executor_tick_n(ffiwaker_executor *ex, size_t n);

/* Polls tasks in one call into Go for about ns nanoseconds, and returns how many. It starts no poll
 * after that time, but polls at least one task if there is one.
 * If ns is 0, the call does nothing and returns 0. Otherwise, if the result is 0, no task is left
 * and ex is armed, as after a tick that returns false; if it is greater, tasks may be left: call
 * again.
 * takes - | gives the count | threads any, one at a time | signals no | fails: as
 * ffiwaker_executor_tick */
FFIWAKER_API size_t ffiwaker_executor_tick_for(ffiwaker_executor *ex, uint64_t ns);

/* Returns the executor's descriptor. It is readable while there is a task to tick, level-triggered.
 * Spurious readiness is possible; tick then returns false. A C thread that wakes a task makes it
 * readable itself. The descriptor belongs to ex: do not read from it and do not close it. On
 * Windows it is the handle of an event to wait for.
 * takes - | gives a descriptor | threads any | signals no | fails: as all */
FFIWAKER_API int ffiwaker_executor_fd(ffiwaker_executor *ex);

/* Sets the hook, for event loops that cannot watch a descriptor. Set it before the first tick; an
 * executor has at most one.
 * f(arg) is called by a wake, spawn or abort that finds ex armed. ex is armed when it is new, when
 * a tick has returned false, and when a tick_n has returned less than n. f is called at least once
 * each time that ex is armed, perhaps more often, and perhaps by several threads at once. It runs
 * on the waking thread, in a signal handler if the program wakes from one; errno is kept. If a task
 * is ready to tick already, f is called before this function returns.
 * f must be idempotent (a pipe write, uv_async_send). It must not tick, block, drop ex or wake a
 * task of ex.
 * drop(arg), if drop is not NULL, is called once, when no call of f is in progress and f will never
 * be called again. It runs on the thread of ffiwaker_executor_drop or on a thread of the library,
 * perhaps after ffiwaker_executor_drop has returned, and never inside a wake. If a call of f never
 * returns, drop is never called.
 * takes arg | gives - | threads any | signals no | fails: as all; abort on a NULL f, on a second
 * hook, out of memory */
FFIWAKER_API void ffiwaker_executor_on_wake(ffiwaker_executor *ex, void (*f)(void *arg), void *arg,
                                            void (*drop)(void *arg));

/* Returns the number of tasks that have not ended, including those that were never polled. A task
 * has ended when its done has returned.
 * takes - | gives the count | threads any | signals no | fails: as all */
FFIWAKER_API size_t ffiwaker_executor_tasks(ffiwaker_executor *ex);

/* Drops each remaining future, calls its done with FFIWAKER_ABORTED, and closes the descriptor. All
 * of this happens on the calling thread, before the call returns.
 * During these calls and afterwards ex must not be used; task handles may. After the call has
 * returned, nothing writes *out, and wakes do nothing.
 * The descriptor's number is free as soon as no wake writes to it, and no wake writes to a number
 * that may have been reused. If a thread stops permanently inside that write, one descriptor stays
 * open; epoll reports no event for it.
 * takes ex | gives - | threads any, not inside a tick, not while another thread ticks | signals no
 * | fails: abort inside a tick, while another thread ticks, if ex was dropped before, on NULL; does
 * nothing in a forked child */
FFIWAKER_API void ffiwaker_executor_drop(ffiwaker_executor *ex);

/* --------------------------------------------------------------------------------- a task -- */

/* A handle to a task: one reference. The task itself belongs to the executor. A handle stays valid
 * after its task has ended and after its executor was dropped. */
typedef struct ffiwaker_task ffiwaker_task;

/* Does what ffiwaker_executor_spawn does, and returns a handle to the task.
 * takes f | gives a handle | threads any | signals no | fails: as ffiwaker_executor_spawn */
FFIWAKER_API ffiwaker_task *ffiwaker_executor_spawn_task(
    ffiwaker_executor *ex, rawwaker_future f, void *out,
    void (*done)(void *arg, rawwaker_poll code), void *arg);

/* Requests the end of the task. Like a wake it makes the descriptor readable; a later tick drops
 * the task's future and then calls done with FFIWAKER_ABORTED. If a poll is in progress and returns
 * RAWWAKER_READY or RAWWAKER_PANICKED, done receives that code instead. Further calls, and calls
 * after the task has ended, do nothing.
 * takes - (borrows t) | gives - | threads any | signals no | fails: abort in a forked child, on
 * NULL, on a handle that was dropped before */
FFIWAKER_API void ffiwaker_task_abort(ffiwaker_task *t);

/* Returns another handle to the same task.
 * takes - (borrows t) | gives a handle | threads any | signals no | fails: as
 * ffiwaker_task_abort */
FFIWAKER_API ffiwaker_task *ffiwaker_task_clone(ffiwaker_task *t);

/* Releases the handle; the task continues. If t is NULL, the call does nothing.
 * takes t | gives - | threads any | signals no | fails: abort on a handle that was dropped before;
 * does nothing in a forked child */
FFIWAKER_API void ffiwaker_task_drop(ffiwaker_task *t);

/* Returns whether this process is a child that was forked after the library was loaded. An adapter
 * can then raise an error of its own.
 * takes - | gives the answer | threads any | signals yes | fails never */
FFIWAKER_API bool ffiwaker_in_forked_child(void);

/* --------------------------------------------------------------------------------- timers -- */

/* Returns a future without a result (out is NULL) that is ready ns nanoseconds after this call. It
 * uses one of Go's timers: no thread and no descriptor.
 * takes - | gives a future | threads any | signals no | fails: abort in a forked child */
FFIWAKER_API rawwaker_future ffiwaker_sleep(uint64_t ns);

/* Returns a future that polls f for at most ns nanoseconds after this call. If f completes first,
 * the future returns f's code and *expired is false. Otherwise it drops f and returns
 * RAWWAKER_READY; *expired is true, and *out is not written. *expired is valid once the poll that
 * completes the future has returned.
 * takes f; expired must stay valid as long as the future | gives a future | threads any | signals
 * no | fails: abort in a forked child, on a NULL vtable, an empty slot, a NULL expired, out of
 * memory */
FFIWAKER_API rawwaker_future ffiwaker_timeout(rawwaker_future f, uint64_t ns, bool *expired);

#ifdef __cplusplus
}
#endif

#endif /* FFIWAKER_H */
