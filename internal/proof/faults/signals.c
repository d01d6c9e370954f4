/* signals.c - wakes in signal handlers: ./signals [rounds] [patience, in seconds].
 *
 * Each round arms a timer of up to a millisecond. Its one signal causes the round's only wake, so a
 * later wake cannot hide a lost one. The waiter sleeps on a sink's descriptor, or in block_on. The
 * signal is delivered to the waiter, to an idle thread, or to a thread that wakes too. Then follow
 * a timer of 1 kHz, queued real-time signals at 1 kHz, and threads, all at once. */
#define _GNU_SOURCE
#include "rawwaker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BOXES = 4, THREADS = 3, ALARM = SIGALRM };

static void die(const char *why) {
  printf("FAIL signals: %s\n", why);
  exit(1);
}
static void check(bool ok, const char *why) {
  if (!ok) die(why);
}

/* The wakers of the handler, and its counts. They are set before the first signal, and do not
 * change. */
static rawwaker target[BOXES];
static atomic_ulong announced[BOXES], signals, changed_errno;
static atomic_uint targets;

static void handler(int sig) {
  (void)sig;
  unsigned long n = atomic_fetch_add(&signals, 1), at = n % atomic_load(&targets);
  int saved = errno;
  errno = 1000 + (int)at;
  atomic_fetch_add(&announced[at], 1);
  rawwaker_wake_by_ref(&target[at]);
  if (errno != 1000 + (int)at) atomic_fetch_add(&changed_errno, 1);
  errno = saved;
}

/* A round that does not end is a lost wake. */
static unsigned patience = 10;
static void *watch(void *arg) {
  for (unsigned long last = signals, for_seconds = 0;; last = signals) {
    sleep(1);
    for_seconds = last == signals ? for_seconds + 1 : 0;
    if (for_seconds > patience) die("a wake was lost: the waiter still sleeps");
  }
  return arg;
}

/* ----------------------------------------------------------------- the target of a signal -- */

static const char *const to_whom[] = {"the waiter", "a thread that does nothing",
                                      "a thread that wakes"};
static atomic_bool over;
static atomic_ulong by_threads;

static void mask(int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, ALARM);
  sigaddset(&set, SIGRTMIN);
  pthread_sigmask(how, &set, NULL);
}
static void *idle(void *arg) {
  mask(SIG_UNBLOCK);
  while (!atomic_load(&over)) usleep(500);
  return arg;
}
static rawwaker busy; /* a waker of the same sink; no thread waits for it */
static void *wakes(void *arg) {
  mask(SIG_UNBLOCK);
  for (unsigned long n = 0; !atomic_load(&over); n++) {
    errno = 2000;
    rawwaker w = rawwaker_clone(&busy);
    n % 2 == 0 ? rawwaker_wake(w) : rawwaker_drop(w);
    atomic_fetch_add_explicit(&by_threads, 1, memory_order_relaxed);
    if (errno != 2000) atomic_fetch_add(&changed_errno, 1);
    if (n % 64 == 0) usleep(100); /* otherwise the waiter never sleeps */
  }
  return arg;
}
static pthread_t helper;
static void deliver_to(int whom) {
  over = false;
  mask(whom == 0 ? SIG_UNBLOCK : SIG_BLOCK);
  if (whom != 0 && pthread_create(&helper, NULL, whom == 1 ? idle : wakes, NULL) != 0)
    die("pthread_create");
}
static void delivered(int whom) {
  over = true;
  if (whom != 0) pthread_join(helper, NULL);
}
static uint64_t r = 88172645463325252u;
static void arm(void) {
  r ^= r << 13, r ^= r >> 7, r ^= r << 17;
  /* Some arrive before the waiter sleeps, most while it sleeps. */
  long us = r % 4 == 0 ? 1 + (long)(r >> 20) % 30 : 1 + (long)(r >> 20) % 1000;
  struct itimerval once = {{0, 0}, {0, us}};
  setitimer(ITIMER_REAL, &once, NULL);
}

/* --------------------------------------------------------------------------------- a sink -- */

