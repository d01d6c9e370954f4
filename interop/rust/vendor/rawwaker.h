/* rawwaker.h - a waker is two words, {data, vtable}: "poll me again", said across languages.
 *
 * The smallest thing by which asynchronous work in one language tells an executor in another that it can go on.
 * It mirrors Rust's RawWaker, RawWakerVTable, Context and Poll, with a layout that stays put. Drop this file and
 * rawwaker.c into a program, once: identity is a vtable's address (rawwaker_will_wake).
 *
 *   THE CONTRACT
 *
 *   Ownership   A rawwaker taken by value is consumed; one taken by const pointer is borrowed. Each rawwaker that a
 *               function gives back is one reference, ended by exactly one wake or drop.
 *   Threads     A waker may be cloned, woken and dropped on any thread, also one its executor has never heard of.
 *   Promises    A future that returns RAWWAKER_PENDING has kept a clone of the waker of that latest poll, and wakes it
 *               when it can go on. The executor polls at least once after each wake while the future is unfinished.
 *   Wakes       coalesce: several may lead to one poll. A poll that nobody asked for is legal. All that was written
 *               before a wake is visible to the poll that follows, also when that wake found the task already woken.
 *   Slots       only tell: they never poll, never block, never unwind. Call no slot while you hold a lock.
 *   Cancelling  a thread (pthread_cancel) ends none of these calls half-way; only rawwaker_block_on is a cancellation point. Slots that
 *               others call should be none either. PTHREAD_CANCEL_ASYNCHRONOUS must not be in force in any call.
 *   Vtables     are trusted code and live as long as the process. A waker's data is whatever its vtable says it is;
 *               it may be any integer.
 *
 *   Each function carries one line: what it takes | gives | on which threads | in signal handlers | how it fails.
 *   "fails: abort" prints one line, "rawwaker: <call>: <reason>", on standard error and calls abort(). Of a vtable only the
 *   slot that is called is looked at, and the vtable that a clone slot gives back. Pointers to wakers must not be NULL.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_H
#define RAWWAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For a build that hides symbols by default: define it as an export attribute, for both files. */
#ifndef RAWWAKER_API
#define RAWWAKER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Rises with any change of layout, of a slot or of ownership. */
#define RAWWAKER_ABI_VERSION 1

/* What the linked rawwaker.c was compiled with: compare it with RAWWAKER_ABI_VERSION at start.
 * takes - | gives the version | threads any | signals yes | fails never */
RAWWAKER_API uint32_t rawwaker_abi_version(void);

/* ------------------------------------------------------------------------------------------------ the waker -- */

typedef struct rawwaker rawwaker;

/* The four slots. Whoever fills one must keep its promise; whoever calls one may rely on it. */
typedef struct rawwaker_vtable {
  rawwaker (*clone)(void *data);     /* must give a new reference that wakes the same task, and keep data's own;
                                        may answer with other data and another vtable */
  void (*wake)(void *data);          /* must wake the task and release this reference: drop never follows it */
  void (*wake_by_ref)(void *data);   /* must wake the task and release nothing */
  void (*drop)(void *data);          /* must release this reference and wake nobody */
} rawwaker_vtable;

struct rawwaker {
  void *data;
  const rawwaker_vtable *vtable;
};

/* A new reference to the same task.
 * takes - (borrows w) | gives a waker | threads any | signals no | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API rawwaker rawwaker_clone(const rawwaker *w);

/* The same, for callers that cannot receive a struct by value.
 * takes - (borrows w) | gives *out | threads any | signals no | fails: as rawwaker_clone */
RAWWAKER_API void rawwaker_clone_into(const rawwaker *w, rawwaker *out);

/* Makes *dst wake what src wakes. Where it already does, no slot is called at all. A dst with a NULL vtable is empty and
 * just filled. Otherwise clone first, then store, then drop the old one.
 * takes *dst (its old reference) | gives *dst | threads any, one at a time on dst | signals no | fails: as rawwaker_clone */
RAWWAKER_API void rawwaker_clone_from(rawwaker *dst, const rawwaker *src);

