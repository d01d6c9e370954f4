//go:build linux

#define _GNU_SOURCE
#include "crossing.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* ------------------------------------------------------------------------------ one future --- */

static rawwaker_poll self_waking_poll(void *data, rawwaker_context *cx, void *out) {
  uint64_t *left = data;
  if (*left == 0) {
    *(uint64_t *)out = 42;
    return RAWWAKER_READY;
  }
  --*left;
  rawwaker_wake_by_ref(cx->waker);
  return RAWWAKER_PENDING;
}
static const rawwaker_future_vtable self_waking_vtable = {self_waking_poll, free};
rawwaker_future bench_self_waking_future(uint64_t n) {
  uint64_t *left = malloc(sizeof *left);
  *left = n;
  return (rawwaker_future){left, &self_waking_vtable};
}
uint64_t bench_self_waking_block_on(uint64_t n) {
  uint64_t out, start = bench_now();
  rawwaker_block_on(bench_self_waking_future(n), &out);
  return bench_now() - start;
}

static rawwaker_poll ready_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx;
  *(uint64_t *)out = 42;
  return RAWWAKER_READY;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable ready_vtable = {ready_poll, nothing};
rawwaker_future bench_ready_future(void) { return (rawwaker_future){NULL, &ready_vtable}; }

/* ------------------------------------------------------------------------------ many futures - */

typedef struct op {
  rawwaker_cell cell;
  _Atomic(uint32_t) done;
  uint32_t value;
  uintptr_t handle;
} op;
struct bench_ops {
  uint32_t n;
  uint64_t first;
  op *ops;
};
extern void benchSend(uintptr_t handle, uint64_t v);

static rawwaker_poll op_poll(void *data, rawwaker_context *cx, void *out) {
  op *o = data;
  rawwaker_cell_register(&o->cell, cx->waker);
  if (!atomic_load(&o->done)) return RAWWAKER_PENDING;
  *(uint64_t *)out = o->value;
  return RAWWAKER_READY;
}
static void op_drop(void *data) { rawwaker_cell_drop(&((op *)data)->cell); }
static const rawwaker_future_vtable op_vtable = {op_poll, op_drop};

bench_ops *bench_ops_new(uint32_t n) {
  bench_ops *o = calloc(1, sizeof *o);
  o->n = n;
  o->ops = malloc(n * sizeof *o->ops);
  memset(o->ops, 1, n * sizeof *o->ops); /* makes the pages resident before the measurement */
  memset(o->ops, 0, n * sizeof *o->ops);
  for (uint32_t i = 0; i < n; i++) o->ops[i].value = i;
  return o;
}
rawwaker_future bench_ops_future(bench_ops *o, uint32_t i) {
  return (rawwaker_future){&o->ops[i], &op_vtable};
}
void bench_ops_set_handle(bench_ops *o, uint32_t i, uintptr_t handle) {
  o->ops[i].handle = handle;
}

typedef struct half {
  bench_ops *o;
  uint32_t from, to;
  uint64_t began, took;
} half;
static void *complete(void *arg) {
  half *h = arg;
  h->began = bench_now();
  for (uint32_t i = h->from; i < h->to; i++) {
    op *o = &h->o->ops[i];
    if (o->handle != 0) {
      benchSend(o->handle, o->value);
    } else {
      atomic_store(&o->done, 1);
      rawwaker_cell_wake(&o->cell);
    }
  }
  h->took = bench_now() - h->began;
  return NULL;
}
uint64_t bench_ops_complete(bench_ops *o, uint64_t *first) {
  half halves[2] = {{.o = o, .from = 0, .to = o->n / 2}, {.o = o, .from = o->n / 2, .to = o->n}};
  pthread_t ids[2];
  for (int i = 0; i < 2; i++)
    if (pthread_create(&ids[i], NULL, complete, &halves[i]) != 0) abort();
  for (int i = 0; i < 2; i++) pthread_join(ids[i], NULL);
  *first = halves[0].began < halves[1].began ? halves[0].began : halves[1].began;
  return halves[0].took + halves[1].took;
}

/* ------------------------------------------------------------------------------ polls of Go -- */

extern void benchEmpty(void);
extern void benchGoroutine(void);

