/* tap.h - tests that print TAP, calls that abort with a line, and a malloc that refuses. For
 * unit.c, senders.c, jobs.c and channel.c, which --wrap=malloc and --wrap=calloc link. */
#ifndef TAP_H
#define TAP_H

#include "rawwaker.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int tests, failures;
static bool passed;

#define CHECK(what)                                                           \
  do {                                                                        \
    if (!(what)) {                                                            \
      printf("# %s:%d: failed: %s\n", __FILE__, __LINE__, #what);             \
      passed = false;                                                         \
    }                                                                         \
  } while (0)

/* Returns the next descriptor number. It is the same after a call that leaves no descriptor
 * open. */
static int next_descriptor(void) {
  int fd = dup(0);
  close(fd);
  return fd;
}

static void run(const char *name, void (*test)(void)) {
  passed = true;
  int before = next_descriptor();
  test();
  CHECK(rawwaker_live() == 0);
  CHECK(next_descriptor() == before);
  printf("%s %d - %s\n", passed ? "ok" : "not ok", ++tests, name);
  failures += !passed;
}

static int out_of_memory_at; /* 1: the next malloc fails */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) {
  if (out_of_memory_at > 0 && --out_of_memory_at == 0) return NULL;
  return __real_malloc(size);
}
/* Compilers replace malloc and memset by calloc. */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
  if (out_of_memory_at > 0 && --out_of_memory_at == 0) return NULL;
  return __real_calloc(n, size);
}

/* Before it aborts, the child prints `rawwaker: ` and line, and nothing else. */
static void death(const char *line, void (*call)(void)) {
  int ends[2], status;
  char got[512] = "", want[256];
  size_t n = 0;
  ssize_t more;
  if (pipe(ends) != 0) abort();
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    signal(SIGABRT, SIG_DFL);
    call();
    _exit(0);
  }
  close(ends[1]);
  while ((more = read(ends[0], got + n, sizeof got - 1 - n)) > 0) n += (size_t)more;
  close(ends[0]);
  waitpid(child, &status, 0);
  snprintf(want, sizeof want, "rawwaker: %s\n", line);
  passed = true;
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  CHECK(strcmp(got, want) == 0);
  if (!passed) printf("# got: %s", got);
  printf("%s %d - it aborts with one line: %s\n", passed ? "ok" : "not ok", ++tests, line);
  failures += !passed;
}

#endif