/* Wakes the task.
 * takes w | gives - | threads any | signals no (it may free) | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API void rawwaker_wake(rawwaker w);

/* Wakes the task and keeps the waker.
 * takes - (borrows w) | gives - | threads any | signals yes for wakers made by Go or by rawwaker_block_on, else as the
 * vtable's author says; errno is kept | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API void rawwaker_wake_by_ref(const rawwaker *w);

/* Gives the waker up without waking.
 * takes w | gives - | threads any | signals no (it may free) | fails: abort on a NULL vtable or an empty slot */
RAWWAKER_API void rawwaker_drop(rawwaker w);

/* Equal data and equal vtable address. True is a guarantee: a wake of either is a wake of the other. False is not.
 * takes - (borrows both) | gives the answer | threads any | signals yes | fails never */
RAWWAKER_API bool rawwaker_will_wake(const rawwaker *a, const rawwaker *b);

/* The waker that does nothing: null data, every clone equals it, dropping it is optional.
 * takes - | gives a waker | threads any | signals yes | fails never */
RAWWAKER_API rawwaker rawwaker_noop(void);

/* A reference-counted waker that calls wake(arg) for each wake, on the thread that wakes, at the same time as others do.
 * drop(arg), where given, runs once, with the last reference. wake itself may drop any reference to this very waker, also the one that
 * rawwaker_wake_by_ref was called with: if that was the last, drop(arg) runs inside wake(arg).
 * takes arg | gives a waker | threads any | signals no | fails: abort on a NULL wake or out of memory */
RAWWAKER_API rawwaker rawwaker_from_fn(void (*wake)(void *arg), void *arg, void (*drop)(void *arg));

/* Whether w is one of this copy of the library's own counted wakers (made by Go, rawwaker_from_fn or rawwaker_block_on).
 * At *data of such a one stands a rawwaker_boxed: one static vtable of another language can serve them all.
 * takes - (borrows w) | gives the answer | threads any | signals yes | fails never */
RAWWAKER_API bool rawwaker_is_box(const rawwaker *w);

/* What stands first at *data of a box. Layout of the Rust crate async-ffi's FfiWakerBase, its ABI 2. */
typedef struct rawwaker_boxed rawwaker_boxed;
typedef struct rawwaker_boxed_vtable {
  const rawwaker_boxed *(*clone)(const rawwaker_boxed *self);   /* gives self, with one reference more */
  void (*wake)(const rawwaker_boxed *self);                     /* consumes */
  void (*wake_by_ref)(const rawwaker_boxed *self);
  void (*drop)(const rawwaker_boxed *self);                     /* consumes */
} rawwaker_boxed_vtable;
struct rawwaker_boxed {
  const rawwaker_boxed_vtable *vtable;
};

/* The waker whose data b is: the way back from async-ffi's one pointer to two words. Whose reference it is does not change.
 * takes - | gives a waker; vtable NULL where b is none of this copy's | threads any | signals yes | fails never */
RAWWAKER_API rawwaker rawwaker_from_boxed(const rawwaker_boxed *b);

/* ------------------------------------------------------------------------------------- a place to keep one --- */

/* Where a future keeps the waker of its latest poll: one cell for one task. Embed it; its fields are private. Register first
 * and test your condition after; the thread that makes the condition true sets it first and wakes after: then no wake is
 * lost. The condition is an atomic (release, acquire), or is under a lock of yours that is not held in a call of the cell.
 *
 * The cell must hold until every call of it has returned. A wake may lead to the poll and the drop of your future before
 * rawwaker_cell_wake has returned, and rawwaker_cell_drop does not wait for it: so let the thread that wakes hold a
 * reference of its own to what the cell is in. A cell with a waker in it is a reference to its task: call
 * rawwaker_cell_drop in your drop slot.
 *
 * No call waits for another thread. A slot that a call of the cell runs may call the same cell. Zeroed memory is an
 * initialised cell; if a call finds memory that is no cell, it aborts with one line (most of what memory can hold by chance is
 * recognised). */
typedef struct rawwaker_cell {
  uint32_t private_lock;
  rawwaker private_waker;
} rawwaker_cell;

/* takes - | gives an empty cell | threads one | signals no | fails never */
RAWWAKER_API void rawwaker_cell_init(rawwaker_cell *c);

