/* rawwaker.h - a waker is two words, {data, vtable}: "poll me again", across languages.
 *
 * The smallest way for asynchronous work in one language to tell an executor in another that it can
 * make progress. It mirrors Rust's RawWaker, RawWakerVTable, Context and Poll, with a fixed layout.
 * Add this file and rawwaker.c to a program, once: a waker's identity is the address of its vtable
 * (rawwaker_will_wake).
 *
 *   THE CONTRACT
 *
 *   Ownership   A rawwaker taken by value is consumed; one taken by const pointer is borrowed.
 *               Each rawwaker that a function returns is one reference. Exactly one wake or drop
 *               ends it.
 *   Threads     A waker may be cloned, woken and dropped on any thread, also on a thread that its
 *               executor did not create.
 *   Promises    A future that returns RAWWAKER_PENDING has kept a clone of the waker of that
 *               latest poll, and wakes it when it can make progress. The executor polls at least
 *               once after each wake, until the future has completed.
 *   Wakes       Wakes coalesce: several may lead to one poll. A poll without a wake is legal.
 *               Every write before a wake is visible to the poll that follows, also if the wake
 *               found the task already woken.
 *   Slots       A slot only notifies: it never polls, blocks or unwinds. Call no slot while you
 *               hold a lock.
 *   Cancelling  If a thread is cancelled (pthread_cancel), none of these calls stops half-way;
 *               only rawwaker_block_on is a cancellation point. Slots that others call should not
 *               be cancellation points either. PTHREAD_CANCEL_ASYNCHRONOUS must not be in force
 *               during any call.
 *   Vtables     Vtables are trusted code and live as long as the process. Only its vtable gives a
 *               waker's data a meaning; the data may be any integer.
 *
 *   The comment of each function ends with its contract, in five parts:
 *
 *   takes       What the call consumes; "-" is nothing.
 *   gives       What the caller gets, and owns unless it is marked borrowed.
 *   threads     Which threads may call it.
 *   signals     Whether a signal handler may call it.
 *   fails       How it fails. "abort" prints one line, "rawwaker: <call>: <reason>", on standard
 *               error and calls abort(). Only the slot being called is checked, and the vtable
 *               that a clone slot returns. Pointers to wakers must not be NULL.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_H
#define RAWWAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Define it as an export attribute, for both files, if your build hides symbols by default. */
#ifndef RAWWAKER_API
#define RAWWAKER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Increases with any change of a layout, of a slot or of ownership. */
#define RAWWAKER_ABI_VERSION 1

/* Returns the RAWWAKER_ABI_VERSION that the linked rawwaker.c was compiled with. Compare it with
 * RAWWAKER_ABI_VERSION when the program starts.
 * takes - | gives the version | threads any | signals yes | fails never */
RAWWAKER_API uint32_t rawwaker_abi_version(void);

/* ----------------------------------------------------------------------------- the waker -- */

typedef struct rawwaker rawwaker;

/* The four slots. The vtable's author must keep these promises; callers may rely on them. */
typedef struct rawwaker_vtable {
  /* must return a new reference that wakes the same task, and leave data's own reference as it is;
   * may return other data and another vtable */
  rawwaker (*clone)(void *data);
  /* must wake the task and release this reference: drop is never called after it */
  void (*wake)(void *data);
  /* must wake the task and release nothing */
  void (*wake_by_ref)(void *data);
  /* must release this reference and wake nothing */
  void (*drop)(void *data);
} rawwaker_vtable;

struct rawwaker {
  void *data;
  const rawwaker_vtable *vtable;
};

/* Returns a new reference to the same task.
 * takes - (borrows w) | gives a waker | threads any | signals no
 * | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API rawwaker rawwaker_clone(const rawwaker *w);

/* Stores a new reference to the same task in *out: rawwaker_clone for callers that cannot receive a
 * struct by value.
 * takes - (borrows w) | gives *out | threads any | signals no | fails: as rawwaker_clone */
RAWWAKER_API void rawwaker_clone_into(const rawwaker *w, rawwaker *out);

/* Makes *dst wake what src wakes. If it already does, no slot is called at all. If dst has a NULL
 * vtable, it is empty and only filled. Otherwise the call clones src, stores the clone in *dst, and
 * then drops the old waker.
 * takes *dst (its old reference) | gives *dst | threads any, one at a time on dst | signals no
 * | fails: as rawwaker_clone */
RAWWAKER_API void rawwaker_clone_from(rawwaker *dst, const rawwaker *src);

/* Wakes the task and consumes w.
 * takes w | gives - | threads any | signals no (it may free)
 * | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API void rawwaker_wake(rawwaker w);

/* Wakes the task and keeps the waker.
 * takes - (borrows w) | gives - | threads any | signals yes for wakers made by Go or by
 * rawwaker_block_on, else as the vtable's author documents; errno is kept
 * | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API void rawwaker_wake_by_ref(const rawwaker *w);

/* Drops w without waking the task.
 * takes w | gives - | threads any | signals no (it may free)
 * | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API void rawwaker_drop(rawwaker w);

/* Whether a and b have equal data and the same vtable address. If true, a wake of either is a wake
 * of the other. If false, they may still wake the same task.
 * takes - (borrows both) | gives the answer | threads any | signals yes | fails never */
RAWWAKER_API bool rawwaker_will_wake(const rawwaker *a, const rawwaker *b);

/* Returns the waker that does nothing. Its data is NULL, each clone equals it, and dropping it is
 * optional.
 * takes - | gives a waker | threads any | signals yes | fails never */
RAWWAKER_API rawwaker rawwaker_noop(void);

