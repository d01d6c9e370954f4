/* signals_host.c - wakes in signal handlers of a C host with Go in the process: ./signals_host
 * [rounds]. It is linked with libffiwaker.
 *
 * As in signals.c, each round arms a timer whose one signal causes the task's only wake. The waiter
 * is Go's executor in a poll loop. The signal is delivered to the host's thread or, if the host's
 * threads block it, to one of Go's. In the second part Go's timers and collector are busy too, and
 * three C threads wake other tasks. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "ffiwaker.h"

enum { THREADS = 3 };

static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL signals_host: %s\n", why);
  exit(1);
}

static ffiwaker_executor *ex;
static rawwaker target;
static atomic_ulong signals, on_other_threads, changed_errno;
static long host_id;

static void handler(int sig) {
  (void)sig;
  int saved = errno;
  errno = 1234;
  rawwaker_wake_by_ref(&target);
  if (errno != 1234) atomic_fetch_add(&changed_errno, 1);
  if (syscall(SYS_gettid) != host_id) atomic_fetch_add(&on_other_threads, 1);
  atomic_fetch_add(&signals, 1);
  errno = saved;
}

static void arm(void) {
  static uint64_t r = 88172645463325252u;
  r ^= r << 13, r ^= r >> 7, r ^= r << 17;
  long us = r % 4 == 0 ? 1 + (long)(r >> 20) % 30 : 1 + (long)(r >> 20) % 1000;
  struct itimerval once = {{0, 0}, {0, us}};
  setitimer(ITIMER_REAL, &once, NULL);
}

typedef struct alone {
  unsigned long rounds, polls, last;
  bool done;
} alone;
static bool debugging; /* FFIWAKERDEBUG is set: then no two references are equal */
static rawwaker_poll alone_poll(void *data, rawwaker_context *cx, void *out) {
  alone *a = data;
  (void)out;
  if (a->polls++ == 0) {
    target = rawwaker_clone(cx->waker);
    a->last = signals;
  } else {
    check(debugging || rawwaker_will_wake(&target, cx->waker), "the task's waker has changed");
    /* The handler wakes first and then counts. */
    while (signals == a->last) usleep(10);
    check(signals == a->last + 1, "not one signal for each round");
    a->last++;
  }
  if ((a->done = a->rounds-- == 0)) return RAWWAKER_READY;
  arm();
  return RAWWAKER_PENDING;
}
static void alone_drop(void *data) { (void)data; }

