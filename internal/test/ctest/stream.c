#include "stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifndef _WIN32
#include <sys/wait.h>
#endif

static void *or_die(void *p) {
  if (p == NULL) abort();
  return p;
}

/* -------------------------------------------------------------------------------- replies -- */

static _Atomic(uint64_t) replies_live;

static ctest_reply reply_new(uint64_t n) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)n);
  atomic_fetch_add(&replies_live, 1);
  return (ctest_reply){or_die(strdup(text)), n};
}
void ctest_reply_free(ctest_reply *r) {
  if (r->text == NULL) abort(); /* the second time */
  free(r->text);
  r->text = NULL;
  atomic_fetch_sub(&replies_live, 1);
}
uint64_t ctest_replies_live(void) { return replies_live; }

struct ctest_query {
  rawwaker_cell cell;
  _Atomic(uint32_t) done, refs;
  ctest_reply reply; /* its text is NULL after it was given */
};
static void query_unref(ctest_query *q) {
  if (atomic_fetch_sub(&q->refs, 1) != 1) return;
  if (q->reply.text != NULL) ctest_reply_free(&q->reply);
  free(q);
}
static rawwaker_poll query_poll(void *data, rawwaker_context *cx, void *out) {
  ctest_query *q = data;
  rawwaker_cell_register(&q->cell, cx->waker);
  if (!atomic_load(&q->done)) return RAWWAKER_PENDING;
  if (((ctest_reply *)out)->text != NULL) abort(); /* out is not zeroed */
  *(ctest_reply *)out = q->reply;
  q->reply.text = NULL;
  return RAWWAKER_READY;
}
static void query_drop(void *data) {
  ctest_query *q = data;
  rawwaker_cell_drop(&q->cell);
  query_unref(q);
}
static const rawwaker_future_vtable query_vtable = {query_poll, query_drop};

ctest_query *ctest_query_new(void) {
  ctest_query *q = or_die(calloc(1, sizeof *q));
  q->refs = 1;
  return q;
}
rawwaker_future ctest_query_future(ctest_query *q) {
  atomic_fetch_add(&q->refs, 1);
  return (rawwaker_future){q, &query_vtable};
}
void ctest_query_complete(ctest_query *q, uint64_t n) {
  q->reply = reply_new(n);
  atomic_store(&q->done, 1);
  rawwaker_cell_wake(&q->cell);
  query_unref(q);
}
typedef struct queries {
  ctest_query **all;
  uint32_t n;
} queries;
static void *complete_queries(void *arg) {
  queries *q = arg;
  for (uint32_t i = 0; i < q->n; i++) ctest_query_complete(q->all[i], i);
  return NULL;
}
void ctest_queries_complete(ctest_query **all, uint32_t n) {
  queries q = {all, n};
  pthread_t id;
  if (pthread_create(&id, NULL, complete_queries, &q) != 0) abort();
  pthread_join(id, NULL);
}

/* -------------------------------------------------------------------------------- streams -- */

struct ctest_feed {
  char *letters;
  size_t at;
  bool replies, calling;
  rawwaker kept;
  uint64_t items;
  _Atomic(int) polls, drops;
};

extern void ctestCall(void);

static void *wake_it(void *arg) {
  rawwaker_wake(*(rawwaker *)arg);
  return NULL;
}
static void wake_on_thread(rawwaker w) { /* consumes it */
  pthread_t id;
  if (pthread_create(&id, NULL, wake_it, &w) != 0) abort();
  pthread_join(id, NULL);
}
static rawwaker_poll feed_step(ctest_feed *f, rawwaker_context *cx, void *out) {
  char letter = f->letters[f->at];
  if (letter != '*' && letter != 0) f->at++;
  switch (letter) {
    case 'i':
    case '*':
      f->items++;
      if (f->replies) {
        if (((ctest_reply *)out)->text != NULL) abort(); /* out is not zeroed */
        *(ctest_reply *)out = reply_new(f->items);
      } else if (out != NULL) {
        memcpy(out, &f->items, sizeof f->items);
      }
      return RAWWAKER_READY;
    case 's': rawwaker_wake_by_ref(cx->waker); return RAWWAKER_PENDING;
    case 'k': rawwaker_clone_from(&f->kept, cx->waker); return RAWWAKER_PENDING;
    case 't':
      rawwaker_clone_from(&f->kept, cx->waker);
      wake_on_thread(rawwaker_clone(&f->kept));
      return RAWWAKER_PENDING;
    case 'c': ctestCall(); return RAWWAKER_PENDING;
    case 'd': return RAWWAKER_DONE;
    case 'D': f->calling = true; return RAWWAKER_DONE;
    case 'p': rawwaker_set_panic("why not", 7); return RAWWAKER_PANICKED;
    case '9': return 9;
    case '.': return RAWWAKER_PENDING;
    default: abort(); /* polled after its end */
  }
}
static rawwaker_poll feed_poll_next(void *data, rawwaker_context *cx, void *out) {
  ctest_feed *f = data;
  f->polls++;
  return feed_step(f, cx, out);
}
static void feed_drop(void *data) {
  ctest_feed *f = data;
  if (f->kept.vtable != NULL) rawwaker_drop(f->kept);
  f->kept.vtable = NULL;
  rawwaker_set_panic("not this", 8);
  f->drops++;
  if (f->calling) ctestCall();
}
static const rawwaker_stream_vtable feed_vtable = {feed_poll_next, feed_drop};

ctest_feed *ctest_feed_new(const char *letters, bool replies) {
  ctest_feed *f = or_die(calloc(1, sizeof *f));
  f->letters = or_die(strdup(letters));
  f->replies = replies;
  return f;
}
rawwaker_stream ctest_feed_stream(ctest_feed *f) { return (rawwaker_stream){f, &feed_vtable}; }
void ctest_feed_wake(ctest_feed *f) { wake_on_thread(rawwaker_clone(&f->kept)); }
int ctest_feed_polls(ctest_feed *f) { return f->polls; }
int ctest_feed_drops(ctest_feed *f) { return f->drops; }
void ctest_feed_free(ctest_feed *f) {
  free(f->letters);
  free(f);
}

rawwaker_poll ctest_poll_next(rawwaker_stream s, rawwaker w, void *out) {
  rawwaker_context cx = {&w};
  return s.vtable->poll_next(s.data, &cx, out);
}

#ifdef _WIN32 /* no fork: the test skips */
rawwaker_poll ctest_poll_forked(rawwaker_stream s, rawwaker w, char *text, size_t size) {
  (void)s, (void)w, (void)text, (void)size;
  abort();
}
#else
rawwaker_poll ctest_poll_forked(rawwaker_stream s, rawwaker w, char *text, size_t size) {
  int ends[2];
  if (pipe(ends) != 0) abort();
  pid_t child = fork();
  if (child == 0) {
    uint64_t out;
    rawwaker_poll got = ctest_poll_next(s, w, &out);
    const char *why = rawwaker_last_panic();
    if (write(ends[1], why, strlen(why)) < 0) _exit(99);
    s.vtable->drop(s.data);
    _exit(got);
  }
  close(ends[1]);
  size_t n = 0;
  for (ssize_t got; (got = read(ends[0], text + n, size - 1 - n)) > 0;) n += (size_t)got;
  text[n] = 0;
  close(ends[0]);
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 98;
  return (rawwaker_poll)WEXITSTATUS(status);
}
#endif