static rawwaker_sink *sink;
static rawwaker_box *boxes[BOXES + 1];
static unsigned long seen[BOXES], slept;

static bool drain(void) {
  rawwaker_notice n[8];
  rawwaker_box *list = rawwaker_sink_take(sink);
  bool any = false;
  for (size_t got; (got = rawwaker_box_read(&list, n, 8)) != 0;)
    for (size_t i = 0; i < got; i++)
      if (n[i].woken && n[i].id <= BOXES) {
        seen[n[i].id - 1] = atomic_load(&announced[n[i].id - 1]);
        any = true;
      }
  return any;
}
/* Returns false if nothing arrives. The signal itself ends a poll too; that is no wake, and the
 * poll is repeated. */
static bool sleep_on_sink(void) {
  struct pollfd p = {.fd = rawwaker_sink_fd(sink), .events = POLLIN};
  int got;
  if (!rawwaker_sink_sleep(sink)) return true;
  slept++;
  while ((got = poll(&p, 1, (int)patience * 1000)) < 0 && errno == EINTR) {
  }
  rawwaker_sink_ack(sink);
  return got == 1;
}
static void open_sink(void) {
  sink = rawwaker_sink_new(0);
  check(sink != NULL, "no sink");
  for (unsigned i = 0; i <= BOXES; i++) {
    boxes[i] = rawwaker_box_new(sink, i + 1, 0);
    check(boxes[i] != NULL, "no box");
    rawwaker w = rawwaker_box_ref(boxes[i]);
    if (i < BOXES)
      target[i] = w, announced[i] = seen[i] = 0;
    else
      busy = w;
  }
  targets = BOXES;
  slept = 0;
}
static void close_sink(void) {
  for (unsigned i = 0; i <= BOXES; i++) {
    rawwaker_drop(i < BOXES ? target[i] : busy);
    rawwaker_box_close(boxes[i]);
  }
  drain();
  rawwaker_sink_drop(sink);
  check(rawwaker_live() == 0, "a box is left");
}
static unsigned long all(atomic_ulong *of) {
  unsigned long sum = 0;
  for (int i = 0; i < BOXES; i++) sum += of[i];
  return sum;
}
static void all_seen(void) {
  for (int i = 0; i < BOXES; i++)
    check(seen[i] == announced[i], "a wake was lost: the last one of a box was not noticed");
  check(changed_errno == 0, "errno was not kept");
}

static void one_signal_a_sleep(unsigned long rounds, int whom) {
  open_sink();
  deliver_to(whom);
  for (unsigned long i = 0; i < rounds; i++) {
    unsigned long before = signals;
    arm();
    do check(sleep_on_sink(), "a wake was lost: the descriptor is not readable"); while (!drain());
    check(signals == before + 1, "not one signal for each round");
  }
  delivered(whom);
  all_seen();
  check(all(announced) == rounds, "not one wake for each signal");
  printf("   a sink, the signal to %s: %lu signals, %lu sleeps, 0 lost\n", to_whom[whom], rounds,
         slept);
  close_sink();
}

/* ------------------------------------------------------------------------------- block_on -- */

typedef struct alone {
  unsigned long rounds, polls, spurious, last;
} alone;
static rawwaker_poll alone_poll(void *data, rawwaker_context *cx, void *out) {
  alone *a = data;
  (void)out;
  unsigned long now = signals;
  if (a->polls++ == 0) {
    target[0] = rawwaker_clone(cx->waker);
    busy = rawwaker_noop();
    targets = 1;
  } else if (now == a->last) { /* a poll without a signal, which is the only wake */
    a->spurious++;
    return RAWWAKER_PENDING;
  }
  a->last = now;
  if (a->rounds-- == 0) return RAWWAKER_READY;
  arm();
  return RAWWAKER_PENDING;
}
static void alone_drop(void *data) { (void)data; }

