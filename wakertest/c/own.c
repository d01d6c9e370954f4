/* own.c - tests the library's own wakers, a future and a stream that keep their waker in a
 * rawwaker_cell, a oneshot whose engine holds the operation longer than the future, and
 * rawwaker_block_on, with the kit. It is an example for tests of your own.
 * Build it in this folder:
 *
 *   gcc -std=c11 -I../.. own.c rawwaker_test.c ../../rawwaker.c -pthread -o own && ./own
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "rawwaker_test.h"

static void *need(void *p) {
  if (p == NULL) abort();
  return p;
}

/* ---- rawwaker_from_fn: each wake is counted ---- */

typedef struct counter {
  _Atomic(size_t) wakes;
  _Atomic(bool) dropped;
  void (*hook)(void *);
  void *with;
} counter;

static void counter_wake(void *arg) {
  counter *c = arg;
  atomic_fetch_add(&c->wakes, 1);
  if (c->hook != NULL) c->hook(c->with);
}
static void counter_dropped(void *arg) { atomic_store(&((counter *)arg)->dropped, true); }
static size_t counter_wakes(void *arg) { return atomic_load(&((counter *)arg)->wakes); }
static void counter_on_wake(void *arg, void (*f)(void *), void *with) {
  counter *c = arg;
  c->with = with;
  c->hook = f;
}
static void counter_free(void *arg) {
  if (!atomic_load(&((counter *)arg)->dropped)) abort(); /* the last reference has ended */
  free(arg);
}
static rawwaker_test_waker make_counter(void *unused) {
  (void)unused;
  counter *c = need(calloc(1, sizeof *c));
  return (rawwaker_test_waker){.waker = rawwaker_from_fn(counter_wake, c, counter_dropped),
                               .arg = c,
                               .wakes = counter_wakes,
                               .on_wake = counter_on_wake,
                               .free = counter_free,
                               .exact = true};
}

/* ---- a box and its sink: the task of a runtime ---- */

typedef struct boxed {
  pthread_mutex_t lock; /* guards woken and wakes */
  rawwaker_sink *sink;
  rawwaker_box *box;
  size_t woken, wakes;
} boxed;

/* After a wake, a task counts the next one only if it was polled in between. */
static size_t boxed_wakes(void *arg) {
  boxed *b = arg;
  rawwaker_notice n;
  pthread_mutex_lock(&b->lock);
  if (b->woken == 0) {
    rawwaker_box *list = rawwaker_sink_take(b->sink);
    while (rawwaker_box_read(&list, &n, 1) != 0) b->woken += n.woken && n.id == 7;
    b->wakes += b->woken;
  }
  size_t wakes = b->wakes;
  pthread_mutex_unlock(&b->lock);
  return wakes;
}
static void boxed_poll(void *arg, void (*during)(void *), void *with) {
  boxed *b = arg;
  boxed_wakes(b);
  pthread_mutex_lock(&b->lock);
  b->woken = 0;
  pthread_mutex_unlock(&b->lock);
  if (during != NULL) during(with);
}
static void boxed_end(void *arg) {
  boxed *b = arg;
  rawwaker_box_close(b->box);
  b->box = NULL;
}
static void boxed_free(void *arg) {
  boxed *b = arg;
  boxed_wakes(b);
  if (b->box != NULL) rawwaker_box_close(b->box);
  rawwaker_sink_drop(b->sink);
  free(b);
}
static rawwaker_test_waker make_boxed(void *unused) {
  (void)unused;
  boxed *b = need(calloc(1, sizeof *b));
  pthread_mutex_init(&b->lock, NULL);
  b->sink = need(rawwaker_sink_new(0));
  b->box = need(rawwaker_box_new(b->sink, 7, 0));
  return (rawwaker_test_waker){.waker = rawwaker_box_ref(b->box),
                               .arg = b,
                               .wakes = boxed_wakes,
                               .poll = boxed_poll,
                               .end = boxed_end,
                               .free = boxed_free};
}

/* ---- a future that another thread completes ---- */

typedef struct operation {
  rawwaker_cell cell;
  _Atomic(bool) done;
  _Atomic(long) live;
} operation;

static rawwaker_poll operation_poll(void *data, rawwaker_context *cx, void *out) {
  operation *o = data;
  rawwaker_cell_register(&o->cell, cx->waker); /* register before the test: no wake is lost */
  if (!atomic_load(&o->done)) return RAWWAKER_PENDING;
  *(uint64_t *)out = 42;
  return RAWWAKER_READY;
}
static void operation_drop(void *data) {
  operation *o = data;
  rawwaker_cell_drop(&o->cell);
  atomic_store(&o->live, 0);
}
static void operation_complete(void *arg) {
  operation *o = arg;
  atomic_store(&o->done, true);
  rawwaker_cell_wake(&o->cell);
}
static long operation_live(void *arg) { return atomic_load(&((operation *)arg)->live); }
static const rawwaker_future_vtable operation_vtable = {operation_poll, operation_drop};
static rawwaker_test_future make_operation(void *unused) {
  (void)unused;
  operation *o = need(calloc(1, sizeof *o));
  atomic_init(&o->live, 1);
  return (rawwaker_test_future){.future = {o, &operation_vtable},
                                .arg = o,
                                .size = sizeof(uint64_t),
                                .complete = operation_complete,
                                .live = operation_live,
                                .free = free};
}

/* ---- a oneshot whose engine, a thread, sees a cancel later than the drop ---- */

typedef struct request {
  rawwaker_oneshot *tx;
  _Atomic(bool) done, cancelled, started;
  _Atomic(long) live;
  pthread_t engine;
} request;

