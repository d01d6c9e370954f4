#include "broken.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct task {
  const broken *b;
  const rawwaker_vtable *vtable;
  _Atomic(long) live;
  _Atomic(int) counts, counting; /* count_is_not_atomic */
  _Atomic(bool) lost;
  _Atomic(size_t) wakes;
  _Atomic(int) word; /* 1: scheduled */
  _Atomic(bool) ended, polled, polling;
  pthread_mutex_t lock; /* used by the faults that hold a lock */
  pthread_mutex_t hooking;
  void (*hook)(void *);
  void *with;
  pthread_t maker;
  struct task *other; /* clone_of_another_task */
  _Atomic(struct reference *) references;
} task;

/* Each reference is a record of its own, so a clone has other data. */
typedef struct reference {
  task *t;
  struct reference *next;
  bool clone;
} reference;

static _Atomic(task *) latest; /* all_tasks_are_equal */

static bool is(const task *t, const char *fault) { return broken_is(t->b, fault); }

static task *task_of(void *data) {
  return data == NULL ? atomic_load(&latest) : ((reference *)data)->t;
}

static reference *reference_new(task *t, bool clone) {
  reference *r = malloc(sizeof *r);
  if (r == NULL) abort();
  *r = (reference){t, atomic_load(&t->references), clone};
  while (!atomic_compare_exchange_weak(&t->references, &r->next, r)) {
  }
  return r;
}

static bool another_counts(void *arg) {
  task *t = arg;
  return atomic_load(&t->counting) > 1 || atomic_load(&t->lost);
}
/* What plain loads and stores do: of two counts that overlap, one is lost. It happens once, after
 * more counts than one thread makes in any scenario, so waiting for a second thread is certain to
 * succeed, and a second loss cannot make up for the first. */
static bool count_is_lost(task *t) {
  if (!is(t, "count_is_not_atomic") || atomic_load(&t->lost)) return false;
  if (atomic_fetch_add(&t->counts, 1) < 500) return false;
  atomic_fetch_add(&t->counting, 1);
  bool overlaps = broken_wait(another_counts, t, 50);
  bool is_lost = overlaps && !atomic_exchange(&t->lost, true);
  atomic_fetch_sub(&t->counting, 1);
  return is_lost;
}
static void count(task *t, int n) {
  if (!count_is_lost(t)) atomic_fetch_add(&t->live, n);
}

static void notify(task *t, bool clone) {
  if (is(t, "bound_to_its_thread") && !pthread_equal(pthread_self(), t->maker)) return;
  if (is(t, "polled_task_hears_no_clone") && clone && atomic_load(&t->polled)) return;
  if (atomic_load(&t->ended) && !is(t, "wakes_the_dead")) return;
  if (is(t, "second_wake_only_looks")) {
    if (atomic_load_explicit(&t->word, memory_order_relaxed) != 0) return;
    if (atomic_exchange_explicit(&t->word, 1, memory_order_acq_rel) != 0) return;
  } else if (atomic_exchange(&t->word, 1) != 0) {
    return;
  }
  /* The end of the poll is expected to see the flag. */
  if (is(t, "flag_is_cleared_after_the_poll") && atomic_load(&t->polling)) return;
  atomic_fetch_add_explicit(&t->wakes, 1, memory_order_relaxed);
  if (t->hook == NULL) return;
  bool locked = is(t, "drop_waits_for_wake") || is(t, "clone_waits_for_wake");
  if (locked) pthread_mutex_lock(&t->lock);
  t->hook(t->with);
  if (locked) pthread_mutex_unlock(&t->lock);
}

