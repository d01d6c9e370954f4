/* executor.h - the part of ffiwaker.h that programs use, over a sink and boxes, for the program
 * without Go. It is written as rawwaker.h tells the author of a runtime, so a fault that shows in
 * it is one of rawwaker.c. */
#ifndef HOSTS_EXECUTOR_H
#define HOSTS_EXECUTOR_H

#include "rawwaker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FFIWAKER_ABORTED = 64 };
enum { TASKS = 128 }; /* of one executor, over its whole life */

/* How many mutexes of this file the thread holds. It is not stopped meanwhile: another thread would
 * wait for it, and the library would not be the reason. */
static _Thread_local int mutexes_held;
static void mutex_lock(pthread_mutex_t *mu) {
  mutexes_held++;
  pthread_mutex_lock(mu);
}
static void mutex_unlock(pthread_mutex_t *mu) {
  pthread_mutex_unlock(mu);
  mutexes_held--;
}

typedef struct ffiwaker_executor ffiwaker_executor;
typedef struct ffiwaker_task {
  _Atomic(int) refs; /* the handles, and the executor's */
  _Atomic(bool) aborted;
  pthread_mutex_t mu; /* over the box: no reference is made while it is closed */
  rawwaker_box *box;  /* NULL: the task has ended */
  rawwaker_future f;
  void *out, *arg;
  void (*done)(void *arg, rawwaker_poll code);
  struct ffiwaker_task *next; /* in the run queue */
  bool queued;
  uint64_t id;
} ffiwaker_task;
struct ffiwaker_executor {
  rawwaker_sink *sink;
  pthread_mutex_t mu; /* over the next two; no call of the library is made under it */
  ffiwaker_task *tasks[TASKS];
  size_t n;
  _Atomic(size_t) live;
  ffiwaker_task *first, **last; /* to be polled; of the thread that ticks */
};

static void task_unref(ffiwaker_task *t) {
  if (atomic_fetch_sub(&t->refs, 1) != 1) return;
  pthread_mutex_destroy(&t->mu);
  free(t);
}
static void task_wake(ffiwaker_task *t) {
  rawwaker w = {NULL, NULL};
  mutex_lock(&t->mu);
  if (t->box != NULL) w = rawwaker_box_ref(t->box);
  mutex_unlock(&t->mu);
  if (w.vtable != NULL) rawwaker_wake(w);
}
static void task_end(ffiwaker_executor *ex, ffiwaker_task *t, rawwaker_poll code) {
  char *text = code == RAWWAKER_PANICKED ? strdup(rawwaker_last_panic()) : NULL;
  mutex_lock(&t->mu);
  rawwaker_box *b = t->box;
  t->box = NULL;
  mutex_unlock(&t->mu);
  mutex_lock(&ex->mu);
  ex->tasks[t->id - 1] = NULL;
  mutex_unlock(&ex->mu);
  rawwaker_box_close(b);
  t->f.vtable->drop(t->f.data);
  if (text != NULL) rawwaker_set_panic(text, strlen(text));
  free(text);
  if (t->done != NULL) t->done(t->arg, code);
  ex->live--;
  task_unref(t);
}

