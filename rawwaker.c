/* rawwaker.c - implements rawwaker.h with libc, C11 atomics, POSIX threads and a semaphore.
 *
 * SPDX-License-Identifier: MIT
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* pipe2, eventfd */
#endif
#include "rawwaker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/eventfd.h>
#endif
#if defined(__APPLE__)
#include <dispatch/dispatch.h>
#else
#include <semaphore.h>
#endif

/* Every memory order, by the step it belongs to. docs/CONCURRENCY.md has what each pairs with. */
#define ORD_REF memory_order_relaxed        /* a cloner holds a reference already */
#define ORD_UNREF memory_order_acq_rel      /* the last one sees what the others did, and frees */
#define ORD_NOTIFY memory_order_acq_rel     /* release even if set: the poll sees the writes */
#define ORD_CONSUME memory_order_acq_rel    /* the sleeper's or drainer's side of ORD_NOTIFY */
#define ORD_CONSUMED memory_order_acquire   /* the same, if no wake can come any more */
#define ORD_KEPT memory_order_acquire       /* what others did with references now released */
#define ORD_CLOSE memory_order_seq_cst      /* closed, then queued; against queued, then closed */
#define ORD_LIST memory_order_seq_cst       /* pushed, then sleeping is read */
#define ORD_SLEEP memory_order_seq_cst      /* sleeping is set, then the list is read */
#define ORD_USE memory_order_acq_rel        /* all uses, before a descriptor or hook is ended */
#define ORD_REGISTER memory_order_acquire   /* the slot; writes before wakes that have returned */
#define ORD_REGISTERED memory_order_acq_rel /* the waker, to its taker; writes before a late wake */
#define ORD_TAKE memory_order_acq_rel       /* writes before a wake, to a register; the waker */
#define ORD_TAKEN memory_order_release      /* the slot is empty, to the next register */
#define ORD_HOOK memory_order_release       /* the hook's fields, to the threads that call it */
#define ORD_HOOKED memory_order_acquire     /* the other half of ORD_HOOK */
#define ORD_SETTLE memory_order_acq_rel     /* the value, to the poll; the waker, from it */
#define ORD_SETTLED memory_order_acquire    /* the other half, if the word is only read */
#define ORD_LISTEN memory_order_acq_rel     /* the waker, to the sender; the value, from it */
#define ORD_HANG_UP memory_order_acq_rel    /* the future is gone; against ORD_SETTLE */
#define ORD_WATCH memory_order_release      /* the watcher's fields, to the threads that call it */
#define ORD_WATCHED memory_order_acquire    /* the other half of ORD_WATCH */
#define ORD_COUNT memory_order_relaxed      /* statistics */

static _Noreturn void die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

/* write, close, and what slots and hooks call may be cancellation points. A thread that is
 * cancelled in one would skip the steps that must follow. */
#if defined(_WIN32) || defined(__ANDROID__)
static int cancel_hold(void) { return 0; }
static void cancel_restore(int state) { (void)state; }
#else
static int cancel_hold(void) {
  int state;
  int failed = pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
  return failed ? PTHREAD_CANCEL_ENABLE : state;
}
static void cancel_restore(int state) {
  int held;
  pthread_setcancelstate(state, &held);
}
#endif

uint32_t rawwaker_abi_version(void) { return RAWWAKER_ABI_VERSION; }

/* -------------------------------------------------------------- clone, wake, drop, compare -- */

static rawwaker checked_clone(const rawwaker *w, const char *call) {
  if (w->vtable == NULL) die(call, "NULL vtable");
  if (w->vtable->clone == NULL) die(call, "empty slot clone");
  rawwaker c = w->vtable->clone(w->data);
  if (c.vtable == NULL) die(call, "slot clone gave a NULL vtable");
  return c;
}

static void checked_drop(rawwaker w, const char *call) {
  if (w.vtable == NULL) die(call, "NULL vtable");
  if (w.vtable->drop == NULL) die(call, "empty slot drop");
  w.vtable->drop(w.data);
}

static void checked_wake(rawwaker w, const char *call) {
  if (w.vtable == NULL) die(call, "NULL vtable");
  if (w.vtable->wake == NULL) die(call, "empty slot wake");
  w.vtable->wake(w.data);
}

static void checked_wake_by_ref(const rawwaker *w, const char *call) {
  if (w->vtable == NULL) die(call, "NULL vtable");
  if (w->vtable->wake_by_ref == NULL) die(call, "empty slot wake_by_ref");
  w->vtable->wake_by_ref(w->data);
}

rawwaker rawwaker_clone(const rawwaker *w) { return checked_clone(w, __func__); }

void rawwaker_clone_into(const rawwaker *w, rawwaker *out) { *out = checked_clone(w, __func__); }

void rawwaker_clone_from(rawwaker *dst, const rawwaker *src) {
  if (dst->vtable != NULL && rawwaker_will_wake(dst, src)) return;
  rawwaker old = *dst;
  *dst = checked_clone(src, __func__);
  if (old.vtable != NULL) checked_drop(old, __func__);
}

void rawwaker_wake(rawwaker w) { checked_wake(w, __func__); }

void rawwaker_wake_by_ref(const rawwaker *w) { checked_wake_by_ref(w, __func__); }

void rawwaker_drop(rawwaker w) { checked_drop(w, __func__); }

bool rawwaker_will_wake(const rawwaker *a, const rawwaker *b) {
  return a->data == b->data && a->vtable == b->vtable;
}

/* ----------------------------------------------------------------------- the no-op waker -- */

static rawwaker noop_clone(void *data) {
  (void)data;
  return rawwaker_noop();
}
static void noop(void *data) { (void)data; }
static const rawwaker_vtable noop_vtable = {noop_clone, noop, noop, noop};

rawwaker rawwaker_noop(void) { return (rawwaker){NULL, &noop_vtable}; }

/* ------------------------------------------------ counted wakers: what all three share -- */

/* A counted waker begins with async-ffi's vtable, then the count. Its C slots and its async-ffi
 * slots are the same functions, except that the two clones return different types. */
typedef struct counted {
  const rawwaker_boxed_vtable *boxed;
  _Atomic(size_t) refs;
} counted;

/* async-ffi declares self const, although wake and drop count it down. */
static void *unconst(const rawwaker_boxed *self) { return (void *)(uintptr_t)self; }

/* The async-ffi slots of a kind: its C slots under the other signature. */
#define BOXED(kind)                                                                              \
  static const rawwaker_boxed *kind##_boxed_clone(const rawwaker_boxed *self) {                  \
    return kind##_clone(unconst(self)).data;                                                     \
  }                                                                                              \
  static void kind##_boxed_wake(const rawwaker_boxed *self) { kind##_wake(unconst(self)); }      \
  static void kind##_boxed_wake_by_ref(const rawwaker_boxed *self) {                             \
    kind##_wake_by_ref(unconst(self));                                                           \
  }                                                                                              \
  static void kind##_boxed_drop(const rawwaker_boxed *self) { kind##_drop(unconst(self)); }      \
  static const rawwaker_boxed_vtable kind##_boxed_vtable = {                                     \
      kind##_boxed_clone, kind##_boxed_wake, kind##_boxed_wake_by_ref, kind##_boxed_drop};

static _Atomic(size_t) live;

size_t rawwaker_live(void) { return atomic_load_explicit(&live, ORD_COUNT); }

/* The waker does not count as alive until counted_born. */
static void *counted_alloc(size_t size, const rawwaker_boxed_vtable *boxed, size_t refs) {
  counted *c = malloc(size);
  if (c == NULL) return NULL;
  memset(c, 0, size);
  c->boxed = boxed;
  atomic_init(&c->refs, refs);
  return c;
}
static void counted_born(void) { atomic_fetch_add_explicit(&live, 1, ORD_COUNT); }

static void *counted_new(size_t size, const rawwaker_boxed_vtable *boxed, size_t refs) {
  void *c = counted_alloc(size, boxed, refs);
  if (c != NULL) counted_born();
  return c;
}

static void counted_free(void *c) {
  atomic_fetch_sub_explicit(&live, 1, ORD_COUNT);
  free(c);
}

static void counted_ref(counted *c, size_t n) {
  /* A count that wraps would free too early. No correct program reaches half of the range. */
  if (atomic_fetch_add_explicit(&c->refs, n, ORD_REF) > SIZE_MAX / 2)
    die("rawwaker_clone", "reference count overflow (wake or drop each clone)");
}

static bool counted_unref(counted *c) {
  return atomic_fetch_sub_explicit(&c->refs, 1, ORD_UNREF) == 1;
}

/* ---------------------------------------------------------------- a waker from a function -- */

typedef struct fn_waker {
  counted head;
  void (*wake)(void *arg);
  void *arg;
  void (*drop)(void *arg);
} fn_waker;

static rawwaker fn_clone(void *data);
static void fn_wake(void *data);
static void fn_wake_by_ref(void *data);
static void fn_drop(void *data);
static const rawwaker_vtable fn_vtable = {fn_clone, fn_wake, fn_wake_by_ref, fn_drop};

