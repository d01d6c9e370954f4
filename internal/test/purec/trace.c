/* trace.c - tests the C part of the trace: ./trace. Each event writes one whole line, whatever
 * other threads write. A forked child writes nothing. errno is kept if the disk is full. No slot is
 * a cancellation point. If a box has more fields than today, the line is cut. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rawwaker_audit.h"

static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL trace: %s\n", why);
  fflush(stdout);
  _exit(1);
}

/* Acts as a library with forty fields. */
size_t __wrap_rawwaker_box_look(const rawwaker_box *b, rawwaker_box_field *out, size_t n);
size_t __wrap_rawwaker_box_look(const rawwaker_box *b, rawwaker_box_field *out, size_t n) {
  for (size_t i = 0; i < 40 && i < n; i++)
    out[i] = (rawwaker_box_field){"field", (uint32_t)i, 8, b != NULL ? UINT64_MAX : 0};
  return 40;
}

enum { THREADS = 4, EACH = 2000 };
static rawwaker w;

static void *wake_run(void *arg) {
  for (int i = 0; i < EACH; i++) rawwaker_wake_by_ref(&w);
  return arg;
}

static atomic_bool came_back;
static void *cancelled_run(void *arg) {
  pthread_cancel(pthread_self());
  rawwaker_wake_by_ref(&w);
  rawwaker c = rawwaker_clone(&w);
  rawwaker_drop(c);
  rawwaker_drop(c); /* misuse, which is printed */
  atomic_store(&came_back, true);
  pthread_testcancel();
  return arg;
}
static void *wrong_run(void *arg) { /* a finding that is written to a full disk */
  rawwaker c = rawwaker_clone(&w);
  rawwaker_drop(c);
  errno = EDOM;
  rawwaker_wake_by_ref(&c);
  check(errno == EDOM, "errno changed by a finding");
  return arg;
}

static size_t lines_of(const char *file, const char *what, size_t *all) {
  static char line[8192];
  FILE *f = fopen(file, "r");
  check(f != NULL, "no file");
  size_t n = 0;
  *all = 0;
  while (fgets(line, sizeof line, f) != NULL) {
    size_t end = strlen(line);
    check(end > 3 && line[0] == '{' && strcmp(line + end - 2, "}\n") == 0 &&
              strstr(line + 1, "{\"ns\"") == NULL,
          "a line is not whole");
    ++*all;
    n += strstr(line, what) != NULL;
  }
  fclose(f);
  return n;
}

int main(void) {
  char file[] = "/tmp/trace.XXXXXX";
  int fd = mkstemp(file), full = open("/dev/full", O_WRONLY);
  check(fd >= 0 && full >= 0, "no files");
  fcntl(fd, F_SETFL, O_APPEND);
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  check(s != NULL && b != NULL, "no box");
  ffiwaker_trace_begin(fd);
  w = rawwaker_audit(rawwaker_box_ref(b));
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++)
    check(pthread_create(&t[i], NULL, wake_run, NULL) == 0, "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  size_t all, n = lines_of(file, "\"what\":\"wake_by_ref\"", &all);
  check(n == THREADS * EACH && all == n + 1, "the lines are not one for each event");

  pid_t child = fork();
  if (child == 0) {
    rawwaker_wake_by_ref(&w);
    _exit(0);
  }
  int status;
  check(waitpid(child, &status, 0) == child && status == 0, "the child failed");
  check(lines_of(file, "\"what\":\"wake_by_ref\"", &all) == n, "a forked child wrote");

  int standard = dup(2);
  check(dup2(full, 2) == 2, "no standard error");
  check(pthread_create(&t[0], NULL, cancelled_run, NULL) == 0, "no thread");
  pthread_join(t[0], NULL);
  check(atomic_load(&came_back), "a slot is a cancellation point");
  check(lines_of(file, "\"what\":\"wake_by_ref\"", &all) == n + 1,
        "no line of a thread with a cancel pending");

  ffiwaker_trace_begin(full);
  errno = EDOM;
  rawwaker_wake_by_ref(&w);
  check(errno == EDOM, "errno changed by a trace to a full disk");
  check(pthread_create(&t[0], NULL, wrong_run, NULL) == 0, "no thread");
  pthread_join(t[0], NULL);
  rawwaker_audit_watch(NULL);
  dup2(standard, 2);
  rawwaker_drop(w);
  rawwaker_box *list = rawwaker_sink_take(s);
  rawwaker_notice notice;
  while (rawwaker_box_read(&list, &notice, 1) != 0) {
  }
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
  check(rawwaker_live() == 0 && rawwaker_audit_live() == 0, "something is left");
  unlink(file);
  printf("trace: ok, %zu lines of %d threads\n", n, THREADS);
  return 0;
}