static ffiwaker_executor *ffiwaker_executor_new(void) {
  ffiwaker_executor *ex = calloc(1, sizeof *ex);
  if (ex == NULL) return NULL;
  ex->sink = rawwaker_sink_new(0);
  if (ex->sink == NULL) {
    free(ex);
    return NULL;
  }
  pthread_mutex_init(&ex->mu, NULL);
  ex->last = &ex->first;
  rawwaker_sink_sleep(ex->sink);
  return ex;
}
static ffiwaker_task *ffiwaker_executor_spawn_task(ffiwaker_executor *ex, rawwaker_future f,
                                                   void *out,
                                                   void (*done)(void *arg, rawwaker_poll code),
                                                   void *arg) {
  ffiwaker_task *t = calloc(1, sizeof *t);
  if (t == NULL) abort();
  pthread_mutex_init(&t->mu, NULL);
  t->refs = 2;
  t->f = f, t->out = out, t->done = done, t->arg = arg;
  mutex_lock(&ex->mu);
  if (ex->n == TASKS) abort();
  t->id = ex->n + 1;
  t->box = rawwaker_box_new(ex->sink, t->id, 0);
  if (t->box == NULL) abort();
  ex->tasks[ex->n++] = t;
  mutex_unlock(&ex->mu);
  ex->live++;
  task_wake(t);
  return t;
}
static void ffiwaker_task_drop(ffiwaker_task *t) {
  if (t != NULL) task_unref(t);
}
static void ffiwaker_executor_spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                                    void (*done)(void *arg, rawwaker_poll code), void *arg) {
  ffiwaker_task_drop(ffiwaker_executor_spawn_task(ex, f, out, done, arg));
}
static void ffiwaker_task_abort(ffiwaker_task *t) {
  t->aborted = true;
  task_wake(t);
}
static ffiwaker_task *ffiwaker_task_clone(ffiwaker_task *t) {
  t->refs++;
  return t;
}

static void run_later(ffiwaker_executor *ex, ffiwaker_task *t) {
  if (t->queued) return;
  t->queued = true;
  t->next = NULL;
  *ex->last = t;
  ex->last = &t->next;
}
/* Moves the woken tasks from the sink's list to the run queue; returns whether there are any. */
static bool refill(ffiwaker_executor *ex) {
  rawwaker_box *list = rawwaker_sink_take(ex->sink);
  rawwaker_notice n;
  while (rawwaker_box_read(&list, &n, 1) != 0) {
    mutex_lock(&ex->mu);
    ffiwaker_task *t = ex->tasks[n.id - 1];
    mutex_unlock(&ex->mu);
    if (t != NULL && n.woken) run_later(ex, t);
  }
  return ex->first != NULL;
}
static bool ffiwaker_executor_tick(ffiwaker_executor *ex) {
  while (ex->first == NULL) {
    if (refill(ex)) break;
    rawwaker_sink_ack(ex->sink);
    if (!refill(ex) && rawwaker_sink_sleep(ex->sink)) return false;
    rawwaker_sink_kick(ex->sink); /* there is a task, and the ack made it unreadable */
  }
  ffiwaker_task *t = ex->first;
  ex->first = t->next;
  if (ex->first == NULL) ex->last = &ex->first;
  t->queued = false;
  if (t->aborted) {
    task_end(ex, t, FFIWAKER_ABORTED);
    return true;
  }
  bool woken;
  rawwaker_poll got = rawwaker_box_poll(ex->sink, &t->box, t->f, t->out, &woken);
  if (got != RAWWAKER_PENDING)
    task_end(ex, t, got);
  else if (woken)
    run_later(ex, t);
  return true;
}
static size_t ffiwaker_executor_tick_n(ffiwaker_executor *ex, size_t n) {
  size_t i = 0;
  while (i < n && ffiwaker_executor_tick(ex)) i++;
  return i;
}
static size_t ffiwaker_executor_tick_for(ffiwaker_executor *ex, uint64_t ns) {
  return ns != 0 && ffiwaker_executor_tick(ex);
}
static int ffiwaker_executor_fd(ffiwaker_executor *ex) { return rawwaker_sink_fd(ex->sink); }
static void ffiwaker_executor_on_wake(ffiwaker_executor *ex, void (*f)(void *arg), void *arg,
                                      void (*drop)(void *arg)) {
  if (!rawwaker_sink_on_wake(ex->sink, rawwaker_from_fn(f, arg, drop))) abort();
  f(arg); /* a task may be ready already */
}
static size_t ffiwaker_executor_tasks(ffiwaker_executor *ex) { return ex->live; }
static void ffiwaker_executor_drop(ffiwaker_executor *ex) {
  for (size_t i = 0; i < ex->n; i++)
    if (ex->tasks[i] != NULL) task_end(ex, ex->tasks[i], FFIWAKER_ABORTED);
  rawwaker_sink_drop(ex->sink);
  pthread_mutex_destroy(&ex->mu);
  free(ex);
}

#endif