/* Another task. A thread wakes it again each time that it has seen the previous wake. */
typedef struct pair {
  rawwaker_cell cell;
  atomic_ulong sent, seen, until;
  pthread_t id;
} pair;
static pair pairs[THREADS];
static atomic_bool enough;
static rawwaker_poll pair_poll(void *data, rawwaker_context *cx, void *out) {
  pair *p = data;
  (void)out;
  rawwaker_cell_register(&p->cell, cx->waker);
  atomic_store(&p->seen, atomic_load(&p->sent));
  return p->until != 0 && p->seen >= p->until ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void pair_drop(void *data) { rawwaker_cell_drop(&((pair *)data)->cell); }
static void *pair_wakes(void *arg) {
  pair *p = arg;
  for (bool last = false; !last;) {
    last = enough;
    unsigned long n = p->sent + 1;
    if (last) p->until = n;
    atomic_store(&p->sent, n);
    rawwaker_cell_wake(&p->cell);
    for (unsigned long us = 0; p->seen < n; us += 20) {
      usleep(20);
      check(us < 20000000, "a wake of a thread was lost");
    }
  }
  return NULL;
}

static unsigned long sleeps;
static bool busy;
static void slept(void *arg, rawwaker_poll code) {
  (void)code;
  ++*(unsigned long *)arg;
  if (busy) ffiwaker_executor_spawn(ex, ffiwaker_sleep(200000), NULL, slept, arg);
}

static void turn_until(size_t tasks) {
  while (ffiwaker_executor_tasks(ex) > tasks) {
    while (ffiwaker_executor_tick(ex)) {
    }
    if (ffiwaker_executor_tasks(ex) <= tasks) return;
    struct pollfd p = {.fd = ffiwaker_executor_fd(ex), .events = POLLIN};
    int got;
    while ((got = poll(&p, 1, 10000)) < 0 && errno == EINTR) { /* an interrupted poll is no wake */
    }
    check(got == 1, "a wake was lost: the descriptor is not readable");
  }
}
static void mask(int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  pthread_sigmask(how, &set, NULL);
}

static void rounds_of(unsigned long rounds, bool blocked, bool crowd) {
  static const rawwaker_future_vtable alone_vtable = {alone_poll, alone_drop},
                                      pair_vtable = {pair_poll, pair_drop};
  alone a = {.rounds = rounds};
  unsigned long before = signals, others = on_other_threads, sent = 0;
  sleeps = 0;
  enough = false;
  mask(blocked ? SIG_BLOCK : SIG_UNBLOCK);
  busy = crowd;
  size_t beside = 0;
  if (crowd) {
    memset(pairs, 0, sizeof pairs);
    for (; beside < THREADS; beside++) {
      ffiwaker_executor_spawn(ex, (rawwaker_future){&pairs[beside], &pair_vtable}, NULL, NULL,
                              NULL);
      check(pthread_create(&pairs[beside].id, NULL, pair_wakes, &pairs[beside]) == 0,
            "pthread_create");
    }
    ffiwaker_executor_spawn(ex, ffiwaker_sleep(200000), NULL, slept, &sleeps);
    beside++;
  }
  ffiwaker_executor_spawn(ex, (rawwaker_future){&a, &alone_vtable}, NULL, NULL, NULL);
  while (!a.done) {
    while (ffiwaker_executor_tick(ex)) {
    }
    if (a.done) break;
    struct pollfd p = {.fd = ffiwaker_executor_fd(ex), .events = POLLIN};
    unsigned long now = signals;
    int got;
    while ((got = poll(&p, 1, 10000)) < 0 && errno == EINTR) {
    }
    check(got == 1 || now != signals, "a wake was lost: the descriptor is not readable");
  }
  busy = false;
  enough = true;
  turn_until(0);
  for (size_t i = 0; crowd && i < THREADS; i++) {
    pthread_join(pairs[i].id, NULL);
    check(pairs[i].seen == pairs[i].sent, "a thread's last wake was lost");
    sent += pairs[i].sent;
  }
  rawwaker_drop(target);
  check(signals == before + rounds && a.polls == rounds + 1, "not one poll for each signal");
  check(changed_errno == 0, "errno was not kept");
  check(!blocked || on_other_threads - others == rounds,
        "the signal reached a thread that blocks it");
  check(rawwaker_live() == 0, "a waker is left");
  printf("   Go's executor%s: %lu signals (%lu on threads of Go or others), %lu polls; "
         "%lu sleeps, %lu wakes by threads, 0 lost\n",
         crowd ? " under load" : "", rounds, on_other_threads - others, a.polls, sleeps, sent);
}

int main(int argc, char **argv) {
  const char *debug = getenv("FFIWAKERDEBUG");
  debugging = debug != NULL && *debug != '\0';
  unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 500;
  setvbuf(stdout, NULL, _IOLBF, 0);
  host_id = syscall(SYS_gettid);
  ex = ffiwaker_executor_new();
  check(ex != NULL, "no executor");
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  for (int crowd = 0; crowd < 2; crowd++)
    for (int blocked = 0; blocked < 2; blocked++) rounds_of(rounds, blocked == 1, crowd == 1);
  ffiwaker_executor_drop(ex);
  printf("ok signals_host: faults %lu, errno kept by each, 0 lost\n", (unsigned long)signals);
  return 0;
}