static rawwaker fn_clone(void *data) {
  counted_ref(data, 1);
  return (rawwaker){data, &fn_vtable};
}
static void fn_wake_by_ref(void *data) {
  const fn_waker *f = data;
  f->wake(f->arg);
}
static void fn_drop(void *data) {
  fn_waker *f = data;
  if (!counted_unref(&f->head)) return;
  if (f->drop != NULL) f->drop(f->arg);
  counted_free(f);
}
static void fn_wake(void *data) {
  fn_wake_by_ref(data);
  fn_drop(data);
}

BOXED(fn)

rawwaker rawwaker_from_fn(void (*wake)(void *arg), void *arg, void (*drop)(void *arg)) {
  if (wake == NULL) die(__func__, "NULL wake");
  fn_waker *f = counted_new(sizeof *f, &fn_boxed_vtable, 1);
  if (f == NULL) die(__func__, "out of memory");
  f->wake = wake;
  f->arg = arg;
  f->drop = drop;
  return (rawwaker){f, &fn_vtable};
}

/* ----------------------------------------------------------------- the parker and block_on -- */

/* The parker's word.
 *   EMPTY     awake; no wake came.
 *   NOTIFIED  a wake came since the last poll began. Only wakers set it, and only the parked thread
 *             clears it.
 *   PARKED    asleep, or about to be. Never together with NOTIFIED, so exactly the wake that
 *             replaces PARKED posts the semaphore. */
enum { EMPTY = 0, NOTIFIED = 1, PARKED = 2 };

#if defined(__APPLE__)
typedef dispatch_semaphore_t semaphore;
static bool semaphore_init(semaphore *s) { return (*s = dispatch_semaphore_create(0)) != NULL; }
static void semaphore_post(semaphore *s) { dispatch_semaphore_signal(*s); }
static void semaphore_wait(semaphore *s) {
  pthread_testcancel(); /* the wait itself is no cancellation point */
  dispatch_semaphore_wait(*s, DISPATCH_TIME_FOREVER);
  pthread_testcancel();
}
static void semaphore_fini(semaphore *s) { dispatch_release(*s); }
#else
typedef sem_t semaphore;
static bool semaphore_init(semaphore *s) { return sem_init(s, 0, 0) == 0; }
static void semaphore_post(semaphore *s) { sem_post(s); }
static void semaphore_wait(semaphore *s) {
  while (sem_wait(s) != 0) { /* a signal came */
  }
}
static void semaphore_fini(semaphore *s) { sem_destroy(s); }
#endif

typedef struct parker {
  counted head;
  _Atomic(uint32_t) state;
  semaphore sleep;
} parker;

static rawwaker parker_clone(void *data);
static void parker_wake(void *data);
static void parker_wake_by_ref(void *data);
static void parker_drop(void *data);
static const rawwaker_vtable parker_vtable = {parker_clone, parker_wake, parker_wake_by_ref,
                                              parker_drop};

static rawwaker parker_clone(void *data) {
  counted_ref(data, 1);
  return (rawwaker){data, &parker_vtable};
}
static void parker_wake_by_ref(void *data) {
  parker *p = data;
  if (atomic_exchange_explicit(&p->state, NOTIFIED, ORD_NOTIFY) == PARKED) {
    int saved = errno;
    semaphore_post(&p->sleep);
    errno = saved;
  }
}
static void parker_drop(void *data) {
  parker *p = data;
  if (!counted_unref(&p->head)) return;
  semaphore_fini(&p->sleep);
  counted_free(p);
}
static void parker_wake(void *data) {
  parker_wake_by_ref(data);
  parker_drop(data);
}

BOXED(parker)

/* What a block_on that is cancelled in its sleep must end, and its caller's cancellation state. */
typedef struct waiting {
  rawwaker_future f;
  parker *p;
  int cancel;
} waiting;

#if defined(_WIN32) || defined(__ANDROID__)
/* Threads are not cancelled on these systems. */
static void waiting_sleep(waiting *w) { semaphore_wait(&w->p->sleep); }
#else
static void waiting_cancelled(void *arg) {
  waiting *w = arg;
  cancel_hold();
  w->f.vtable->drop(w->f.data);
  parker_drop(w->p);
}
static void waiting_sleep(waiting *w) {
  pthread_cleanup_push(waiting_cancelled, w);
  cancel_restore(w->cancel);
  semaphore_wait(&w->p->sleep);
  cancel_hold();
  pthread_cleanup_pop(0);
}
#endif

/* A wait spins before it sleeps, because threads that hand work to one another in turns wait for
 * less time than a sleep and its wake take. SPINS pauses take 50 us on an AMD EPYC; other
 * processors pause for longer or shorter. spin_pays grows by each spin that a wake has ended and
 * falls by each other one, between 0 and SPIN_MOST. At 0 a wait sleeps at once, but one in
 * SPIN_AGAIN tries. Any value of either word is right: they only guide. */
enum { SPINS = 2000, SPIN_MOST = 8, SPIN_AGAIN = 64 };
static _Atomic(uint32_t) spin_pays = SPIN_MOST / 2, spin_skipped;

static void spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

static void parker_spin(parker *p) {
  if (atomic_load_explicit(&p->state, memory_order_relaxed) != EMPTY) return;
  uint32_t pays = atomic_load_explicit(&spin_pays, memory_order_relaxed);
  if (pays == 0) {
    uint32_t skipped = atomic_load_explicit(&spin_skipped, memory_order_relaxed) + 1;
    atomic_store_explicit(&spin_skipped, skipped, memory_order_relaxed);
    if (skipped % SPIN_AGAIN != 0) return;
  }
  for (int i = 0; i < SPINS; i++) {
    spin_pause();
    if (atomic_load_explicit(&p->state, memory_order_relaxed) == EMPTY) continue;
    if (pays < SPIN_MOST) atomic_store_explicit(&spin_pays, pays + 1, memory_order_relaxed);
    return;
  }
  if (pays != 0) atomic_store_explicit(&spin_pays, pays - 1, memory_order_relaxed);
}

static void parker_park(waiting *w) {
  uint32_t empty = EMPTY;
  parker_spin(w->p);
  if (atomic_compare_exchange_strong_explicit(&w->p->state, &empty, PARKED, ORD_CONSUME,
                                              memory_order_relaxed))
    waiting_sleep(w);
  /* An exchange, because a second wake may have come since, and its writes must be seen too. */
  atomic_exchange_explicit(&w->p->state, EMPTY, ORD_CONSUME);
}

/* Each thread's panic text is malloc'd and found by a key that the first text creates. The key
 * stands in for a thread-local variable: in a library that contains Go, those use up a small block
 * that all libraries of the process share. Without a key no thread has a text. */
enum { PANIC_MAX = 1024 };
static _Atomic(uintptr_t) panic_key; /* the key, plus 1 */

static char *panic_get(void) {
  uintptr_t key = atomic_load(&panic_key);
  return key == 0 ? NULL : pthread_getspecific((pthread_key_t)(key - 1));
}

/* Makes text this thread's text; NULL is none. Returns what the caller must free: the previous
 * text, or text itself if it could not be kept. */
static char *panic_swap(char *text) {
  uintptr_t key = atomic_load(&panic_key);
  if (key == 0) {
    if (text == NULL) return NULL;
    pthread_key_t made;
    if (pthread_key_create(&made, free) != 0) return text;
    if (atomic_compare_exchange_strong(&panic_key, &key, (uintptr_t)made + 1))
      key = (uintptr_t)made + 1;
    else
      pthread_key_delete(made);
  }
  char *old = pthread_getspecific((pthread_key_t)(key - 1));
  if (old == text) return NULL;
  return pthread_setspecific((pthread_key_t)(key - 1), text) == 0 ? old : text;
}

static void panic_clear(void) {
  if (panic_get() != NULL) free(panic_swap(NULL));
}

/* Runs when the process ends or a plug-in is unloaded. Otherwise each plug-in that is loaded would
 * use up another key. A thread that ends later calls libc's free, which stays loaded. */
__attribute__((destructor)) static void panic_unload(void) {
  panic_clear();
  uintptr_t key = atomic_exchange(&panic_key, 0);
  if (key != 0) pthread_key_delete((pthread_key_t)(key - 1));
}

void rawwaker_set_panic(const char *msg, size_t len) {
  if (len > PANIC_MAX) len = PANIC_MAX;
  char *text = len > 0 ? malloc(len + 1) : NULL;
  if (text != NULL) {
    memcpy(text, msg, len); /* before the old text is freed: msg may point into it */
    text[len] = '\0';
  }
  free(panic_swap(text));
}

const char *rawwaker_last_panic(void) {
  const char *text = panic_get();
  return text == NULL ? "" : text;
}

rawwaker_poll rawwaker_block_on(rawwaker_future f, void *out) {
  if (f.vtable == NULL) die(__func__, "NULL vtable");
  if (f.vtable->poll == NULL) die(__func__, "empty slot poll");
  if (f.vtable->drop == NULL) die(__func__, "empty slot drop");
  parker *p = counted_new(sizeof *p, &parker_boxed_vtable, 1);
  if (p == NULL || !semaphore_init(&p->sleep)) die(__func__, "out of memory");
  waiting w = {f, p, cancel_hold()};
  rawwaker waker = {p, &parker_vtable};
  rawwaker_context cx = {&waker};
  rawwaker_poll got;
  for (;;) {
    panic_clear();
    got = f.vtable->poll(f.data, &cx, out);
    if (got != RAWWAKER_PENDING) break;
    parker_park(&w);
  }
  if (got != RAWWAKER_READY && got != RAWWAKER_PANICKED) {
    char why[32];
    snprintf(why, sizeof why, "slot poll gave %u", (unsigned)got);
    die(__func__, why);
  }
  char *why = panic_swap(NULL); /* a poll inside the drop slot would clear it */
  f.vtable->drop(f.data);
  free(panic_swap(why));
  parker_drop(p);
  cancel_restore(w.cancel);
  return got;
}

