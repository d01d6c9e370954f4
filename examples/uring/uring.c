/* uring.c - see uring.h. What addr of an operation's sqe points to is the kernel's until it has
 * reported the end, also if the future was dropped long before: so the job keeps it until then. */
#include "uring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

struct ring {
  struct io_uring uring;
  rawwaker_queue *queue;
  size_t pending; /* the kernel has so many operations */
  pthread_t thread;
};

static struct io_uring_sqe *next(ring *r) {
  struct io_uring_sqe *sqe;
  while ((sqe = io_uring_get_sqe(&r->uring)) == NULL) io_uring_submit(&r->uring);
  return sqe;
}

static void finish(rawwaker_job *j, int result) {
  struct io_uring_sqe *sqe = rawwaker_job_data(j);
  ring_value v = {(void *)(uintptr_t)sqe->addr, result};
  sqe->addr = 0;
  rawwaker_job_send(j, &v);
}

static void submit(void *engine, rawwaker_job *j) {
  ring *r = engine;
  if (r == NULL) {
    finish(j, -ECANCELED);
    return;
  }
  struct io_uring_sqe *sqe = next(r);
  *sqe = *(struct io_uring_sqe *)rawwaker_job_data(j);
  io_uring_sqe_set_data(sqe, j);
  r->pending++;
}

static void cancel(void *engine, rawwaker_job *j) {
  struct io_uring_sqe *sqe = next(engine);
  io_uring_prep_cancel(sqe, j, 0);
  io_uring_sqe_set_data(sqe, NULL);
}

static void destroy(rawwaker_job *j, void *value) {
  free(((ring_value *)value)->data);
}

static void release(rawwaker_job *j) {
  free((void *)(uintptr_t)((struct io_uring_sqe *)rawwaker_job_data(j))->addr);
}

static rawwaker_future start(ring *r, const struct io_uring_sqe *sqe) {
  static const rawwaker_job_ops ops = {submit, cancel, destroy, release};
  rawwaker_job *j;
  rawwaker_future f = rawwaker_job_new(r->queue, &ops, sizeof(ring_value), _Alignof(ring_value),
                                       sizeof *sqe, &j);
  *(struct io_uring_sqe *)rawwaker_job_data(j) = *sqe;
  return f;
}

rawwaker_future ring_read(ring *r, int fd, unsigned len) {
  struct io_uring_sqe sqe = {0};
  io_uring_prep_read(&sqe, fd, malloc(len), len, -1);
  return start(r, &sqe);
}

rawwaker_future ring_timeout(ring *r, int64_t ns) {
  struct io_uring_sqe sqe = {0};
  struct __kernel_timespec *ts = malloc(sizeof *ts);
  if (ts != NULL) *ts = (struct __kernel_timespec){ns / 1000000000, ns % 1000000000};
  io_uring_prep_timeout(&sqe, ts, 0, 0);
  return start(r, &sqe);
}

/* The rest is liburing. */

#include <poll.h>
#include <pthread.h>

/* Asks for one event, with the queue as its data, when the queue's descriptor is readable. */
static void watch(ring *r) {
  struct io_uring_sqe *sqe = next(r);
  io_uring_prep_poll_add(sqe, rawwaker_queue_fd(r->queue), POLLIN);
  io_uring_sqe_set_data(sqe, r->queue);
}

static void *run(void *arg) {
  ring *r = arg;
  bool stopped = false;
  watch(r);
  while (!stopped || r->pending != 0) {
    io_uring_submit_and_wait(&r->uring, 1);
    for (struct io_uring_cqe *cqe; io_uring_peek_cqe(&r->uring, &cqe) == 0;) {
      void *data = io_uring_cqe_get_data(cqe);
      int result = cqe->res;
      io_uring_cqe_seen(&r->uring, cqe);
      if (data == NULL) continue; /* the end of a cancel itself */
      if (data != r->queue) {
        r->pending--;
        finish(data, result);
      } else if (rawwaker_queue_run(r->queue, r)) {
        watch(r);
      } else {
        stopped = true;
        rawwaker_queue_end(r->queue);
        struct io_uring_sqe *sqe = next(r);
        io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY);
        io_uring_sqe_set_data(sqe, NULL);
      }
    }
  }
  return NULL;
}

ring *ring_open(void) {
  ring *r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  /* Linux has this flag since 5.19, as IORING_ASYNC_CANCEL_ANY. */
  int err = -io_uring_queue_init(256, &r->uring, IORING_SETUP_COOP_TASKRUN);
  if (err == 0) {
    r->queue = rawwaker_queue_new();
    err = r->queue == NULL ? errno : pthread_create(&r->thread, NULL, run, r);
    if (err == 0) return r;
    io_uring_queue_exit(&r->uring);
  }
  ring_free(r);
  errno = err;
  return NULL;
}

void ring_close(ring *r) {
  rawwaker_queue_stop(r->queue);
  pthread_join(r->thread, NULL);
  io_uring_queue_exit(&r->uring);
}

void ring_free(ring *r) {
  if (r->queue != NULL) rawwaker_queue_drop(r->queue);
  free(r);
}