/* Keeps a clone of w in place of what was kept; no slot is called where that would wake the same task. If a wake, take or drop
 * of the cell is in progress, or another register, w is woken in place of being kept (by reference; if it was cloned
 * already, by waking the clone), so its task is polled again and registers again. Of two registers, the one that came
 * first keeps its waker.
 * takes - (borrows w) | gives - | threads any | signals no | fails: as rawwaker_clone and rawwaker_wake_by_ref */
RAWWAKER_API void rawwaker_cell_register(rawwaker_cell *c, const rawwaker *w);

/* Takes the waker out and wakes it; nothing where the cell is empty. If a register is in progress, that one wakes the waker that
 * it registers, and drops the one that was kept. Of two wakes, one wakes and the other does nothing; the poll that
 * follows sees what either thread has written before.
 * takes what the cell holds | gives - | threads any | signals no | fails: as rawwaker_wake */
RAWWAKER_API void rawwaker_cell_wake(rawwaker_cell *c);

/* Takes the waker out unwoken; false, and *out untouched, if the cell is empty or a register is in progress, which then wakes.
 * takes what the cell holds | gives *out | threads any | signals no | fails: abort if c is no cell */
RAWWAKER_API bool rawwaker_cell_take(rawwaker_cell *c, rawwaker *out);

/* Drops what the cell holds and leaves it empty: the cell may be used again. If a register is in progress, it wakes its waker
 * and leaves the cell empty.
 * takes what the cell holds | gives - | threads any | signals no | fails: as rawwaker_drop */
RAWWAKER_API void rawwaker_cell_drop(rawwaker_cell *c);

/* ------------------------------------------------------------------------------------------------ the future - */

typedef uint8_t rawwaker_poll;
enum { RAWWAKER_READY = 0, RAWWAKER_PENDING = 1, RAWWAKER_PANICKED = 2 };

/* Lent for one poll. The waker is borrowed: clone it to keep it, never wake or drop it by value. */
typedef struct rawwaker_context {
  const rawwaker *waker;
} rawwaker_context;

typedef struct rawwaker_future_vtable {
  /* must return one of the three codes, and write *out only with RAWWAKER_READY. out is sized and aligned for the type
   * agreed on: nothing checks that both sides mean the same one, and a larger result overruns the caller's memory. It is
   * NULL for an empty one; a poll that is given NULL for any other should give PANICKED with a text. Not called again after READY or PANICKED. Before PANICKED it may say why by
   * rawwaker_set_panic. Calls may come from different threads, never two at once, never one beside drop. */
  rawwaker_poll (*poll)(void *data, rawwaker_context *cx, void *out);
  /* must release everything. Called exactly once, after READY and PANICKED too; called early, it cancels. */
  void (*drop)(void *data);
} rawwaker_future_vtable;

/* data must not move while the future lives: that is all that pinning means here. */
typedef struct rawwaker_future {
  void *data;
  const rawwaker_future_vtable *vtable;
} rawwaker_future;

/* Polls f on this thread until it is done, sleeping on a semaphore of this call's own in between. May be nested. f's slots run with
 * cancellation disabled, and the caller's state is restored after. While it sleeps it is a cancellation point, unless the caller had
 * disabled cancellation: cancelled there, it drops f and its waker. (On macOS a cancel takes effect at the next wake.)
 * rawwaker_last_panic stays what the poll has set, whatever f's drop slot polls or sets.
 * takes f | gives RAWWAKER_READY with *out, or RAWWAKER_PANICKED; f is dropped | threads any, holding no lock that f
 * needs | signals no | fails: abort on a NULL vtable, an empty slot, a code that poll may not return, out of memory */
RAWWAKER_API rawwaker_poll rawwaker_block_on(rawwaker_future f, void *out);

/* Says why the poll under way is about to return RAWWAKER_PANICKED: copied, cut at 1 KiB. Without memory for it the text is empty.
 * A future that drops another one first calls this after that drop, with a text that it has copied: what a drop slot polls
 * sets the text too.
 * takes - (borrows msg) | gives - | threads the polling one | signals no | fails: the text is empty */
RAWWAKER_API void rawwaker_set_panic(const char *msg, size_t len);