/* ------------------------------------------------------------------------------ the cell -- */

/* The word of a cell, as in the AtomicWaker of futures-rs. No thread waits for another thread's
 * bit.
 *   WAITING                 The slot is filled or empty. The thread that replaces WAITING owns it.
 *   REGISTERING             A register owns the slot.
 *   WAKING                  A take owns it.
 *   REGISTERING | WAKING    A register owns it. A take came meanwhile and returned empty, so the
 *                           register wakes the waker that it has kept.
 * A register that finds the slot owned wakes its waker by reference and keeps nothing: the poll
 * that follows registers again. The bits include a mark, so that memory that was never initialised
 * is distinguished from a cell even if it holds small numbers. */
enum { WAITING = 0, REGISTERING = 0x72770001, WAKING = 0x72770002 };

static _Atomic(uint32_t) *cell_word(rawwaker_cell *c) {
  /* The header is C++ too, where _Atomic does not exist. */
  _Static_assert(sizeof(_Atomic(uint32_t)) == sizeof c->private_lock,
                 "an atomic word has the size of a plain one");
  return (_Atomic(uint32_t) *)&c->private_lock;
}

static void cell_must(bool possible, const char *call) {
  if (!possible) die(call, "not a cell (use rawwaker_cell_init, or zeroed memory)");
}

void rawwaker_cell_init(rawwaker_cell *c) { memset(c, 0, sizeof *c); }

void rawwaker_cell_register(rawwaker_cell *c, const rawwaker *w) {
  uint32_t was = WAITING;
  if (!atomic_compare_exchange_strong_explicit(cell_word(c), &was, REGISTERING, ORD_REGISTER,
                                               ORD_REGISTER)) {
    cell_must(was == REGISTERING || was == WAKING || was == (REGISTERING | WAKING), __func__);
    checked_wake_by_ref(w, __func__);
    return;
  }
  rawwaker kept = c->private_waker, old = {NULL, NULL};
  if (kept.vtable == NULL || !rawwaker_will_wake(&kept, w)) {
    old = kept;
    c->private_waker = kept = checked_clone(w, __func__);
  }
  was = REGISTERING;
  if (!atomic_compare_exchange_strong_explicit(cell_word(c), &was, WAITING, ORD_REGISTERED,
                                               memory_order_relaxed)) {
    c->private_waker = (rawwaker){NULL, NULL};
    was = atomic_exchange_explicit(cell_word(c), WAITING, ORD_REGISTERED);
    cell_must(was == (REGISTERING | WAKING), __func__);
    checked_wake(kept, __func__);
  }
  if (old.vtable != NULL) checked_drop(old, __func__);
}

static rawwaker cell_take(rawwaker_cell *c, const char *call) {
  uint32_t was = atomic_fetch_or_explicit(cell_word(c), WAKING, ORD_TAKE);
  if (was != WAITING) {
    cell_must(was == REGISTERING || was == WAKING || was == (REGISTERING | WAKING), call);
    return (rawwaker){NULL, NULL};
  }
  rawwaker kept = c->private_waker;
  c->private_waker = (rawwaker){NULL, NULL};
  cell_must(atomic_exchange_explicit(cell_word(c), WAITING, ORD_TAKEN) == WAKING, call);
  return kept;
}

bool rawwaker_cell_take(rawwaker_cell *c, rawwaker *out) {
  rawwaker kept = cell_take(c, __func__);
  if (kept.vtable == NULL) return false;
  *out = kept;
  return true;
}

void rawwaker_cell_wake(rawwaker_cell *c) {
  rawwaker kept = cell_take(c, __func__);
  if (kept.vtable != NULL) checked_wake(kept, __func__);
}

void rawwaker_cell_drop(rawwaker_cell *c) {
  rawwaker kept = cell_take(c, __func__);
  if (kept.vtable != NULL) checked_drop(kept, __func__);
}

/* ---------------------------------------------------------------------- watching senders -- */

static _Atomic(const rawwaker_watcher *) watcher;

void rawwaker_watch(const rawwaker_watcher *w) {
  if (w != NULL) atomic_store_explicit(&watcher, w, ORD_WATCH);
}

static const rawwaker_watcher *watching(void) {
  return atomic_load_explicit(&watcher, ORD_WATCHED);
}

void *rawwaker_watch_made(void *sender, const char *call) {
  const rawwaker_watcher *w = watching();
  return w == NULL ? NULL : w->made(sender, call);
}

/* Bit 0 marks what a watcher has given out, so an unwatched sender costs one test of a register. */
void *rawwaker_watch_used(void *given, const char *call, bool takes) {
  if (((uintptr_t)given & 1) == 0) return given;
  return watching()->used(given, call, takes);
}

/* --------------------------------------------------------------------------- the oneshot -- */

/* The word of a oneshot: three bits, and in steps of SIDE how many of its two sides, the future and
 * the sender, still use its memory.
 *   LISTENING  The waker is filled. A poll sets it, and clears it to replace the waker.
 *   SETTLED    The sender was used: the value or the text is there. Set once, by the sender.
 *   HUNG_UP    The future was dropped, and was not settled when the drop began. Set once.
 * Each of SETTLED and HUNG_UP is set by an atomic step that reads the other one, so exactly one of
 * them comes first. If SETTLED does, the sender wakes the waker that it finds, and the poll or drop
 * that follows owns the value. If HUNG_UP does, the drop drops the waker and calls cancel, and the
 * sender destroys the value. A poll owns the waker while LISTENING is not set, also if its own step
 * finds SETTLED. LISTENING without a waker and HUNG_UP during a poll are impossible. */
enum { LISTENING = 1, SETTLED = 2, HUNG_UP = 4, SIDE = 8 };

struct rawwaker_oneshot {
  _Atomic(uint32_t) word;
  bool started;   /* of the future, as the next three; or there is no start */
  bool cancelled; /* cancel was called */
  bool taken;     /* a poll has given READY or PANICKED */
  rawwaker waker;
  const rawwaker_oneshot_ops *ops;
  void *arg;
  void *value;
  size_t size;
  const char *text; /* of the failure; NULL: there is a value */
  char *owned;      /* text, if it is from malloc */
  void *given;      /* what a watcher has given out as the sender, or NULL */
};

static const rawwaker_oneshot_ops no_ops = {NULL, NULL, NULL, NULL};

/* A call less for the usual sender, which is not watched. */
static rawwaker_oneshot *oneshot_of(rawwaker_oneshot *tx, const char *call, bool takes) {
  return ((uintptr_t)tx & 1) == 0 ? tx : rawwaker_watch_used(tx, call, takes);
}

/* Without a call for a value that is a number or a pointer. */
static void oneshot_copy(void *to, const void *from, size_t size) {
  if (size == sizeof(uint64_t))
    memcpy(to, from, sizeof(uint64_t));
  else if (size != 0)
    memcpy(to, from, size);
}

static void oneshot_free(rawwaker_oneshot *o) {
  void (*release)(void *arg) = o->ops->release;
  void *arg = o->arg;
  if (o->owned != NULL) free(o->owned);
  free(o);
  if (release != NULL) release(arg);
}

/* Ends one side's use of the memory. */
static void oneshot_leave(rawwaker_oneshot *o) {
  if (atomic_fetch_sub_explicit(&o->word, SIDE, ORD_UNREF) / SIDE == 1) oneshot_free(o);
}

static void oneshot_destroy(rawwaker_oneshot *o) {
  if (o->ops->destroy != NULL) o->ops->destroy(o->arg, o->value);
}

/* Publishes the value or text, and ends the sender's side. If it returns false, the future was
 * dropped before; then the sender's side is still there. */
static bool oneshot_settle(rawwaker_oneshot *o, const char *call) {
  uint32_t word = atomic_load_explicit(&o->word, memory_order_relaxed);
  /* No waker yet, and the future is there: one step does both. */
  if ((word & (LISTENING | HUNG_UP)) == 0 &&
      atomic_compare_exchange_strong_explicit(&o->word, &word, (word | SETTLED) - SIDE, ORD_SETTLE,
                                              memory_order_relaxed))
    return true;
  word = atomic_fetch_or_explicit(&o->word, SETTLED, ORD_SETTLE);
  if ((word & HUNG_UP) != 0) return false;
  if ((word & LISTENING) != 0) checked_wake(o->waker, call);
  oneshot_leave(o);
  return true;
}

static bool oneshot_send(const char *call, rawwaker_oneshot *tx, const void *value) {
  rawwaker_oneshot *o = oneshot_of(tx, call, true);
  oneshot_copy(o->value, value, o->size);
  if (oneshot_settle(o, call)) return true;
  oneshot_destroy(o);
  oneshot_leave(o);
  return false;
}