/* Returns a reference-counted waker that calls wake(arg) for each wake, on the thread that wakes.
 * Calls on different threads may overlap. If drop is not NULL, drop(arg) runs once, when the last
 * reference is released. wake itself may drop any reference to this waker, also the one that
 * rawwaker_wake_by_ref was called with; if that was the last, drop(arg) runs inside wake(arg).
 * takes arg | gives a waker | threads any | signals no
 * | fails: abort on a NULL wake or out of memory */
RAWWAKER_API rawwaker rawwaker_from_fn(void (*wake)(void *arg), void *arg,
                                       void (*drop)(void *arg));

/* Whether w is one of the counted wakers of this copy of the library (made by Go, rawwaker_from_fn
 * or rawwaker_block_on). The memory at data of such a waker begins with a rawwaker_boxed, so one
 * static vtable of another language can serve them all.
 * takes - (borrows w) | gives the answer | threads any | signals yes | fails never */
RAWWAKER_API bool rawwaker_is_box(const rawwaker *w);

/* The first member of a counted waker's memory. It has the layout of FfiWakerBase in the Rust crate
 * async-ffi, its ABI 2. */
typedef struct rawwaker_boxed rawwaker_boxed;
typedef struct rawwaker_boxed_vtable {
  /* returns self, with one more reference */
  const rawwaker_boxed *(*clone)(const rawwaker_boxed *self);
  /* consumes a reference */
  void (*wake)(const rawwaker_boxed *self);
  void (*wake_by_ref)(const rawwaker_boxed *self);
  /* consumes a reference */
  void (*drop)(const rawwaker_boxed *self);
} rawwaker_boxed_vtable;
struct rawwaker_boxed {
  const rawwaker_boxed_vtable *vtable;
};

/* Returns the waker whose data is b: from async-ffi's one pointer back to two words. Ownership of
 * the reference does not change.
 * takes - | gives a waker; its vtable is NULL if b is not a waker of this copy | threads any
 * | signals yes | fails never */
RAWWAKER_API rawwaker rawwaker_from_boxed(const rawwaker_boxed *b);

/* ------------------------------------------------------------------------------ the cell -- */

/* A place for the waker of a future's latest poll: one cell for one task. Embed it; its fields are
 * private.
 *
 * To lose no wake, the poll registers first and tests its condition afterwards, and the thread that
 * makes the condition true sets it first and wakes the cell afterwards. The condition is an atomic
 * (set with release, tested with acquire), or it is protected by a lock of yours that is not held
 * during a call of the cell.
 *
 * The cell must stay valid until every call of it has returned. A wake may lead to the poll and the
 * drop of your future before rawwaker_cell_wake has returned, and rawwaker_cell_drop does not wait
 * for it; so the thread that wakes needs its own reference to the memory that the cell is in. A
 * cell that holds a waker is a reference to its task: call rawwaker_cell_drop in your drop slot.
 *
 * No call waits for another thread. A slot that a call of the cell runs may call the same cell.
 * Zeroed memory is an initialised cell. If a call finds memory that is not a cell, it aborts with
 * one line (most values that memory can hold by chance are recognised). */
typedef struct rawwaker_cell {
  uint32_t private_lock;
  rawwaker private_waker;
} rawwaker_cell;

/* Makes *c an empty cell.
 * takes - | gives an empty cell | threads one | signals no | fails never */
RAWWAKER_API void rawwaker_cell_init(rawwaker_cell *c);

/* Keeps a clone of w in place of the waker that the cell holds. If that one would wake the same
 * task, it stays and no slot is called. If a wake, take or drop of the cell is in progress, or
 * another register, w is woken instead of kept (by reference; if it was cloned already, by waking
 * the clone), so its task is polled again and registers again. Of two registers, the one that came
 * first keeps its waker.
 * takes - (borrows w) | gives - | threads any | signals no
 * | fails: as rawwaker_clone and rawwaker_wake_by_ref */
RAWWAKER_API void rawwaker_cell_register(rawwaker_cell *c, const rawwaker *w);

/* Takes the waker out and wakes it. If the cell is empty, it does nothing. If a register is in
 * progress, that register wakes the waker that it registers, and drops the one that the cell held.
 * Of two wakes, one wakes and the other does nothing; the poll that follows sees the earlier writes
 * of both threads.
 * takes what the cell holds | gives - | threads any | signals no | fails: as rawwaker_wake */
RAWWAKER_API void rawwaker_cell_wake(rawwaker_cell *c);

/* Takes the waker out without waking it. It returns false, and leaves *out unchanged, if the cell
 * is empty or a register is in progress; that register then wakes its waker.
 * takes what the cell holds | gives *out | threads any | signals no
 * | fails: abort if c is not a cell */
RAWWAKER_API bool rawwaker_cell_take(rawwaker_cell *c, rawwaker *out);

/* Drops the waker that the cell holds and leaves the cell empty; it may be used again. If a
 * register is in progress, that register wakes its waker and leaves the cell empty.
 * takes what the cell holds | gives - | threads any | signals no | fails: as rawwaker_drop */
RAWWAKER_API void rawwaker_cell_drop(rawwaker_cell *c);

/* ---------------------------------------------------------------------------- the future -- */

/* 0 to 63 belong to this file, 64 and above to the callbacks of hosts. */
typedef uint8_t rawwaker_poll;
enum { RAWWAKER_READY = 0, RAWWAKER_PENDING = 1, RAWWAKER_PANICKED = 2 };
enum { RAWWAKER_DONE = 3 }; /* from a stream's poll_next only */

/* What one poll is given. The waker is borrowed: clone it to keep it, never wake or drop it by
 * value. */
