/* 03_epoll.c - Go's executor in an epoll loop: three sleeps, a timeout, a task woken by a C thread.
 * Build it in this folder:
 *
 *   make && gcc -std=gnu11 -Wall -I.. -I. 03_epoll.c build/libffiwaker.a -pthread -o epoll
 *   ./epoll
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;

/* The tasks' codes, in the order of the spawns. They are printed at the end, because the tasks may
 * complete in any order on a machine under load. */
static rawwaker_poll codes[5] = {RAWWAKER_PENDING, RAWWAKER_PENDING, RAWWAKER_PENDING,
                                 RAWWAKER_PENDING, RAWWAKER_PENDING};

static void done(void *arg, rawwaker_poll code) { *(rawwaker_poll *)arg = code; }

/* A future that is ready when another thread has set a word. */
static rawwaker_cell cell;
static int word; /* set before the wake, read after the register */

static rawwaker_poll word_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  rawwaker_cell_register(&cell, cx->waker);
  int now = __atomic_load_n(&word, __ATOMIC_ACQUIRE);
  if (now == 0) return RAWWAKER_PENDING;
  *(int *)out = now;
  return RAWWAKER_READY;
}
static void word_drop(void *data) {
  (void)data;
  rawwaker_cell_drop(&cell);
}
static void *set_word(void *arg) {
  __atomic_store_n(&word, 42, __ATOMIC_RELEASE);
  rawwaker_cell_wake(&cell); /* makes the executor's descriptor readable, on this thread */
  return arg;
}

int main(void) {
  static const rawwaker_future_vtable word_vtable = {word_poll, word_drop};
  ex = ffiwaker_executor_new();
  if (ex == NULL) {
    perror("ffiwaker_executor_new");
    return 1;
  }
  static bool expired;
  static int result;
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &word_vtable}, &result, done, &codes[0]);
  ffiwaker_executor_spawn(ex, ffiwaker_sleep(20000000), NULL, done, &codes[1]);
  ffiwaker_executor_spawn(ex, ffiwaker_sleep(40000000), NULL, done, &codes[2]);
  ffiwaker_executor_spawn(ex, ffiwaker_sleep(60000000), NULL, done, &codes[3]);
  ffiwaker_executor_spawn(ex, ffiwaker_timeout(ffiwaker_sleep(3600000000000), 80000000, &expired),
                          NULL, done, &codes[4]);
  while (ffiwaker_executor_tick(ex)) { /* each task is polled once, and keeps its waker */
  }

  pthread_t id;
  if (pthread_create(&id, NULL, set_word, NULL) != 0) return 1;

  int loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  if (epoll_ctl(loop, EPOLL_CTL_ADD, ffiwaker_executor_fd(ex), &event) != 0) return 1;
  while (ffiwaker_executor_tasks(ex) > 0) {
    if (epoll_wait(loop, &event, 1, -1) < 1) continue; /* EINTR: Go sends itself signals */
    while (ffiwaker_executor_tick(ex)) {
    }
  }
  pthread_join(id, NULL);
  ffiwaker_executor_drop(ex);
  printf("a thread of C said %d, code %d\n", result, codes[0]);
  for (int i = 1; i <= 3; i++) printf("slept %d ms, code %d\n", 20 * i, codes[i]);
  printf("timeout: %s, code %d\n", expired ? "expired" : "in time", codes[4]);
  puts("no task left");
  return 0;
}
