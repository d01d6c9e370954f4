/* Measures what Go costs a process: time, memory, threads, signal handlers. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ffiwaker.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}
static long status(const char *name) {
  char line[256];
  long v = -1;
  FILE *f = fopen("/proc/self/status", "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL)
    if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name) + 1, "%ld", &v);
  if (f != NULL) fclose(f);
  return v;
}

int main(void) {
  double start = now();
  ffiwaker_executor *ex = ffiwaker_executor_new();
  double first = now();
  ffiwaker_executor_tick(ex);
  double second = now();
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_future f = ffiwaker_sleep(3600000000000);
  double before = now();
  for (int i = 0; i < 100000; i++) f.vtable->poll(f.data, &cx, NULL);
  double polls = now() - before;
  f.vtable->drop(f.data);
  printf("first call %.0f us, second %.1f us, a poll of a pending Go future %.3f us\n",
         first - start, second - first, polls / 1e5);
  printf("resident %ld kB, %ld threads\nhandlers:", status("VmRSS"), status("Threads"));
  for (int sig = 1; sig < 32; sig++) {
    struct sigaction a;
    if (sigaction(sig, NULL, &a) == 0 && a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN)
      printf(" SIG%s%s", sigabbrev_np(sig),
             (a.sa_flags & SA_ONSTACK) != 0 ? "" : " (without SA_ONSTACK)");
  }
  puts("");
  ffiwaker_executor_drop(ex);
  return 0;
}
