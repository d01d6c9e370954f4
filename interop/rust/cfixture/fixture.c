/* Futures and streams of C for the tests of the Rust crate. */

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rawwaker_channel.h"

static _Atomic(size_t) live; /* futures and streams of this file */

size_t fixture_live(void) { return live; }

/* ------------------------------------------------------------- a future that awaits another -- */

enum {
  PASS,    /* what the inner future gives */
  COPY,    /* the same, but the inner future is dropped before that, and its text set again */
  OWN,     /* the inner future's panic is caught; this one panics for a reason of its own */
  SILENT,  /* it is caught too, and this one panics without a text */
  RESCUE,  /* it is caught, and the result is 7 */
  AFTER,   /* as PASS, after a panic of the other future was caught */
  OLDER,   /* as PASS, and a panic of the other future is caught between */
  ELSEWHERE /* as COPY; a thread of its own polls */
};

typedef struct forward {
  rawwaker_future inner, other;
  int mode;
} forward;

static void forward_end(rawwaker_future *f) {
  if (f->vtable != NULL) f->vtable->drop(f->data);
  f->vtable = NULL;
}

typedef struct polling {
  rawwaker_future f;
  rawwaker_context *cx;
  void *out;
  rawwaker_poll code;
  char text[1025];
} polling;

static void *poll_copying(void *arg) {
  polling *p = arg;
  p->code = p->f.vtable->poll(p->f.data, p->cx, p->out);
  strncpy(p->text, rawwaker_last_panic(), sizeof p->text - 1);
  return NULL;
}

static rawwaker_poll forward_poll(void *data, rawwaker_context *cx, void *out) {
  forward *f = data;
  polling first = {.f = f->inner, .cx = cx, .out = out}, second = {.cx = cx, .out = out};
  if (f->mode == AFTER) {
    second.f = f->other;
    poll_copying(&second);
    forward_end(&f->other);
  }
  if (f->mode == ELSEWHERE) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, poll_copying, &first) != 0) abort();
    pthread_join(thread, NULL);
  } else {
    poll_copying(&first);
  }
  if (first.code != RAWWAKER_PANICKED) return first.code;
  switch (f->mode) {
  case OWN:
    rawwaker_set_panic("C's own", 7);
    return RAWWAKER_PANICKED;
  case SILENT:
    rawwaker_set_panic(NULL, 0);
    return RAWWAKER_PANICKED;
  case RESCUE:
    *(uint64_t *)out = 7;
    return RAWWAKER_READY;
  case OLDER:
    second.f = f->other;
    poll_copying(&second);
    rawwaker_set_panic(first.text, strlen(first.text));
    return RAWWAKER_PANICKED;
  case COPY:
  case ELSEWHERE:
    forward_end(&f->inner);
    rawwaker_set_panic(first.text, strlen(first.text));
    return RAWWAKER_PANICKED;
  default:
    return RAWWAKER_PANICKED;
  }
}

static void forward_drop(void *data) {
  forward *f = data;
  forward_end(&f->inner);
  forward_end(&f->other);
  free(f);
  live--;
}

/* Takes both futures over. other's vtable may be NULL, and is for AFTER and OLDER. */
rawwaker_future fixture_forward(rawwaker_future inner, rawwaker_future other, int mode) {
  static const rawwaker_future_vtable vtable = {forward_poll, forward_drop};
  forward *f = malloc(sizeof *f);
  if (f == NULL) abort();
  *f = (forward){inner, other, mode};
  live++;
  return (rawwaker_future){f, &vtable};
}

/* ----------------------------------------------------------------------------- a stream of C -- */

typedef struct counter {
  uint64_t next, end;
  rawwaker_poll last;
  bool pending;
} counter;

static rawwaker_poll counter_poll_next(void *data, rawwaker_context *cx, void *out) {
  counter *c = data;
  c->pending = !c->pending;
  if (c->pending) {
    rawwaker_wake_by_ref(cx->waker);
    return RAWWAKER_PENDING;
  }
  if (c->next < c->end) {
    *(uint64_t *)out = c->next++;
    return RAWWAKER_READY;
  }
  if (c->last == RAWWAKER_PANICKED) rawwaker_set_panic("C's stream", 10);
  return c->last;
}

static void counter_drop(void *data) {
  free(data);
  live--;
}

/* Writes a stream of the numbers 0 to n-1 to *out. It is pending before each, and ends with the
 * code last. */
void fixture_count(uint64_t n, rawwaker_poll last, rawwaker_stream *out) {
  static const rawwaker_stream_vtable vtable = {counter_poll_next, counter_drop};
  counter *c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  c->end = n;
  c->last = last;
  live++;
  *out = (rawwaker_stream){c, &vtable};
}