static void one_signal_a_block_on(unsigned long rounds, int whom) {
  static const rawwaker_future_vtable vtable = {alone_poll, alone_drop};
  alone a = {.rounds = rounds};
  unsigned long before = signals;
  busy = rawwaker_noop();
  deliver_to(whom);
  announced[0] = 0;
  check(rawwaker_block_on((rawwaker_future){&a, &vtable}, NULL) == RAWWAKER_READY, "ready");
  delivered(whom);
  rawwaker_drop(target[0]);
  check(signals == before + rounds && announced[0] == rounds, "not one signal for each round");
  check(a.polls == rounds + 1 && a.spurious == 0, "not one poll for each signal");
  check(changed_errno == 0, "errno was not kept");
  check(rawwaker_live() == 0, "a waker is left");
  printf("   block_on, the signal to %s: %lu signals, %lu polls, 0 lost\n", to_whom[whom], rounds,
         a.polls);
}

/* ------------------------------------------------------------------------------ the storm -- */

static atomic_bool stop;
static void *storm(void *arg) {
  unsigned long n = 0, at = (unsigned long)(uintptr_t)arg;
  mask(SIG_UNBLOCK);
  while (!atomic_load(&stop)) {
    at = (at + 1) % BOXES;
    errno = 3000;
    atomic_fetch_add(&announced[at], 1);
    rawwaker_wake_by_ref(&target[at]);
    if (errno != 3000) atomic_fetch_add(&changed_errno, 1);
    if (++n % 512 == 0) usleep(50);
  }
  return (void *)(uintptr_t)n;
}

static void storms(unsigned long milliseconds) {
  pthread_t ids[THREADS];
  timer_t real_time;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
  struct itimerspec khz = {{0, 1000000}, {0, 700000}};
  struct itimerval alarm_khz = {{0, 1000}, {0, 1000}};
  struct timespec t;
  unsigned long before = signals, woken = 0, notices = 0;
  open_sink();
  mask(SIG_UNBLOCK);
  stop = false;
  for (uintptr_t i = 0; i < THREADS; i++)
    if (pthread_create(&ids[i], NULL, storm, (void *)i) != 0) die("pthread_create");
  if (timer_create(CLOCK_MONOTONIC, &event, &real_time) != 0) die("timer_create");
  timer_settime(real_time, 0, &khz, NULL);
  setitimer(ITIMER_REAL, &alarm_khz, NULL);
  clock_gettime(CLOCK_MONOTONIC, &t);
  for (long end = t.tv_sec * 1000 + t.tv_nsec / 1000000 + (long)milliseconds;
       t.tv_sec * 1000 + t.tv_nsec / 1000000 < end;) {
    check(sleep_on_sink(), "a wake was lost: the descriptor is not readable");
    notices += drain();
    clock_gettime(CLOCK_MONOTONIC, &t);
  }
  timer_delete(real_time);
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
  stop = true;
  for (int i = 0; i < THREADS; i++) {
    void *n;
    pthread_join(ids[i], &n);
    woken += (unsigned long)(uintptr_t)n;
  }
  usleep(5000); /* for a pending signal */
  mask(SIG_BLOCK);
  drain();
  all_seen();
  check(all(announced) == woken + signals - before, "not one wake for each signal and each call");
  printf("   a sink under load: %lu signals and %lu wakes by %d threads, "
         "%lu drains, %lu sleeps, 0 lost\n",
         signals - before, woken, THREADS, notices, slept);
  close_sink();
}

int main(int argc, char **argv) {
  unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 500;
  if (argc > 2) patience = (unsigned)strtoul(argv[2], NULL, 10);
  pthread_t watcher;
  mask(SIG_BLOCK);
  if (pthread_create(&watcher, NULL, watch, NULL) != 0) die("pthread_create");
  pthread_detach(watcher);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(ALARM, &action, NULL);
  sigaction(SIGRTMIN, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int whom = 0; whom < 3; whom++) one_signal_a_sleep(rounds, whom);
  for (int whom = 0; whom < 3; whom++) one_signal_a_block_on(rounds, whom);
  storms(rounds * 2);
  printf("ok signals: faults %lu, wakes by threads beside them %lu, errno kept by each, 0 lost\n",
         (unsigned long)signals, (unsigned long)by_threads);
  return 0;
}
