/* op.c - see op.h. The thread and the future each hold a reference of op; the last one frees it.
 *
 * The order of two steps loses no wake: poll registers the waker and then reads done; the thread
 * sets done and then wakes. */
#include "op.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

typedef struct op {
  rawwaker_cell waker; /* of the latest poll */
  atomic_bool done;
  atomic_int refs;
  int result;
} op;

static void release(op *o) {
  if (atomic_fetch_sub(&o->refs, 1) != 1) return;
  rawwaker_cell_drop(&o->waker);
  free(o);
}

static void *run(void *arg) {
  op *o = arg;
  nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
  o->result *= 2;
  atomic_store(&o->done, true);
  rawwaker_cell_wake(&o->waker); /* enters no Go */
  release(o);
  return NULL;
}

static rawwaker_poll poll(void *data, rawwaker_context *cx, void *out) {
  op *o = data;
  rawwaker_cell_register(&o->waker, cx->waker);
  if (!atomic_load(&o->done)) return RAWWAKER_PENDING;
  *(int *)out = o->result;
  return RAWWAKER_READY;
}

static void drop(void *data) { release(data); }

void op_start(int n, uintptr_t words[2]) {
  static const rawwaker_future_vtable vtable = {poll, drop};
  op *o = calloc(1, sizeof *o);
  pthread_t thread;
  if (o == NULL) abort();
  rawwaker_cell_init(&o->waker);
  atomic_init(&o->refs, 2);
  o->result = n;
  if (pthread_create(&thread, NULL, run, o) != 0) abort();
  pthread_detach(thread);
  words[0] = (uintptr_t)o;
  words[1] = (uintptr_t)&vtable;
}