/* ----------------------------------------------------------------------------- a future of C -- */

typedef struct value {
  uint64_t v;
} value;

static rawwaker_poll value_poll(void *data, rawwaker_context *cx, void *out) {
  (void)cx;
  *(uint64_t *)out = ((value *)data)->v;
  return RAWWAKER_READY;
}

static void value_drop(void *data) {
  free(data);
  live--;
}

/* Writes a future that is v to *out, or nothing if v is 0. */
void fixture_value(uint64_t v, rawwaker_future *out) {
  static const rawwaker_future_vtable vtable = {value_poll, value_drop};
  if (v == 0) return;
  value *p = malloc(sizeof *p);
  if (p == NULL) abort();
  p->v = v;
  live++;
  *out = (rawwaker_future){p, &vtable};
}

/* ------------------------------------------------------------------------- a producer of C -- */

typedef struct producer {
  pthread_t thread;
  rawwaker_sender *tx;
  uint64_t n;
  bool fails;
  void (*wait)(void *arg, rawwaker_future room);
  void *arg;
  _Atomic(uint64_t) counts[4]; /* of calls: sent, full, destroy, release */
} producer;

static void producer_destroy(void *arg, void *item) {
  (void)item;
  ((producer *)arg)->counts[2]++;
}
static void producer_release(void *arg) { ((producer *)arg)->counts[3]++; }

static void *producer_run(void *arg) {
  producer *p = arg;
  int got = RAWWAKER_SENT;
  for (uint64_t i = 0; i < p->n && got != RAWWAKER_CLOSED; i++) {
    while ((got = rawwaker_sender_try_send(p->tx, &i)) == RAWWAKER_FULL) {
      p->counts[1]++;
      p->wait(p->arg, rawwaker_sender_room(p->tx));
    }
    if (got == RAWWAKER_SENT) p->counts[0]++;
  }
  if (p->fails)
    rawwaker_sender_fail(p->tx, "C's producer", 12);
  else
    rawwaker_sender_drop(p->tx);
  return NULL;
}

/* Writes the stream of a channel of capacity 4 to *out, and starts a thread that sends the numbers
 * 0 to n-1 to it, and then fails or ends. It calls wait(arg, room) each time that the channel is
 * full; wait takes room. */
producer *fixture_produce(uint64_t n, bool fails, void (*wait)(void *arg, rawwaker_future room),
                          void *arg, rawwaker_stream *out) {
  static const rawwaker_channel_ops ops = {.destroy = producer_destroy,
                                           .release = producer_release};
  producer *p = calloc(1, sizeof *p);
  if (p == NULL) abort();
  p->n = n;
  p->fails = fails;
  p->wait = wait;
  p->arg = arg;
  live++;
  *out = rawwaker_channel_new(sizeof n, _Alignof(uint64_t), 4, &ops, p, &p->tx);
  if (pthread_create(&p->thread, NULL, producer_run, p) != 0) abort();
  return p;
}

/* Waits until the thread has ended. The stream was dropped. Takes p. */
void fixture_join(producer *p, uint64_t counts[4]) {
  pthread_join(p->thread, NULL);
  for (int i = 0; i < 4; i++) counts[i] = p->counts[i];
  free(p);
  live--;
}

/* ------------------------------------------------------------------ C reads a stream of Rust -- */

typedef struct reader {
  rawwaker_stream s;
  uint64_t *items;
} reader;

static rawwaker_poll reader_poll(void *data, rawwaker_context *cx, void *out) {
  reader *r = data;
  (void)out;
  for (;;) {
    rawwaker_poll got = r->s.vtable->poll_next(r->s.data, cx, r->items);
    if (got != RAWWAKER_READY) return got == RAWWAKER_DONE ? RAWWAKER_READY : got;
    r->items++;
  }
}
static void reader_drop(void *data) {
  reader *r = data;
  r->s.vtable->drop(r->s.data);
}

/* Reads the stream to its end on this thread, and drops it. items has room for one more than there
 * are. Returns READY after DONE, or PANICKED, and the number of items in *n. */
rawwaker_poll fixture_read(rawwaker_stream s, uint64_t *items, size_t *n) {
  static const rawwaker_future_vtable vtable = {reader_poll, reader_drop};
  reader r = {s, items};
  rawwaker_poll got = rawwaker_block_on((rawwaker_future){&r, &vtable}, NULL);
  *n = (size_t)(r.items - items);
  return got;
}
