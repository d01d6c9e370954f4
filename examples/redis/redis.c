/* redis.c - see redis.h. A command that was sent cannot be cancelled, so there is no cancel: if the
 * answer is not wanted any more, destroy frees it. */
#include "redis.h"

#include <hiredis/adapters/libuv.h>

struct redis {
  rawwaker_queue *queue;
  redisAsyncContext *link; /* of the thread; NULL once the connection has ended */
  uv_loop_t loop;
  uv_poll_t work;
  uv_thread_t thread;
};

typedef struct command {
  size_t len;
  char text[];
} command;

static void answer(rawwaker_job *j, const char *text, size_t len, bool is_error) {
  redis_value v = {text == NULL ? NULL : malloc(len + 1), len, is_error};
  if (v.text != NULL) memcpy(v.text, text, len);
  rawwaker_job_send(j, &v);
}

static void on_reply(redisAsyncContext *link, void *reply, void *j) {
  redisReply *r = reply;
  if (r == NULL)
    answer(j, link->errstr, strlen(link->errstr), true);
  else
    answer(j, r->str, r->len, r->type == REDIS_REPLY_ERROR);
}

static void submit(void *engine, rawwaker_job *j) {
  redis *r = engine;
  command *c = rawwaker_job_data(j);
  if (r == NULL || r->link == NULL ||
      redisAsyncFormattedCommand(r->link, on_reply, j, c->text, c->len) != REDIS_OK)
    answer(j, "no connection", 13, true);
}

static void destroy(rawwaker_job *j, void *value) {
  free(((redis_value *)value)->text);
}

rawwaker_future redis_command(redis *r, const char *text, size_t len) {
  static const rawwaker_job_ops ops = {.submit = submit, .destroy = destroy};
  rawwaker_job *j;
  rawwaker_future f = rawwaker_job_new(r->queue, &ops, sizeof(redis_value), _Alignof(redis_value),
                                       sizeof(command) + len, &j);
  command *c = rawwaker_job_data(j);
  c->len = len;
  memcpy(c->text, text, len);
  return f;
}

/* The rest is hiredis and libuv. */

static void on_end(const redisAsyncContext *link, int status) {
  ((redis *)link->data)->link = NULL;
}

static void on_work(uv_poll_t *work, int status, int events) {
  redis *r = work->data;
  if (rawwaker_queue_run(r->queue, r)) return;
  if (r->link != NULL) redisAsyncFree(r->link); /* a NULL reply to each command that was sent */
  rawwaker_queue_end(r->queue);
  uv_close((uv_handle_t *)work, NULL); /* the loop's last handle */
}

static void run(void *arg) {
  redis *r = arg;
  uv_run(&r->loop, UV_RUN_DEFAULT);
  uv_loop_close(&r->loop);
}

redis *redis_open(const char *path) {
  redis *r = calloc(1, sizeof *r);
  if (r == NULL || (r->queue = rawwaker_queue_new()) == NULL) abort();
  uv_loop_init(&r->loop);
  uv_poll_init(&r->loop, &r->work, rawwaker_queue_fd(r->queue));
  uv_poll_start(&r->work, UV_READABLE, on_work);
  r->work.data = r;
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

void redis_close(redis *r) {
  rawwaker_queue_stop(r->queue);
  uv_thread_join(&r->thread);
}

void redis_free(redis *r) {
  rawwaker_queue_drop(r->queue);
  free(r);
}
