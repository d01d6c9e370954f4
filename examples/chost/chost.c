/* chost.c - see chost.h. In this example Go starts the host (chost.go), so that one process shows
 * both sides. */
#include "chost.h"

#include <pthread.h>
#include <stdlib.h>

/* What the waker wakes: a flag, and the thread that waits for it. */
typedef struct parker {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool woken;
  int refs; /* the last one frees the parker */
} parker;

static void parker_unref(parker *p) {
  pthread_mutex_lock(&p->lock);
  bool last = --p->refs == 0;
  pthread_mutex_unlock(&p->lock);
  if (!last) return;
  pthread_cond_destroy(&p->changed);
  pthread_mutex_destroy(&p->lock);
  free(p);
}

/* Called on the waking thread. It only notifies. */
static void unpark(void *arg) {
  parker *p = arg;
  pthread_mutex_lock(&p->lock);
  p->woken = true;
  pthread_cond_signal(&p->changed);
  pthread_mutex_unlock(&p->lock);
}

static void drop(void *arg) { parker_unref(arg); }

typedef struct host {
  rawwaker_future future;
  void *out;
  rawwaker_poll poll;
} host;

static void *host_loop(void *arg) {
  host *h = arg;
  parker *p = calloc(1, sizeof *p);
  if (p == NULL) abort();
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->changed, NULL);
  p->refs = 2; /* the loop, and the waker with all its clones */
  rawwaker waker = rawwaker_from_fn(unpark, p, drop);
  rawwaker_context cx = {&waker};
  while ((h->poll = h->future.vtable->poll(h->future.data, &cx, h->out)) == RAWWAKER_PENDING) {
    pthread_mutex_lock(&p->lock);
    while (!p->woken) pthread_cond_wait(&p->changed, &p->lock);
    p->woken = false;
    pthread_mutex_unlock(&p->lock);
  }
  h->future.vtable->drop(h->future.data);
  rawwaker_drop(waker);
  parker_unref(p);
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
  /* wake here if there is no further thread */
  for (int i = started; i < threads; i++) errand_run(&e);
  for (int i = 0; i < started; i++) pthread_join(all[i], NULL);
  rawwaker_drop(w);
}