/* This thread's last panic message: NUL-terminated, never NULL, empty if there is none, valid until the thread's next poll, set_panic
 * or end. It is malloc'd, and freed then. If a plug-in with a copy of rawwaker.c in it is unloaded, the last text of each other
 * thread, at most 1 KiB, stays allocated.
 * takes - | gives borrowed text | threads any (each has its own) | signals no | fails never */
RAWWAKER_API const char *rawwaker_last_panic(void);

/* ---------------------------------------------------------------------- for those who write a runtime: boxes --
 *
 * How an executor of another language lends its tasks to C without C ever calling into it. A box is a counted waker
 * with the task's number in it. Its wake pushes the box on its sink's list and makes the sink's descriptor readable
 * if the runtime sleeps on it; the runtime takes the list and reads the numbers. A wake waits for no other thread: if
 * several find the runtime asleep, each makes the descriptor readable. It is no cancellation point. Go's side of ffiwaker is built on
 * this; so may yours be. These names may change in any 0.x release and are not covered by RAWWAKER_ABI_VERSION.
 *
 *   for (;;) {
 *     rawwaker_box *list = rawwaker_sink_take(sink);
 *     while ((n = rawwaker_box_read(&list, notices, N)) != 0) ...  look each id up; if woken, run its task
 *     if (rawwaker_sink_sleep(sink)) poll(rawwaker_sink_fd(sink)), rawwaker_sink_ack(sink);
 *   }
 */
typedef struct rawwaker_sink rawwaker_sink;
typedef struct rawwaker_box rawwaker_box;

enum { RAWWAKER_SINK_FOREVER = 1 };   /* never freed: saves two atomic steps a wake */
enum { RAWWAKER_BOX_TELL = 1 };       /* list the box also when C gives up its last reference */

/* One list and one descriptor (an eventfd; elsewhere a pipe; on Windows the handle of an event), non-blocking and closed on exec.
 * takes - | gives a sink | threads any | signals no | fails: NULL, with errno */
RAWWAKER_API rawwaker_sink *rawwaker_sink_new(uint32_t flags);

/* The owner's end of it; it is freed when its last box is. First close every box. Wakes that come later do nothing. The
 * descriptor is closed as by rawwaker_sink_close.
 * takes s | gives - | threads any, a call of the hook among them | signals no | fails never */
RAWWAKER_API void rawwaker_sink_drop(rawwaker_sink *s);

/* Ends the descriptor and the hook before rawwaker_sink_drop does. The descriptor's number is free at once, or, if a wake is
 * writing to it, when that has returned; epoll reports nothing of it from now on, and nothing is ever written to a number that
 * may have been used again. No wake that begins later calls the hook. The rest works on; kick and ack do nothing. Does
 * nothing to a sink that is for ever.
 * takes - | gives - | threads any, a call of the hook among them | signals no | fails never */
RAWWAKER_API void rawwaker_sink_close(rawwaker_sink *s);

/* The descriptor to wait on for reading; on Windows (HANDLE)(intptr_t) of it is an event to wait for. Borrowed: do not close it.
 * takes - | gives a descriptor | threads any | signals yes | fails never */
RAWWAKER_API int rawwaker_sink_fd(const rawwaker_sink *s);

/* Says that the runtime is about to wait on the descriptor. False: something is listed, take it first. From now on each wake
 * makes the descriptor readable, until the first such wake has done so, or the runtime stores 0 in the flag. Spurious
 * readiness is possible.
 * takes - | gives whether to wait | threads any | signals no | fails never */
RAWWAKER_API bool rawwaker_sink_sleep(rawwaker_sink *s);

/* Makes the descriptor unreadable again; call it after it was readable, and take the list before the next sleep.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sink_ack(rawwaker_sink *s);

/* Makes the descriptor readable, as a wake would.
 * takes - | gives - | threads any | signals yes | fails never */
RAWWAKER_API void rawwaker_sink_kick(rawwaker_sink *s);

/* Wakes w (by reference) too whenever a wake makes the descriptor readable, on the thread that wakes, at the same time as
 * others do; so w's wake must not block, and be signal-safe if wakes of the sink's boxes are to be. A waker set before may still
 * be about to be woken, so all are kept until rawwaker_sink_close or _drop. rawwaker_noop() ends it. Set it before the first
 * sleep, or sleep anew after it: a wake under way may have missed it.
 * They are dropped when no wake calls one any more: by rawwaker_sink_close or _drop, or, if a wake calls one at that moment,
 * by rawwaker_sink_reap; never inside a wake. If a call never returns, they are never dropped. On a closed sink w is dropped
 * at once.
 * takes w, unless it fails | gives whether there was memory for it | threads any | signals no | fails: false */
