/* header.c - tests rawwaker_asyncffi.h without Rust, as C11 and as C++17: three result types in
 * both directions, and clones on several threads while the waker changes, for the sanitizers. It
 * prints one line.
 *
 * SPDX-License-Identifier: MIT */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* nanosleep */
#endif
#include "rawwaker_asyncffi.h"

#include <pthread.h>
#include <time.h>

#define CHECK(what) \
  if (!(what)) rawwaker_asyncffi_private_die("header.c", #what)

typedef struct two_words {
  uint64_t w[2];
} two_words;

RAWWAKER_ASYNCFFI_DEFINE_VOID(ffi_unit)
RAWWAKER_ASYNCFFI_DEFINE(ffi_u32, uint32_t)
RAWWAKER_ASYNCFFI_DEFINE(ffi_two, two_words)

/* ------------------------------------------------------------------------ both directions -- */

static rawwaker_poll unit_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  rawwaker_wake_by_ref(cx->waker);
  return --*(int *)data > 0 ? RAWWAKER_PENDING : RAWWAKER_READY;
}
static rawwaker_poll u32_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker_poll got = unit_poll(data, cx, NULL);
  uint32_t n = 42;
  if (got == RAWWAKER_READY) memcpy(out, &n, sizeof n);
  return got;
}
static rawwaker_poll two_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker_poll got = unit_poll(data, cx, NULL);
  two_words n = {{1, UINT64_MAX}};
  if (got == RAWWAKER_READY) memcpy(out, &n, sizeof n);
  return got;
}
static rawwaker_poll panicked_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  unit_poll(data, cx, NULL);
  return RAWWAKER_PANICKED;
}
static void minus_drop(void *data) { *(int *)data = -1; }

static void both_ways(void) {
  static const rawwaker_future_vtable unit = {unit_poll, minus_drop}, u32 = {u32_poll, minus_drop},
                                      two = {two_poll, minus_drop},
                                      panicked = {panicked_poll, minus_drop};
  int left = 3;
  rawwaker_future f;
  f.data = &left;
  f.vtable = &unit;
  CHECK(rawwaker_block_on(ffi_unit_into_raw(ffi_unit_from_raw(f)), NULL) == RAWWAKER_READY &&
        left == -1);
  uint32_t n = 0;
  left = 3;
  f.vtable = &u32;
  CHECK(rawwaker_block_on(ffi_u32_into_raw(ffi_u32_from_raw(f)), &n) == RAWWAKER_READY &&
        left == -1 && n == 42);
  two_words t = {{0, 0}};
  left = 3;
  f.vtable = &two;
  CHECK(rawwaker_block_on(ffi_two_into_raw(ffi_two_from_raw(f)), &t) == RAWWAKER_READY &&
        left == -1);
  CHECK(t.w[0] == 1 && t.w[1] == UINT64_MAX);
  f.vtable = &panicked;
  CHECK(rawwaker_block_on(ffi_u32_into_raw(ffi_u32_from_raw(f)), &n) == RAWWAKER_PANICKED &&
        left == -1);
  CHECK(strcmp(rawwaker_last_panic(), "async-ffi future panicked") == 0);
}

/* ------------------------------------------------------------------------------ the storm -- */

enum { THREADS = 4, POLLS = 500 };

/* A task whose memory each wake writes under no lock but its own, so that a missing happens-before
 * edge is reported. */
typedef struct task {
  pthread_mutex_t lock;
  long clones, ended, woken;
} task;

static rawwaker task_clone(void *data);
static void task_add(task *t, long clones, long ended, long woken) {
  pthread_mutex_lock(&t->lock);
  t->clones += clones;
  t->ended += ended;
  t->woken += woken;
  pthread_mutex_unlock(&t->lock);
}
static void task_wake(void *data) { task_add((task *)data, 0, 1, 1); }
static void task_wake_by_ref(void *data) { task_add((task *)data, 0, 0, 1); }
static void task_drop(void *data) { task_add((task *)data, 0, 1, 0); }
static rawwaker task_lend(task *t) {
  static const rawwaker_vtable vtable = {task_clone, task_wake, task_wake_by_ref, task_drop};
  rawwaker w;
  w.data = t;
  w.vtable = &vtable;
  return w;
}
static rawwaker task_clone(void *data) {
  task_add((task *)data, 1, 0, 0);
  return task_lend((task *)data);
}

/* Acts as Rust does: it sees only the rawwaker_boxed, not the adapter. */
typedef struct storm {
  pthread_mutex_t lock;
  const rawwaker_boxed *offered[THREADS];
  bool dropped;
} storm;

typedef struct worker {
  storm *s;
  int number;
} worker;

static void *worker_run(void *arg) {
  worker *w = (worker *)arg;
  for (;;) {
    pthread_mutex_lock(&w->s->lock);
    const rawwaker_boxed *b = w->s->offered[w->number];
    w->s->offered[w->number] = NULL;
    bool dropped = w->s->dropped;
    pthread_mutex_unlock(&w->s->lock);
    if (b != NULL) {
      const rawwaker_boxed *c = b->vtable->clone(b);
      b->vtable->wake_by_ref(b);
      b->vtable->drop(b);
      c->vtable->wake(c);
    } else if (dropped) {
      return NULL;
    }
  }
}

static ffi_u32_poll storm_poll(void *fut, rawwaker_asyncffi_context *cx) {
  storm *s = (storm *)fut;
  for (int i = 0; i < THREADS; i++) {
    const rawwaker_boxed *c = cx->waker->vtable->clone(cx->waker);
    pthread_mutex_lock(&s->lock);
    const rawwaker_boxed *old = s->offered[i];
    s->offered[i] = c;
    pthread_mutex_unlock(&s->lock);
    if (old != NULL) old->vtable->drop(old);
  }
  ffi_u32_poll p;
  memset(&p, 0, sizeof p);
  p.tag = RAWWAKER_ASYNCFFI_PENDING;
  return p;
}
static void storm_drop(void *fut) {
  storm *s = (storm *)fut;
  pthread_mutex_lock(&s->lock);
  s->dropped = true;
  pthread_mutex_unlock(&s->lock);
}

