/* ffiwaker.h - Go's futures for a program in C: an executor to embed in an event loop of its own, and Go's timers.
 *
 * Link libffiwaker (-lffiwaker -lpthread; pkg-config ffiwaker). It has rawwaker.c in it: do not compile that too. Identity is a
 * vtable's address, and two copies of rawwaker.c have two of each.
 *
 *   ffiwaker_executor *ex = ffiwaker_executor_new();
 *   ffiwaker_executor_spawn(ex, my_future, &result, on_done, NULL);
 *   for (;;) {
 *     while (ffiwaker_executor_tick(ex)) {}
 *     if (ffiwaker_executor_tasks(ex) == 0) break;   // after the ticks: no wake comes for a task that has ended
 *     poll ffiwaker_executor_fd(ex) for reading, among the loop's other descriptors
 *   }
 *
 *   WHERE TO CALL FROM
 *
 *   Threads       Any thread may call anything here, also one that Go has never heard of; what may not be called by two at
 *                 once says so. Each call enters Go: about 0.1 us, the first one of a thread about 0.1 ms. The first call of
 *                 all waits until Go's packages are initialised.
 *   Signals       Nothing here, nor a poll or drop of a Go future, may be called in a signal handler. rawwaker_wake_by_ref of a
 *                 waker made by Go may: it does not enter Go.
 *   Cancellation  No call here is a cancellation point, nor is a poll or drop of a Go future: a pthread_cancel takes effect
 *                 after it. Asynchronous cancellation in any call is excluded, and so are longjmp and C++ exceptions out of
 *                 a poll, a drop slot, done or the hook.
 *   fork          In a child that does not exec, Go's threads do not exist. There the drop slot of a Go future,
 *                 ffiwaker_task_drop and ffiwaker_executor_drop do nothing, so no drop slot of a task and no done is
 *                 called; a poll of a Go future gives RAWWAKER_PANICKED;
 *                 every other call but ffiwaker_in_forked_child aborts with one line. rawwaker_wake_by_ref is memory-safe;
 *                 as the child shares the parent's descriptor, it may wake the parent spuriously.
 *   Constructors  A call from a constructor of the program waits for ever with libffiwaker.a if Go starts after it, as it does
 *                 where the host's objects stand before the archive; from a function in .preinit_array it always does.
 *                 With libffiwaker.so, or from a library loaded later by dlopen, a constructor may call anything.
 *   dlclose       Go cannot be unloaded. The library stays, also one that libffiwaker.a was linked into.
 *
 *   Each function carries one line, as in rawwaker.h: takes | gives | threads | signals | fails. "fails: as all" is an abort
 *   in a forked child, on an executor that was dropped before, and on NULL.
 *   docs/EMBEDDING.md has the rest: signals that Go takes, threads that it starts, what starting costs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FFIWAKER_H
#define FFIWAKER_H

#include "rawwaker.h"

/* For a build that hides symbols by default: an export attribute. */
#ifndef FFIWAKER_API
#define FFIWAKER_API RAWWAKER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------------- the executor -- */

/* Runs tasks on the thread that ticks it. It starts no thread of its own. */
typedef struct ffiwaker_executor ffiwaker_executor;

/* takes - | gives an executor | threads any | signals no | fails: NULL, with errno (EMFILE, ENFILE, ENOMEM); abort in a
 * forked child */
FFIWAKER_API ffiwaker_executor *ffiwaker_executor_new(void);

/* As done's code only, beside those of rawwaker_poll: the task was aborted, or its executor dropped. *out was not
 * written. */
enum { FFIWAKER_ABORTED = 64 };

/* Makes f a task. Only ticks poll it. At its end *out is written as by poll, then f is dropped, then done(arg, code) is
 * called if it is not NULL; all of that on the thread that ticks. After RAWWAKER_PANICKED, rawwaker_last_panic() has
 * the reason inside done. If the executor is dropped before, the thread that drops it drops f and calls done with
 * FFIWAKER_ABORTED: so each task has exactly one done. out must hold until then. done may run before this call
 * has returned if another thread ticks. done may spawn, abort and use handles, but not tick or drop ex.
 * takes f | gives - | threads any | signals no | fails: as all; abort on a NULL vtable, an empty slot, a code that poll may
 * not return, out of memory */
FFIWAKER_API void ffiwaker_executor_spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                                          void (*done)(void *arg, rawwaker_poll code), void *arg);

/* Polls one task that was woken or is new, or ends one that was aborted. False: there was none, and from now on the next
 * wake, spawn or abort makes the descriptor readable and calls the hook. A host may stop after any number of ticks: the
 * descriptor becomes unreadable only in a tick that returns false. A tick inside a tick of the same executor is
 * refused.
 * takes - | gives whether it polled | threads any, one at a time | signals no | fails: as all; abort inside or beside
 * another tick */
FFIWAKER_API bool ffiwaker_executor_tick(ffiwaker_executor *ex);

/* Polls up to n woken tasks in one call into Go and returns how many; a task that only ends (aborted) counts as one. Fewer
 * than n: none is left, and it is as after a tick that returns false. n: perhaps more are left, the descriptor stays
 * readable, and the hook is not armed: come again. 0 changes nothing.
 * takes - | gives the count | threads any, one at a time | signals no | fails: as ffiwaker_executor_tick */
FFIWAKER_API size_t ffiwaker_executor_tick_n(ffiwaker_executor *ex, size_t n);