static rawwaker clone_slot(void *data) {
  task *t = task_of(data);
  if (is(t, "clone_without_a_vtable")) return (rawwaker){NULL, NULL};
  if (is(t, "clone_waits_for_wake") || is(t, "clone_waits_for_poll")) {
    pthread_mutex_lock(&t->lock);
    pthread_mutex_unlock(&t->lock);
  }
  if (!is(t, "clone_counts_nothing")) count(t, 1);
  if (is(t, "clone_of_another_task") && t->other != NULL)
    return (rawwaker){reference_new(t->other, true), t->vtable};
  if (data == NULL) return (rawwaker){NULL, t->vtable};
  if (is(t, "clone_of_clone_is_shared") && ((reference *)data)->clone) {
    count(t, -1);
    return (rawwaker){data, t->vtable};
  }
  return (rawwaker){reference_new(t, true), t->vtable};
}
static bool clone_of(void *data) { return data != NULL && ((reference *)data)->clone; }
static void wake_by_ref_slot(void *data) {
  task *t = task_of(data);
  if (is(t, "wake_by_ref_consumes")) count(t, -1);
  if (!is(t, "wake_by_ref_does_nothing")) notify(t, clone_of(data));
}
static void drop_slot(void *data) {
  task *t = task_of(data);
  if (is(t, "drop_waits_for_wake")) {
    pthread_mutex_lock(&t->lock);
    pthread_mutex_unlock(&t->lock);
  }
  if (is(t, "drop_wakes")) notify(t, clone_of(data));
  if (!is(t, "drop_releases_nothing")) count(t, -1);
}
static void wake_slot(void *data) {
  task *t = task_of(data);
  if (!is(t, "wake_does_nothing")) notify(t, clone_of(data));
  if (!is(t, "wake_keeps_its_reference")) count(t, -1);
  if (is(t, "wake_releases_twice")) count(t, -1);
}
static const rawwaker_vtable vtable = {clone_slot, wake_slot, wake_by_ref_slot, drop_slot};
static const rawwaker_vtable holed = {clone_slot, wake_slot, NULL, drop_slot};

static size_t wakes(void *arg) {
  return atomic_load_explicit(&((task *)arg)->wakes, memory_order_relaxed);
}
static long live(void *arg) { return atomic_load(&((task *)arg)->live); }
static void take(task *t) {
  if (is(t, "second_wake_only_looks"))
    atomic_exchange_explicit(&t->word, 0, memory_order_acquire);
  else if (!is(t, "flag_is_never_cleared"))
    atomic_exchange(&t->word, 0);
}
static void poll_task(void *arg, void (*during)(void *), void *with) {
  task *t = arg;
  bool locked = is(t, "clone_waits_for_poll");
  take(t);
  atomic_store(&t->polling, true);
  atomic_store_explicit(&t->polled, true, memory_order_relaxed);
  if (locked) pthread_mutex_lock(&t->lock);
  if (during != NULL) during(with);
  if (locked) pthread_mutex_unlock(&t->lock);
  atomic_store(&t->polling, false);
  if (is(t, "flag_is_cleared_after_the_poll")) take(t); /* it does not */
}
static void on_wake(void *arg, void (*f)(void *), void *with) {
  task *t = arg;
  t->with = with;
  t->hook = f;
}
static void end(void *arg) { atomic_store(&((task *)arg)->ended, true); }
static void free_task(void *arg) {
  task *t = arg;
  if (t == NULL) return;
  for (reference *r = atomic_load(&t->references), *next; r != NULL; r = next) {
    next = r->next;
    free(r);
  }
  free_task(t->other);
  task *me = t;
  atomic_compare_exchange_strong(&latest, &me, NULL);
  free(t);
}

static task *task_new(const broken *b) {
  task *t = calloc(1, sizeof *t);
  if (t == NULL) abort();
  t->b = b;
  t->vtable = is(t, "waker_without_a_slot") ? &holed : &vtable;
  atomic_init(&t->live, 1);
  atomic_init(&t->word, is(t, "first_wake_is_lost"));
  pthread_mutex_init(&t->lock, NULL);
  t->maker = pthread_self();
  atomic_store(&latest, t);
  return t;
}

rawwaker_test_waker broken_waker(void *entry) {
  const broken *b = entry;
  task *t = task_new(b);
  if (is(t, "clone_of_another_task")) t->other = task_new(b);
  void *data = is(t, "all_tasks_are_equal") ? NULL : reference_new(t, false);
  return (rawwaker_test_waker){{data, t->vtable}, t,   wakes,     live, poll_task,
                               on_wake,           end, free_task, false};
}