static void clones_on_threads(void) {
  static task tasks[2];
  static storm s;
  pthread_t threads[THREADS];
  worker workers[THREADS];
  for (int i = 0; i < 2; i++) pthread_mutex_init(&tasks[i].lock, NULL);
  pthread_mutex_init(&s.lock, NULL);
  for (int i = 0; i < THREADS; i++) {
    workers[i].s = &s;
    workers[i].number = i;
    CHECK(pthread_create(&threads[i], NULL, worker_run, &workers[i]) == 0);
  }
  ffi_u32_future ffi;
  ffi.fut = &s;
  ffi.poll = storm_poll;
  ffi.drop = storm_drop;
  rawwaker_future f = ffi_u32_into_raw(ffi);
  for (int i = 0; i < POLLS; i++) {
    rawwaker w = task_lend(&tasks[i / 3 % 2]);
    rawwaker_context cx;
    cx.waker = &w;
    CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING);
  }
  f.vtable->drop(f.data);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 2; i++) CHECK(tasks[i].clones == tasks[i].ended && tasks[i].woken % 2 == 0);
  CHECK(tasks[0].woken + tasks[1].woken >= 2 * THREADS);
}

/* ---------------------------------------------------------- an adapter that is used again -- */

typedef struct late {
  pthread_t threads[POLLS];
  int started;
} late;

static void *late_run(void *arg) {
  const rawwaker_boxed *b = (const rawwaker_boxed *)arg;
  b->vtable->wake(b);
  return NULL;
}
static ffi_u32_poll late_poll(void *fut, rawwaker_asyncffi_context *cx) {
  late *l = (late *)fut;
  void *c = rawwaker_asyncffi_private_own(cx->waker->vtable->clone(cx->waker));
  CHECK(pthread_create(&l->threads[l->started++], NULL, late_run, c) == 0);
  ffi_u32_poll p;
  memset(&p, 0, sizeof p);
  p.tag = RAWWAKER_ASYNCFFI_PENDING;
  return p;
}
static void late_drop(void *fut) { (void)fut; }

/* The threads are joined only at the end, so that the adapter's count alone orders their reads of
 * the waker before it changes. */
static void clones_that_end_late(void) {
  static task tasks[2];
  static late l;
  for (int i = 0; i < 2; i++) pthread_mutex_init(&tasks[i].lock, NULL);
  ffi_u32_future ffi;
  ffi.fut = &l;
  ffi.poll = late_poll;
  ffi.drop = late_drop;
  rawwaker_future f = ffi_u32_into_raw(ffi);
  for (int i = 0; i < POLLS; i++) {
    rawwaker w = task_lend(&tasks[i % 2]);
    rawwaker_context cx;
    cx.waker = &w;
    CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING);
    /* Long enough for most threads to have ended, which is the case under test. */
    struct timespec a_while = {0, 200000};
    nanosleep(&a_while, NULL);
  }
  f.vtable->drop(f.data);
  for (int i = 0; i < POLLS; i++) pthread_join(l.threads[i], NULL);
  for (int i = 0; i < 2; i++)
    CHECK(tasks[i].clones == tasks[i].ended && tasks[i].woken == POLLS / 2);
}

/* ---------------------------------------------- a waker that Rust has dropped is not kept -- */

static const rawwaker_boxed *given;   /* Rust's clone, until the test drops or wakes it */
static ffi_u32_poll gives_poll(void *fut, rawwaker_asyncffi_context *cx) {
  const int *what = (const int *)fut;
  ffi_u32_poll p;
  memset(&p, 0, sizeof p);
  p.tag = *what == 0 ? RAWWAKER_ASYNCFFI_READY : RAWWAKER_ASYNCFFI_PENDING;
  if (*what == 2) given = cx->waker->vtable->clone(cx->waker);
  return p;
}
static void a_dropped_waker_is_not_kept(void) {
  static task tasks[2];
  int what = 1;
  for (int i = 0; i < 2; i++) pthread_mutex_init(&tasks[i].lock, NULL);
  ffi_u32_future ffi;
  ffi.fut = &what;
  ffi.poll = gives_poll;
  ffi.drop = late_drop;
  rawwaker_future f = ffi_u32_into_raw(ffi);
  for (int round = 0; round < 8; round++) {
    task *t = &tasks[round / 2 % 2];
    rawwaker w = task_lend(t);
    rawwaker_context cx;
    cx.waker = &w;
    what = round % 2 + 1;
    CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING);
    CHECK(t->clones - t->ended == (what == 2));
    if (what == 1) continue;
    /* An operation is cancelled in the first rounds, and completes in the others. */
    if (round < 4)
      given->vtable->drop(given);
    else
      given->vtable->wake(given);
    CHECK(t->clones == t->ended);
  }
  CHECK(tasks[0].woken + tasks[1].woken == 2);
  what = 0;
  rawwaker n = rawwaker_noop();
  rawwaker_context cx;
  cx.waker = &n;
  CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PANICKED);
  CHECK(strcmp(rawwaker_last_panic(),
               "async-ffi: poll: out is NULL, but the future has a result") == 0);
  f.vtable->drop(f.data);
}

int main(void) {
  both_ways();
  a_dropped_waker_is_not_kept();
  clones_on_threads();
  clones_that_end_late();
  CHECK(rawwaker_live() == 0);
  puts("header.c: ok");
  return 0;
}
