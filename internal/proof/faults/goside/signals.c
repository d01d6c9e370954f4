#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

static rawwaker target;
static atomic_ulong signals, polls, changed_errno, drops;
static uint64_t left;

/* Go requires SA_ONSTACK, because its threads' stacks are small. */
static void handler(int sig) {
  (void)sig;
  int saved = errno;
  errno = 1234;
  atomic_fetch_add(&signals, 1); /* before the wake, because the next poll reads it */
  rawwaker_wake_by_ref(&target);
  if (errno != 1234) atomic_fetch_add(&changed_errno, 1);
  errno = saved;
}
void signals_install(void) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
}

static void arm(void) {
  static uint64_t r = 88172645463325252u;
  r ^= r << 13, r ^= r >> 7, r ^= r << 17;
  long us = r % 4 == 0 ? 1 + (long)(r >> 20) % 30 : 1 + (long)(r >> 20) % 1000;
  struct itimerval once = {{0, 0}, {0, us}};
  setitimer(ITIMER_REAL, &once, NULL);
}

static rawwaker_poll signals_poll(void *data, rawwaker_context *cx, void *out) {
  static unsigned long answered;
  (void)data;
  atomic_fetch_add(&polls, 1);
  if (target.vtable == NULL)
    target = rawwaker_clone(cx->waker);
  else if (!rawwaker_will_wake(&target, cx->waker))
    return RAWWAKER_PANICKED; /* the handler would wake another waker */
  else if (signals == answered)
    return RAWWAKER_PENDING; /* a poll for a wake that the previous poll has answered */
  answered = signals;
  if (left-- == 0) {
    *(uint64_t *)out = answered;
    return RAWWAKER_READY;
  }
  arm();
  return RAWWAKER_PENDING;
}
static void signals_drop(void *data) {
  (void)data;
  rawwaker_drop(target);
  target.vtable = NULL;
  atomic_fetch_add(&drops, 1);
}
rawwaker_future signals_future(uint64_t rounds) {
  static const rawwaker_future_vtable vtable = {signals_poll, signals_drop};
  left = rounds;
  return (rawwaker_future){NULL, &vtable};
}
signals_counts signals_counted(void) {
  return (signals_counts){signals, polls, changed_errno, drops};
}
