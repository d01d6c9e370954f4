#include "broken.h"

#include "rawwaker_audit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A queue of items that the kit fills. lock guards what follows it, unless the fault is that it
 * does not. */
enum { COUNT = 4 };
static const uint64_t items[COUNT] = {11, 12, 13, 14};
typedef struct queue {
  const broken *b;
  pthread_mutex_t lock;
  rawwaker kept;        /* vtable NULL: none */
  size_t there, given;  /* items that were produced, and that were received; the last is the end */
  bool dropped, done;
  _Atomic(int) polls;
  _Atomic(bool) woken;  /* since the latest item was given */
  pthread_t maker;
  _Atomic(long) live;
} queue;

static bool is(const queue *q, const char *fault) { return broken_is(q->b, fault); }
/* The lock is reported to the auditor. */
static void lock(queue *q) {
  pthread_mutex_lock(&q->lock);
  rawwaker_audit_lock(1);
}
static void unlock(queue *q) {
  rawwaker_audit_lock(-1);
  pthread_mutex_unlock(&q->lock);
}

static bool has_more(void *arg) {
  queue *q = arg;
  lock(q);
  bool more = q->there > q->given;
  unlock(q);
  return more;
}

/* Keeps a clone of w, and returns whether an item is there meanwhile. */
static bool keep(queue *q, const rawwaker *w) {
  bool locked = is(q, "stream_clones_under_its_lock"), borrows = is(q, "stream_keeps_the_borrowed");
  if (locked) lock(q);
  rawwaker mine = borrows ? *w : rawwaker_clone(w);
  if (!locked) lock(q);
  rawwaker old = q->kept;
  q->kept = mine;
  bool more = q->there > q->given;
  unlock(q);
  if (old.vtable != NULL && !borrows) {
    rawwaker_drop(old);
    if (is(q, "stream_drops_the_old_waker_twice")) rawwaker_drop(old);
  }
  return more;
}

static rawwaker_poll poll_next(void *data, rawwaker_context *cx, void *out) {
  queue *q = data;
  bool stranger = !pthread_equal(pthread_self(), q->maker);
  if (++q->polls == 3 && is(q, "stream_gives_no_code")) return 9;
  if (is(q, "stream_writes_early")) *(uint64_t *)out = 1;
  if (is(q, "stream_drops_the_borrowed")) rawwaker_drop(*cx->waker);
  if (q->done && is(q, "done_then_pending")) {
    keep(q, cx->waker);
    return RAWWAKER_PENDING;
  }
  if (q->done) return RAWWAKER_DONE;
  bool more = has_more(q);
  if (is(q, "one_item_for_a_wake") && !atomic_exchange(&q->woken, false)) {
    keep(q, cx->waker);
    return RAWWAKER_PENDING;
  }
  if (!more && is(q, "stream_keeps_no_waker")) return RAWWAKER_PENDING;
  if (!more && is(q, "stream_keeps_the_first_waker") && q->kept.vtable != NULL)
    return RAWWAKER_PENDING;
  if (!more && is(q, "stream_knows_one_thread") && stranger) return RAWWAKER_PENDING;
  if (!more && is(q, "looks_then_registers")) {
    broken_wait(has_more, q, 20);
    keep(q, cx->waker);
    return RAWWAKER_PENDING;
  }
  if (!more && !keep(q, cx->waker)) return RAWWAKER_PENDING;
  lock(q);
  size_t i = q->given++;
  unlock(q);
  if (i == COUNT) {
    q->done = true;
    return RAWWAKER_DONE;
  }
  if (i == 1 && is(q, "skips_an_item")) i = 2;
  *(uint64_t *)out = items[i];
  return RAWWAKER_READY;
}

static void drop(void *data) {
  queue *q = data;
  lock(q);
  rawwaker old = q->kept;
  if (!is(q, "stream_drop_races_with_wake")) q->kept.vtable = NULL;
  q->dropped = true;
  bool left = q->there > q->given;
  unlock(q);
  if (old.vtable != NULL && !is(q, "stream_keeps_its_waker_over_drop") &&
      !is(q, "stream_keeps_the_borrowed"))
    rawwaker_drop(old);
  if (is(q, "stream_leaks_if_never_polled") && q->polls == 0) return;
  if (is(q, "leaks_items_that_are_left") && left) return;
  if (is(q, "leaks_after_done") && q->done) return;
  atomic_fetch_sub(&q->live, 1);
}

static bool dropped(void *arg) {
  queue *q = arg;
  lock(q);
  bool is_dropped = q->dropped;
  unlock(q);
  return is_dropped;
}

static void produce(void *arg) {
  queue *q = arg;
  atomic_store(&q->woken, true);
  if (is(q, "stream_wakes_before_its_condition")) {
    lock(q);
    rawwaker w = q->kept;
    q->kept.vtable = NULL;
    unlock(q);
    if (w.vtable != NULL) rawwaker_wake_by_ref(&w);
    lock(q);
    q->there++;
    unlock(q);
    if (w.vtable != NULL) rawwaker_wake(w);
    return;
  }
  lock(q);
  q->there++;
  rawwaker w = q->kept;
  if (is(q, "stream_wakes_under_its_lock")) {
    q->kept.vtable = NULL;
    if (w.vtable != NULL) rawwaker_wake(w);
    unlock(q);
    return;
  }
  if (!is(q, "stream_drop_races_with_wake") && !is(q, "stream_never_wakes")) q->kept.vtable = NULL;
  unlock(q);
  if (w.vtable == NULL || is(q, "stream_never_wakes")) return;
  if (is(q, "stream_keeps_the_borrowed")) {
    rawwaker_wake_by_ref(&w);
    return;
  }
  if (is(q, "stream_drop_races_with_wake")) {
    broken_wait(dropped, q, 50);
    rawwaker_wake_by_ref(&w);
    return;
  }
  rawwaker_wake(w);
}

static const rawwaker_stream_vtable vtable = {poll_next, drop};
static const rawwaker_stream_vtable holed = {poll_next, NULL};

static long live(void *arg) { return atomic_load(&((queue *)arg)->live); }

rawwaker_test_stream broken_stream(void *entry) {
  queue *q = calloc(1, sizeof *q);
  if (q == NULL) abort();
  q->b = entry;
  q->maker = pthread_self();
  pthread_mutex_init(&q->lock, NULL);
  atomic_init(&q->live, 1);
  return (rawwaker_test_stream){.stream = {q, is(q, "stream_without_drop") ? &holed : &vtable},
                                .arg = q,
                                .size = sizeof(uint64_t),
                                .items = items,
                                .count = COUNT,
                                .produce = produce,
                                .ahead = COUNT + 1,
                                .live = live,
                                .free = free};
}
