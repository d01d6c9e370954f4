/* Darwin's semaphores, implemented by POSIX ones, so that rawwaker.c's branch for Darwin compiles
 * and runs on other systems. This shows that the branch is valid C and its steps are right; it
 * shows nothing about Darwin itself. */
#ifndef STAND_IN_DISPATCH_H
#define STAND_IN_DISPATCH_H

#include <semaphore.h>
#include <stdlib.h>

typedef sem_t *dispatch_semaphore_t;
#define DISPATCH_TIME_FOREVER (~0ull)

static inline dispatch_semaphore_t dispatch_semaphore_create(intptr_t value) {
  sem_t *s = malloc(sizeof *s);
  if (s != NULL) sem_init(s, 0, (unsigned)value);
  return s;
}
static inline intptr_t dispatch_semaphore_signal(dispatch_semaphore_t s) { return sem_post(s); }
static inline intptr_t dispatch_semaphore_wait(dispatch_semaphore_t s, unsigned long long until) {
  if (until != DISPATCH_TIME_FOREVER) abort();
  while (sem_wait(s) != 0) {
  }
  return 0;
}
static inline void dispatch_release(dispatch_semaphore_t s) {
  sem_destroy(s);
  free(s);
}

#endif
