/* ffiwaker.h - Go's futures for a program in C: an executor to embed in an event loop of its own, and Go's timers.
 *
 * Link libffiwaker (-lffiwaker -lpthread; pkg-config ffiwaker). It has rawwaker.c in it: do not compile that too. Identity is a
 * vtable's address, and two copies of rawwaker.c have two of each.
 *
 *   ffiwaker_executor *ex = ffiwaker_executor_new();
 *   ffiwaker_executor_spawn(ex, my_future, &result, on_done, NULL);
 *   for (;;) {
 *     while (ffiwaker_executor_tick(ex)) {}
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
 *   fork          In a child that does not exec, nothing here works: Go's threads are not there. rawwaker_wake_by_ref is
 *                 memory-safe; as the child shares the parent's descriptor, it may rouse the parent for nothing.
 *   Constructors  Of the program, with libffiwaker.a: a call waits for ever, because Go starts after them. Of a library loaded
 *                 later by dlopen: fine. rawwaker_wake_by_ref is safe in both.
 *   dlclose       Go cannot be unloaded. The library stays.
 *
 *   Each function carries one line, as in rawwaker.h: takes | gives | threads | signals | fails.
 *   docs/EMBEDDING.md has the rest: signals that Go takes, threads that it starts, what starting costs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FFIWAKER_H
#define FFIWAKER_H

#include "rawwaker.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------------- the executor -- */

/* Runs tasks on the thread that ticks it. It starts no thread of its own. */
typedef struct ffiwaker_executor ffiwaker_executor;

/* takes - | gives an executor | threads any | signals no | fails: NULL, with errno (EMFILE, ENFILE, ENOMEM) */
ffiwaker_executor *ffiwaker_executor_new(void);

/* Makes f a task. It is polled by ticks only. When it is ready or has panicked, *out is written as by poll, f is dropped, and
 * done(arg, code), where given, is called by that tick; after RAWWAKER_PANICKED rawwaker_last_panic() says why. If the executor is
 * dropped before, done is not called. out must hold until then.
 * takes f | gives - | threads any | signals no | fails: abort on a NULL vtable, an empty slot, a code that poll may not return,
 * out of memory */
void ffiwaker_executor_spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                             void (*done)(void *arg, rawwaker_poll code), void *arg);

/* Polls one task that was woken or is new. False: there was none, and from now on the first wake or spawn makes the
 * descriptor readable and calls the hook. Tick until false before you sleep.
 * takes - | gives whether it polled | threads any, one at a time | signals no | fails never */
bool ffiwaker_executor_tick(ffiwaker_executor *ex);

/* Readable while there is something to tick, and now and then when there is not. A thread of C that wakes a task makes it so
 * itself. Level-triggered. Borrowed: do not read from it, do not close it. On Windows the handle of an event to wait for.
 * takes - | gives a descriptor | threads any | signals no | fails never */
int ffiwaker_executor_fd(ffiwaker_executor *ex);

/* The hook: f(arg) is called once by the first wake or spawn after a tick has returned false, on the thread that wakes; at
 * once where something is to be ticked already. It must not block, tick, or drop the executor. It is for loops that cannot watch a
 * descriptor; call it once, before the first tick.
 * takes arg | gives - | threads any | signals no | fails: abort if it was called before */
void ffiwaker_executor_on_wake(ffiwaker_executor *ex, void (*f)(void *arg), void *arg);

/* Tasks that are not over.
 * takes - | gives the count | threads any | signals no | fails never */
size_t ffiwaker_executor_tasks(ffiwaker_executor *ex);

/* Drops the futures that are left, each once, and closes the descriptor. Wakes that come later do nothing.
 * takes ex | gives - | threads any, not inside a tick | signals no | fails: abort if ex was dropped before */
void ffiwaker_executor_drop(ffiwaker_executor *ex);

/* --------------------------------------------------------------------------------------------------- timers -- */

/* A future of nothing (out is NULL) that is ready ns nanoseconds from now, by Go's timers: no thread, no descriptor.
 * takes - | gives a future | threads any | signals no | fails never */
rawwaker_future ffiwaker_sleep(uint64_t ns);

/* f, for ns nanoseconds from now at most: after that, f is dropped, *expired is true and *out untouched; *expired is false where f
 * was first. Both are written before the poll that returns RAWWAKER_READY does.
 * takes f; expired must hold as long as the future | gives a future | threads any | signals no | fails: abort as spawn */
rawwaker_future ffiwaker_timeout(rawwaker_future f, uint64_t ns, bool *expired);

#ifdef __cplusplus
}
#endif

#endif /* FFIWAKER_H */
