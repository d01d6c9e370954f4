/* curl.c - see curl.h. A transfer that is cancelled is taken out of libcurl at once, which closes
 * its connection: no more of it runs. */
#include "curl.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

struct http {
  rawwaker_queue *queue;
  CURLM *multi;
  LIST_HEAD(, transfer) running;
  pthread_t thread;
};

typedef struct transfer {
  rawwaker_job *job;
  CURL *easy;
  FILE *body; /* writes to value */
  http_value value;
  LIST_ENTRY(transfer) others;
} transfer;

static void finish(http *h, transfer *t, CURLcode code) {
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->value.status);
  curl_multi_remove_handle(h->multi, t->easy);
  fclose(t->body);
  LIST_REMOVE(t, others);
  if (code != CURLE_OK) t->value.error = curl_easy_strerror(code);
  rawwaker_job_send(t->job, &t->value);
}

static void submit(void *engine, rawwaker_job *j) {
  http *h = engine;
  transfer *t = rawwaker_job_data(j);
  if (h == NULL || (t->body = open_memstream(&t->value.body, &t->value.len)) == NULL) {
    t->value.error = curl_multi_strerror(h == NULL ? CURLM_BAD_HANDLE : CURLM_OUT_OF_MEMORY);
    rawwaker_job_send(j, &t->value);
    return;
  }
  LIST_INSERT_HEAD(&h->running, t, others);
  curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t->body); /* libcurl calls fwrite */
  if (curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) finish(h, t, CURLE_OUT_OF_MEMORY);
}

static void cancel(void *engine, rawwaker_job *j) {
  finish(engine, rawwaker_job_data(j), CURLE_ABORTED_BY_CALLBACK);
}

static void destroy(rawwaker_job *j, void *value) {
  free(((http_value *)value)->body);
}

static void release(rawwaker_job *j) {
  curl_easy_cleanup(((transfer *)rawwaker_job_data(j))->easy);
}

rawwaker_future http_get(http *h, const char *url) {
  static const rawwaker_job_ops ops = {submit, cancel, destroy, release};
  rawwaker_job *j;
  rawwaker_future f = rawwaker_job_new(h->queue, &ops, sizeof(http_value), _Alignof(http_value),
                                       sizeof(transfer), &j);
  transfer *t = rawwaker_job_data(j);
  *t = (transfer){.job = j, .easy = curl_easy_init()};
  curl_easy_setopt(t->easy, CURLOPT_URL, url);
  curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
  curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L); /* waits for no thread that looks up a name */
  return f;
}

/* The rest is libcurl. */

#include <errno.h>
#include <pthread.h>

static void *run(void *arg) {
  http *h = arg;
  struct curl_waitfd work = {rawwaker_queue_fd(h->queue), CURL_WAIT_POLLIN, 0};
  for (int n; rawwaker_queue_run(h->queue, h); curl_multi_poll(h->multi, &work, 1, 60000, NULL)) {
    curl_multi_perform(h->multi, &n);
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &n)) != NULL;) {
      transfer *t;
      curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
      finish(h, t, m->data.result);
    }
  }
  while (!LIST_EMPTY(&h->running)) finish(h, LIST_FIRST(&h->running), CURLE_ABORTED_BY_CALLBACK);
  rawwaker_queue_end(h->queue);
  return NULL;
}

/* libcurl's global state stays: easy handles of futures may outlive the engine. */
http *http_open(long connections) {
  http *h = calloc(1, sizeof *h);
  if (h == NULL) return NULL;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  h->queue = rawwaker_queue_new();
  h->multi = curl_multi_init();
  curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
  int err = h->queue == NULL || h->multi == NULL ? ENOMEM : 0;
  if (err == 0) err = pthread_create(&h->thread, NULL, run, h);
  if (err == 0) return h;
  http_free(h);
  errno = err;
  return NULL;
}

void http_close(http *h) {
  rawwaker_queue_stop(h->queue);
  pthread_join(h->thread, NULL);
  curl_multi_cleanup(h->multi);
  h->multi = NULL;
}

void http_free(http *h) {
  if (h->queue != NULL) rawwaker_queue_drop(h->queue);
  curl_multi_cleanup(h->multi);
  free(h);
}