typedef struct rawwaker_context {
  const rawwaker *waker;
} rawwaker_context;

typedef struct rawwaker_future_vtable {
  /* must return one of the three codes, and write *out only if it returns RAWWAKER_READY. out is
   * sized and aligned for the type agreed on. No check finds that the two sides mean different
   * types, and a larger result overruns the caller's memory. out is NULL for an empty type; a poll
   * that is given NULL for any other type should return PANICKED with a text. poll is not called
   * again after READY or PANICKED. Before PANICKED, it may set the reason with rawwaker_set_panic.
   * A value owns what it points to: a future is dropped before its value is looked at.
   * Calls may come from different threads, but never two at once, and never one during drop. */
  rawwaker_poll (*poll)(void *data, rawwaker_context *cx, void *out);
  /* must release everything. Called exactly once, also after READY and PANICKED. A call before
   * either cancels the future. */
  void (*drop)(void *data);
} rawwaker_future_vtable;

/* data must not move while the future lives: that is all that pinning means here. */
typedef struct rawwaker_future {
  void *data;
  const rawwaker_future_vtable *vtable;
} rawwaker_future;

/* Polls f on this thread until it has completed, then drops it. Between polls the thread sleeps on
 * a semaphore of this call's own. If the last waits in this process were short, it spins for 2,000
 * pauses of the processor before it sleeps (50 us on an AMD EPYC). Calls may be nested.
 *
 * f's slots run with cancellation disabled, and the caller's state is restored afterwards. The
 * sleep is a cancellation point unless the caller had disabled cancellation; if the thread is
 * cancelled there, f and its waker are dropped. (On macOS a cancel takes effect at the next wake.)
 * rawwaker_last_panic stays what the poll has set, whatever f's drop slot polls or sets.
 * takes f | gives RAWWAKER_READY with *out, or RAWWAKER_PANICKED; f is dropped
 * | threads any, holding no lock that f needs | signals no
 * | fails: abort on a NULL vtable, an empty slot, a code that poll may not return, out of memory */
RAWWAKER_API rawwaker_poll rawwaker_block_on(rawwaker_future f, void *out);

/* Sets the reason for the RAWWAKER_PANICKED that the poll in progress on this thread is about to
 * return. The len bytes at msg are copied, and cut at 1 KiB. If there is no memory for the copy,
 * the text is empty. What a drop slot polls sets the text too: a future that drops another future
 * before it returns copies the text, drops, and then calls this function.
 * takes - (borrows msg) | gives - | threads the polling one | signals no
 * | fails: the text is empty */
RAWWAKER_API void rawwaker_set_panic(const char *msg, size_t len);

/* Returns this thread's last panic message: NUL-terminated, never NULL, empty if there is none. It
 * is valid until the thread's next poll, rawwaker_set_panic or end, and then freed. If a plug-in
 * that contains rawwaker.c is unloaded, the last text of each other thread, at most 1 KiB, stays
 * allocated.
 * takes - | gives borrowed text | threads any (each has its own) | signals no | fails never */
RAWWAKER_API const char *rawwaker_last_panic(void);

/* ---------------------------------------------------------------------------- the stream -- */

/* A future of many values. */
typedef struct rawwaker_stream_vtable {
  /* must return READY with one item in *out; PENDING, with the promise that a future makes; DONE if
   * there are no more items, now and for all later calls; or PANICKED. It is not called after
   * PANICKED. What is said of out, threads and panics above a future's poll holds here too. */
  rawwaker_poll (*poll_next)(void *data, rawwaker_context *cx, void *out);
  /* must release everything. Called exactly once, also after DONE and PANICKED. A call before
   * either cancels the stream. */
  void (*drop)(void *data);
} rawwaker_stream_vtable;

typedef struct rawwaker_stream {
  void *data;
  const rawwaker_stream_vtable *vtable;
} rawwaker_stream;

/* --------------------------------------------------------- a callback becomes a future -- */

/* A oneshot is a future and its sender. The future is awaited; the sender waits in the engine that
 * does the work, until the operation's callback sends the value with it.
 *
 *   static void start(void *arg)  { engine_submit(arg, on_reply); }    the first poll
 *   static void on_reply(op *o, reply r)  { rawwaker_oneshot_send(o->tx, &r); }
 *   static void cancel(void *arg) { engine_ask_to_cancel(arg); }       the future was dropped
 *
 *   o->future = rawwaker_oneshot_new(sizeof(reply), _Alignof(reply), &ops, o, &o->tx);
 *
 * Cancelling has two phases, because a kernel or an engine keeps its buffers until it reports that
 * the operation has ended. The future may be gone long before that; arg stays until release. After
 * cancel, the operation still ends by send, fail or drop, now or later, or cancel ends it itself.
 * The author decides which; only one of the two may use the sender.
 *
 * No call waits for another thread. Send, fail, drop, cancel and the future's own slots may meet on
 * any threads. The first use of the sender by send, fail or drop takes it, and any use after that
 * is undefined; an auditor aborts with a line. docs/BINDING.md binds a library with it. */
typedef struct rawwaker_oneshot rawwaker_oneshot;

