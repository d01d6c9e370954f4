/* 02_thread.c - a future that another thread completes. Most futures in C have this form.
 * Build it in this folder:
 *
 *   gcc -std=c11 -Wall -I.. 02_thread.c ../rawwaker.c -pthread -o thread && ./thread
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "rawwaker.h"

/* Shared by the thread, which writes it, and the future, which reads it: each holds a reference. */
typedef struct sum {
  rawwaker_cell cell;
  atomic_bool done;
  atomic_int refs;
  long long total;
} sum;

static void sum_unref(sum *s) {
  if (atomic_fetch_sub(&s->refs, 1) == 1) free(s);
}

static void *sum_thread(void *arg) {
  sum *s = arg;
  for (int i = 1; i <= 1000000; i++) s->total += i;
  atomic_store(&s->done, true); /* set the condition first */
  rawwaker_cell_wake(&s->cell); /* wake after it */
  sum_unref(s);
  return NULL;
}

static rawwaker_poll sum_poll(void *data, rawwaker_context *cx, void *out) {
  sum *s = data;
  rawwaker_cell_register(&s->cell, cx->waker); /* register the waker first */
  if (!atomic_load(&s->done)) return RAWWAKER_PENDING; /* test the condition after it */
  *(long long *)out = s->total;
  return RAWWAKER_READY;
}

/* Also called before the thread has finished: the thread continues, and its wake does nothing. */
static void sum_drop(void *data) {
  sum *s = data;
  rawwaker_cell_drop(&s->cell);
  sum_unref(s);
}

static rawwaker_future sum_start(pthread_t *id) {
  static const rawwaker_future_vtable vtable = {sum_poll, sum_drop};
  sum *s = calloc(1, sizeof *s); /* a zeroed cell is an initialised one */
  if (s == NULL) abort();
  s->refs = 2;
  if (pthread_create(id, NULL, sum_thread, s) != 0) abort();
  return (rawwaker_future){s, &vtable};
}

int main(void) {
  long long total = 0;
  pthread_t first, second;
  if (rawwaker_block_on(sum_start(&first), &total) != RAWWAKER_READY) return 1;
  printf("Sum: %lld\n", total);
  rawwaker_future given_up = sum_start(&second);
  given_up.vtable->drop(given_up.data);
  puts("Dropped one early");
  pthread_join(first, NULL);
  pthread_join(second, NULL);
  return 0;
}
