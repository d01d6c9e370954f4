/* A host that does not watch the descriptor: it sleeps on a condition variable, and the hook
 * signals it. Two threads wake as fast as they can. Two others wait for the poll that follows each
 * wake, so most of their wakes find the host asleep. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "ffiwaker.h"

enum { THREADS = 4, WAKES = 50000, WAKES_ONE_BY_ONE = 1000 };

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static bool wanted;
static atomic_int calls;

static void hook(void *arg) {
  (void)arg;
  atomic_fetch_add(&calls, 1);
  pthread_mutex_lock(&mu);
  wanted = true;
  pthread_cond_signal(&called);
  pthread_mutex_unlock(&mu);
}

typedef struct counter {
  rawwaker_cell cell;
  atomic_int sent, seen;
  int all;
  bool one_by_one;
} counter;
static counter counters[THREADS];

static rawwaker_poll counter_poll(void *data, rawwaker_context *cx, void *out) {
  counter *c = data;
  (void)out;
  rawwaker_cell_register(&c->cell, cx->waker);
  c->seen = c->sent;
  return c->seen == c->all ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void counter_drop(void *data) { rawwaker_cell_drop(&((counter *)data)->cell); }

static void *count(void *arg) {
  counter *c = arg;
  for (int i = 1; i <= c->all; i++) {
    c->sent = i;
    rawwaker_cell_wake(&c->cell);
    while (c->one_by_one && c->seen < i) sched_yield();
  }
  return NULL;
}

int main(void) {
  static const rawwaker_future_vtable vtable = {counter_poll, counter_drop};
  ffiwaker_executor *ex = ffiwaker_executor_new();
  pthread_t ids[THREADS];
  ffiwaker_executor_on_wake(ex, hook, NULL, NULL);
  for (int i = 0; i < THREADS; i++) {
    counters[i].one_by_one = i % 2 != 0;
    counters[i].all = counters[i].one_by_one ? WAKES_ONE_BY_ONE : WAKES;
    ffiwaker_executor_spawn(ex, (rawwaker_future){&counters[i], &vtable}, NULL, NULL, NULL);
    pthread_create(&ids[i], NULL, count, &counters[i]);
  }
  while (ffiwaker_executor_tasks(ex) > 0) {
    while (ffiwaker_executor_tick(ex)) {
    }
    pthread_mutex_lock(&mu);
    while (!wanted && ffiwaker_executor_tasks(ex) > 0) pthread_cond_wait(&called, &mu);
    wanted = false;
    pthread_mutex_unlock(&mu);
  }
  int seen = 0;
  for (int i = 0; i < THREADS; i++) {
    pthread_join(ids[i], NULL);
    rawwaker_cell_drop(&counters[i].cell);
    seen += counters[i].seen;
  }
  ffiwaker_executor_drop(ex);
  printf("%d wakes seen, boxes left: %zu\n", seen, rawwaker_live());
  fprintf(stderr, "the hook was called %d times\n", calls);
  return 0;
}