static void no_wake(void *arg) { (void)arg; }
uint64_t bench_polls(rawwaker_future f, uint64_t n) {
  rawwaker w = rawwaker_from_fn(no_wake, NULL, NULL);
  rawwaker_context cx = {&w};
  uint64_t out, start = bench_now();
  for (uint64_t i = 0; i < n; i++)
    if (f.vtable->poll(f.data, &cx, &out) != RAWWAKER_PENDING) abort();
  uint64_t took = bench_now() - start;
  f.vtable->drop(f.data);
  rawwaker_drop(w);
  return took;
}
uint64_t bench_callbacks(uint64_t n, int goroutine) {
  uint64_t start = bench_now();
  for (uint64_t i = 0; i < n; i++) goroutine ? benchGoroutine() : benchEmpty();
  return bench_now() - start;
}

/* ------------------------------------------------------------------------------ epoll -------- */

extern int benchTick(uintptr_t ex);

static struct {
  rawwaker_cell cell;
  _Atomic(uint32_t) word;
  sem_t next;
  int fd; /* if >= 0, the thread writes it instead of waking */
  uint32_t n;
  uint64_t woke;
} epoll;

static rawwaker_poll epoll_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  rawwaker_cell_register(&epoll.cell, cx->waker);
  return atomic_load(&epoll.word) == epoll.n ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void epoll_drop(void *data) {
  (void)data;
  rawwaker_cell_drop(&epoll.cell);
}
rawwaker_future bench_epoll_task(void) {
  static const rawwaker_future_vtable vtable = {epoll_poll, epoll_drop};
  atomic_store(&epoll.word, 0);
  epoll.n = UINT32_MAX;
  return (rawwaker_future){NULL, &vtable};
}
static void *epoll_waker(void *arg) {
  const struct timespec nap = {.tv_nsec = 1000000};
  (void)arg;
  for (uint32_t i = 0; i < epoll.n; i++) {
    uint64_t one = 1;
    while (sem_wait(&epoll.next) != 0) {
    }
    nanosleep(&nap, NULL);
    epoll.woke = bench_now();
    atomic_store(&epoll.word, i + 1);
    if (epoll.fd < 0)
      rawwaker_cell_wake(&epoll.cell);
    else if (write(epoll.fd, &one, sizeof one) != sizeof one)
      abort();
  }
  return NULL;
}
static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}
typedef struct epoll_host {
  uintptr_t ex;
  int fd;
  uint32_t n;
  uint64_t p99;
} epoll_host;
static void *epoll_host_main(void *arg) {
  epoll_host *h = arg;
  uint64_t *took = calloc(h->n, sizeof *took), drained;
  pthread_t id;
  epoll.n = h->n;
  epoll.fd = h->ex == 0 ? h->fd : -1;
  sem_init(&epoll.next, 0, 0);
  int loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event e = {.events = EPOLLIN};
  epoll_ctl(loop, EPOLL_CTL_ADD, h->fd, &e);
  while (h->ex != 0 && benchTick(h->ex)) {
  }
  if (pthread_create(&id, NULL, epoll_waker, NULL) != 0) abort();
  for (uint32_t i = 0; i < h->n; i++) {
    sem_post(&epoll.next);
    for (;;) {
      while (epoll_wait(loop, &e, 1, -1) != 1) {
      }
      if (atomic_load(&epoll.word) == i + 1) break;
      while (h->ex != 0 && benchTick(h->ex)) { /* spurious readiness */
      }
    }
    took[i] = bench_now() - epoll.woke;
    if (h->ex == 0) {
      if (read(h->fd, &drained, sizeof drained) != sizeof drained) abort();
    } else {
      while (benchTick(h->ex)) {
      }
    }
  }
  pthread_join(id, NULL);
  close(loop);
  qsort(took, h->n, sizeof *took, by_size);
  h->p99 = took[(uint64_t)h->n * 99 / 100];
  free(took);
  return NULL;
}
uint64_t bench_epoll(uintptr_t ex, int fd, uint32_t n) {
  epoll_host h = {ex, fd, n, 0};
  pthread_t id;
  if (ex == 0) h.fd = eventfd(0, EFD_CLOEXEC);
  if (pthread_create(&id, NULL, epoll_host_main, &h) != 0) abort();
  pthread_join(id, NULL);
  if (ex == 0) close(h.fd);
  return h.p99;
}
