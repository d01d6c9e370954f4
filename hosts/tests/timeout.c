/* A timeout drops its future when the time is up, and its sleep when the future is ready, both
 * before that poll returns; and what is left with itself. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#if defined(__GLIBC__)
#include <malloc.h>
#if __GLIBC_PREREQ(2, 33)
#define COUNTS_BYTES
#endif
#endif

#include "ffiwaker.h"

/* A waker that counts its references and posts its wakes to main. */
static atomic_int references;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_woken = PTHREAD_COND_INITIALIZER;
static bool woken;
static rawwaker waker_clone(void *data);
static void waker_by_ref(void *data) {
  (void)data;
  pthread_mutex_lock(&mutex);
  woken = true;
  pthread_cond_signal(&is_woken);
  pthread_mutex_unlock(&mutex);
}
static void waker_drop(void *data) {
  (void)data;
  atomic_fetch_sub(&references, 1);
}
static void waker_wake(void *data) {
  waker_drop(data); /* first: main counts after the wake */
  waker_by_ref(data);
}
static const rawwaker_vtable waker_vtable = {waker_clone, waker_wake, waker_by_ref, waker_drop};
static rawwaker waker_clone(void *data) {
  atomic_fetch_add(&references, 1);
  return (rawwaker){data, &waker_vtable};
}
static void await_wake(void) {
  pthread_mutex_lock(&mutex);
  while (!woken) pthread_cond_wait(&is_woken, &mutex);
  woken = false;
  pthread_mutex_unlock(&mutex);
}

static const uint64_t hour = 3600000000000;
static int polls, drops;
static rawwaker_poll mine_poll(void *data, rawwaker_context *cx, void *out) {
  int pending = *(int *)data; /* polls that are pending */
  (void)cx;
  if (polls++ < pending) return RAWWAKER_PENDING;
  *(int *)out = 42;
  return RAWWAKER_READY;
}
static void mine_drop(void *data) {
  (void)data;
  drops++;
}
static const rawwaker_future_vtable mine = {mine_poll, mine_drop};

static void tell(const char *when, rawwaker_poll got, bool expired, int out) {
  printf("%s: %s, expired %d, out %d, the future dropped %d times, clones of the waker: %d\n", when,
         got == RAWWAKER_READY     ? "READY"
         : got == RAWWAKER_PENDING ? "PENDING"
                                   : "another code",
         expired, out, drops, atomic_load(&references));
}

/* Polls a timeout twice, and drops it. */
static void twice(const char *name, int pending, uint64_t ns) {
  rawwaker waker = {NULL, &waker_vtable};
  rawwaker_context cx = {&waker};
  int out = 0;
  bool expired = ns == hour; /* another value than the one to come */
  polls = drops = 0;
  printf("%s\n", name);
  rawwaker_future f = ffiwaker_timeout((rawwaker_future){&pending, &mine}, ns, &expired);
  rawwaker_poll got = f.vtable->poll(f.data, &cx, &out);
  while (ns != hour && got == RAWWAKER_PENDING) {
    await_wake();
    got = f.vtable->poll(f.data, &cx, &out);
  }
  if (got == RAWWAKER_PENDING) {
    printf("  pending, clones of the waker: %d\n", atomic_load(&references));
    got = f.vtable->poll(f.data, &cx, &out);
  }
  tell("  polled", got, expired, out);
  f.vtable->drop(f.data);
  tell("  dropped", got, expired, out);
}

int main(void) {
  twice("ready at once", 0, hour);
  twice("ready before the time is up", 1, hour);
  twice("dropped before the time is up", 2, hour);
  twice("the time is up", 1 << 30, 1000000);
#if defined(COUNTS_BYTES)
  enum { MANY = 10000 };
  /* Each is 0 under AddressSanitizer, which finds leaks itself. */
  size_t before = mallinfo2().uordblks, now;
  int pending = 0;
  bool expired;
  for (int i = 0; i < MANY; i++) {
    rawwaker_future f = ffiwaker_timeout((rawwaker_future){&pending, &mine}, hour, &expired);
    f.vtable->drop(f.data);
  }
  now = mallinfo2().uordblks;
  if (now > before && now - before >= MANY * sizeof(void *))
    printf("%zu bytes are left\n", now - before);
#endif
  printf("boxes left: %zu\n", rawwaker_live());
  return 0;
}