RAWWAKER_API bool rawwaker_sink_on_wake(rawwaker_sink *s, rawwaker w);

/* Drops the hooks that were being called when their sink ended. Without rawwaker_sink_reaper, rawwaker_sink_new, _on_wake,
 * _close and _drop do it too.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sink_reap(void);

/* For a runtime that drops them on a thread of its own choice: s, which is for ever, is kicked when there are some, and then
 * the word at the address is not NULL until rawwaker_sink_reap. Once in a process, before the first rawwaker_sink_on_wake.
 * takes - | gives a static address | threads any | signals no | fails: abort if s is not for ever */
RAWWAKER_API void **rawwaker_sink_reaper(rawwaker_sink *s);

/* Takes the whole list, oldest wake first.
 * takes the list's references | gives them | threads any | signals no | fails never */
RAWWAKER_API rawwaker_box *rawwaker_sink_take(rawwaker_sink *s);

/* The words that a runtime may use from its own language, atomically and sequentially consistent: the list's head (NULL:
 * empty), and the flag: 0 while it is awake, else the number of this sleep. The runtime may store 0 when it has woken up. It may do
 * what rawwaker_sink_sleep does with numbers of its own, new for each sleep and never 0, and what a wake does: after its
 * push it reads the flag, and if that is not 0, kicks, and then replaces that very number by 0.
 * takes - | gives borrowed addresses | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_sink_words(rawwaker_sink *s, void **head, uint32_t **sleeping);

typedef struct rawwaker_notice {
  uint64_t id;
  uint32_t woken;   /* 1: a wake came since the last notice */
  uint32_t last;    /* 1: C holds nothing any more, and the box awaits rawwaker_box_retire */
} rawwaker_notice;

/* Reads up to n notices off a taken list and advances it; each box may be listed again from then on.
 * takes the references of what it reads, but for those that say last | gives the count, 0 at the end | threads the one
 * that took the list | signals no | fails never */
RAWWAKER_API size_t rawwaker_box_read(rawwaker_box **list, rawwaker_notice *out, size_t n);

/* A box that carries id, held by the runtime and by nobody else yet: rawwaker_box_ref gives the first reference out.
 * takes - (keeps s alive) | gives a box | threads any | signals no | fails: NULL out of memory */
RAWWAKER_API rawwaker_box *rawwaker_box_new(rawwaker_sink *s, uint64_t id, uint32_t flags);

/* A new reference for C. Only while the runtime holds the box.
 * takes - | gives a waker | threads any | signals no | fails never */
RAWWAKER_API rawwaker rawwaker_box_ref(rawwaker_box *b);

/* The box as a waker, lent: no reference is counted.
 * takes - | gives a borrowed waker | threads any | signals yes | fails never */
RAWWAKER_API rawwaker rawwaker_box_lend(rawwaker_box *b);

/* Whether anybody but the runtime holds a reference, or the list does: for diagnosis, it may have changed by now.
 * takes - | gives the answer | threads any, while the runtime holds the box | signals yes | fails never */
RAWWAKER_API bool rawwaker_box_lent(const rawwaker_box *b);

/* Ends the runtime's hold. Wakes do nothing from now on; C frees the box with its last reference.
 * takes the runtime's hold | gives - | threads one, once | signals no | fails never */
RAWWAKER_API void rawwaker_box_close(rawwaker_box *b);

/* Answers a notice that said last, with rawwaker_box_ref excluded meanwhile. True: the box is freed. False: C was
 * given another reference since, and the box lives on.
 * takes the notice's reference, and the runtime's hold where true | gives the answer | threads one | signals no | fails never */
RAWWAKER_API bool rawwaker_box_retire(rawwaker_box *b);

