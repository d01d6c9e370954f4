/* Threads that the system refuses, in a C host with Go in the process: THREADS_REFUSED=N ./threads_host. Linked with libffiwaker and
 * -Wl,--wrap=pthread_create, so that Go's threads are refused too: of each thread the first N tries, by EAGAIN; -1: all tries, from
 * main on. Go tries 20 times, and then ends the process with a line of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ffiwaker.h"

static atomic_ulong refused, made;
static atomic_bool in_main;

int __real_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*f)(void *), void *arg) {
  static _Thread_local int tries; /* each thread makes one after the other */
  const char *n = getenv("THREADS_REFUSED");
  int most = n == NULL ? 0 : atoi(n);
  if (most < 0 ? atomic_load(&in_main) : tries < most) {
    tries++;
    atomic_fetch_add(&refused, 1);
    return EAGAIN;
  }
  tries = 0;
  atomic_fetch_add(&made, 1);
  return __real_pthread_create(id, a, f, arg);
}

static rawwaker_poll ready(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  return RAWWAKER_READY;
}
static void nothing(void *data) { (void)data; }
static void *in_c(void *arg) {
  static const rawwaker_future_vtable vtable = {ready, nothing};
  (void)arg;
  return (void *)(uintptr_t)rawwaker_block_on((rawwaker_future){NULL, &vtable}, NULL);
}

int main(void) {
  in_main = true;
  for (int i = 0; i < 10; i++)
    if (rawwaker_block_on(ffiwaker_sleep(1000000), NULL) != RAWWAKER_READY) return 1;
  pthread_t id;
  int error;
  while ((error = pthread_create(&id, NULL, in_c, NULL)) == EAGAIN) {
  }
  if (error != 0 || pthread_join(id, NULL) != 0) return 1;
  for (int i = 0; rawwaker_live() != 0; i++) { /* Go's timer drops its waker beside the poll that it woke */
    if (i == 10000) {
      fprintf(stderr, "threads_host: %zu wakers are left\n", rawwaker_live());
      return 1;
    }
    nanosleep(&(struct timespec){0, 1000000}, NULL);
  }
  printf("ok threads_host: faults %lu, %lu threads all the same\n", (unsigned long)refused,
         (unsigned long)made);
  return 0;
}