/* Any member may be NULL. The struct must stay valid as long as the future and the sender. */
typedef struct rawwaker_oneshot_ops {
  /* the first poll: submit the operation. It runs on the polling thread and may send, fail or
   * drop. The sender is yours from here on */
  void (*start)(void *arg);
  /* the future was dropped, or rawwaker_oneshot_cancel was called: the result is not wanted any
   * more. Called at most once, on that thread, never before start has returned, and only if the
   * sender had not been used when that drop or call began. Another thread may send meanwhile; then
   * it runs beside destroy, or after it, but always before release */
  void (*cancel)(void *arg);
  /* a value was sent that will not be taken: release what it holds. value is valid during the call.
   * It runs on the thread that sends, polls or drops, and rawwaker_oneshot_send may call it before
   * it returns */
  void (*destroy)(void *arg, void *value);
  /* the last call of all, exactly once, on any thread, after every other one has returned: free
   * arg. rawwaker_oneshot_send may call it too, so hold no lock that it needs */
  void (*release)(void *arg);
} rawwaker_oneshot_ops;

/* Returns the future of a value of size bytes, and its sender in *sender. Both are in one
 * allocation. A size of 0 has no value: send and poll may then be given NULL. align is a power of
 * two, or 0, which counts as 1. If ops or ops->start is NULL, the sender may be used at once;
 * otherwise from the moment start is called. A future that is dropped before its first poll was
 * never started: its sender ends with it, and only release is called. If its poll is given a NULL
 * out for a value that has a size, it gives PANICKED, and the value is destroyed.
 * takes arg, until release | gives a future and *sender | threads any | signals no
 * | fails: abort on a NULL sender, an align that is no power of two, or out of memory */
RAWWAKER_API rawwaker_future rawwaker_oneshot_new(size_t size, size_t align,
                                                  const rawwaker_oneshot_ops *ops, void *arg,
                                                  rawwaker_oneshot **sender);

/* Copies the value and wakes the future's task. If it returns false, the future was dropped and the
 * value has been given to destroy.
 * takes tx; borrows value | gives whether the future can still take it | threads any | signals no
 * | fails never */
RAWWAKER_API bool rawwaker_oneshot_send(rawwaker_oneshot *tx, const void *value);

/* Makes the future give RAWWAKER_PANICKED, with len bytes of msg as its text, cut at 1 KiB: for
 * promises that were broken. Errors that callers handle belong in the value. If there is no memory
 * for the text, it is "oneshot: out of memory".
 * takes tx; borrows msg | gives - | threads any | signals no
 * | fails: the text is oneshot: out of memory */
RAWWAKER_API void rawwaker_oneshot_fail(rawwaker_oneshot *tx, const char *msg, size_t len);

/* Does what rawwaker_oneshot_fail does, with the text "oneshot: sender dropped".
 * takes tx | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_oneshot_drop(rawwaker_oneshot *tx);

/* Whether the future was dropped. If it was, stop working on the value; tx must still be used.
 * takes - | gives the answer | threads any, before tx is taken | signals no | fails never */
RAWWAKER_API bool rawwaker_oneshot_closed(const rawwaker_oneshot *tx);

/* Calls ops->cancel, unless it was called before, the sender was used, or start has not been called
 * yet. f stays the caller's, and gives what the operation ends with; await it to see that end. A
 * later drop of f does not call cancel again.
 * takes - (borrows f) | gives - | threads any, but not beside a poll or drop of f | signals no
 * | fails: abort if f is not a oneshot's future */
RAWWAKER_API void rawwaker_oneshot_cancel(rawwaker_future f);

/* ---------------------------------------------------------- work for an engine's one thread -- */

/* Most asynchronous libraries allow calls on one thread only, while start and cancel run on any.
 * A queue brings the work there: an intrusive list, and a descriptor that the engine's loop watches
 * beside its own. Embed the node in your operation; a node is in one queue at a time, once.
 *
 *   any thread:  rawwaker_queue_push(q, &o->node);
 *   the engine:  when rawwaker_queue_fd(q) is readable:
 *                  rawwaker_queue_each(q, handle, engine);
 *
 * A push waits for no other thread. It writes the descriptor only if the engine sleeps, that is,
 * after a take that has returned NULL. */
typedef struct rawwaker_queue rawwaker_queue;
typedef struct rawwaker_queue_node {
  struct rawwaker_queue_node *private_next;
} rawwaker_queue_node;

/* Returns an empty queue, as after a take that has returned NULL. Its descriptor is like that of a
 * sink (rawwaker_sink_new).
 * takes - | gives a queue | threads any | signals no | fails: NULL, with errno */
RAWWAKER_API rawwaker_queue *rawwaker_queue_new(void);

/* Returns the descriptor to wait on for reading, as rawwaker_sink_fd. Spurious readiness is
 * possible. Do not close it.
 * takes - | gives a borrowed descriptor | threads any | signals yes | fails never */
RAWWAKER_API int rawwaker_queue_fd(const rawwaker_queue *q);

/* Appends n. If it returns false, the queue was closed and n stays yours. The queue's memory stays
 * until the call has returned, also if the engine takes n and drops the last reference before that.
 * takes n, if true | gives the answer | threads any | signals no
 * | fails: false */
RAWWAKER_API bool rawwaker_queue_push(rawwaker_queue *q, rawwaker_queue_node *n);

/* Returns q itself, with one more reference, for an operation that may outlive the engine.
 * takes - (borrows q) | gives a reference | threads any | signals no | fails never */
RAWWAKER_API rawwaker_queue *rawwaker_queue_clone(rawwaker_queue *q);

/* Takes everything, oldest push first. If it returns NULL, the queue is empty, the descriptor is
 * unreadable, and the next push makes it readable. Handle what it returns and call it again until
 * it returns NULL, or the descriptor may stay as it is.
 * takes the nodes | gives the first, or NULL | threads the engine's | signals no | fails never */
RAWWAKER_API rawwaker_queue_node *rawwaker_queue_take(rawwaker_queue *q);

