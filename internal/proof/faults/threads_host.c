/* threads_host.c - threads that the system refuses to a C host with Go in the process:
 * THREADS_REFUSED=N ./threads_host.
 *
 * It is linked with libffiwaker and -Wl,--wrap=pthread_create, so that Go's threads are refused
 * too. The first N attempts to create each thread fail with EAGAIN; if N is -1, all attempts fail
 * once main has begun. Go makes 20 attempts, and then prints a line of its own and ends the
 * process. */
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
  static _Thread_local int tries; /* each thread creates one thread at a time */
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
  /* Go's timer may drop its waker after the poll that it woke. */
  for (int i = 0; rawwaker_live() != 0; i++) {
    if (i == 10000) {
      fprintf(stderr, "threads_host: %zu wakers are left\n", rawwaker_live());
      return 1;
    }
    nanosleep(&(struct timespec){0, 1000000}, NULL);
  }
  printf("ok threads_host: faults %lu, %lu threads created\n", (unsigned long)refused,
         (unsigned long)made);
  return 0;
}
