/* curl.c - see curl.h. */
#include "curl.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

typedef struct transfer {
  CURL *easy;
  FILE *body; /* writes to data */
  char *data;
  size_t len;
  uintptr_t handle;
  TAILQ_ENTRY(transfer) others;
} transfer;

TAILQ_HEAD(transfers, transfer);

struct fetcher {
  CURLM *multi;
  struct transfers running;
  struct transfers begun; /* these two are under the lock */
  bool stop;
  pthread_mutex_t lock;
  pthread_t thread;
};

static void finish(fetcher *f, transfer *t, CURLcode code) {
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  curl_multi_remove_handle(f->multi, t->easy);
  curl_easy_cleanup(t->easy);
  if (t->body != NULL) fclose(t->body);
  TAILQ_REMOVE(&f->running, t, others);
  fetched(t->handle, status, t->data, t->len,
          code == CURLE_OK ? NULL : (char *)curl_easy_strerror(code));
  free(t->data);
  free(t);
}

void fetcher_get(fetcher *f, const char *url, uintptr_t handle) {
  transfer *t = calloc(1, sizeof *t);
  if (t == NULL) abort();
  t->handle = handle;
  t->body = open_memstream(&t->data, &t->len);
  t->easy = curl_easy_init();
  curl_easy_setopt(t->easy, CURLOPT_URL, url);
  curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
  curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t->body); /* libcurl calls fwrite */
  curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L); /* waits for no thread that looks up a name */
  pthread_mutex_lock(&f->lock);
  TAILQ_INSERT_TAIL(&f->begun, t, others);
  pthread_mutex_unlock(&f->lock);
  curl_multi_wakeup(f->multi);
}

/* Begins what was asked for. Returns whether the engine shall end. */
static bool take(fetcher *f) {
  struct transfers begun = TAILQ_HEAD_INITIALIZER(begun);
  pthread_mutex_lock(&f->lock);
  bool stop = f->stop;
  TAILQ_CONCAT(&begun, &f->begun, others);
  pthread_mutex_unlock(&f->lock);
  for (transfer *t; (t = TAILQ_FIRST(&begun)) != NULL;) {
    TAILQ_REMOVE(&begun, t, others);
    TAILQ_INSERT_TAIL(&f->running, t, others);
    if (t->body == NULL || curl_multi_add_handle(f->multi, t->easy) != CURLM_OK)
      finish(f, t, CURLE_OUT_OF_MEMORY);
  }
  return stop;
}

/* The rest is libcurl. */

static void *run(void *arg) {
  fetcher *f = arg;
  for (int n; !take(f); curl_multi_poll(f->multi, NULL, 0, 60000, NULL)) {
    curl_multi_perform(f->multi, &n);
    for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &n)) != NULL;) {
      transfer *t;
      curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
      finish(f, t, m->data.result);
    }
  }
  for (transfer *t = TAILQ_FIRST(&f->running), *next; t != NULL; t = next) {
    next = TAILQ_NEXT(t, others);
    finish(f, t, CURLE_ABORTED_BY_CALLBACK);
  }
  return NULL;
}

static void free_fetcher(fetcher *f) {
  curl_multi_cleanup(f->multi);
  pthread_mutex_destroy(&f->lock);
  free(f);
}

fetcher *fetcher_open(long connections) {
  fetcher *f = calloc(1, sizeof *f);
  if (f == NULL) return NULL;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  TAILQ_INIT(&f->running);
  TAILQ_INIT(&f->begun);
  pthread_mutex_init(&f->lock, NULL);
  f->multi = curl_multi_init();
  curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
  int err = f->multi == NULL ? ENOMEM : pthread_create(&f->thread, NULL, run, f);
  if (err == 0) return f;
  free_fetcher(f);
  errno = err;
  return NULL;
}

void fetcher_close(fetcher *f) {
  pthread_mutex_lock(&f->lock);
  f->stop = true;
  pthread_mutex_unlock(&f->lock);
  curl_multi_wakeup(f->multi);
  pthread_join(f->thread, NULL);
  free_fetcher(f);
}