bool rawwaker_oneshot_send(rawwaker_oneshot *tx, const void *value) {
  return oneshot_send(__func__, tx, value);
}

static void oneshot_end(const char *call, rawwaker_oneshot *o, const char *text, char *owned) {
  o->text = text;
  o->owned = owned;
  if (!oneshot_settle(o, call)) oneshot_leave(o);
}

static void oneshot_fail(const char *call, rawwaker_oneshot *tx, const char *msg, size_t len) {
  rawwaker_oneshot *o = oneshot_of(tx, call, true);
  if (len > PANIC_MAX) len = PANIC_MAX;
  char *text = malloc(len + 1);
  if (text != NULL) {
    if (len != 0) memcpy(text, msg, len);
    text[len] = '\0';
  }
  oneshot_end(call, o, text != NULL ? text : "oneshot: out of memory", text);
}

void rawwaker_oneshot_fail(rawwaker_oneshot *tx, const char *msg, size_t len) {
  oneshot_fail(__func__, tx, msg, len);
}

void rawwaker_oneshot_drop(rawwaker_oneshot *tx) {
  oneshot_end(__func__, oneshot_of(tx, __func__, true), "oneshot: sender dropped", NULL);
}

bool rawwaker_oneshot_closed(const rawwaker_oneshot *tx) {
  rawwaker_oneshot *o = oneshot_of((void *)(uintptr_t)tx, __func__, false);
  return (atomic_load_explicit(&o->word, memory_order_acquire) & HUNG_UP) != 0;
}

/* Keeps a clone of w for the sender. Returns whether the sender was used meanwhile. */
static bool oneshot_listen(rawwaker_oneshot *o, const rawwaker *w, uint32_t word) {
  rawwaker old = {NULL, NULL};
  if ((word & LISTENING) != 0) {
    if (rawwaker_will_wake(&o->waker, w)) return false;
    word = atomic_fetch_and_explicit(&o->word, ~(uint32_t)LISTENING, ORD_LISTEN);
    if ((word & SETTLED) != 0) return true; /* the old waker was the sender's */
    old = o->waker;
  }
  rawwaker kept = o->waker = checked_clone(w, "rawwaker_oneshot_new");
  bool settled = (atomic_fetch_or_explicit(&o->word, LISTENING, ORD_LISTEN) & SETTLED) != 0;
  if (settled) checked_drop(kept, "rawwaker_oneshot_new");
  if (old.vtable != NULL) checked_drop(old, "rawwaker_oneshot_new");
  return settled;
}

static rawwaker_poll panicked(const char *text) {
  rawwaker_set_panic(text, strlen(text));
  return RAWWAKER_PANICKED;
}

static rawwaker_poll oneshot_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker_oneshot *o = data;
  if (o->taken) return panicked("oneshot: future polled after completion");
  if (!o->started) {
    o->started = true;
    o->ops->start(o->arg);
  }
  uint32_t word = atomic_load_explicit(&o->word, ORD_SETTLED);
  if ((word & SETTLED) == 0 && !oneshot_listen(o, cx->waker, word)) return RAWWAKER_PENDING;
  o->taken = true;
  if (o->text != NULL) return panicked(o->text);
  if (o->size == 0) return RAWWAKER_READY;
  if (out == NULL) {
    oneshot_destroy(o);
    return panicked("oneshot: poll: out is NULL, and the value has a size");
  }
  oneshot_copy(out, o->value, o->size);
  return RAWWAKER_READY;
}

/* Calls cancel, unless the operation has ended or was cancelled. */
static void oneshot_cancel(rawwaker_oneshot *o, uint32_t word) {
  if ((word & SETTLED) != 0 || o->cancelled) return;
  o->cancelled = true;
  if (o->ops->cancel != NULL) o->ops->cancel(o->arg);
}

static void oneshot_drop(void *data) {
  rawwaker_oneshot *o = data;
  if (!o->started) { /* start has not given the sender out */
    if (o->given != NULL) rawwaker_watch_used(o->given, "rawwaker_oneshot_drop", true);
    oneshot_free(o);
    return;
  }
  uint32_t word = atomic_load_explicit(&o->word, ORD_SETTLED);
  if ((word & SETTLED) == 0)
    word = atomic_fetch_or_explicit(&o->word, HUNG_UP, ORD_HANG_UP);
  if ((word & (LISTENING | SETTLED)) == LISTENING) checked_drop(o->waker, "rawwaker_oneshot_new");
  oneshot_cancel(o, word);
  if ((word & SETTLED) != 0 && !o->taken && o->text == NULL) oneshot_destroy(o);
  if (word / SIDE == 1) /* the sender's side has ended */
    oneshot_free(o);
  else
    oneshot_leave(o);
}

static const rawwaker_future_vtable oneshot_vtable = {oneshot_poll, oneshot_drop};

void rawwaker_oneshot_cancel(rawwaker_future f) {
  if (f.vtable != &oneshot_vtable) die(__func__, "not a future of rawwaker_oneshot_new");
  rawwaker_oneshot *o = f.data;
  if (o->started) oneshot_cancel(o, atomic_load_explicit(&o->word, ORD_SETTLED));
}

static rawwaker_future oneshot_new(const char *call, size_t size, size_t align,
                                   const rawwaker_oneshot_ops *ops, void *arg,
                                   rawwaker_oneshot **sender) {
  if ((align & (align - 1)) != 0 && align != 0) die(call, "align is not a power of two");
  /* malloc aligns for every type without an alignment of its own, and so does the struct's end. */
  size_t head = (sizeof(rawwaker_oneshot) + _Alignof(max_align_t) - 1) & -_Alignof(max_align_t);
  size_t more = align > _Alignof(max_align_t) ? align : 0;
  if (size > SIZE_MAX / 4 || more > SIZE_MAX / 4) die(call, "out of memory");
  rawwaker_oneshot *o = malloc(head + more + size);
  if (o == NULL) die(call, "out of memory");
  uintptr_t value = (uintptr_t)o + head;
  if (more != 0) value = (value + align - 1) & ~(uintptr_t)(align - 1);
  if (ops == NULL) ops = &no_ops;
  *o = (rawwaker_oneshot){.started = ops->start == NULL, .ops = ops, .arg = arg, .size = size};
  atomic_init(&o->word, 2 * SIDE);
  o->value = (void *)value;
  o->given = watching() == NULL ? NULL : rawwaker_watch_made(o, call);
  *sender = o->given != NULL ? o->given : o;
  return (rawwaker_future){o, &oneshot_vtable};
}

rawwaker_future rawwaker_oneshot_new(size_t size, size_t align, const rawwaker_oneshot_ops *ops,
                                     void *arg, rawwaker_oneshot **sender) {
  if (sender == NULL) die(__func__, "NULL sender");
  return oneshot_new(__func__, size, align, ops, arg, sender);
}

/* ------------------------------------------------------------------------------ the sink -- */

/* How many threads use a thing that one of them will end: their count in steps of USER, and two
 * bits.
 *   CLOSED  No new use begins.
 *   GONE    Set by compare-and-swap from exactly CLOSED, by the thread that counts the last use
 *           out. That thread ends the thing.
 * A thread that finds CLOSED is not counted. If it were, a thread that stops there would keep the
 * thing open, and one that counts itself out would be last a second time. GONE without CLOSED, or
 * with a count, is impossible. */
typedef _Atomic(size_t) uses;
enum { CLOSED = 1, GONE = 2, USER = 4 };

/* If it returns true, the caller may use the thing until it calls use_end. */
static bool use_begin(uses *u) {
  size_t before = atomic_load_explicit(u, memory_order_relaxed);
  do {
    if ((before & CLOSED) != 0) return false;
  } while (!atomic_compare_exchange_weak_explicit(u, &before, before + USER, ORD_USE,
                                                  memory_order_relaxed));
  return true;
}

/* If it returns true, the caller must end the thing. */
static bool use_end(uses *u) {
  if (atomic_fetch_sub_explicit(u, USER, ORD_USE) != (USER | CLOSED)) return false;
  size_t closed = CLOSED;
  return atomic_compare_exchange_strong_explicit(u, &closed, CLOSED | GONE, ORD_USE,
                                                 memory_order_relaxed);
}

/* A wake reads sleeping after its push. If it is not 0, the wake writes the descriptor, calls the
 * hook, and only then replaces that very number by 0. Every thread that sees a number does all of
 * this, whatever other threads are about to do. So a thread that stops between any two steps delays
 * only its own wake, and a thread that comes late ends no later sleep. */
struct rawwaker_sink {
  _Atomic(rawwaker_box *) head;   /* pushed by compare-and-swap, taken whole: no ABA */
  _Atomic(uint32_t) sleeping;     /* 0: awake; else this sleep's number. Only the runtime sets it */
  _Atomic(uint32_t) sleeps;       /* the number of the latest sleep; each has a new one */
  bool forever;                   /* never closed, so its uses are not counted */
  _Atomic(size_t) refs;           /* owner, boxes, wakes in progress */
  uses descriptor;                /* the thread that sets GONE closes it */
  uses hooked;                    /* the thread that sets GONE drops or defers the hooks */
  _Atomic(struct hook *) hook;    /* the newest; threads may be about to wake older ones */
  int readable, writable;
#if !defined(__linux__) && !defined(_WIN32)
  int spare;                      /* a replaced pipe's reading end, which its writers still need */
#endif
};