/* Returns the node after n in a list that was taken, or NULL. Read it before n is freed or pushed.
 * takes - | gives a borrowed node | threads the one that took the list | signals no
 * | fails never */
RAWWAKER_API rawwaker_queue_node *rawwaker_queue_next(rawwaker_queue_node *n);

/* Calls f(arg, n) for each node, oldest push first, until the queue is empty and as after a take
 * that has returned NULL. f may free or push n, and may close the queue.
 * takes the nodes | gives them to f | threads the engine's | signals no | fails never */
RAWWAKER_API void rawwaker_queue_each(rawwaker_queue *q,
                                      void (*f)(void *arg, rawwaker_queue_node *n), void *arg);

/* Takes what is left, and refuses every later push. The descriptor does not become readable.
 * takes the nodes | gives the first, or NULL | threads any | signals no | fails never */
RAWWAKER_API rawwaker_queue_node *rawwaker_queue_close(rawwaker_queue *q);

/* Ends one reference. The last one closes the descriptor and frees the queue; nodes that are still
 * in it are lost, so call rawwaker_queue_close first.
 * takes a reference | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_queue_drop(rawwaker_queue *q);

/* ------------------------------------------------------------------------------- the job -- */

/* A job is a oneshot with a place in a queue: one operation for an engine whose library is called
 * on one thread only. It does what such bindings have in common.
 *
 *   the first poll         pushes the job
 *   the engine's thread    rawwaker_queue_run takes it and calls submit, which begins the operation
 *   the library's callback ends the job with rawwaker_job_send, on the same thread
 *   a drop before that     pushes it again, and rawwaker_queue_run calls cancel
 *   the engine's end       rawwaker_queue_end gives what is left to submit, without an engine
 *
 *   while (rawwaker_queue_run(q, engine))     until rawwaker_queue_stop(q), on any thread
 *     poll(rawwaker_queue_fd(q), and the library's descriptors), the library's work
 *   rawwaker_queue_end(q);                    before or after it, end what was submitted
 *
 * A job whose future is dropped before the engine's thread has taken it is not submitted at all,
 * and one that has ended is not cancelled. After its end a job is gone, its data too; that may be
 * so before the library's function that begins the operation has returned. If the library calls
 * back on a thread of its own, use a oneshot, or take the reply to the engine's thread.
 *
 * Tell jobs apart by their data, not by j: under an auditor j of destroy and release differs from
 * that of the other calls, so that a use of j after the job's end is reported. */
typedef struct rawwaker_job rawwaker_job;

/* submit must be given, any other member may be NULL. The struct must stay valid as long as the job
 * and its future. */
typedef struct rawwaker_job_ops {
  /* begin the operation; it may end the job at once. If engine is NULL, the queue was closed: end
   * the job before you return, with an error as its value. Then it runs on the thread that polls,
   * or on that of rawwaker_queue_end */
  void (*submit)(void *engine, rawwaker_job *j);
  /* the result is not wanted any more: ask the operation to end. The job must be ended by j's
   * callback as always, now or later; its value goes to destroy. On the engine's thread, once at
   * most, after submit. It is not called for a drop that comes after the last rawwaker_queue_run */
  void (*cancel)(void *engine, rawwaker_job *j);
  /* a value was sent that will not be taken: release what it holds. On any thread */
  void (*destroy)(rawwaker_job *j, void *value);
  /* the last call of all, once, on any thread: release what the data holds */
  void (*release)(rawwaker_job *j);
} rawwaker_job_ops;

/* Returns the future of a value of size bytes, and in *j its job, with data zeroed bytes for the
 * operation, aligned for any type. Fill them before the first poll. The job holds a reference of
 * q. size and align are those of rawwaker_oneshot_new; rawwaker_oneshot_cancel takes the future.
 * takes - (borrows q) | gives a future and *j, borrowed until it has ended | threads any
 * | signals no | fails: abort on a NULL j or ops, an empty member submit, an align that is no power
 * of two, or out of memory */
RAWWAKER_API rawwaker_future rawwaker_job_new(rawwaker_queue *q, const rawwaker_job_ops *ops,
                                              size_t size, size_t align, size_t data,
                                              rawwaker_job **j);

/* Returns the job's data.
 * takes - | gives borrowed memory | threads any, while j exists | signals no | fails never */
RAWWAKER_API void *rawwaker_job_data(rawwaker_job *j);

/* Ends the job with a value, as rawwaker_oneshot_send does, whose result it returns. Each job must
 * be ended once, by this call or rawwaker_job_fail.
 * takes j; borrows value | gives whether the future can still take it | threads the engine's, or
 * that of submit without an engine | signals no | fails never */
RAWWAKER_API bool rawwaker_job_send(rawwaker_job *j, const void *value);

/* Ends the job as rawwaker_oneshot_fail does: for promises that were broken.
 * takes j; borrows msg | gives - | threads as rawwaker_job_send | signals no
 * | fails: the text is oneshot: out of memory */
RAWWAKER_API void rawwaker_job_fail(rawwaker_job *j, const char *msg, size_t len);

/* Submits and cancels what was pushed, until the queue is empty and as after a take that has
 * returned NULL. It may be called at any time, also if the descriptor is not readable. q must hold
 * jobs only. engine must not be NULL; the callbacks get it.
 * takes what is in the queue | gives false after rawwaker_queue_stop, else true
 * | threads the engine's | signals no | fails never */
RAWWAKER_API bool rawwaker_queue_run(rawwaker_queue *q, void *engine);

/* Asks the engine to end: makes the descriptor readable, and rawwaker_queue_run returns false from
 * now on. Pushes are still accepted until the queue is closed.
 * takes - (borrows q) | gives - | threads any | signals yes | fails never */
