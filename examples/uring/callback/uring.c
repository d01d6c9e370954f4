/* uring.c - see uring.h. */
#include "uring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

typedef struct operation {
  struct io_uring_sqe sqe; /* addr is the kernel's until it has reported the end */
  uintptr_t handle;
  STAILQ_ENTRY(operation) next;
} operation;

STAILQ_HEAD(operations, operation);

struct loop {
  struct io_uring uring;
  size_t pending;          /* the kernel has so many operations */
  struct operations begun; /* these two are under the lock */
  bool stop;
  pthread_mutex_t lock;
  int wake; /* readable after a change of the two */
  pthread_t thread;
};

static struct io_uring_sqe *next(loop *l) {
  struct io_uring_sqe *sqe;
  while ((sqe = io_uring_get_sqe(&l->uring)) == NULL) io_uring_submit(&l->uring);
  return sqe;
}

static void finish(loop *l, operation *o, int result) {
  l->pending--;
  ended(o->handle, result, (char *)(uintptr_t)o->sqe.addr);
  free((void *)(uintptr_t)o->sqe.addr);
  free(o);
}

/* Begins what was asked for. Returns whether the engine shall end. */
static bool take(loop *l) {
  struct operations begun = STAILQ_HEAD_INITIALIZER(begun);
  pthread_mutex_lock(&l->lock);
  bool stop = l->stop;
  STAILQ_CONCAT(&begun, &l->begun);
  pthread_mutex_unlock(&l->lock);
  for (operation *o; (o = STAILQ_FIRST(&begun)) != NULL;) {
    STAILQ_REMOVE_HEAD(&begun, next);
    struct io_uring_sqe *sqe = next(l);
    *sqe = o->sqe;
    io_uring_sqe_set_data(sqe, o);
    l->pending++;
  }
  return stop;
}

static void start(loop *l, const struct io_uring_sqe *sqe, uintptr_t handle) {
  operation *o = malloc(sizeof *o);
  if (o == NULL) abort();
  *o = (operation){.sqe = *sqe, .handle = handle};
  pthread_mutex_lock(&l->lock);
  bool first = STAILQ_EMPTY(&l->begun);
  STAILQ_INSERT_TAIL(&l->begun, o, next);
  pthread_mutex_unlock(&l->lock);
  if (first) eventfd_write(l->wake, 1);
}

void loop_read(loop *l, int fd, unsigned len, uintptr_t handle) {
  struct io_uring_sqe sqe = {0};
  io_uring_prep_read(&sqe, fd, malloc(len), len, -1);
  start(l, &sqe, handle);
}

void loop_timeout(loop *l, int64_t ns, uintptr_t handle) {
  struct io_uring_sqe sqe = {0};
  struct __kernel_timespec *ts = malloc(sizeof *ts);
  if (ts != NULL) *ts = (struct __kernel_timespec){ns / 1000000000, ns % 1000000000};
  io_uring_prep_timeout(&sqe, ts, 0, 0);
  start(l, &sqe, handle);
}

/* The rest is liburing. */

static void watch(loop *l) {
  struct io_uring_sqe *sqe = next(l);
  io_uring_prep_poll_add(sqe, l->wake, POLLIN);
  io_uring_sqe_set_data(sqe, l);
}

static void *run(void *arg) {
  loop *l = arg;
  bool stopped = false;
  watch(l);
  while (!stopped || l->pending != 0) {
    io_uring_submit_and_wait(&l->uring, 1);
    for (struct io_uring_cqe *cqe; io_uring_peek_cqe(&l->uring, &cqe) == 0;) {
      void *data = io_uring_cqe_get_data(cqe);
      int result = cqe->res;
      io_uring_cqe_seen(&l->uring, cqe);
      if (data != l && data != NULL) { /* NULL is what the cancel itself reports */
        finish(l, data, result);
      } else if (data == l && !stopped) {
        eventfd_t n;
        eventfd_read(l->wake, &n);
        stopped = take(l);
        if (!stopped) {
          watch(l);
          continue;
        }
        struct io_uring_sqe *sqe = next(l);
        io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY);
        io_uring_sqe_set_data(sqe, NULL);
      }
    }
  }
  return NULL;
}

static void free_loop(loop *l) {
  if (l->wake >= 0) close(l->wake);
  io_uring_queue_exit(&l->uring);
  pthread_mutex_destroy(&l->lock);
  free(l);
}

loop *loop_open(void) {
  loop *l = calloc(1, sizeof *l);
  if (l == NULL) return NULL;
  /* Linux has this flag since 5.19, as IORING_ASYNC_CANCEL_ANY. */
  int err = -io_uring_queue_init(256, &l->uring, IORING_SETUP_COOP_TASKRUN);
  if (err != 0) {
    free(l);
    errno = err;
    return NULL;
  }
  STAILQ_INIT(&l->begun);
  pthread_mutex_init(&l->lock, NULL);
  l->wake = eventfd(0, EFD_CLOEXEC);
  err = l->wake < 0 ? errno : pthread_create(&l->thread, NULL, run, l);
  if (err == 0) return l;
  free_loop(l);
  errno = err;
  return NULL;
}

void loop_close(loop *l) {
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_mutex_unlock(&l->lock);
  eventfd_write(l->wake, 1);
  pthread_join(l->thread, NULL);
  free_loop(l);
}