struct hook {
  rawwaker w;
  struct hook *older;
};

static void sink_ref(rawwaker_sink *s) {
  if (!s->forever) atomic_fetch_add_explicit(&s->refs, 1, ORD_REF);
}

#if defined(_WIN32)
/* Windows has an event in place of the descriptor: it is set from a kick until the ack, and no
 * child inherits it. The system's handles have 32 significant bits, so one fits an int. */
static HANDLE sink_event(const rawwaker_sink *s) { return (HANDLE)(intptr_t)s->readable; }
static bool sink_open(rawwaker_sink *s) {
  HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
  s->readable = s->writable = (int)(intptr_t)event;
  if (event == NULL) errno = EMFILE;
  return event != NULL;
}
static void sink_shut(rawwaker_sink *s) { CloseHandle(sink_event(s)); }
static void sink_replace(rawwaker_sink *s) { ResetEvent(sink_event(s)); }
static void sink_write(rawwaker_sink *s) { SetEvent(sink_event(s)); }
static void sink_read(rawwaker_sink *s) { ResetEvent(sink_event(s)); }
#else

static void sink_read(rawwaker_sink *s) {
  char bytes[64];
  while (read(s->readable, bytes, sizeof bytes) == (ssize_t)sizeof bytes) {
  }
}

static void sink_write(rawwaker_sink *s) {
  uint64_t one = 1;
  size_t size = s->writable == s->readable ? sizeof one : 1;
  /* EAGAIN: it is already readable. */
  while (write(s->writable, &one, size) < 0 && errno == EINTR) {
  }
}

#if defined(__linux__)
static bool sink_open(rawwaker_sink *s) {
  s->readable = s->writable = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return s->readable >= 0;
}

static void sink_shut(rawwaker_sink *s) { close(s->readable); }

/* Puts another descriptor, which nothing watches, under the number: an epoll set then forgets the
 * old one. The caller is counted as a user, so the number still belongs to the sink. */
static void sink_replace(rawwaker_sink *s) {
  int dead = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (dead < 0) {
    sink_read(s); /* at least it is unreadable now */
    return;
  }
  dup3(dead, s->readable, O_CLOEXEC);
  close(dead);
}
#else
static bool pipe_open(int ends[2]) {
  if (pipe(ends) != 0) return false;
  for (int i = 0; i < 2; i++) {
    fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  return true;
}

static bool sink_open(rawwaker_sink *s) {
  int ends[2];
  s->spare = -1;
  if (!pipe_open(ends)) return false;
  s->readable = ends[0];
  s->writable = ends[1];
  return true;
}

static void sink_shut(rawwaker_sink *s) {
  close(s->writable); /* first: a write to a pipe without a reader raises SIGPIPE */
  close(s->readable);
  if (s->spare >= 0) close(s->spare);
}

/* As above. The old reading end stays open under another number, for threads inside write. */
static void sink_replace(rawwaker_sink *s) {
  int dead[2], spare = fcntl(s->readable, F_DUPFD_CLOEXEC, 0);
  if (spare < 0 || !pipe_open(dead)) {
    if (spare >= 0) close(spare);
    sink_read(s);
    return;
  }
  s->spare = spare; /* read by the thread that sets GONE, after our own use_end */
  dup2(dead[1], s->writable);
  fcntl(s->writable, F_SETFD, FD_CLOEXEC);
  dup2(dead[0], s->readable);
  fcntl(s->readable, F_SETFD, FD_CLOEXEC);
  close(dead[0]);
  close(dead[1]);
}
#endif
#endif

static void sink_unref(rawwaker_sink *s) {
  if (s->forever) return;
  if (atomic_fetch_sub_explicit(&s->refs, 1, ORD_UNREF) == 1) free(s);
}

/* Hooks that a wake was the last to use. The wake cannot drop them: it may be in a signal handler,
 * or hold a lock that the drop slot needs. rawwaker_sink_reap drops them. */
static _Atomic(struct hook *) deferred;
static _Atomic(rawwaker_sink *) reaper; /* kicked when there are some */

static void hooks_drop(struct hook *h, const char *call) {
  for (struct hook *older; h != NULL; h = older) {
    older = h->older;
    checked_drop(h->w, call);
    free(h);
  }
}

static void hooks_defer(struct hook *newest) {
  if (newest == NULL) return;
  struct hook *oldest = newest;
  while (oldest->older != NULL) oldest = oldest->older;
  oldest->older = atomic_load_explicit(&deferred, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&deferred, &oldest->older, newest, ORD_LIST,
                                                memory_order_relaxed)) {
  }
  rawwaker_sink *s = atomic_load_explicit(&reaper, ORD_HOOKED);
  if (s != NULL) sink_write(s);
}

void rawwaker_sink_reap(void) {
  hooks_drop(atomic_exchange_explicit(&deferred, NULL, ORD_LIST), __func__);
}

static void reap_if_no_reaper(void) {
  if (atomic_load_explicit(&reaper, memory_order_relaxed) == NULL &&
      atomic_load_explicit(&deferred, memory_order_relaxed) != NULL)
    rawwaker_sink_reap();
}

void **rawwaker_sink_reaper(rawwaker_sink *s) {
  if (!s->forever) die(__func__, "the sink can be dropped (make it with RAWWAKER_SINK_FOREVER)");
  atomic_store_explicit(&reaper, s, ORD_HOOK);
  return (void **)(uintptr_t)&deferred;
}

rawwaker_sink *rawwaker_sink_new(uint32_t flags) {
  reap_if_no_reaper();
  rawwaker_sink *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  if (!sink_open(s)) {
    int saved = errno;
    free(s);
    errno = saved;
    return NULL;
  }
  s->forever = (flags & RAWWAKER_SINK_FOREVER) != 0;
  atomic_init(&s->refs, 1);
  return s;
}

static struct hook *sink_hooks(rawwaker_sink *s) {
  return atomic_load_explicit(&s->hook, ORD_HOOKED);
}

bool rawwaker_sink_on_wake(rawwaker_sink *s, rawwaker w) {
  reap_if_no_reaper();
  struct hook *h = malloc(sizeof *h);
  if (h == NULL) return false;
  if (!s->forever && !use_begin(&s->hooked)) {
    free(h);
    checked_drop(w, __func__);
    return true;
  }
  *h = (struct hook){w, atomic_load_explicit(&s->hook, memory_order_relaxed)};
  while (!atomic_compare_exchange_weak_explicit(&s->hook, &h->older, h, ORD_HOOK,
                                                memory_order_relaxed)) {
  }
  /* The sink was closed meanwhile. */
  if (!s->forever && use_end(&s->hooked)) hooks_drop(sink_hooks(s), __func__);
  return true;
}

static void sink_call(rawwaker_sink *s) {
  const struct hook *h = sink_hooks(s);
  if (h != NULL) rawwaker_wake_by_ref(&h->w);
}

/* Uses the descriptor, unless it is closed. */
static void sink_use(rawwaker_sink *s, void (*use)(rawwaker_sink *s)) {
  if (s->forever) {
    use(s);
  } else if (use_begin(&s->descriptor)) {
    use(s);
    if (use_end(&s->descriptor)) sink_shut(s);
  }
}

/* Called by a wake that has found s asleep, after its push. */
static void sink_unpark(rawwaker_sink *s, uint32_t sleep) {
  int saved = errno, cancel = cancel_hold();
  sink_use(s, sink_write);
  if (s->forever) {
    sink_call(s);
  } else if (use_begin(&s->hooked)) {
    sink_call(s);
    if (use_end(&s->hooked)) hooks_defer(sink_hooks(s));
  }
  atomic_compare_exchange_strong_explicit(&s->sleeping, &sleep, 0, ORD_SLEEP, memory_order_relaxed);
  cancel_restore(cancel);
  errno = saved;
}

void rawwaker_sink_kick(rawwaker_sink *s) {
  int saved = errno, cancel = cancel_hold();
  sink_use(s, sink_write);
  cancel_restore(cancel);
  errno = saved;
}

void rawwaker_sink_ack(rawwaker_sink *s) {
  int saved = errno, cancel = cancel_hold();
  sink_use(s, sink_read);
  cancel_restore(cancel);
  errno = saved;
}

void rawwaker_sink_close(rawwaker_sink *s) {
  if (s->forever) return;
  int saved = errno, cancel = cancel_hold();
  /* It counts itself as a user: until use_end no thread sets GONE, so the number is the sink's. */
  if (use_begin(&s->descriptor)) {
    size_t before = atomic_fetch_or_explicit(&s->descriptor, CLOSED, ORD_USE);
    if (before > USER && (before & CLOSED) == 0) sink_replace(s);
    if (use_end(&s->descriptor)) sink_shut(s);
  }
  if (use_begin(&s->hooked)) {
    atomic_fetch_or_explicit(&s->hooked, CLOSED, ORD_USE);
    if (use_end(&s->hooked)) hooks_drop(sink_hooks(s), "rawwaker_sink_drop");
  }
  reap_if_no_reaper();
  cancel_restore(cancel);
  errno = saved;
}

