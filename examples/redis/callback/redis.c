#include "redis.h"

#include <hiredis/adapters/libuv.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

extern void onRedisReply(uintptr_t handle, char *text, size_t len, bool is_error);

typedef struct command {
  struct command *next;
  uintptr_t handle;
  size_t len;
  char text[];
} command;

struct redis {
  pthread_mutex_t lock;
  command *first, **last;
  bool closed;
  int wakeup;
  redisAsyncContext *link;
  uv_loop_t loop;
  uv_poll_t work;
  uv_async_t stop;
  uv_thread_t thread;
};

static void answer(command *c, const char *text, size_t len, bool is_error) {
  char *copy = text == NULL ? NULL : malloc(len + 1);
  if (copy != NULL) memcpy(copy, text, len);
  onRedisReply(c->handle, copy, len, is_error);
  free(c);
}

static void on_reply(redisAsyncContext *link, void *reply, void *c) {
  redisReply *r = reply;
  if (r == NULL)
    answer(c, link->errstr, strlen(link->errstr), true);
  else
    answer(c, r->str, r->len, r->type == REDIS_REPLY_ERROR);
}

static void submit(redis *r, command *c) {
  if (r->link == NULL)
    answer(c, "no connection", 13, true);
  else
    redisAsyncFormattedCommand(r->link, on_reply, c, c->text, c->len);
}

static void submit_all(redis *r, bool closed) {
  pthread_mutex_lock(&r->lock);
  command *c = r->first;
  r->first = NULL;
  r->last = &r->first;
  r->closed = closed;
  pthread_mutex_unlock(&r->lock);
  for (command *next; c != NULL; c = next) {
    next = c->next;
    submit(r, c);
  }
}

void calls_command(redis *r, const char *text, size_t len, uintptr_t handle) {
  command *c = malloc(sizeof *c + len);
  if (c == NULL) abort();
  c->next = NULL;
  c->handle = handle;
  c->len = len;
  memcpy(c->text, text, len);
  pthread_mutex_lock(&r->lock);
  bool closed = r->closed, first = r->first == NULL;
  if (!closed) {
    *r->last = c;
    r->last = &c->next;
  }
  pthread_mutex_unlock(&r->lock);
  if (closed)
    answer(c, "closed", 6, true);
  else if (first)
    eventfd_write(r->wakeup, 1);
}

/* The rest is hiredis and libuv. */

static void on_work(uv_poll_t *work, int status, int events) {
  redis *r = work->data;
  eventfd_t n;
  eventfd_read(r->wakeup, &n);
  submit_all(r, false);
}

static void on_end(const redisAsyncContext *link, int status) {
  ((redis *)link->data)->link = NULL;
}

static void on_stop(uv_async_t *stop) {
  redis *r = stop->data;
  if (r->link != NULL) redisAsyncFree(r->link);
  r->link = NULL;
  submit_all(r, true);
  uv_close((uv_handle_t *)&r->work, NULL);
  uv_close((uv_handle_t *)&r->stop, NULL);
}

static void run(void *arg) {
  redis *r = arg;
  uv_run(&r->loop, UV_RUN_DEFAULT);
  uv_loop_close(&r->loop);
}

redis *calls_open(const char *path) {
  redis *r = calloc(1, sizeof *r);
  if (r == NULL || (r->wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) abort();
  pthread_mutex_init(&r->lock, NULL);
  r->last = &r->first;
  uv_loop_init(&r->loop);
  uv_async_init(&r->loop, &r->stop, on_stop);
  uv_poll_init(&r->loop, &r->work, r->wakeup);
  uv_poll_start(&r->work, UV_READABLE, on_work);
  r->work.data = r->stop.data = r;
  r->link = redisAsyncConnectUnix(path);
  redisAsyncSetDisconnectCallback(r->link, on_end);
  r->link->data = r;
  if (r->link->err != REDIS_OK) { /* no such socket */
    redisAsyncFree(r->link);
    r->link = NULL;
  } else {
    redisLibuvAttach(r->link, &r->loop);
  }
  uv_thread_create(&r->thread, run, r);
  return r;
}

/* No command may be sent after it. */
void calls_close(redis *r) {
  uv_async_send(&r->stop);
  uv_thread_join(&r->thread);
  close(r->wakeup);
  pthread_mutex_destroy(&r->lock);
  free(r);
}
