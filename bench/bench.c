//go:build linux

#define _GNU_SOURCE
#include "bench.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

uint64_t bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------------------------ loops --------- */

static _Alignas(64) _Atomic(uint32_t) word;

uint64_t bench_exchange(uint64_t n) {
  uint64_t start = bench_now();
  for (uint64_t i = 0; i < n; i++) atomic_exchange_explicit(&word, 1, memory_order_acq_rel);
  return bench_now() - start;
}

/* A box like those that Go makes. No thread drains its sink, so it stays woken. */
static rawwaker box(void) {
  static rawwaker w;
  if (w.vtable == NULL) {
    w = rawwaker_box_ref(rawwaker_box_new(rawwaker_sink_new(RAWWAKER_SINK_FOREVER), 1, 0));
    rawwaker_wake_by_ref(&w);
  }
  return w;
}

uint64_t bench_wake_by_ref(uint64_t n) {
  rawwaker w = box();
  uint64_t start = bench_now();
  for (uint64_t i = 0; i < n; i++) rawwaker_wake_by_ref(&w);
  return bench_now() - start;
}

uint64_t bench_clone_drop(uint64_t n) {
  rawwaker w = box();
  uint64_t start = bench_now();
  for (uint64_t i = 0; i < n; i++) rawwaker_drop(rawwaker_clone(&w));
  return bench_now() - start;
}

void bench_nothing(void) {}

static rawwaker plain_clone(void *data);
static void plain(void *data) { (void)data; }
static const rawwaker_vtable plain_vtable = {plain_clone, plain, plain, plain};
static rawwaker plain_clone(void *data) { return (rawwaker){data, &plain_vtable}; }
rawwaker bench_plain_waker(void) { return (rawwaker){(void *)(uintptr_t)1, &plain_vtable}; }

/* ------------------------------------------------------------------------------ threads ------- */

extern void benchCallback(uint32_t i);

struct bench_thread {
  pthread_t id;
  int how, handshake;
  uint32_t n, sleep_ns;
  sem_t ready;
  rawwaker_cell cell;
  _Atomic(uint32_t) woken;
  uint64_t *began, *ended;
};

static void *thread_main(void *arg) {
  bench_thread *t = arg;
  const struct timespec nap = {.tv_nsec = t->sleep_ns};
  for (uint32_t i = 0; i < t->n; i++) {
    if (t->handshake) {
      while (sem_wait(&t->ready) != 0) {
      }
    }
    nanosleep(&nap, NULL);
    t->began[i] = bench_now();
    atomic_store_explicit(&t->woken, i + 1, memory_order_release);
    if (t->how == BENCH_WAKE)
      rawwaker_cell_wake(&t->cell);
    else
      benchCallback(i);
    t->ended[i] = bench_now();
  }
  return NULL;
}

bench_thread *bench_thread_start(int how, uint32_t n, uint32_t sleep_ns, int handshake) {
  bench_thread *t = calloc(1, sizeof *t);
  t->how = how;
  t->handshake = handshake;
  t->n = n;
  t->sleep_ns = sleep_ns;
  t->began = calloc(n, sizeof *t->began);
  t->ended = calloc(n, sizeof *t->ended);
  sem_init(&t->ready, 0, 0);
  rawwaker_cell_init(&t->cell);
  if (pthread_create(&t->id, NULL, thread_main, t) != 0) abort();
  return t;
}
void bench_thread_register(bench_thread *t, const rawwaker *w) {
  rawwaker_cell_register(&t->cell, w);
}
void bench_thread_ready(bench_thread *t) { sem_post(&t->ready); }
uint32_t bench_thread_woken(const bench_thread *t) {
  return atomic_load_explicit(&t->woken, memory_order_acquire);
}
uint64_t bench_thread_began(const bench_thread *t, uint32_t i) { return t->began[i]; }
uint64_t bench_thread_ended(const bench_thread *t, uint32_t i) { return t->ended[i]; }
void bench_thread_join(bench_thread *t) {
  pthread_join(t->id, NULL);
  rawwaker_cell_drop(&t->cell);
}
void bench_thread_free(bench_thread *t) {
  sem_destroy(&t->ready);
  free(t->began);
  free(t->ended);
  free(t);
}

/* ------------------------------------------------------------------------------ round trips --- */

struct bench_echo {
  _Alignas(64) _Atomic(uint32_t) ping;
  _Alignas(64) _Atomic(uint32_t) pong;
  _Alignas(64) uint32_t n;
  rawwaker w;
  pthread_t id;
};

static void *echo_main(void *arg) {
  bench_echo *e = arg;
  for (uint32_t i = 1; i <= e->n; i++) {
    while (atomic_load_explicit(&e->ping, memory_order_acquire) != i) {
    }
    atomic_store_explicit(&e->pong, i, memory_order_release);
    if (e->w.vtable != NULL) rawwaker_wake_by_ref(&e->w);
  }
  if (e->w.vtable != NULL) rawwaker_drop(e->w);
  return NULL;
}

bench_echo *bench_echo_new(uint32_t n) {
  bench_echo *e = aligned_alloc(64, sizeof *e);
  *e = (bench_echo){.n = n};
  return e;
}
void bench_echo_start(bench_echo *e, rawwaker w) {
  e->w = w;
  if (pthread_create(&e->id, NULL, echo_main, e) != 0) abort();
}
void bench_echo_end(bench_echo *e) {
  pthread_join(e->id, NULL);
  free(e);
}
uint32_t *bench_echo_ping(bench_echo *e) { return (uint32_t *)&e->ping; }
uint32_t *bench_echo_pong(bench_echo *e) { return (uint32_t *)&e->pong; }

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

uint64_t bench_round_trip(uint32_t n) {
  bench_echo *e = bench_echo_new(n);
  uint32_t *took = calloc(n, sizeof *took);
  bench_echo_start(e, (rawwaker){NULL, NULL});
  uint64_t last = bench_now();
  for (uint32_t i = 1; i <= n; i++) {
    atomic_store_explicit(&e->ping, i, memory_order_release);
    while (atomic_load_explicit(&e->pong, memory_order_acquire) != i) {
    }
    uint64_t now = bench_now();
    took[i - 1] = (uint32_t)(now - last);
    last = now;
  }
  bench_echo_end(e);
  qsort(took, n, sizeof *took, by_size);
  uint64_t median = took[n / 2];
  free(took);
  return median;
}
