/* system.c - system calls that fail: ./system. The linker replaces functions of the C library, also
 * in rawwaker.c, by those below. With -DPIPES, rawwaker.c was compiled without __linux__, so a sink
 * is a pipe, as on other systems. */
#define _GNU_SOURCE
#include "rawwaker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PIPES
enum { PIPE = 1 };
#else
enum { PIPE = 0 };
#endif

static int tests, failures;
static unsigned long faults;
static bool passed;
#define CHECK(what)                                                  \
  do {                                                               \
    if (!(what)) {                                                   \
      printf("# %s:%d: failed: %s\n", __FILE__, __LINE__, #what);    \
      passed = false;                                                \
    }                                                                \
  } while (0)

/* ---------------------------------------------------------------------- the failing calls -- */

/* The next `times` calls fail with `error`. All calls are counted. */
typedef struct fault {
  int error, times;
  unsigned calls;
} fault;
static fault opens, writes, reads, closes, threads, sem_inits, sem_waits;
static bool changes_errno; /* in sem_post, which may do so */

static bool strikes(fault *f) {
  f->calls++;
  if (f->times == 0) return false;
  f->times--;
  faults++;
  errno = f->error;
  return true;
}

#define WRAP(type, name, parameters, arguments, f) \
  type __real_##name parameters;                   \
  type __wrap_##name parameters;                   \
  type __wrap_##name parameters { return strikes(&f) ? (type)-1 : __real_##name arguments; }

WRAP(int, eventfd, (unsigned value, int flags), (value, flags), opens)
WRAP(int, pipe, (int ends[2]), (ends), opens)
WRAP(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), writes)
WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), reads)
WRAP(int, sem_init, (sem_t *s, int shared, unsigned value), (s, shared, value), sem_inits)
WRAP(int, sem_wait, (sem_t *s), (s), sem_waits)

/* Linux closes the descriptor even if it returns EINTR. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
  int got = __real_close(fd);
  return strikes(&closes) ? -1 : got;
}
/* pthread_create returns its error. */
int __real_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*f)(void *), void *arg) {
  return strikes(&threads) ? threads.error : __real_pthread_create(id, a, f, arg);
}
int __real_sem_post(sem_t *s);
int __wrap_sem_post(sem_t *s);
int __wrap_sem_post(sem_t *s) {
  int got = __real_sem_post(s);
  if (changes_errno) errno = 99;
  return got;
}

static int descriptors(void) {
  int n = 0;
  for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}
static void run(const char *name, void (*test)(void)) {
  int before = descriptors();
  opens = writes = reads = closes = threads = sem_inits = sem_waits = (fault){0, 0, 0};
  changes_errno = false;
  passed = true;
  alarm(60);
  test();
  alarm(0);
  CHECK(opens.times + writes.times + reads.times + closes.times + threads.times + sem_inits.times +
            sem_waits.times ==
        0);
  CHECK(rawwaker_live() == 0);
  CHECK(descriptors() == before);
  printf("%s %d - %s\n", passed ? "ok" : "not ok", ++tests, name);
  failures += !passed;
}

/* ------------------------------------------------------------------------------- the sink -- */

static bool readable(const rawwaker_sink *s) {
  struct pollfd p = {.fd = rawwaker_sink_fd(s), .events = POLLIN};
  return poll(&p, 1, 0) == 1;
}
static size_t drain(rawwaker_sink *s) {
  rawwaker_notice n[4];
  rawwaker_box *list = rawwaker_sink_take(s);
  return rawwaker_box_read(&list, n, 4);
}

static void no_sink(void) {
  static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENODEV};
  for (int i = 0; i < 4; i++)
    for (uint32_t flags = 0; flags < 2; flags++) {
      opens = (fault){errors[i], 1, 0};
      errno = 0;
      rawwaker_sink *s = rawwaker_sink_new(flags);
      CHECK(s == NULL && errno == errors[i] && opens.calls == 1);
    } /* the leak checker reports an allocation that was not freed */
  for (int i = 0; i < 4; i++) {
    opens = (fault){errors[i], 1, 0};
    errno = 0;
    rawwaker_queue *q = rawwaker_queue_new();
    CHECK(q == NULL && errno == errors[i] && opens.calls == 1);
  }
  rawwaker_sink *s = rawwaker_sink_new(0);
  CHECK(s != NULL && !readable(s));
  if (s != NULL) rawwaker_sink_drop(s);
}

/* Here the limit itself makes calls fail. Each step allows one descriptor more. */
static void few_descriptors(void) {
  struct rlimit was, few;
  int next = fcntl(0, F_DUPFD, 0), need = PIPE ? 2 : 1;
  close(next);
  getrlimit(RLIMIT_NOFILE, &was);
  few = was;
  for (int left = 0; left <= need; left++) {
    few.rlim_cur = (rlim_t)(next + left);
    setrlimit(RLIMIT_NOFILE, &few);
    errno = 0;
    rawwaker_sink *s = rawwaker_sink_new(0);
    int error = errno;
    setrlimit(RLIMIT_NOFILE, &was);
    CHECK((s != NULL) == (left == need));
    if (s == NULL) {
      faults++;
      CHECK(error == EMFILE);
    } else
      rawwaker_sink_drop(s);
  }
}