static void *request_engine(void *arg) {
  request *r = arg;
  while (!atomic_load(&r->done) && !atomic_load(&r->cancelled)) sched_yield();
  uint64_t result = 42;
  if (atomic_load(&r->done))
    rawwaker_oneshot_send(r->tx, &result);
  else
    rawwaker_oneshot_drop(r->tx);
  return NULL;
}
static void request_start(void *arg) {
  request *r = arg;
  atomic_store(&r->started, true);
  if (pthread_create(&r->engine, NULL, request_engine, r) != 0) abort();
}
static void request_cancel(void *arg) { atomic_store(&((request *)arg)->cancelled, true); }
static void request_release(void *arg) { atomic_store(&((request *)arg)->live, 0); }
static const rawwaker_oneshot_ops request_ops = {request_start, request_cancel, NULL,
                                                 request_release};
static void request_complete(void *arg) { atomic_store(&((request *)arg)->done, true); }
static long request_live(void *arg) { return atomic_load(&((request *)arg)->live); }
static void request_free(void *arg) {
  request *r = arg;
  if (atomic_load(&r->started)) pthread_join(r->engine, NULL);
  free(r);
}
static rawwaker_test_future make_request(void *unused) {
  (void)unused;
  request *r = need(calloc(1, sizeof *r));
  atomic_init(&r->live, 1);
  rawwaker_future f =
      rawwaker_oneshot_new(sizeof(uint64_t), _Alignof(uint64_t), &request_ops, r, &r->tx);
  return (rawwaker_test_future){.future = f,
                                .arg = r,
                                .size = sizeof(uint64_t),
                                .complete = request_complete,
                                .live = request_live,
                                .free = request_free,
                                .lingers = true};
}

/* ---- a stream of numbers that another thread counts up ---- */

enum { NUMBERS = 5 };
static const uint64_t numbers[NUMBERS] = {10, 11, 12, 13, 14};
typedef struct counting {
  rawwaker_cell cell;
  _Atomic(size_t) there; /* items that were produced; the last is the end */
  size_t given;
  _Atomic(long) live;
} counting;

static rawwaker_poll counting_poll_next(void *data, rawwaker_context *cx, void *out) {
  counting *c = data;
  rawwaker_cell_register(&c->cell, cx->waker); /* register before the test: no wake is lost */
  if (atomic_load(&c->there) == c->given) return RAWWAKER_PENDING;
  if (c->given == NUMBERS) return RAWWAKER_DONE;
  *(uint64_t *)out = numbers[c->given++];
  return RAWWAKER_READY;
}
static void counting_drop(void *data) {
  counting *c = data;
  rawwaker_cell_drop(&c->cell);
  atomic_store(&c->live, 0);
}
static void counting_produce(void *arg) {
  counting *c = arg;
  atomic_fetch_add(&c->there, 1);
  rawwaker_cell_wake(&c->cell);
}
static long counting_live(void *arg) { return atomic_load(&((counting *)arg)->live); }
static const rawwaker_stream_vtable counting_vtable = {counting_poll_next, counting_drop};
static rawwaker_test_stream make_counting(void *unused) {
  (void)unused;
  counting *c = need(calloc(1, sizeof *c));
  atomic_init(&c->live, 1);
  return (rawwaker_test_stream){.stream = {c, &counting_vtable},
                                .arg = c,
                                .size = sizeof(uint64_t),
                                .items = numbers,
                                .count = NUMBERS,
                                .produce = counting_produce,
                                .ahead = NUMBERS + 1,
                                .live = counting_live,
                                .free = free};
}

/* ---- rawwaker_block_on: each future on a thread of its own ---- */

enum { MOST = 128 };
typedef struct blocker {
  rawwaker_future f[MOST];
  pthread_t threads[MOST];
  int spawned, begun;
} blocker;

static void blocker_spawn(void *arg, rawwaker_future f) {
  blocker *b = arg;
  if (b->spawned == MOST) abort();
  b->f[b->spawned++] = f;
}
static void *blocker_thread(void *arg) {
  rawwaker_future *f = arg;
  rawwaker_block_on(*f, NULL);
  return NULL;
}
static void blocker_run(void *arg) {
  blocker *b = arg;
  int first = b->begun;
  for (; b->begun < b->spawned; b->begun++)
    if (pthread_create(&b->threads[b->begun], NULL, blocker_thread, &b->f[b->begun]) != 0) abort();
  for (int i = first; i < b->begun; i++) pthread_join(b->threads[i], NULL);
}
static void blocker_close(void *arg) {
  blocker *b = arg;
  for (int i = b->begun; i < b->spawned; i++) b->f[i].vtable->drop(b->f[i].data);
  free(b);
}
static rawwaker_test_executor make_blocker(void *unused) {
  (void)unused;
  return (rawwaker_test_executor){need(calloc(1, sizeof(blocker))), blocker_spawn, blocker_run,
                                  blocker_close, false};
}

int main(void) {
  int failed = rawwaker_test_wakers("rawwaker_from_fn", make_counter, NULL);
  failed += rawwaker_test_wakers("a box and its sink", make_boxed, NULL);
  failed += rawwaker_test_futures("a future with a rawwaker_cell", make_operation, NULL);
  failed += rawwaker_test_futures("a oneshot of an engine", make_request, NULL);
  failed += rawwaker_test_streams("a stream with a rawwaker_cell", make_counting, NULL);
  failed += rawwaker_test_executors("rawwaker_block_on", make_blocker, NULL);
  return failed != 0 || rawwaker_live() != 0;
}