RAWWAKER_API void rawwaker_queue_stop(rawwaker_queue *q);

/* Closes the queue and submits what is left, and each job that is polled first later, to no engine.
 * Jobs that were submitted before must be ended by the engine itself, before or after it.
 * takes what is in the queue | gives - | threads the engine's, or any after it has stopped
 * | signals no | fails never */
RAWWAKER_API void rawwaker_queue_end(rawwaker_queue *q);

/* -------------------------------------------------------------- boxes, for runtime authors --
 *
 * With boxes, an executor of another language gives wakers of its tasks to C, and C never calls
 * into that language. A box is a counted waker that holds the task's number. Its wake pushes the
 * box on its sink's list and, if the runtime sleeps on the sink's descriptor, makes that readable.
 * The runtime takes the list and reads the numbers. A wake waits for no other thread: if several
 * find the runtime asleep, each makes the descriptor readable. A wake is not a cancellation point.
 * Go's side of ffiwaker is built on this; yours can be too. These names may change in any 0.x
 * release and are not covered by RAWWAKER_ABI_VERSION.
 *
 *   for (;;) {
 *     rawwaker_box *list = rawwaker_sink_take(sink);
 *     while ((n = rawwaker_box_read(&list, notices, N)) != 0)
 *       ...  look up each id; if woken, run its task
 *     if (rawwaker_sink_sleep(sink)) poll(rawwaker_sink_fd(sink)), rawwaker_sink_ack(sink);
 *   }
 */
typedef struct rawwaker_sink rawwaker_sink;
typedef struct rawwaker_box rawwaker_box;

enum { RAWWAKER_SINK_FOREVER = 1 };   /* never freed: saves two atomic steps per wake */
enum { RAWWAKER_BOX_TELL = 1 };       /* list the box also when C releases its last reference */

/* Returns a sink: one list and one descriptor (an eventfd; elsewhere a pipe; on Windows the handle
 * of an event), which is non-blocking and closed on exec. flags: 0 or RAWWAKER_SINK_FOREVER.
 * takes - | gives a sink | threads any | signals no | fails: NULL, with errno */
RAWWAKER_API rawwaker_sink *rawwaker_sink_new(uint32_t flags);

/* Releases the owner's hold on the sink; it is freed with its last box. Close every box first.
 * Later wakes do nothing. The descriptor is closed as by rawwaker_sink_close. Does nothing to a
 * sink made with RAWWAKER_SINK_FOREVER.
 * takes s | gives - | threads any, also in a call of the hook | signals no | fails never */
RAWWAKER_API void rawwaker_sink_drop(rawwaker_sink *s);

/* Closes the descriptor and ends the hook before rawwaker_sink_drop does. The descriptor's number
 * is free at once, or, if a wake is writing to it, when that write has returned. From now on epoll
 * reports nothing for it, nothing is written to a number that may have been reused, and no wake
 * that begins later calls the hook. The list works as before; kick and ack do nothing. Does nothing
 * to a sink made with RAWWAKER_SINK_FOREVER.
 * takes - | gives - | threads any, also in a call of the hook | signals no | fails never */
RAWWAKER_API void rawwaker_sink_close(rawwaker_sink *s);

/* Returns the descriptor to wait on for reading; on Windows, (HANDLE)(intptr_t) of it is an event
 * to wait for. Do not close it.
 * takes - | gives a borrowed descriptor | threads any | signals yes | fails never */
RAWWAKER_API int rawwaker_sink_fd(const rawwaker_sink *s);

/* Announces that the runtime is about to wait on the descriptor. If it returns false, the list is
 * not empty: take it first. From now on each wake makes the descriptor readable, until the first
 * such wake has done so, or the runtime stores 0 in the flag. Spurious readiness is possible.
 * takes - | gives whether to wait | threads any | signals no | fails never */
RAWWAKER_API bool rawwaker_sink_sleep(rawwaker_sink *s);

/* Makes the descriptor unreadable again. Call it after the descriptor was readable, and take the
 * list before the next sleep.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sink_ack(rawwaker_sink *s);

/* Makes the descriptor readable, as a wake would.
 * takes - | gives - | threads any | signals yes | fails never */
RAWWAKER_API void rawwaker_sink_kick(rawwaker_sink *s);

/* Sets the sink's hook: whenever a wake makes the descriptor readable, it also wakes w, by
 * reference, on the thread that wakes. Calls on different threads may overlap, so w's wake must not
 * block, and it must be async-signal-safe if wakes of the sink's boxes are to be. rawwaker_noop()
 * ends the hook. Set it before the first sleep, or sleep again after it: a wake in progress may
 * have missed it. On a closed sink w is dropped at once.
 *
 * A hook that was set before may still be about to be woken, so all are kept until
 * rawwaker_sink_close or _drop. They are dropped when no wake calls one any more: by
 * rawwaker_sink_close or _drop, or, if a wake calls one at that moment, by rawwaker_sink_reap;
 * never inside a wake. If a call never returns, they are never dropped.
 * takes w, unless it fails | gives whether there was memory for it | threads any | signals no
 * | fails: false */
RAWWAKER_API bool rawwaker_sink_on_wake(rawwaker_sink *s, rawwaker w);