static unsigned hooked;
static void hook(void *arg) {
  (void)arg;
  hooked++;
}

static void interrupted_writes(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  for (int n = 0; n < 20; n++) {
    writes = (fault){EINTR, n, 0};
    errno = 77;
    rawwaker_sink_kick(s);
    CHECK(errno == 77 && writes.calls == (unsigned)n + 1 && readable(s));
    rawwaker_sink_ack(s);
    CHECK(!readable(s));
  }
  rawwaker_sink_drop(s);
}

static void full_writes(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  rawwaker w = rawwaker_box_ref(b);
  CHECK(rawwaker_sink_on_wake(s, rawwaker_from_fn(hook, NULL, NULL)));
  hooked = 0;
  writes = (fault){EAGAIN, 1, 0};
  errno = 77;
  rawwaker_sink_kick(s);
  CHECK(errno == 77 && writes.calls == 1 && !readable(s));
  /* In a wake, the box is listed and the hook called nevertheless. */
  CHECK(rawwaker_sink_sleep(s));
  writes = (fault){EAGAIN, 1, 0};
  rawwaker_wake_by_ref(&w);
  CHECK(errno == 77 && writes.calls == 1 && hooked == 1 && drain(s) == 1);
  /* Without injection: writes until the descriptor is full. */
  unsigned long refused = 0;
  if (PIPE) {
    for (unsigned long i = 0; i < (1 << 16) + 100; i++) rawwaker_sink_kick(s); /* 64 KiB */
    refused = 100;
  } else {
    uint64_t full = UINT64_MAX - 1; /* the maximum of an eventfd */
    CHECK(__real_write(rawwaker_sink_fd(s), &full, sizeof full) == sizeof full);
    for (; refused < 100; refused++) rawwaker_sink_kick(s);
  }
  faults += refused;
  CHECK(errno == 77 && readable(s));
  CHECK(rawwaker_sink_sleep(s));
  rawwaker_wake_by_ref(&w);
  CHECK(hooked == 2 && errno == 77 && readable(s) && drain(s) == 1);
  rawwaker_sink_ack(s);
  CHECK(!readable(s));
  rawwaker_sink_kick(s);
  CHECK(readable(s));
  rawwaker_drop(w);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

static void other_writes(void) {
  static const int errors[] = {EIO, EBADF, ENOSPC, ENOMEM};
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  rawwaker w = rawwaker_box_ref(b);
  for (int i = 0; i < 4; i++) {
    CHECK(rawwaker_sink_sleep(s));
    writes = (fault){errors[i], 1, 0};
    errno = 77;
    rawwaker_wake_by_ref(&w);
    CHECK(errno == 77 && writes.calls == 1 && !readable(s) && drain(s) == 1);
  }
  rawwaker_drop(w);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

/* If the read fails, the descriptor stays readable: the runtime drains once more, spuriously. */
static void failed_reads(void) {
  static const int errors[] = {EINTR, EAGAIN, EIO};
  rawwaker_sink *s = rawwaker_sink_new(0);
  for (int i = 0; i < 3; i++) {
    rawwaker_sink_kick(s);
    reads = (fault){errors[i], 1, 0};
    rawwaker_sink_ack(s);
    CHECK(readable(s));
    rawwaker_sink_ack(s);
    CHECK(!readable(s));
  }
  rawwaker_sink_drop(s);
}

static void failed_closes(void) {
  static const int errors[] = {EINTR, EIO};
  for (int i = 0; i < 2; i++) {
    rawwaker_sink *s = rawwaker_sink_new(0);
    closes = (fault){errors[i], PIPE ? 2 : 1, 0};
    rawwaker_sink_drop(s);
    /* Another close could close a descriptor that another thread has opened since. */
    CHECK(closes.calls == (PIPE ? 2 : 1));
  }
}

/* ------------------------------------------------------------------------------- block_on -- */

/* Ready when a thread has woken it. Before that it wakes itself in `own` polls. */
typedef struct future {
  rawwaker_cell cell;
  unsigned own, polls, drops;
  bool started, done;
  pthread_t id;
} future;
static void *complete(void *arg) {
  future *f = arg;
  while (sem_waits.calls == 0) usleep(100); /* it sleeps, or is about to */
  __atomic_store_n(&f->done, true, __ATOMIC_SEQ_CST);
  rawwaker_cell_wake(&f->cell);
  return NULL;
}
static rawwaker_poll future_poll(void *data, rawwaker_context *cx, void *out) {
  future *f = data;
  f->polls++;
  rawwaker_cell_register(&f->cell, cx->waker);
  if (f->own > 0) {
    f->own--;
    rawwaker_wake_by_ref(cx->waker);
    return RAWWAKER_PENDING;
  }
  if (!f->started) {
    int error = pthread_create(&f->id, NULL, complete, f);
    if (error != 0) {
      rawwaker_set_panic("no thread", 9);
      return RAWWAKER_PANICKED;
    }
    f->started = true;
  }
  if (!__atomic_load_n(&f->done, __ATOMIC_SEQ_CST)) return RAWWAKER_PENDING;
  *(int *)out = 42;
  return RAWWAKER_READY;
}
static void future_drop(void *data) {
  future *f = data;
  f->drops++;
  if (f->started) pthread_join(f->id, NULL);
  rawwaker_cell_drop(&f->cell);
}
static const rawwaker_future_vtable future_vtable = {future_poll, future_drop};

static void interrupted_sleep(void) {
  for (int n = 0; n < 20; n++) {
    future f = {.own = 2};
    int out = 0;
    sem_waits = (fault){EINTR, n, 0};
    CHECK(rawwaker_block_on((rawwaker_future){&f, &future_vtable}, &out) == RAWWAKER_READY);
    CHECK(out == 42 && f.polls == 4 && f.drops == 1 && sem_waits.calls == (unsigned)n + 1);
  }
}

static void no_thread(void) {
  for (unsigned own = 0; own < 20; own++) {
    future f = {.own = own};
    int out = 7;
    threads = (fault){EAGAIN, 1, 0};
    CHECK(rawwaker_block_on((rawwaker_future){&f, &future_vtable}, &out) == RAWWAKER_PANICKED);
    CHECK(out == 7 && f.polls == own + 1 && f.drops == 1 && threads.calls == 1);
    CHECK(strcmp(rawwaker_last_panic(), "no thread") == 0);
  }
}

static rawwaker kept;
static rawwaker_poll errno_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  if (*(int *)data != 0) return RAWWAKER_READY;
  kept = rawwaker_clone(cx->waker);
  return RAWWAKER_PENDING;
}
static void nothing(void *data) { (void)data; }
static void *wake_with_errno(void *arg) {
  while (__atomic_load_n(&sem_waits.calls, __ATOMIC_SEQ_CST) == 0) usleep(100);
  *(int *)arg = 1;
  errno = 77;
  rawwaker_wake_by_ref(&kept);
  if (errno != 77) *(int *)arg = errno;
  return NULL;
}
static void errno_is_kept(void) {
  static const rawwaker_future_vtable vtable = {errno_poll, nothing};
  int done = 0;
  pthread_t id;
  changes_errno = true;
  pthread_create(&id, NULL, wake_with_errno, &done);
  CHECK(rawwaker_block_on((rawwaker_future){&done, &vtable}, NULL) == RAWWAKER_READY);
  pthread_join(id, NULL);
  CHECK(done == 1);
  rawwaker_drop(kept);
}

static void no_semaphore(void) {
  static const int errors[] = {ENOSPC, EINVAL, ENOSYS};
  for (int i = 0; i < 3; i++) {
    int ends[2], status;
    char line[256] = "";
    size_t have = 0;
    ssize_t more;
    CHECK(__real_pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      future f = {.own = 0};
      dup2(ends[1], 2);
      sem_inits = (fault){errors[i], 1, 0};
      rawwaker_block_on((rawwaker_future){&f, &future_vtable}, &status);
      _exit(0);
    }
    faults++;
    close(ends[1]);
    while ((more = __real_read(ends[0], line + have, sizeof line - 1 - have)) > 0)
      have += (size_t)more;
    close(ends[0]);
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strcmp(line, "rawwaker: rawwaker_block_on: out of memory\n") == 0);
  }
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  run("no descriptor: NULL, errno of the system call, nothing left", no_sink);
  run("no descriptor because of a limit: NULL, EMFILE; with one more, a sink", few_descriptors);
  run("an interrupted write is tried again, errno is kept", interrupted_writes);
  run("a write into a full descriptor is no error: it is readable, the wake is listed, the hook is "
      "called, errno is kept",
      full_writes);
  run("a write that fails otherwise is not tried again, the wake is listed, errno is kept",
      other_writes);
  run("a failed read leaves the descriptor readable, until the next one", failed_reads);
  run("a failed close is not tried again", failed_closes);
  run("block_on continues to sleep after each interruption, without a poll", interrupted_sleep);
  run("no thread: the future panics, block_on returns that and drops the future once",
      no_thread);
  run("a wake keeps errno, even if the semaphore changes it", errno_is_kept);
  run("no semaphore: block_on aborts with its line", no_semaphore);
  printf("%s system (%s): %d tests, faults %lu\n", failures == 0 ? "ok" : "FAIL",
         PIPE ? "pipe" : "eventfd", tests, faults);
  return failures != 0;
}