/* Polls f under the waker of the box *b, and again at once for as long as f has woken it meanwhile: up to 64 times or about 100 us.
 * A wake during the poll is not listed; *woken says that one came, and then the runtime must wake the task itself, once,
 * whatever poll gave: it may have been meant for another future of the same task. (Where another thread is inside this
 * function with the same box, or the box is listed, f is polled once and wakes are listed as ever.)
 * For a future that wakes itself the clock is read; where that is a signal (PR_TSC_SIGSEGV), so is this.
 * With *b NULL a box is made for it, and given back in *b only if f has kept its waker. That one is not listed either
 * until rawwaker_box_adopt has given it its id.
 * takes - (f stays yours) | gives what poll gave, *b, *woken | threads any, one at a time on f | signals no | fails: abort
 * out of memory */
RAWWAKER_API rawwaker_poll rawwaker_box_poll(rawwaker_sink *s, rawwaker_box **b, rawwaker_future f, void *out, bool *woken);

/* The same, for a runtime whose callbacks may unwind through f's poll: *note, which must not move, is written before each poll.
 * If the call does not return, *note goes to rawwaker_box_poll_left, once, which leaves the box as if the poll had returned
 * RAWWAKER_PENDING. f is still to be dropped.
 * takes - (f stays yours, note is borrowed) | gives as rawwaker_box_poll | threads as there | signals no | fails: abort out of
 * memory */
RAWWAKER_API rawwaker_poll rawwaker_box_poll_noted(rawwaker_sink *s, rawwaker_box **b, rawwaker_future f, void *out, bool *woken,
                                                   uintptr_t *note);

/* takes note | gives the box that the poll has made, if f has kept its waker, to be adopted or closed, else NULL; and *woken, as
 * rawwaker_box_poll | threads any | signals no | fails never */
RAWWAKER_API rawwaker_box *rawwaker_box_poll_left(uintptr_t note, bool *woken);

/* For a runtime that watches a box a little instead of sleeping: where in a box its word is, a uint32_t to be used atomically.
 * A compare-and-swap of IDLE to LOOP begins it; if that fails, a wake is on its way through the list. A wake turns LOOP into
 * WOKEN, and does nothing else. An exchange to IDLE ends it, and the runtime wakes the task itself if that finds WOKEN. The
 * box must not be made with RAWWAKER_BOX_TELL, nor be closed meanwhile.
 * takes - | gives an offset in bytes | threads any | signals yes | fails never */
RAWWAKER_API size_t rawwaker_box_word(void);
enum { RAWWAKER_BOX_IDLE = 0, RAWWAKER_BOX_WOKEN = 1, RAWWAKER_BOX_LOOP = 3 };

/* Gives the box that rawwaker_box_poll has made its id. True: it was woken since; the runtime must wake the task.
 * takes - | gives the answer | threads one, once | signals no | fails never */
RAWWAKER_API bool rawwaker_box_adopt(rawwaker_box *b, uint64_t id);

/* The id inside a waker for which rawwaker_is_box holds and whose vtable is rawwaker_box_vtable(); else 0.
 * takes - (borrows w) | gives the id | threads any | signals yes | fails never */
RAWWAKER_API uint64_t rawwaker_box_id(const rawwaker *w);

/* The vtable of boxes, by whose address they are known.
 * takes - | gives a static address | threads any | signals yes | fails never */
RAWWAKER_API const rawwaker_vtable *rawwaker_box_vtable(void);

typedef struct rawwaker_box_field {
  const char *name;
  uint32_t offset, size;   /* bytes */
  uint64_t value;
} rawwaker_box_field;

/* The fields of a box and their values, each read at its own moment, for visualisers. If b is NULL, only names, offsets and sizes are
 * given, and if n is 0, out may be NULL. What fields there are may change in any release: ask for the count first. "next" is read while a wake may write it, which ThreadSanitizer tells.
 * takes - | gives up to n of out, and how many there are in all | threads any, while b is there | signals yes | fails never */
RAWWAKER_API size_t rawwaker_box_look(const rawwaker_box *b, rawwaker_box_field *out, size_t n);

/* How many counted wakers of this copy of the library are alive: for tests that must end at zero.
 * takes - | gives the count | threads any | signals yes | fails never */
RAWWAKER_API size_t rawwaker_live(void);

/* ------------------------------------------------------------------------------------- the layout, pinned ---- */

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