/* Drops the hooks that were being called when their sink ended. Without rawwaker_sink_reaper,
 * rawwaker_sink_new, _on_wake, _close and _drop do it too.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sink_reap(void);

/* Makes s the sink that is kicked when there are such hooks, for a runtime that drops them on a
 * thread of its own choice. From the kick until rawwaker_sink_reap, the word at the returned
 * address is not NULL. s must be made with RAWWAKER_SINK_FOREVER. Call it once in a process, before
 * the first rawwaker_sink_on_wake.
 * takes - | gives a static address | threads any | signals no
 * | fails: abort if s is not made with RAWWAKER_SINK_FOREVER */
RAWWAKER_API void **rawwaker_sink_reaper(rawwaker_sink *s);

/* Takes the whole list, oldest wake first.
 * takes the list's references | gives them | threads any | signals no | fails never */
RAWWAKER_API rawwaker_box *rawwaker_sink_take(rawwaker_sink *s);

/* Stores the addresses of the two words that a runtime may use from its own language, atomically
 * and sequentially consistent: the list's head (NULL: empty), and the flag (0 while the runtime is
 * awake, else the number of this sleep). The runtime may store 0 in the flag when it has woken up.
 * It may do what rawwaker_sink_sleep does, with numbers of its own that are new for each sleep and
 * never 0. It may also do what a wake does: after its push it reads the flag, and if that is not 0,
 * kicks, and then replaces that very number by 0.
 * takes - | gives borrowed addresses | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sink_words(rawwaker_sink *s, void **head, uint32_t **sleeping);

typedef struct rawwaker_notice {
  uint64_t id;
  uint32_t woken;   /* 1: a wake came since the last notice */
  uint32_t last;    /* 1: C holds no reference any more, and the box awaits rawwaker_box_retire */
} rawwaker_notice;

/* Reads up to n notices off a taken list and advances it. Each box that it reads may be listed
 * again from then on.
 * takes the references of what it reads, except of those whose notice has last set
 * | gives the count, 0 at the end | threads the one that took the list | signals no
 * | fails never */
RAWWAKER_API size_t rawwaker_box_read(rawwaker_box **list, rawwaker_notice *out, size_t n);

/* Returns a box that holds id. Only the runtime holds it until rawwaker_box_ref gives out the first
 * reference. flags: 0 or RAWWAKER_BOX_TELL.
 * takes - (keeps s alive) | gives a box | threads any | signals no | fails: NULL out of memory */
RAWWAKER_API rawwaker_box *rawwaker_box_new(rawwaker_sink *s, uint64_t id, uint32_t flags);

/* Returns a new reference for C. Call it only while the runtime holds the box.
 * takes - | gives a waker | threads any | signals no | fails never */
RAWWAKER_API rawwaker rawwaker_box_ref(rawwaker_box *b);

/* Returns the box as a waker without counting a reference.
 * takes - | gives a borrowed waker | threads any | signals yes | fails never */
RAWWAKER_API rawwaker rawwaker_box_lend(rawwaker_box *b);

/* Whether C or the list holds a reference. For diagnosis: the answer may be outdated already.
 * takes - | gives the answer | threads any, while the runtime holds the box | signals yes
 * | fails never */
RAWWAKER_API bool rawwaker_box_lent(const rawwaker_box *b);

/* Ends the runtime's hold. Later wakes do nothing; C frees the box with its last reference.
 * takes the runtime's hold | gives - | threads one, once | signals no | fails never */
RAWWAKER_API void rawwaker_box_close(rawwaker_box *b);

/* Answers a notice that has last set; no rawwaker_box_ref of the box may run meanwhile. If it
 * returns true, the box is freed. If it returns false, C was given another reference since, and the
 * box lives on.
 * takes the notice's reference, and the runtime's hold if true | gives the answer | threads one
 * | signals no | fails never */
RAWWAKER_API bool rawwaker_box_retire(rawwaker_box *b);

/* Polls f under the waker of the box *b, and again at once each time f has woken it meanwhile: up
 * to 64 times or about 100 us. A wake during the poll does not list the box. Instead, *woken
 * reports that one came; then the runtime must wake the task itself, once, whatever poll returned,
 * because the wake may have been meant for another future of the same task. (If another thread is
 * inside this function with the same box, or the box is listed, f is polled once and wakes list the
 * box as usual.)
 *
 * If *b is NULL, a box is made for the poll, and stored in *b only if f has kept its waker. That
 * box is not listed either until rawwaker_box_adopt has set its id. For a future that wakes itself
 * the clock is read; if that raises a signal (PR_TSC_SIGSEGV), so does this call.
 * takes - (f stays yours) | gives what poll returned, *b, *woken | threads any, one at a time on f
 * | signals no | fails: abort out of memory */
RAWWAKER_API rawwaker_poll rawwaker_box_poll(rawwaker_sink *s, rawwaker_box **b, rawwaker_future f,
                                             void *out, bool *woken);

/* Does what rawwaker_box_poll does, for a runtime whose callbacks may unwind through f's poll.
 * *note, which must not move, is written before each poll. If the call does not return, pass *note
 * to rawwaker_box_poll_left, once. f must still be dropped.
 * takes - (f stays yours, note is borrowed) | gives as rawwaker_box_poll | threads as there
 * | signals no | fails: abort out of memory */
RAWWAKER_API rawwaker_poll rawwaker_box_poll_noted(rawwaker_sink *s, rawwaker_box **b,
                                                   rawwaker_future f, void *out, bool *woken,
                                                   uintptr_t *note);

/* Ends a rawwaker_box_poll_noted that did not return: leaves the box as if the poll had returned
 * RAWWAKER_PENDING.
 * takes note | gives the box that the poll has made, if f has kept its waker, to be adopted or
 * closed, else NULL; and *woken, as rawwaker_box_poll | threads any | signals no | fails never */
RAWWAKER_API rawwaker_box *rawwaker_box_poll_left(uintptr_t note, bool *woken);

