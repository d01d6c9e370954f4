/* fixture.c - the C part of the Rust tests: the header for each result type, futures made in C, and
 * counts of malloc and free.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "rawwaker_asyncffi.h"

#include <pthread.h>
#include <semaphore.h>

typedef struct fixture_pair {
  uint64_t w[2];
} fixture_pair;

RAWWAKER_ASYNCFFI_DEFINE_VOID(fixture_unit)
RAWWAKER_ASYNCFFI_DEFINE(fixture_u8, uint8_t)
RAWWAKER_ASYNCFFI_DEFINE(fixture_u32, uint32_t)
RAWWAKER_ASYNCFFI_DEFINE(fixture_u64, uint64_t)
RAWWAKER_ASYNCFFI_DEFINE(fixture_f32, float)
RAWWAKER_ASYNCFFI_DEFINE(fixture_f64, double)
RAWWAKER_ASYNCFFI_DEFINE(fixture_pair, fixture_pair)

/* ------------------------------------------------- the functions that Rust calls, by type -- */

#define EXPORTS(name)                                                           \
  size_t name##_poll_size(void) { return sizeof(name##_poll); }                 \
  size_t name##_future_size(void) { return sizeof(name##_future); }             \
  rawwaker_future name##_to_raw(name##_future f) { return name##_into_raw(f); } \
  name##_future name##_to_ffi(rawwaker_future f) { return name##_from_raw(f); } \
  name##_poll name##_tagged(uint8_t tag) {                                      \
    name##_poll p;                                                              \
    memset(&p, 0, sizeof p);                                                    \
    p.tag = tag;                                                                \
    return p;                                                                   \
  }
EXPORTS(fixture_unit)
EXPORTS(fixture_u8)
EXPORTS(fixture_u32)
EXPORTS(fixture_u64)
EXPORTS(fixture_f32)
EXPORTS(fixture_f64)
EXPORTS(fixture_pair)

size_t fixture_context_size(void) { return sizeof(rawwaker_asyncffi_context); }

/* ----------------------------------------------------------- a future that a thread wakes -- */

enum { ENDS_READY = 0, ENDS_PANICKED = 1, ENDS_NEVER = 2, ENDS_ODDLY = 3, ENDS_SILENTLY = 4 };

static _Atomic(size_t) threads_dropped;

size_t fixture_threads_dropped(void) { return atomic_load(&threads_dropped); }

typedef struct thread_future {
  rawwaker_cell cell;
  _Atomic(bool) done;
  bool started;
  pthread_t thread;
  sem_t cancelled;
  uint8_t end;
  size_t size;
  unsigned char value[16];
} thread_future;

static void *thread_run(void *arg) {
  thread_future *t = arg;
  if (t->end == ENDS_NEVER) {
    while (sem_wait(&t->cancelled) != 0) {
    }
    return NULL;
  }
  atomic_store(&t->done, true);
  rawwaker_cell_wake(&t->cell);
  return NULL;
}

/* The first poll always returns PENDING, so that the future needs a wake by the thread. */
static rawwaker_poll thread_poll(void *data, rawwaker_context *cx, void *out) {
  thread_future *t = data;
  rawwaker_cell_register(&t->cell, cx->waker);
  if (!t->started) {
    t->started = true;
    if (pthread_create(&t->thread, NULL, thread_run, t) != 0) abort();
    return RAWWAKER_PENDING;
  }
  if (!atomic_load(&t->done)) return RAWWAKER_PENDING;
  if (t->end == ENDS_PANICKED) {
    rawwaker_set_panic("the thread is unwell", 20);
    return RAWWAKER_PANICKED;
  }
  if (t->end == ENDS_SILENTLY) return RAWWAKER_PANICKED;
  if (t->end == ENDS_ODDLY) return 7;
  if (t->size > 0) memcpy(out, t->value, t->size);
  return RAWWAKER_READY;
}

static void thread_drop(void *data) {
  thread_future *t = data;
  sem_post(&t->cancelled);
  if (t->started) pthread_join(t->thread, NULL);
  rawwaker_cell_drop(&t->cell);
  sem_destroy(&t->cancelled);
  free(t);
  atomic_fetch_add(&threads_dropped, 1);
}

rawwaker_future fixture_thread(uint8_t end, const void *value, size_t size) {
  static const rawwaker_future_vtable vtable = {thread_poll, thread_drop};
  thread_future *t = calloc(1, sizeof *t);
  if (t == NULL || size > sizeof t->value) abort();
  sem_init(&t->cancelled, 0, 0);
  t->end = end;
  t->size = size;
  if (size > 0) memcpy(t->value, value, size);
  return (rawwaker_future){t, &vtable};
}

/* -------------------------------------------------------- a future that is polled n times -- */

typedef struct counting_future {
  rawwaker kept;
  uint32_t left, misses;
} counting_future;

/* Its result is the number of polls, after the first, whose waker was not equal to the stored
 * one. */
static rawwaker_poll counting_poll(void *data, rawwaker_context *cx, void *out) {
  counting_future *c = data;
  if (c->kept.vtable != NULL && !rawwaker_will_wake(&c->kept, cx->waker)) c->misses++;
  rawwaker_clone_from(&c->kept, cx->waker);
  if (c->left-- > 0) {
    rawwaker_wake_by_ref(cx->waker);
    return RAWWAKER_PENDING;
  }
  memcpy(out, &c->misses, sizeof c->misses);
  return RAWWAKER_READY;
}

static void counting_drop(void *data) {
  counting_future *c = data;
  if (c->kept.vtable != NULL) rawwaker_drop(c->kept);
  free(c);
}

rawwaker_future fixture_counting(uint32_t polls) {
  static const rawwaker_future_vtable vtable = {counting_poll, counting_drop};
  counting_future *c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  c->left = polls;
  return (rawwaker_future){c, &vtable};
}

/* ------------------------------------------------------------- what this thread allocates -- */

void *__real_malloc(size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void __wrap_free(void *p);

static _Thread_local size_t mallocs, frees;

void *__wrap_malloc(size_t size) {
  mallocs++;
  return __real_malloc(size);
}
void __wrap_free(void *p) {
  if (p != NULL) frees++;
  __real_free(p);
}

size_t fixture_mallocs(void) { return mallocs; }
size_t fixture_frees(void) { return frees; }