int rawwaker_sink_fd(const rawwaker_sink *s) { return s->readable; }

void rawwaker_sink_words(rawwaker_sink *s, void **head, uint32_t **sleeping) {
  *head = &s->head;
  *sleeping = (uint32_t *)(uintptr_t)&s->sleeping;
}

/* Announces a sleep; what was pushed before must be looked for after it. */
static void sink_announce(rawwaker_sink *s) {
  uint32_t sleep = atomic_fetch_add_explicit(&s->sleeps, 1, ORD_COUNT) + 1;
  if (sleep == 0) sleep = atomic_fetch_add_explicit(&s->sleeps, 1, ORD_COUNT) + 1; /* 0 is awake */
  atomic_store_explicit(&s->sleeping, sleep, ORD_SLEEP);
}

bool rawwaker_sink_sleep(rawwaker_sink *s) {
  sink_announce(s);
  if (atomic_load_explicit(&s->head, ORD_LIST) == NULL) return true;
  atomic_store_explicit(&s->sleeping, 0, ORD_SLEEP);
  return false;
}

/* ----------------------------------------------------------------------------- the queue -- */

/* A sink's descriptor and sleep, with a list of the user's nodes in place of boxes. */
struct rawwaker_queue {
  rawwaker_sink sink; /* its own list, hook and count are not used */
  _Atomic(rawwaker_queue_node *) head; /* the newest push; taken whole: no ABA */
  _Atomic(size_t) owners;              /* the last one closes the descriptor */
  _Atomic(size_t) refs;                /* all owners together, each push in progress */
  _Atomic(bool) stopped;
};

/* The head of a queue that was closed; it is never replaced. */
static rawwaker_queue_node refused;

static void queue_unref(rawwaker_queue *q) {
  if (atomic_fetch_sub_explicit(&q->refs, 1, ORD_UNREF) == 1) free(q);
}

/* From newest first, as they were pushed, to oldest first. */
static rawwaker_queue_node *queue_order(rawwaker_queue_node *newest) {
  rawwaker_queue_node *oldest = NULL;
  for (rawwaker_queue_node *next; newest != NULL; newest = next) {
    next = newest->private_next;
    newest->private_next = oldest;
    oldest = newest;
  }
  return oldest;
}

rawwaker_queue *rawwaker_queue_new(void) {
  rawwaker_queue *q = calloc(1, sizeof *q);
  if (q == NULL) return NULL;
  if (!sink_open(&q->sink)) {
    int saved = errno;
    free(q);
    errno = saved;
    return NULL;
  }
  atomic_init(&q->owners, 1);
  atomic_init(&q->refs, 1);
  sink_announce(&q->sink);
  return q;
}

int rawwaker_queue_fd(const rawwaker_queue *q) { return q->sink.readable; }

bool rawwaker_queue_push(rawwaker_queue *q, rawwaker_queue_node *n) {
  atomic_fetch_add_explicit(&q->refs, 1, ORD_REF);
  rawwaker_queue_node *head = atomic_load_explicit(&q->head, memory_order_relaxed);
  do {
    if (head == &refused) {
      queue_unref(q);
      return false;
    }
    n->private_next = head;
  } while (!atomic_compare_exchange_weak_explicit(&q->head, &head, n, ORD_LIST,
                                                  memory_order_relaxed));
  /* n is the engine's now, which may have ended its work and dropped the queue. */
  uint32_t sleep = atomic_load_explicit(&q->sink.sleeping, ORD_SLEEP);
  if (sleep != 0) sink_unpark(&q->sink, sleep);
  queue_unref(q);
  return true;
}

rawwaker_queue_node *rawwaker_queue_take(rawwaker_queue *q) {
  for (;;) {
    rawwaker_queue_node *list = atomic_load_explicit(&q->head, ORD_LIST);
    while (list != NULL && list != &refused)
      if (atomic_compare_exchange_weak_explicit(&q->head, &list, NULL, ORD_LIST, ORD_LIST))
        return queue_order(list);
    rawwaker_sink_ack(&q->sink);
    sink_announce(&q->sink);
    if (list == &refused || atomic_load_explicit(&q->head, ORD_LIST) == NULL) return NULL;
    atomic_store_explicit(&q->sink.sleeping, 0, ORD_SLEEP);
  }
}

rawwaker_queue_node *rawwaker_queue_next(rawwaker_queue_node *n) { return n->private_next; }

/* f may free or push its node. */
static void nodes_each(rawwaker_queue_node *n, void (*f)(void *arg, rawwaker_queue_node *n),
                       void *arg) {
  for (rawwaker_queue_node *next; n != NULL; n = next) {
    next = n->private_next;
    f(arg, n);
  }
}

void rawwaker_queue_each(rawwaker_queue *q, void (*f)(void *arg, rawwaker_queue_node *n),
                         void *arg) {
  for (rawwaker_queue_node *n; (n = rawwaker_queue_take(q)) != NULL;) nodes_each(n, f, arg);
}

rawwaker_queue_node *rawwaker_queue_close(rawwaker_queue *q) {
  rawwaker_queue_node *list = atomic_exchange_explicit(&q->head, &refused, ORD_LIST);
  return list == &refused ? NULL : queue_order(list);
}

rawwaker_queue *rawwaker_queue_clone(rawwaker_queue *q) {
  atomic_fetch_add_explicit(&q->owners, 1, ORD_REF);
  return q;
}

void rawwaker_queue_drop(rawwaker_queue *q) {
  if (atomic_fetch_sub_explicit(&q->owners, 1, ORD_UNREF) != 1) return;
  rawwaker_sink_close(&q->sink);
  queue_unref(q);
}

/* ------------------------------------------------------------------------------- the job -- */

/* ended is of the engine's thread, or of the thread that polls a job of a closed queue, which the
 * engine never sees. */
struct rawwaker_job {
  rawwaker_queue_node submit, cancel; /* first: which of the two a node is, its address says */
  rawwaker_oneshot *tx;
  rawwaker_queue *queue;
  const rawwaker_job_ops *ops;
  _Atomic(size_t) refs; /* the oneshot's, and that of the queue while cancel is in it */
  bool ended;
  _Alignas(max_align_t) char data[];
};

/* A watched job is given to its owner as its sender, from which the watcher finds a second use
 * without a look at memory that is gone. */
static rawwaker_job *job_given(rawwaker_job *j) {
  return ((uintptr_t)j->tx & 1) == 0 ? j : (rawwaker_job *)(void *)j->tx;
}
static rawwaker_oneshot *job_sender(rawwaker_job *given, const char *call, bool takes) {
  return ((uintptr_t)given & 1) == 0 ? given->tx : rawwaker_watch_used(given, call, takes);
}

static rawwaker_job *job_of(rawwaker_oneshot *tx) { return tx->arg; }

static void job_unref(rawwaker_job *j) {
  if (atomic_fetch_sub_explicit(&j->refs, 1, ORD_UNREF) != 1) return;
  if (j->ops->release != NULL) j->ops->release(j);
  rawwaker_queue_drop(j->queue);
  free(j);
}

static void job_start(void *arg) {
  rawwaker_job *j = arg;
  if (!rawwaker_queue_push(j->queue, &j->submit)) j->ops->submit(NULL, job_given(j));
}
static void job_cancel(void *arg) {
  rawwaker_job *j = arg;
  if (j->ops->cancel == NULL) return;
  atomic_fetch_add_explicit(&j->refs, 1, ORD_REF);
  if (!rawwaker_queue_push(j->queue, &j->cancel)) job_unref(j);
}
static void job_destroy(void *arg, void *value) {
  rawwaker_job *j = arg;
  if (j->ops->destroy != NULL) j->ops->destroy(j, value);
}
static void job_release(void *arg) { job_unref(arg); }

static const rawwaker_oneshot_ops job_oneshot = {job_start, job_cancel, job_destroy, job_release};

rawwaker_future rawwaker_job_new(rawwaker_queue *q, const rawwaker_job_ops *ops, size_t size,
                                 size_t align, size_t data, rawwaker_job **job) {
  if (job == NULL) die(__func__, "NULL j");
  if (ops == NULL) die(__func__, "NULL ops");
  if (ops->submit == NULL) die(__func__, "empty member submit");
  /* Aligned by malloc for two pointers: of the two nodes, only the second is at an odd one. */
  _Static_assert(_Alignof(max_align_t) >= 2 * sizeof(void *), "nodes can be told apart");
  rawwaker_job *j = data > SIZE_MAX / 2 ? NULL : calloc(1, sizeof *j + data);
  if (j == NULL) die(__func__, "out of memory");
  j->queue = rawwaker_queue_clone(q);
  j->ops = ops;
  atomic_init(&j->refs, 1);
  rawwaker_future f = oneshot_new(__func__, size, align, &job_oneshot, j, &j->tx);
  *job = job_given(j);
  return f;
}

void *rawwaker_job_data(rawwaker_job *j) {
  return ((uintptr_t)j & 1) == 0 ? j->data : job_of(job_sender(j, __func__, false))->data;
}

