/* exits.c - a program that ends while C threads wake: ./exits [runs].
 *
 * Each run is a new process. It ends by exit, by _exit or by a return from main while the threads
 * wake; half of those that run their atexit functions close the boxes and drop the sink there. The
 * parent expects the given status, no signal, nothing on standard error, and an end within ten
 * seconds.
 *
 * With -DHOST it is linked with libffiwaker, and the threads wake tasks of Go's executor too. */
#define _GNU_SOURCE
#ifdef HOST
#include "ffiwaker.h"
#else
#include "rawwaker.h"
#endif

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BOXES = 3, BY_EXIT = 0, BY__EXIT = 1, BY_RETURN = 2 };
static const char *const ways[] = {"exit", "_exit", "return from main"};

/* ------------------------------------------------------------------ the process that ends -- */

static rawwaker_sink *sink;
static rawwaker_box *boxes[BOXES];
static rawwaker box_wakers[BOXES], fn_waker;
static rawwaker_cell cell;
static atomic_ulong called;

static void count(void *arg) { atomic_fetch_add((atomic_ulong *)arg, 1); }
static void *wakes(void *arg) {
  unsigned long n = (unsigned long)(uintptr_t)arg;
  for (;; n++) {
    rawwaker w = rawwaker_clone(&box_wakers[n % BOXES]);
    rawwaker_cell_register(&cell, n % 2 == 0 ? &w : &fn_waker);
    n % 3 == 0 ? rawwaker_drop(w) : rawwaker_wake(w);
    rawwaker_cell_wake(&cell);
  }
  return NULL;
}
/* A thread that calls block_on in each round, so that one is in progress when the process ends. */
static rawwaker_poll some_poll(void *data, rawwaker_context *cx, void *out) {
  int *left = data;
  (void)out;
  rawwaker_cell_register(&cell, cx->waker); /* another thread wakes it, or this one */
  rawwaker_wake_by_ref(cx->waker);
  return (*left)-- == 0 ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void nothing(void *data) { (void)data; }
static void *blocks(void *arg) {
  static const rawwaker_future_vtable vtable = {some_poll, nothing};
  for (;;) {
    int left = 5;
    rawwaker_block_on((rawwaker_future){&left, &vtable}, NULL);
  }
  return arg;
}

#ifdef HOST
static ffiwaker_executor *ex;
static rawwaker_cell go_cell;
static rawwaker_poll task_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  rawwaker_cell_register(&go_cell, cx->waker);
  return RAWWAKER_PENDING;
}
static void task_drop(void *data) {
  (void)data;
  rawwaker_cell_drop(&go_cell);
}
static void *wakes_go(void *arg) {
  for (;;) {
    rawwaker_cell_wake(&go_cell);
    for (volatile int i = 0; i < 100; i++) {
    }
  }
  return arg;
}
#endif

static void turn(void) {
  rawwaker_notice n[8];
  rawwaker_box *list = rawwaker_sink_take(sink);
  while (rawwaker_box_read(&list, n, 8) != 0) {
  }
#ifdef HOST
  for (int i = 0; i < 100 && ffiwaker_executor_tick(ex); i++) {
  }
  struct pollfd p = {.fd = ffiwaker_executor_fd(ex), .events = POLLIN};
  poll(&p, 1, 0);
#else
  if (rawwaker_sink_sleep(sink)) {
    struct pollfd p = {.fd = rawwaker_sink_fd(sink), .events = POLLIN};
    poll(&p, 1, 1);
    rawwaker_sink_ack(sink);
  }
#endif
}
static void tidy(void) {
  for (int i = 0; i < BOXES; i++) rawwaker_box_close(boxes[i]);
  rawwaker_sink_drop(sink);
  usleep(200); /* the threads continue to wake */
}
static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int ends(int way, int status, long microseconds, bool tidies) {
  pthread_t id;
  alarm(60);
  sink = rawwaker_sink_new(0);
  if (sink == NULL) return 99;
  for (unsigned i = 0; i < BOXES; i++) {
    boxes[i] = rawwaker_box_new(sink, i + 1, 0);
    box_wakers[i] = rawwaker_box_ref(boxes[i]);
  }
  fn_waker = rawwaker_from_fn(count, &called, NULL);
  if (tidies) atexit(tidy);
  for (uintptr_t i = 0; i < 2; i++)
    if (pthread_create(&id, NULL, wakes, (void *)i) != 0) return 99;
  if (pthread_create(&id, NULL, blocks, NULL) != 0) return 99;
#ifdef HOST
  static const rawwaker_future_vtable vtable = {task_poll, task_drop};
  ex = ffiwaker_executor_new();
  if (ex == NULL) return 99;
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &vtable}, NULL, NULL, NULL);
  ffiwaker_executor_spawn(ex, ffiwaker_sleep(500000), NULL, NULL, NULL);
  if (pthread_create(&id, NULL, wakes_go, NULL) != 0) return 99;
#endif
  for (long end = now() + microseconds; now() < end;) turn();
  if (called == 0 && microseconds > 0)
    for (long end = now() + 5000000; called == 0 && now() < end;) turn();
  if (called == 0 && microseconds > 0) return 98; /* no wake was in progress */
  if (way == BY_EXIT) exit(status);
  if (way == BY__EXIT) _exit(status);
  return status;
}

/* ----------------------------------------------------------------------------- the parent -- */

extern char **environ;

int main(int argc, char **argv) {
  if (argc == 6) return ends(atoi(argv[2]), atoi(argv[3]), atol(argv[4]), atoi(argv[5]) != 0);
  int runs = argc > 1 ? atoi(argv[1]) : 50;
  unsigned long done = 0;
  FILE *said = tmpfile();
  if (said == NULL) return 1;
  for (int way = 0; way < 3; way++) {
    for (int i = 0; i < runs; i++, done++) {
      char a[16], b[16], c[16];
      int want = i % 126, status = -1;
      bool tidies = way != BY__EXIT && i % 2 == 1;
      snprintf(a, sizeof a, "%d", way);
      snprintf(b, sizeof b, "%d", want);
      snprintf(c, sizeof c, "%d", i % 5 == 0 ? 0 : i * 97 % 2000);
      char *arguments[] = {argv[0], "ends", a, b, c, tidies ? "1" : "0", NULL};
      posix_spawn_file_actions_t to;
      posix_spawn_file_actions_init(&to);
      posix_spawn_file_actions_adddup2(&to, fileno(said), 2);
      pid_t pid;
      if (posix_spawn(&pid, "/proc/self/exe", &to, NULL, arguments, environ) != 0 ||
          waitpid(pid, &status, 0) != pid)
        return 1;
      posix_spawn_file_actions_destroy(&to);
      off_t words = lseek(fileno(said), 0, SEEK_END);
      if (WIFEXITED(status) && WEXITSTATUS(status) == want && words == 0) continue;
      printf("FAIL exits: by %s with %d after %s us, tidying %d: status %#x\n", ways[way], want, c,
             tidies, (unsigned)status);
      char line[512];
      rewind(said);
      for (int k = 0; k < 40 && fgets(line, sizeof line, said) != NULL; k++) fputs(line, stdout);
      return 1;
    }
  }
  fclose(said);
#ifdef HOST
  const char *what = "with Go";
#else
  const char *what = "pure C";
#endif
  printf("ok exits, %s: faults %lu, a third each by exit, _exit and return: "
         "each status as given, no output, no crash\n",
         what, done);
  return 0;
}
