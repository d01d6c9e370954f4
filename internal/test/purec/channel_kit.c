/* channel_kit.c - runs the kit's scenarios for streams on the stream of a channel. ./run builds and
 * runs it. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "rawwaker_channel.h"
#include "rawwaker_test.h"

enum { ITEMS = 5 };
typedef struct item {
  uint64_t words[3];
} item;
static const item items[ITEMS] = {{{1, 2, 3}}, {{4, 5, 6}}, {{7, 8, 9}}, {{10, 11, 12}}, {{13}}};

typedef struct subject {
  size_t sent;
  rawwaker_sender *tx;
  _Atomic(size_t) wanted; /* by the kit, of the engine */
  _Atomic(bool) started, cancelled;
  _Atomic(long) live; /* 1 until release */
  pthread_t engine;
} subject;

static subject *subject_new(void) {
  subject *s = calloc(1, sizeof *s);
  if (s == NULL) abort();
  atomic_init(&s->live, 1);
  return s;
}
static void on_release(void *arg) { atomic_store(&((subject *)arg)->live, 0); }

static rawwaker_test_stream stream_of(subject *s, size_t capacity,
                                      const rawwaker_channel_ops *ops) {
  return (rawwaker_test_stream){
      .stream = rawwaker_channel_new(sizeof(item), _Alignof(item), capacity, ops, s, &s->tx),
      .arg = s,
      .size = sizeof(item),
      .items = items,
      .count = ITEMS,
      .ahead = capacity};
}

/* ---- the kit sends ---- */

static void send_next(void *arg) {
  subject *s = arg;
  if (s->sent++ == ITEMS) {
    rawwaker_sender_drop(s->tx);
    s->tx = NULL;
  } else if (rawwaker_sender_try_send(s->tx, &items[s->sent - 1]) == RAWWAKER_FULL) {
    abort(); /* there are as many places as items ahead */
  }
}
/* Without a live: the channel exists as long as its sender, which ends here at the latest. */
static void end_sender(void *arg) {
  subject *s = arg;
  if (s->tx != NULL) rawwaker_sender_drop(s->tx);
  if (atomic_load(&s->live) != 0) abort();
  free(s);
}
static rawwaker_test_stream make_sent(void *capacity) {
  static const rawwaker_channel_ops ops = {NULL, NULL, NULL, on_release};
  rawwaker_test_stream t = stream_of(subject_new(), *(size_t *)capacity, &ops);
  t.produce = send_next;
  t.free = end_sender;
  return t;
}

/* ---- an engine, a thread that the first poll starts, sends; it sees a cancel later ---- */

static void *engine_main(void *arg) {
  subject *s = arg;
  while (s->tx != NULL && !atomic_load(&s->cancelled))
    if (atomic_load(&s->wanted) > s->sent)
      send_next(s);
    else
      sched_yield();
  if (s->tx != NULL) rawwaker_sender_drop(s->tx);
  return NULL;
}
static void engine_start(void *arg) {
  subject *s = arg;
  atomic_store(&s->started, true);
  if (pthread_create(&s->engine, NULL, engine_main, s) != 0) abort();
}
static void engine_cancel(void *arg) { atomic_store(&((subject *)arg)->cancelled, true); }
static void want_next(void *arg) { atomic_fetch_add(&((subject *)arg)->wanted, 1); }
static long engine_live(void *arg) { return atomic_load(&((subject *)arg)->live); }
static void join_engine(void *arg) {
  subject *s = arg;
  if (atomic_load(&s->started)) pthread_join(s->engine, NULL);
  free(s);
}
static rawwaker_test_stream make_engine(void *capacity) {
  static const rawwaker_channel_ops ops = {engine_start, engine_cancel, NULL, on_release};
  rawwaker_test_stream t = stream_of(subject_new(), *(size_t *)capacity, &ops);
  t.produce = want_next;
  t.live = engine_live;
  t.free = join_engine;
  t.lingers = true;
  return t;
}

int main(void) {
  static size_t one = 1, three = 3, many = 64;
  int failed = rawwaker_test_streams("a channel of one place", make_sent, &one);
  failed += rawwaker_test_streams("a channel of three places", make_sent, &three);
  failed += rawwaker_test_streams("a channel of many places", make_sent, &many);
  failed += rawwaker_test_streams("a channel of one place and an engine", make_engine, &one);
  failed += rawwaker_test_streams("a channel of three places and an engine", make_engine, &three);
  return failed != 0 || rawwaker_live() != 0;
}
