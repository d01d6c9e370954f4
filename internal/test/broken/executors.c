#include "broken.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST = 256 };

typedef struct executor executor;

/* A task, which is also its wakers' data. It is reference-counted, so wakers may outlive the
 * executor. word is 1 if the task is scheduled. */
typedef struct task {
  executor *x;
  rawwaker_future f;
  _Atomic(int) word, refs;
  _Atomic(bool) completed;
  _Atomic(bool) polling; /* relaxed: it must publish nothing */
  int polls;
} task;

struct executor {
  const broken *b;
  task *tasks[MOST];
  _Atomic(int) spawned, left, refs, busy;
  _Atomic(bool) lost, twice; /* the fault has happened */
  _Atomic(unsigned) signals; /* of changed */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool in_poll;
};

static bool is(const executor *x, const char *fault) { return broken_is(x->b, fault); }

static void executor_unref(executor *x) {
  if (atomic_fetch_sub(&x->refs, 1) == 1) free(x);
}
static void task_unref(task *t) {
  if (atomic_fetch_sub(&t->refs, 1) != 1) return;
  executor_unref(t->x);
  free(t);
}

static void poll_task(task *t);

static void signal_change(executor *x) {
  pthread_mutex_lock(&x->lock);
  x->signals++;
  pthread_cond_signal(&x->changed);
  pthread_mutex_unlock(&x->lock);
}

static _Thread_local bool inside_a_poll;

static bool is_polling(const task *t) {
  return atomic_load_explicit(&t->polling, memory_order_relaxed);
}
static bool polled(void *arg) { return !is_polling(arg); }
static bool has_lost(void *arg) { return atomic_load(&((executor *)arg)->lost); }

static void *poll_beside(void *arg) {
  poll_task(arg);
  return NULL;
}

static void notify(task *t) {
  executor *x = t->x;
  if (atomic_load_explicit(&t->completed, memory_order_relaxed)) {
    if (is(x, "waker_dies_with_its_task")) abort();
    return;
  }
  /* A wake on another thread waits for the poll under way, unless that waits for the wake. */
  if (is(x, "polls_inside_wake") && !inside_a_poll && broken_wait(polled, t, 10)) {
    atomic_store(&t->word, 0);
    poll_task(t);
    signal_change(x);
    return;
  }
  if (is(x, "polls_twice_at_once") && is_polling(t) && !atomic_exchange(&x->twice, true)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, poll_beside, t) != 0) abort();
    pthread_join(thread, NULL); /* so the poll under way lasts longer than the second one */
    return;
  }
  /* Later than in any scenario but executor_storm, in which other threads wake all the time. */
  if (is(x, "loses_a_wake_under_load") && t->polls > 20 && !has_lost(x)) {
    if (atomic_exchange(&x->busy, 1) != 0) {
      atomic_store(&x->lost, true);
      return;
    }
    broken_wait(has_lost, x, 50);
    atomic_store(&x->busy, 0);
  }
  if (is(x, "wake_is_not_published")) {
    if (atomic_load_explicit(&t->word, memory_order_relaxed) != 0) return;
    if (atomic_exchange(&t->word, 1) != 0) return;
  } else if (atomic_exchange(&t->word, 1) != 0) {
    return;
  }
  signal_change(x);
}

static rawwaker clone_slot(void *data);
static void wake_by_ref_slot(void *data) { notify(data); }
static void drop_slot(void *data) { task_unref(data); }
static void wake_slot(void *data) {
  notify(data);
  task_unref(data);
}
static const rawwaker_vtable vtable = {clone_slot, wake_slot, wake_by_ref_slot, drop_slot};
static rawwaker clone_slot(void *data) {
  atomic_fetch_add(&((task *)data)->refs, 1);
  return (rawwaker){data, &vtable};
}

static void finish(task *t) {
  executor *x = t->x;
  atomic_store(&t->completed, true);
  if (!is(x, "never_drops")) t->f.vtable->drop(t->f.data);
  if (is(x, "drops_twice")) t->f.vtable->drop(t->f.data);
  atomic_fetch_sub(&x->left, 1);
}

static void poll_task(task *t) {
  if (atomic_load(&t->completed)) return;
  rawwaker w = {t, &vtable};
  rawwaker_context cx = {&w};
  executor *x = t->x;
  t->polls++;
  atomic_store_explicit(&t->polling, true, memory_order_relaxed);
  inside_a_poll = x->in_poll = true;
  rawwaker_poll got = t->f.vtable->poll(t->f.data, &cx, NULL);
  inside_a_poll = x->in_poll = false;
  atomic_store_explicit(&t->polling, false, memory_order_relaxed);
  if (got == RAWWAKER_PENDING) return;
  if (is(x, "polls_after_ready")) t->f.vtable->poll(t->f.data, &cx, NULL);
  finish(t);
}

static void spawn(void *arg, rawwaker_future f) {
  executor *x = arg;
  if (x->in_poll && is(x, "spawn_inside_is_lost")) {
    f.vtable->drop(f.data);
    return;
  }
  task *t = calloc(1, sizeof *t);
  if (t == NULL) abort();
  t->x = x;
  t->f = f;
  atomic_init(&t->refs, 1);
  atomic_init(&t->word, 1);
  atomic_fetch_add(&x->refs, 1);
  int i = atomic_load(&x->spawned);
  if (i == MOST) abort();
  x->tasks[i] = t;
  atomic_fetch_add(&x->left, 1);
  atomic_store(&x->spawned, i + 1);
}

static void run(void *arg) {
  executor *x = arg;
  while (atomic_load(&x->left) > 0) {
    pthread_mutex_lock(&x->lock);
    unsigned signals = x->signals;
    pthread_mutex_unlock(&x->lock);
    bool any = false;
    int left_out = 0;
    for (int i = 0; i < atomic_load(&x->spawned); i++) {
      task *t = x->tasks[i];
      if (is(x, "forgets_a_task") && i % 7 == 6) {
        left_out += !atomic_load(&t->completed);
        continue;
      }
      if (is(x, "loses_a_wake_during_the_poll")) {
        if (atomic_load(&t->word) == 0) continue;
        poll_task(t);
        atomic_store(&t->word, 0);
      } else {
        if (atomic_exchange_explicit(&t->word, 0, memory_order_acq_rel) == 0) continue;
        poll_task(t);
      }
      any = true;
    }
    if (any) continue;
    if (left_out > 0 && atomic_load(&x->left) == left_out) return;
    pthread_mutex_lock(&x->lock);
    while (x->signals == signals && atomic_load(&x->left) > 0)
      pthread_cond_wait(&x->changed, &x->lock);
    pthread_mutex_unlock(&x->lock);
  }
}

static void close_executor(void *arg) {
  executor *x = arg;
  for (int i = 0; i < atomic_load(&x->spawned); i++) {
    task *t = x->tasks[i];
    if (!atomic_load(&t->completed) && !is(x, "close_leaves_tasks")) finish(t);
    task_unref(t);
  }
  executor_unref(x);
}

rawwaker_test_executor broken_executor(void *entry) {
  executor *x = calloc(1, sizeof *x);
  if (x == NULL) abort();
  x->b = entry;
  atomic_init(&x->refs, 1);
  pthread_mutex_init(&x->lock, NULL);
  pthread_cond_init(&x->changed, NULL);
  return (rawwaker_test_executor){x, spawn, run, close_executor, true};
}
