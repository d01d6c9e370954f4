#include "broken.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "rawwaker_audit.h"

/* An operation that a thread completes. lock guards kept, unless the fault is that it does not. */
typedef struct operation {
  const broken *b;
  pthread_mutex_t lock;
  rawwaker kept; /* vtable NULL: none */
  bool done, dropped, first;
  bool waits; /* broken_future_waits */
  _Atomic(int) polls;
  pthread_t maker;
  _Atomic(long) live;
} operation;

static bool is(const operation *o, const char *fault) { return broken_is(o->b, fault); }

/* The lock is reported to the auditor. */
static void lock(operation *o) {
  pthread_mutex_lock(&o->lock);
  rawwaker_audit_lock(1);
}
static void unlock(operation *o) {
  rawwaker_audit_lock(-1);
  pthread_mutex_unlock(&o->lock);
}

static rawwaker_poll poll(void *data, rawwaker_context *cx, void *out) {
  operation *o = data;
  bool stranger = !pthread_equal(pthread_self(), o->maker);
  bool locked = is(o, "clones_under_its_lock");
  if (++o->polls == 3 && is(o, "gives_no_code")) return 7;
  if (is(o, "writes_early")) *(uint64_t *)out = 1;
  lock(o);
  bool done = o->done;
  unlock(o);
  if (!done && is(o, "keeps_no_waker")) return RAWWAKER_PENDING;
  if (!done && is(o, "keeps_the_first_waker") && o->kept.vtable != NULL) return RAWWAKER_PENDING;
  if (!done && is(o, "knows_one_thread") && stranger) {
    lock(o);
    rawwaker old = o->kept;
    o->kept.vtable = NULL;
    unlock(o);
    if (old.vtable != NULL) rawwaker_drop(old);
    return RAWWAKER_PENDING;
  }
  if (is(o, "drops_the_borrowed_waker")) rawwaker_drop(*cx->waker);
  if (!done && is(o, "wakes_the_borrowed_waker")) rawwaker_wake(*cx->waker);
  if (!done) {
    if (locked) lock(o);
    rawwaker mine = is(o, "keeps_the_borrowed_waker") ? *cx->waker : rawwaker_clone(cx->waker);
    if (!locked) lock(o);
    rawwaker old = o->kept;
    o->kept = mine;
    done = o->done;
    unlock(o);
    if (old.vtable != NULL && !is(o, "keeps_the_borrowed_waker")) {
      rawwaker_drop(old);
      if (is(o, "drops_the_old_waker_twice")) rawwaker_drop(old);
    }
  }
  if (!done) return RAWWAKER_PENDING;
  *(uint64_t *)out = 42;
  if (is(o, "leaks_after_ready")) o->first = true;
  return RAWWAKER_READY;
}

static void drop(void *data) {
  operation *o = data;
  lock(o);
  rawwaker old = o->kept;
  if (!is(o, "drop_races_with_wake")) o->kept.vtable = NULL;
  o->dropped = true;
  unlock(o);
  if (old.vtable != NULL && !is(o, "keeps_its_waker_over_drop") &&
      !is(o, "keeps_the_borrowed_waker"))
    rawwaker_drop(old);
  if (is(o, "leaks_if_never_polled") && o->polls == 0) return;
  if (is(o, "leaks_after_ready") && o->first) return;
  if (is(o, "never_ends_its_operation")) return;
  atomic_fetch_sub(&o->live, 1);
}

static bool dropped(void *arg) {
  operation *o = arg;
  lock(o);
  bool is_dropped = o->dropped;
  unlock(o);
  return is_dropped;
}
static bool pending_or_dropped(void *arg) {
  operation *o = arg;
  lock(o);
  bool is_pending = o->kept.vtable != NULL || o->dropped;
  unlock(o);
  return is_pending;
}

/* Wakes, sets the condition, then wakes the same waker again: a task that always polls with the
 * same waker loses no wake. One with another waker between wake and condition is lost. */
static void wake_then_set(operation *o) {
  lock(o);
  rawwaker w = o->kept;
  o->kept.vtable = NULL;
  unlock(o);
  if (w.vtable != NULL) {
    rawwaker_wake_by_ref(&w);
    if (o->waits) broken_wait(pending_or_dropped, o, 60000);
  }
  lock(o);
  o->done = true;
  unlock(o);
  if (w.vtable != NULL) rawwaker_wake(w);
}

static void complete(void *arg) {
  operation *o = arg;
  if (is(o, "wakes_before_its_condition")) {
    wake_then_set(o);
    return;
  }
  lock(o);
  o->done = true;
  rawwaker w = o->kept;
  if (is(o, "wakes_under_its_lock")) {
    o->kept.vtable = NULL;
    if (w.vtable != NULL) rawwaker_wake(w);
    unlock(o);
    return;
  }
  if (!is(o, "drop_races_with_wake") && !is(o, "never_wakes")) o->kept.vtable = NULL;
  unlock(o);
  if (w.vtable == NULL || is(o, "never_wakes")) return;
  if (is(o, "keeps_the_borrowed_waker")) {
    rawwaker_wake_by_ref(&w);
    return;
  }
  if (is(o, "drop_races_with_wake")) {
    broken_wait(dropped, o, 50); /* if there is a drop: the wake comes after it in either order */
    rawwaker_wake_by_ref(&w);
    return;
  }
  rawwaker_wake(w);
  if (is(o, "wakes_then_drops")) rawwaker_drop(w);
}

static const rawwaker_future_vtable vtable = {poll, drop};
static const rawwaker_future_vtable holed = {poll, NULL};

static long live(void *arg) { return atomic_load(&((operation *)arg)->live); }

void broken_future_waits(rawwaker_test_future *f) { ((operation *)f->arg)->waits = true; }

rawwaker_test_future broken_future(void *entry) {
  operation *o = calloc(1, sizeof *o);
  if (o == NULL) abort();
  o->b = entry;
  o->maker = pthread_self();
  pthread_mutex_init(&o->lock, NULL);
  atomic_init(&o->live, 1);
  return (rawwaker_test_future){{o, is(o, "future_without_drop") ? &holed : &vtable},
                                o,
                                sizeof(uint64_t),
                                complete,
                                live,
                                free,
                                is(o, "never_ends_its_operation")};
}
