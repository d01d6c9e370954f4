//go:build linux

#define _GNU_SOURCE
#include "sending.h"

#include <pthread.h>
#include <stdlib.h>

#include "bench.h"

static void no_wake(void *arg) { (void)arg; }

uint64_t bench_oneshots(uint64_t n) {
  rawwaker w = rawwaker_from_fn(no_wake, NULL, NULL);
  rawwaker_context cx = {&w};
  uint64_t out, start = bench_now();
  for (uint64_t i = 0; i < n; i++) {
    rawwaker_oneshot *tx;
    rawwaker_future f = rawwaker_oneshot_new(sizeof i, _Alignof(uint64_t), NULL, NULL, &tx);
    rawwaker_oneshot_send(tx, &i);
    if (f.vtable->poll(f.data, &cx, &out) != RAWWAKER_READY || out != i) abort();
    f.vtable->drop(f.data);
  }
  uint64_t took = bench_now() - start;
  rawwaker_drop(w);
  return took;
}

static rawwaker_stream channel(rawwaker_sender **tx) {
  return rawwaker_channel_new(sizeof(bench_item), _Alignof(bench_item), BENCH_CAPACITY, NULL, NULL,
                              tx);
}

uint64_t bench_channel_alone(uint64_t n) {
  rawwaker w = rawwaker_from_fn(no_wake, NULL, NULL);
  rawwaker_context cx = {&w};
  rawwaker_sender *tx;
  rawwaker_stream s = channel(&tx);
  uint64_t start = bench_now();
  for (uint64_t from = 0; from < n; from += BENCH_CAPACITY) {
    bench_item item = {.number = from};
    for (; item.number < from + BENCH_CAPACITY; item.number++)
      if (rawwaker_sender_try_send(tx, &item) != RAWWAKER_SENT) abort();
    for (uint64_t i = from; i < from + BENCH_CAPACITY; i++)
      if (s.vtable->poll_next(s.data, &cx, &item) != RAWWAKER_READY || item.number != i) abort();
  }
  uint64_t took = bench_now() - start;
  s.vtable->drop(s.data);
  rawwaker_sender_drop(tx);
  rawwaker_drop(w);
  return took;
}

extern void benchItem(uintptr_t handle, bench_item *item);

struct bench_producer {
  pthread_t id;
  uint64_t n;
  rawwaker_sender *tx; /* NULL: call Go */
  uintptr_t handle;
  size_t places; /* that it awaits if the channel is full */
};

static void *produce(void *arg) {
  bench_producer *p = arg;
  bench_item item = {.number = 0};
  for (; item.number < p->n; item.number++) {
    if (p->tx == NULL) {
      benchItem(p->handle, &item);
      continue;
    }
    while (rawwaker_sender_try_send(p->tx, &item) == RAWWAKER_FULL)
      rawwaker_block_on(rawwaker_sender_room_for(p->tx, p->places), NULL);
  }
  if (p->tx != NULL) rawwaker_sender_drop(p->tx);
  return NULL;
}

bench_producer *bench_produce(uint64_t n, rawwaker_stream *items, size_t places, uintptr_t handle) {
  bench_producer *p = calloc(1, sizeof *p);
  p->n = n;
  p->handle = handle;
  p->places = places;
  if (items != NULL) *items = channel(&p->tx);
  if (pthread_create(&p->id, NULL, produce, p) != 0) abort();
  return p;
}
void bench_produced(bench_producer *p) {
  pthread_join(p->id, NULL);
  free(p);
}

/* The next item of a stream. */
typedef struct next {
  rawwaker_stream s;
  bool done;
} next;
static rawwaker_poll next_poll(void *data, rawwaker_context *cx, void *out) {
  next *f = data;
  rawwaker_poll got = f->s.vtable->poll_next(f->s.data, cx, out);
  f->done = got == RAWWAKER_DONE;
  return f->done ? RAWWAKER_READY : got;
}
static void next_drop(void *data) { (void)data; }
static const rawwaker_future_vtable next_vtable = {next_poll, next_drop};

uint64_t bench_channel_threads(uint64_t n, size_t places) {
  next f = {.done = false};
  bench_item item;
  uint64_t start = bench_now(), received = 0;
  bench_producer *p = bench_produce(n, &f.s, places, 0);
  for (;; received++) {
    rawwaker_block_on((rawwaker_future){&f, &next_vtable}, &item);
    if (f.done) break;
    if (item.number != received) abort();
  }
  bench_produced(p);
  uint64_t took = bench_now() - start;
  if (received != n) abort();
  f.s.vtable->drop(f.s.data);
  return took;
}
