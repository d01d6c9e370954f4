/* chost.c - see chost.h. Here the host is started from Go (chost.go), so that one process shows both sides. */
#include "chost.h"

#include <pthread.h>
#include <stdlib.h>

/* What the waker wakes: a flag, and somebody who may be asleep on it. */
typedef struct bell {
  pthread_mutex_t lock;
  pthread_cond_t rung;
  bool woken;
  int holders;   /* the last of them frees the bell */
} bell;

static void bell_leave(bell *b) {
  pthread_mutex_lock(&b->lock);
  bool last = --b->holders == 0;
  pthread_mutex_unlock(&b->lock);
  if (!last) return;
  pthread_cond_destroy(&b->rung);
  pthread_mutex_destroy(&b->lock);
  free(b);
}

/* On whatever thread wakes: it only tells. */
static void ring(void *arg) {
  bell *b = arg;
  pthread_mutex_lock(&b->lock);
  b->woken = true;
  pthread_cond_signal(&b->rung);
  pthread_mutex_unlock(&b->lock);
}

static void let_go(void *arg) { bell_leave(arg); }

typedef struct host {
  rawwaker_future future;
  void *out;
  rawwaker_poll poll;
} host;

static void *host_loop(void *arg) {
  host *h = arg;
  bell *b = calloc(1, sizeof *b);
  if (b == NULL) abort();
  pthread_mutex_init(&b->lock, NULL);
  pthread_cond_init(&b->rung, NULL);
  b->holders = 2; /* the loop, and the waker with all its clones */
  rawwaker waker = rawwaker_from_fn(ring, b, let_go);
  rawwaker_context cx = {&waker};
  while ((h->poll = h->future.vtable->poll(h->future.data, &cx, h->out)) == RAWWAKER_PENDING) {
    pthread_mutex_lock(&b->lock);
    while (!b->woken) pthread_cond_wait(&b->rung, &b->lock);
    b->woken = false;
    pthread_mutex_unlock(&b->lock);
  }
  h->future.vtable->drop(h->future.data);
  rawwaker_drop(waker);
  bell_leave(b);
  return NULL;
}

int chost_run(rawwaker_future f, void *out) {
  host h = {f, out, RAWWAKER_PENDING};
  pthread_t thread;
  int err = pthread_create(&thread, NULL, host_loop, &h);
  if (err != 0) {
    f.vtable->drop(f.data);
    return -err;
  }
  pthread_join(thread, NULL);
  return h.poll;
}

typedef struct errand {
  rawwaker *waker;
  int times;
} errand;

static void *errand_run(void *arg) {
  errand *e = arg;
  for (int i = 0; i < e->times; i++) rawwaker_wake_by_ref(e->waker);
  return NULL;
}

void chost_wake(rawwaker w, int threads, int times) {
  enum { MOST = 16 };
  pthread_t all[MOST];
  errand e = {&w, times};
  int started = 0;
  while (started < threads && started < MOST &&
         pthread_create(&all[started], NULL, errand_run, &e) == 0)
    started++;
  for (int i = started; i < threads; i++) errand_run(&e); /* no thread for these: here, then */
  for (int i = 0; i < started; i++) pthread_join(all[i], NULL);
  rawwaker_drop(w);
}