/* The same, until about ns nanoseconds are over: it begins no poll later, but one at least. 0: none is left, and it is as
 * after a tick that returns false. Otherwise perhaps more are left: come again. If ns is 0, it does nothing and
 * returns 0.
 * takes - | gives the count | threads any, one at a time | signals no | fails: as ffiwaker_executor_tick */
FFIWAKER_API size_t ffiwaker_executor_tick_for(ffiwaker_executor *ex, uint64_t ns);

/* Readable while there is something to tick, and now and then when there is not. A thread of C that wakes a task makes it so
 * itself. Level-triggered. Borrowed: do not read from it, do not close it. On Windows the handle of an event to wait for.
 * takes - | gives a descriptor | threads any | signals no | fails: as all */
FFIWAKER_API int ffiwaker_executor_fd(ffiwaker_executor *ex);

/* The hook, for loops that cannot watch a descriptor. f(arg) is called by a wake, spawn or abort that finds the executor
 * armed (it is new, a tick has returned false, or a tick_n less than n): at least once per arming, perhaps again, and by
 * several threads at once, on the waking thread, also in a signal handler if the program wakes from one; errno is kept
 * around it. If something is to be ticked already, it is called at once. It must be idempotent (a pipe write,
 * uv_async_send), and must not tick, block, drop the executor or wake a task of it.
 * drop(arg), if given, is called once, when f will never be called again and no call of it is under way: on the thread of
 * ffiwaker_executor_drop or on a thread of the library, perhaps after ffiwaker_executor_drop has returned, and never inside
 * a wake. If a call of f never returns, drop is never called. An executor has one hook at most; set it before the
 * first tick.
 * takes arg | gives - | threads any | signals no | fails: as all; abort on a NULL f, on a second hook, out of memory */
FFIWAKER_API void ffiwaker_executor_on_wake(ffiwaker_executor *ex, void (*f)(void *arg), void *arg,
                                            void (*drop)(void *arg));

/* Tasks that have not ended, those that were never polled among them. A task has ended when its done has returned.
 * takes - | gives the count | threads any | signals no | fails: as all */
FFIWAKER_API size_t ffiwaker_executor_tasks(ffiwaker_executor *ex);

/* Drops each future that is left, calls its done with FFIWAKER_ABORTED, and closes the descriptor: all on this thread, and
 * over when this returns. In those calls and after, ex must not be used; handles of tasks may. Once it has returned,
 * nothing writes *out, and wakes do nothing. The descriptor's number is free as soon as no wake is writing to it, and no
 * wake writes to a number that may have been reused. If a thread stops for good inside that write, one descriptor stays
 * open, of which epoll reports nothing.
 * takes ex | gives - | threads any, not inside or beside a tick | signals no | fails: abort inside a tick, while another
 * thread ticks, if ex was dropped before, on NULL; nothing in a forked child */
FFIWAKER_API void ffiwaker_executor_drop(ffiwaker_executor *ex);

/* ---------------------------------------------------------------------------------------------------- a task -- */

/* A handle to a task: one reference. The task itself belongs to the executor. A handle stays good after its task has ended
 * and its executor is gone. */
typedef struct ffiwaker_task ffiwaker_task;

/* As ffiwaker_executor_spawn, and gives a handle.
 * takes f | gives a handle | threads any | signals no | fails: as ffiwaker_executor_spawn */
FFIWAKER_API ffiwaker_task *ffiwaker_executor_spawn_task(ffiwaker_executor *ex, rawwaker_future f, void *out,
                                                         void (*done)(void *arg, rawwaker_poll code), void *arg);

/* Ends the task: as a wake it makes the descriptor readable, and a later tick drops its future, then calls done with
 * FFIWAKER_ABORTED. If the poll in progress gives
 * RAWWAKER_READY or RAWWAKER_PANICKED, that code wins. It may be called again, and does nothing once the task has ended.
 * takes - (borrows t) | gives - | threads any | signals no | fails: abort in a forked child, on NULL, on a handle that was
 * dropped before */
FFIWAKER_API void ffiwaker_task_abort(ffiwaker_task *t);

/* Another handle to the same task.
 * takes - (borrows t) | gives a handle | threads any | signals no | fails: as ffiwaker_task_abort */
FFIWAKER_API ffiwaker_task *ffiwaker_task_clone(ffiwaker_task *t);

/* Gives the handle up; the task runs on. NULL does nothing.
 * takes t | gives - | threads any | signals no | fails: abort on a handle that was dropped before; nothing in a forked
 * child */
FFIWAKER_API void ffiwaker_task_drop(ffiwaker_task *t);

/* Whether this is a child that was forked after the library had been loaded, so that adapters can raise an error of their own.
 * takes - | gives the answer | threads any | signals yes | fails never */
FFIWAKER_API bool ffiwaker_in_forked_child(void);

/* --------------------------------------------------------------------------------------------------- timers -- */

/* A future of nothing (out is NULL) that is ready ns nanoseconds from now, by Go's timers: no thread, no descriptor.
 * takes - | gives a future | threads any | signals no | fails: abort in a forked child */
FFIWAKER_API rawwaker_future ffiwaker_sleep(uint64_t ns);

/* f, for ns nanoseconds from now at most: after that, f is dropped, *expired is true and *out untouched; *expired is false if f
 * was first. Both are written before the poll that returns RAWWAKER_READY does.
 * takes f; expired must hold as long as the future | gives a future | threads any | signals no | fails: abort in a forked
 * child, on a NULL vtable, an empty slot, a NULL expired, out of memory */
FFIWAKER_API rawwaker_future ffiwaker_timeout(rawwaker_future f, uint64_t ns, bool *expired);

#ifdef __cplusplus
}
#endif

#endif /* FFIWAKER_H */