/* Returns where in a box its word is, a uint32_t to be used atomically, for a runtime that spins on
 * a box for a short time instead of sleeping. A compare-and-swap of IDLE to LOOP begins it; if that
 * fails, a wake is on its way through the list. A wake turns LOOP into WOKEN, and does nothing
 * else. An exchange to IDLE ends it; if it finds WOKEN, the runtime wakes the task itself. The box
 * must not be made with RAWWAKER_BOX_TELL, nor be closed meanwhile.
 * takes - | gives an offset in bytes | threads any | signals yes | fails never */
RAWWAKER_API size_t rawwaker_box_word(void);
enum { RAWWAKER_BOX_IDLE = 0, RAWWAKER_BOX_WOKEN = 1, RAWWAKER_BOX_LOOP = 3 };

/* Sets the id of a box that rawwaker_box_poll has made. If it returns true, the box was woken
 * since; the runtime must wake the task.
 * takes - | gives the answer | threads one, once | signals no | fails never */
RAWWAKER_API bool rawwaker_box_adopt(rawwaker_box *b, uint64_t id);

/* Returns the id inside a waker whose vtable is rawwaker_box_vtable(); else 0.
 * takes - (borrows w) | gives the id | threads any | signals yes | fails never */
RAWWAKER_API uint64_t rawwaker_box_id(const rawwaker *w);

/* Returns the vtable of boxes, whose address identifies them.
 * takes - | gives a static address | threads any | signals yes | fails never */
RAWWAKER_API const rawwaker_vtable *rawwaker_box_vtable(void);

typedef struct rawwaker_box_field {
  const char *name;
  uint32_t offset, size;   /* bytes */
  uint64_t value;
} rawwaker_box_field;

/* A box's fields and values, for visualisers; each is read at its own moment. If b is NULL, only
 * names, offsets and sizes are reported. If n is 0, out may be NULL: ask for the count first,
 * because the fields may change in any release. "next" may race with a wake; ThreadSanitizer
 * reports it.
 * takes - | gives up to n of out, and how many there are in all | threads any, while b is there
 * | signals yes | fails never */
RAWWAKER_API size_t rawwaker_box_look(const rawwaker_box *b, rawwaker_box_field *out, size_t n);

/* How many counted wakers of this copy of the library are alive, for tests that must end at zero.
 * takes - | gives the count | threads any | signals yes | fails never */
RAWWAKER_API size_t rawwaker_live(void);

/* ---------------------------------------------------------- watching senders, for auditors -- */

/* An auditor gives users something else than the sender of a oneshot or channel, and is asked for
 * the sender at each use. These names may change in any 0.x release, as those of boxes. */
typedef struct rawwaker_watcher {
  /* returns what the user is given, with bit 0 set, or NULL: the sender itself is given */
  void *(*made)(void *sender, const char *call);
  /* returns the sender; takes: the use ends it */
  void *(*used)(void *given, const char *call, bool takes);
} rawwaker_watcher;

/* Asks w about the senders that are made from now on, as long as they exist. Call it with one
 * watcher in a process; NULL changes nothing.
 * takes - (w lives as long as the process) | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_watch(const rawwaker_watcher *w);

/* What rawwaker_oneshot and rawwaker_channel call: the watcher's made, or NULL without one; and the
 * sender behind what a user has passed.
 * takes - | gives a borrowed pointer | threads any | signals no | fails: as the watcher does */
RAWWAKER_API void *rawwaker_watch_made(void *sender, const char *call);

/* See rawwaker_watch_made.
 * takes - | gives a borrowed pointer | threads any | signals no | fails: as the watcher does */
RAWWAKER_API void *rawwaker_watch_used(void *given, const char *call, bool takes);

/* -------------------------------------------------------------------- the layout, pinned -- */

#ifdef __cplusplus
#define RAWWAKER_PIN(what) static_assert(what, #what)
#else
#define RAWWAKER_PIN(what) _Static_assert(what, #what)
#endif
RAWWAKER_PIN(sizeof(rawwaker) == 2 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker, data) == 0);
RAWWAKER_PIN(offsetof(rawwaker, vtable) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_vtable) == 4 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_vtable, clone) == 0);
RAWWAKER_PIN(offsetof(rawwaker_vtable, wake) == sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_vtable, wake_by_ref) == 2 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_vtable, drop) == 3 * sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_context) == sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_context, waker) == 0);
RAWWAKER_PIN(sizeof(rawwaker_future) == 2 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_future, data) == 0);
RAWWAKER_PIN(offsetof(rawwaker_future, vtable) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_future_vtable) == 2 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_future_vtable, poll) == 0);
RAWWAKER_PIN(offsetof(rawwaker_future_vtable, drop) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_stream) == 2 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_stream, data) == 0);
RAWWAKER_PIN(offsetof(rawwaker_stream, vtable) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_stream_vtable) == 2 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_stream_vtable, poll_next) == 0);
RAWWAKER_PIN(offsetof(rawwaker_stream_vtable, drop) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_queue_node) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_oneshot_ops) == 4 * sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_job_ops) == 4 * sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_poll) == 1);
RAWWAKER_PIN(sizeof(rawwaker_boxed) == sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_boxed_vtable) == 4 * sizeof(void *));
RAWWAKER_PIN(sizeof(rawwaker_notice) == 16);
RAWWAKER_PIN(sizeof(rawwaker_cell) == 3 * sizeof(void *));
RAWWAKER_PIN(offsetof(rawwaker_cell, private_waker) == sizeof(void *));
#undef RAWWAKER_PIN

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_H */