bool rawwaker_job_send(rawwaker_job *j, const void *value) {
  rawwaker_oneshot *tx = job_sender(j, __func__, true);
  job_of(tx)->ended = true;
  return oneshot_send(__func__, tx, value);
}

void rawwaker_job_fail(rawwaker_job *j, const char *msg, size_t len) {
  rawwaker_oneshot *tx = job_sender(j, __func__, true);
  job_of(tx)->ended = true;
  oneshot_fail(__func__, tx, msg, len);
}

/* A node has come out of the queue. */
static void job_run(void *engine, rawwaker_queue_node *n) {
  bool cancel = ((uintptr_t)n & sizeof(void *)) != 0;
  rawwaker_job *j = (rawwaker_job *)(void *)((char *)n - (cancel ? sizeof *n : 0));
  if (cancel) {
    if (!j->ended && engine != NULL) j->ops->cancel(engine, job_given(j));
    job_unref(j);
  } else if (rawwaker_oneshot_closed(j->tx)) {
    j->ended = true;
    rawwaker_oneshot_drop(j->tx);
  } else {
    j->ops->submit(engine, job_given(j));
  }
}

bool rawwaker_queue_run(rawwaker_queue *q, void *engine) {
  rawwaker_queue_each(q, job_run, engine);
  /* After the last ack of the descriptor, which may have taken the kick away. */
  return !atomic_load_explicit(&q->stopped, ORD_SLEEP);
}

void rawwaker_queue_stop(rawwaker_queue *q) {
  atomic_store_explicit(&q->stopped, true, ORD_SLEEP);
  rawwaker_sink_kick(&q->sink);
}

void rawwaker_queue_end(rawwaker_queue *q) {
  nodes_each(rawwaker_queue_close(q), job_run, NULL);
}

/* ------------------------------------------------------------------------------- the box -- */

/* refs counts in steps of REF for C (each waker, and the list while it holds the box), and HOLD is
 * the runtime's hold.
 *
 * queued, the word that a wake exchanges:
 *   IDLE   Not listed.
 *   WOKEN  Listed, or closed. A wake that finds it only publishes its writes.
 *   LAST   Listed by the last drop; no wake came. A wake may turn it into WOKEN, never the
 *          opposite.
 *   LOOP   Not listed, and wakes do not list it: a thread is in rawwaker_box_poll, or watches the
 *          word, and reads it at the end. It is entered from IDLE only, so never by two threads and
 *          never with a listed box, and never in a box made with RAWWAKER_BOX_TELL. A wake turns it
 *          into WOKEN without listing the box; only the looping thread turns that back, also after
 *          an unwind has left its poll.
 * The drainer sets IDLE after it has unlinked the box, and the looping thread sets it. Neither
 * leaves it so if closed is set: closed with IDLE or LOOP is possible only until the end of
 * box_idle and of rawwaker_box_poll. */
enum { IDLE = RAWWAKER_BOX_IDLE, WOKEN = RAWWAKER_BOX_WOKEN, LAST = 2, LOOP = RAWWAKER_BOX_LOOP };
enum { HOLD = 1, REF = 2 };

struct rawwaker_box {
  counted head;
  _Atomic(uint32_t) queued;
  _Atomic(uint32_t) closed;
  rawwaker_box *next;   /* the list's, while listed */
  rawwaker_sink *sink;
  _Atomic(uint64_t) id; /* 0 until it is adopted; another thread may read it meanwhile */
  bool tell;
};

static rawwaker box_clone(void *data);
static void box_wake(void *data);
static void box_wake_by_ref(void *data);
static void box_drop(void *data);
static const rawwaker_vtable box_vtable = {box_clone, box_wake, box_wake_by_ref, box_drop};

/* The head of a sink whose owner has dropped it; it is never replaced. */
static rawwaker_box dropped;

static void box_unref(rawwaker_box *b);

/* Gives one of C's references to the list. b may be freed as soon as it is listed: after that only
 * the sink is used, and kept alive for it. */
static void box_push(rawwaker_box *b) {
  rawwaker_sink *s = b->sink;
  sink_ref(s);
  rawwaker_box *head = atomic_load_explicit(&s->head, memory_order_relaxed);
  do {
    if (head == &dropped) { /* the list will not be drained */
      box_unref(b);
      sink_unref(s);
      return;
    }
    b->next = head;
  } while (!atomic_compare_exchange_weak_explicit(&s->head, &head, b, ORD_LIST,
                                                  memory_order_relaxed));
  uint32_t sleep = atomic_load_explicit(&s->sleeping, ORD_SLEEP);
  if (sleep != 0) sink_unpark(s, sleep);
  sink_unref(s);
}

static void box_free(rawwaker_box *b) {
  sink_unref(b->sink);
  counted_free(b);
}

/* Releases one of C's references to a box made with RAWWAKER_BOX_TELL. The last one is given to the
 * list instead. */
static void box_unref_telling(rawwaker_box *b) {
  size_t refs = atomic_load_explicit(&b->head.refs, memory_order_relaxed);
  for (;;) {
    if (refs == REF + HOLD) {
      uint32_t idle = IDLE;
      if (atomic_compare_exchange_strong_explicit(&b->queued, &idle, LAST, ORD_NOTIFY,
                                                  memory_order_relaxed)) {
        box_push(b);
        return;
      }
      /* The box is closed, or about to be: the hold is about to be released. Or refs is outdated: a
       * newer reference has listed the box meanwhile. */
      if (atomic_load_explicit(&b->closed, ORD_CLOSE) == 0) {
        refs = atomic_load_explicit(&b->head.refs, memory_order_relaxed);
        continue;
      }
    }
    if (atomic_compare_exchange_weak_explicit(&b->head.refs, &refs, refs - REF, ORD_UNREF,
                                              memory_order_relaxed)) {
      if (refs == REF) box_free(b);
      return;
    }
  }
}

/* Releases one of C's references. */
static void box_unref(rawwaker_box *b) {
  if (b->tell) {
    box_unref_telling(b);
  } else if (atomic_fetch_sub_explicit(&b->head.refs, REF, ORD_UNREF) == REF) {
    box_free(b);
  }
}

static rawwaker box_clone(void *data) {
  counted_ref(data, REF);
  return (rawwaker){data, &box_vtable};
}
static void box_wake_by_ref(void *data) {
  rawwaker_box *b = data;
  if (atomic_exchange_explicit(&b->queued, WOKEN, ORD_NOTIFY) != IDLE) return;
  counted_ref(&b->head, REF);
  box_push(b);
}
static void box_wake(void *data) {
  rawwaker_box *b = data;
  if (atomic_exchange_explicit(&b->queued, WOKEN, ORD_NOTIFY) != IDLE)
    box_unref(b);
  else
    box_push(b);
}
static void box_drop(void *data) { box_unref(data); }

BOXED(box)

const rawwaker_vtable *rawwaker_box_vtable(void) { return &box_vtable; }

bool rawwaker_is_box(const rawwaker *w) {
  return w->vtable == &box_vtable || w->vtable == &fn_vtable || w->vtable == &parker_vtable;
}

rawwaker rawwaker_from_boxed(const rawwaker_boxed *b) {
  const rawwaker_vtable *vtable = b->vtable == &box_boxed_vtable      ? &box_vtable
                                  : b->vtable == &fn_boxed_vtable     ? &fn_vtable
                                  : b->vtable == &parker_boxed_vtable ? &parker_vtable
                                                                      : NULL;
  return (rawwaker){unconst(b), vtable};
}

uint64_t rawwaker_box_id(const rawwaker *w) {
  if (w->vtable != &box_vtable) return 0;
  rawwaker_box *b = w->data;
  return atomic_load_explicit(&b->id, memory_order_relaxed);
}

static rawwaker_box *box_alloc(rawwaker_sink *s) {
  rawwaker_box *b = counted_alloc(sizeof *b, &box_boxed_vtable, HOLD);
  if (b == NULL) return NULL;
  sink_ref(s);
  b->sink = s;
  return b;
}

rawwaker_box *rawwaker_box_new(rawwaker_sink *s, uint64_t id, uint32_t flags) {
  rawwaker_box *b = box_alloc(s);
  if (b == NULL) return NULL;
  counted_born();
  atomic_store_explicit(&b->id, id, memory_order_relaxed);
  b->tell = (flags & RAWWAKER_BOX_TELL) != 0;
  return b;
}

rawwaker rawwaker_box_ref(rawwaker_box *b) { return box_clone(b); }

rawwaker rawwaker_box_lend(rawwaker_box *b) { return (rawwaker){b, &box_vtable}; }

bool rawwaker_box_lent(const rawwaker_box *box) {
  rawwaker_box *b = (rawwaker_box *)(uintptr_t)box; /* C11 loads of atomics take no const */
  return atomic_load_explicit(&b->head.refs, memory_order_relaxed) > HOLD;
}

void rawwaker_box_close(rawwaker_box *b) {
  atomic_store_explicit(&b->closed, 1, ORD_CLOSE);
  /* From now on no wake lists it. If one already has, the drainer releases the list's reference. */
  atomic_exchange_explicit(&b->queued, WOKEN, ORD_CLOSE);
  if (atomic_fetch_sub_explicit(&b->head.refs, HOLD, ORD_UNREF) == HOLD) box_free(b);
}

