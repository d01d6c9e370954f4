/* rawwaker_wake_by_ref of a waker made by Go: in a signal handler at 1 kHz, in a forked child, and
 * in the constructor of a library that is loaded late. Meanwhile Go futures are made and dropped,
 * which keeps Go's garbage collector busy. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;
rawwaker late_waker; /* wakes the task below; exported, for late.c */
static int polls;
static bool stop;

static rawwaker_poll keeper_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)out;
  polls++;
  /* The handler may run at any time, so late_waker must not change. This task's waker stays the
   * same. */
  if (late_waker.vtable == NULL) late_waker = rawwaker_clone(cx->waker);
  return stop ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void keeper_drop(void *data) { (void)data; }

static void tick(void) {
  while (ffiwaker_executor_tick(ex)) {
  }
}
static bool readable(int milliseconds) {
  struct pollfd p = {.fd = ffiwaker_executor_fd(ex), .events = POLLIN};
  return poll(&p, 1, milliseconds) == 1;
}

static atomic_uint signals;
static void on_signal(int sig) {
  (void)sig;
  rawwaker_wake_by_ref(&late_waker);
  signals++;
}
static void slept(void *arg, rawwaker_poll code) {
  (void)code;
  ++*(int *)arg;
}

int main(int argc, char **argv) {
  static const rawwaker_future_vtable vtable = {keeper_poll, keeper_drop};
  if (argc != 2) return 2;
  ex = ffiwaker_executor_new();
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &vtable}, NULL, NULL, NULL);
  tick();

  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  struct itimerval khz = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &khz, NULL);
  int sleeps = 0, begun = polls;
  while (signals < 1000) {
    ffiwaker_executor_spawn(ex, ffiwaker_sleep(100000), NULL, slept, &sleeps);
    readable(-1);
    tick();
  }
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
  while (ffiwaker_executor_tasks(ex) > 1) {
    readable(-1);
    tick();
  }
  printf("a thousand signals: woken %s, sleeps %s\n", polls > begun ? "by them" : "never",
         sleeps > 0 ? "too" : "never");

  while (readable(0)) tick();
  tick();
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 1000; i++) rawwaker_wake_by_ref(&late_waker);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("a forked child: status %d\n", status);
  tick();

  begun = polls;
  while (readable(0)) tick();
  void *lib = dlopen(argv[1], RTLD_NOW);
  if (lib == NULL) {
    printf("%s\n", dlerror());
    return 1;
  }
  printf("a late constructor: readable %d\n", readable(0));
  tick();
  printf("polled %s\n", polls > begun ? "again" : "not at all");

  stop = true;
  rawwaker_wake_by_ref(&late_waker);
  tick();
  ffiwaker_executor_drop(ex);
  rawwaker_wake(late_waker);
  printf("boxes left: %zu\n", rawwaker_live());
  return 0;
}