bool rawwaker_box_retire(rawwaker_box *b) {
  size_t refs = REF + HOLD;
  if (atomic_compare_exchange_strong_explicit(&b->head.refs, &refs, 0, ORD_UNREF,
                                              memory_order_relaxed)) {
    box_free(b);
    return true;
  }
  box_unref(b);
  return false;
}

rawwaker_box *rawwaker_sink_take(rawwaker_sink *s) {
  rawwaker_box *list = atomic_exchange_explicit(&s->head, NULL, ORD_LIST);
  rawwaker_box *fifo = NULL;
  while (list != NULL) {
    rawwaker_box *next = list->next;
    list->next = fifo;
    fifo = list;
    list = next;
  }
  return fifo;
}

void rawwaker_sink_drop(rawwaker_sink *s) {
  if (s->forever) return;
  rawwaker_box *b = atomic_exchange_explicit(&s->head, &dropped, ORD_LIST);
  for (rawwaker_box *next; b != NULL; b = next) {
    next = b->next;
    box_unref(b);
  }
  rawwaker_sink_close(s);
  sink_unref(s);
}

/* Lets wakes list b again. Returns what the word was, or IDLE if b is closed. */
static uint32_t box_idle(rawwaker_box *b) {
  if (atomic_load_explicit(&b->closed, ORD_CLOSE) != 0) {
    atomic_exchange_explicit(&b->queued, WOKEN, ORD_CLOSE);
    return IDLE;
  }
  uint32_t was = atomic_exchange_explicit(&b->queued, IDLE, ORD_CLOSE);
  if (atomic_load_explicit(&b->closed, ORD_CLOSE) != 0) {
    /* A closed box stays WOKEN. If a wake has just listed it, the next drain calls this again. */
    atomic_exchange_explicit(&b->queued, WOKEN, ORD_CLOSE);
    return IDLE;
  }
  return was;
}

size_t rawwaker_box_read(rawwaker_box **list, rawwaker_notice *out, size_t n) {
  size_t got = 0;
  while (got < n && *list != NULL) {
    rawwaker_box *b = *list;
    *list = b->next; /* before IDLE: after it a wake may list b again and overwrite next */
    out[got].id = atomic_load_explicit(&b->id, memory_order_relaxed);
    out[got].woken = box_idle(b) == WOKEN;
    out[got].last =
        b->tell && atomic_load_explicit(&b->head.refs, memory_order_relaxed) == REF + HOLD;
    if (!out[got].last) box_unref(b);
    got++;
  }
  return got;
}

size_t rawwaker_box_look(const rawwaker_box *box, rawwaker_box_field *out, size_t n) {
  rawwaker_box *b = (rawwaker_box *)(uintptr_t)box; /* C11 loads of atomics take no const */
#define FIELD(name, member, value)                                                  \
  {name, (uint32_t)offsetof(rawwaker_box, member), (uint32_t)sizeof b->member,      \
   b == NULL ? 0 : (uint64_t)(value)}
  const rawwaker_box_field all[] = {
      FIELD("vtable", head.boxed, (uintptr_t)b->head.boxed),
      FIELD("refs", head.refs, atomic_load_explicit(&b->head.refs, memory_order_relaxed)),
      FIELD("queued", queued, atomic_load_explicit(&b->queued, memory_order_relaxed)),
      FIELD("closed", closed, atomic_load_explicit(&b->closed, memory_order_relaxed)),
      /* not atomic, so that ThreadSanitizer reports a read that nothing orders */
      FIELD("next", next, (uintptr_t)*(rawwaker_box *const volatile *)&b->next),
      FIELD("sink", sink, (uintptr_t)b->sink),
      FIELD("id", id, atomic_load_explicit(&b->id, memory_order_relaxed)),
      FIELD("tell", tell, b->tell),
  };
#undef FIELD
  size_t many = sizeof all / sizeof all[0];
  for (size_t i = 0; i < n && i < many; i++) out[i] = all[i];
  return many;
}

/* -------------------------------------------------------------------- polling under a box -- */

enum { POLLS = 64, POLL_NS = 100000 };

/* If one instruction reads a clock, it decides whether reading the real one is worth it: at 1 to 6
 * GHz it ticks 32,768 times in 5 to 33 us. */
#if defined(__x86_64__)
static uint64_t ticks(void) { return __builtin_ia32_rdtsc(); }
enum { TICKS = 32768 };
#else
static uint64_t ticks(void) { return 0; }
enum { TICKS = 1 }; /* not 0, of which compilers warn; the difference below is never 0 here */
#endif

static int64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef struct stopwatch {
  uint64_t read_at;
  int64_t began;
} stopwatch;

/* Whether POLL_NS have passed since the first call. */
static bool stopwatch_expired(stopwatch *w) {
  uint64_t now = ticks();
  if (w->read_at != 0 && now - w->read_at < TICKS) return false;
  w->read_at = now | 1;
  int64_t ns = nanoseconds();
  if (w->began == 0) w->began = ns;
  return ns - w->began >= POLL_NS;
}

/* Reading the clock takes as long as a wake, so it is read after the first two polls and then after
 * each fourth. A future that becomes slow in between is polled at most three times more. */
static bool reads_clock(unsigned polls) { return polls <= 2 || polls % 4 == 0; }

/* A poll's note for rawwaker_box_poll_left, which ends it after an unwind: the address of the box
 * that is in LOOP, or 0, and two flags in bits that are 0 in any such address. */
enum { BORN = 1, TOOK = 2 }; /* this poll made the box; the loop has consumed a wake */

/* Ends a poll that loops. Returns the box that it has made, if f has kept its waker; *woken is set
 * if a wake came. */
static rawwaker_box *loop_end(rawwaker_box *b, bool born, bool *woken) {
  if (!born) {
    if (box_idle(b) == WOKEN) *woken = true;
    return NULL;
  }
  if (atomic_load_explicit(&b->head.refs, ORD_KEPT) == HOLD) {
    if (atomic_load_explicit(&b->queued, ORD_CONSUMED) == WOKEN) *woken = true;
    sink_unref(b->sink); /* f kept no reference, so b is unreachable */
    free(b);
    return NULL;
  }
  if (atomic_load_explicit(&b->queued, memory_order_relaxed) == WOKEN) *woken = true;
  counted_born();
  return b;
}

static rawwaker_poll box_poll(const char *call, rawwaker_sink *s, rawwaker_box **box,
                              rawwaker_future f, void *out, bool *woken, uintptr_t *note) {
  rawwaker_box *b = *box;
  bool born = b == NULL, looping = born;
  if (born) {
    b = box_alloc(s); /* most futures keep no waker: the box counts as alive only if f does */
    if (b == NULL) die(call, "out of memory");
    atomic_store_explicit(&b->queued, LOOP, memory_order_relaxed);
  } else if (!b->tell) {
    uint32_t idle = IDLE;
    looping = atomic_compare_exchange_strong_explicit(&b->queued, &idle, LOOP, ORD_CONSUME,
                                                      memory_order_relaxed);
  }
  *note = !looping ? 0 : born ? (uintptr_t)b | BORN : (uintptr_t)b;
  rawwaker waker = {b, &box_vtable};
  rawwaker_context cx = {&waker};
  stopwatch watch = {0, 0};
  rawwaker_poll got;
  *woken = false;
  for (unsigned polls = 1;; polls++) {
    panic_clear();
    got = f.vtable->poll(f.data, &cx, out);
    if (!looping || got != RAWWAKER_PENDING) break;
    if (atomic_load_explicit(&b->queued, memory_order_relaxed) != WOKEN) break;
    *woken = true;
    if (polls == POLLS || (reads_clock(polls) && stopwatch_expired(&watch))) break;
    *note |= TOOK;
    /* If b was closed meanwhile, box_idle at the end sets the word to WOKEN again. */
    atomic_exchange_explicit(&b->queued, LOOP, ORD_CONSUME);
  }
  if (looping) {
    rawwaker_box *kept = loop_end(b, born, woken);
    if (kept != NULL) *box = kept;
  }
  return got;
}

rawwaker_poll rawwaker_box_poll(rawwaker_sink *s, rawwaker_box **box, rawwaker_future f, void *out,
                                bool *woken) {
  uintptr_t note;
  return box_poll(__func__, s, box, f, out, woken, &note);
}

rawwaker_poll rawwaker_box_poll_noted(rawwaker_sink *s, rawwaker_box **box, rawwaker_future f,
                                      void *out, bool *woken, uintptr_t *note) {
  return box_poll(__func__, s, box, f, out, woken, note);
}

rawwaker_box *rawwaker_box_poll_left(uintptr_t note, bool *woken) {
  *woken = (note & TOOK) != 0;
  rawwaker_box *b = (rawwaker_box *)(note & ~(uintptr_t)(BORN | TOOK));
  return b == NULL ? NULL : loop_end(b, (note & BORN) != 0, woken);
}

size_t rawwaker_box_word(void) { return offsetof(rawwaker_box, queued); }

bool rawwaker_box_adopt(rawwaker_box *b, uint64_t id) {
  /* The drainer reads it after a wake has listed b, which none does before box_idle. */
  atomic_store_explicit(&b->id, id, memory_order_relaxed);
  return box_idle(b) == WOKEN;
}
