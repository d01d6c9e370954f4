/* fork.c - a fork during wakes: ./fork [forks].
 *
 * Threads wake wakers of every kind all the time. The only thread of the child drops what it has
 * inherited, makes wakers and sinks of its own, and blocks on a future that a signal wakes. The
 * parent's counts are exact at the end, whatever the children do.
 *
 * ./fork clean PROGRAM descriptors TIMES LISTER: PROGRAM (this program) starts without open
 * descriptors, opens sinks, and executes LISTER (this program without Go), which prints the
 * descriptors that it sees. With -DHOST it is linked with libffiwaker, and opens Go's executors and
 * timers too: a process with Go in it can use fork only to exec. */
#define _GNU_SOURCE
#ifdef HOST
#include "ffiwaker.h"
#else
#include "rawwaker.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 2 };

static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL fork: %s\n", why);
  fflush(stdout);
  _exit(1);
}

static void count(void *arg) { atomic_fetch_add((atomic_ulong *)arg, 1); }

/* --------------------------------------------------------------------- the parent's storm -- */

static rawwaker_sink *sink;
static rawwaker_box *boxes[THREADS];
static rawwaker_cell cell; /* used by the threads; children sometimes find its lock held */
/* Of a box, of a function, and of a block_on. The threads clone, wake and drop them. */
static rawwaker theirs[3];
static atomic_ulong fn_woken, fn_requested, announced[THREADS];
static unsigned long seen[THREADS];
static atomic_bool stop;

static void *storm(void *arg) {
  unsigned long me = (unsigned long)(uintptr_t)arg;
  rawwaker mine = rawwaker_box_ref(boxes[me]);
  for (unsigned long n = 0; !stop; n++) {
    atomic_fetch_add(&announced[me], 1);
    rawwaker_wake_by_ref(&mine);
    rawwaker w = rawwaker_clone(&theirs[n % 3]);
    if (n % 3 == 1) atomic_fetch_add(&fn_requested, 1);
    rawwaker_wake(w);
    rawwaker_cell_register(&cell, &mine);
    if (n % 2 == 0) rawwaker_cell_drop(&cell);
    if (n % 256 == 0) usleep(20);
  }
  rawwaker_drop(mine);
  return NULL;
}
static void drain(void) {
  rawwaker_notice n[8];
  rawwaker_box *list = rawwaker_sink_take(sink);
  for (size_t got; (got = rawwaker_box_read(&list, n, 8)) != 0;)
    for (size_t i = 0; i < got; i++)
      if (n[i].woken && n[i].id <= THREADS) seen[n[i].id - 1] = announced[n[i].id - 1];
}

/* The waker of a block_on that has returned. Its wakes still exchange the state word. */
static rawwaker_poll keep_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  *(rawwaker *)data = rawwaker_clone(cx->waker);
  return RAWWAKER_READY;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable keep_vtable = {keep_poll, nothing};

/* ------------------------------------------------------------------------------ the child -- */

static rawwaker from_signal;
static atomic_ulong signals;
static void handler(int sig) {
  (void)sig;
  rawwaker_wake_by_ref(&from_signal);
  atomic_fetch_add(&signals, 1);
}
static rawwaker_poll signal_poll(void *data, rawwaker_context *cx, void *out) {
  unsigned *polls = data;
  (void)out;
  if ((*polls)++ > 0) return RAWWAKER_READY;
  from_signal = rawwaker_clone(cx->waker);
  signal(SIGALRM, handler);
  struct itimerval once = {{0, 0}, {0, 200}};
  setitimer(ITIMER_REAL, &once, NULL);
  return RAWWAKER_PENDING;
}
static const rawwaker_future_vtable signal_vtable = {signal_poll, nothing};

/* Three of the same kinds, which only the main thread uses. */
static rawwaker mine[3];
static rawwaker_box *mine_box;
static atomic_ulong mine_dropped;

static void child(bool *locked) {
  size_t live = rawwaker_live();
  /* It drops the inherited references of its own; those of the parent's threads stay. */
  for (int i = 0; i < 3; i++) {
    rawwaker c = rawwaker_clone(&mine[i]);
    rawwaker_wake(c);
    rawwaker_drop(mine[i]);
  }
  check(mine_dropped == 1, "the function's drop in the child");
  rawwaker_box_close(mine_box);
  rawwaker_drop(theirs[0]);
  rawwaker_drop(theirs[1]);
  rawwaker_drop(theirs[2]);
  rawwaker_sink_drop(sink); /* it frees what was listed, including the box above */
  check(live >= 3 && rawwaker_live() <= live - 3, "the child's inherited wakers were not freed");
  live = rawwaker_live();
  /* If another thread was inside the cell at the fork, the cell holds nothing here, but no call
   * blocks. Initialise it to use it again. */
  *locked = cell.private_lock != 0;
  rawwaker_cell_init(&cell);
  /* Then it makes wakers of its own. */
  atomic_ulong woken = 0;
  rawwaker f = rawwaker_from_fn(count, &woken, NULL);
  rawwaker_cell_register(&cell, &f);
  rawwaker_cell_wake(&cell);
  rawwaker_wake(f);
  check(woken == 2, "a function's waker in the child");
  rawwaker_sink *s = rawwaker_sink_new(0);
  check(s != NULL, "a sink in the child");
  rawwaker_box *b = rawwaker_box_new(s, 7, 0), *list;
  check(b != NULL, "a box in the child");
  rawwaker w = rawwaker_box_ref(b);
  check(rawwaker_sink_sleep(s), "asleep in the child");
  rawwaker_wake(w);
  struct pollfd p = {.fd = rawwaker_sink_fd(s), .events = POLLIN};
  check(poll(&p, 1, 0) == 1, "readable in the child");
  rawwaker_notice n;
  list = rawwaker_sink_take(s);
  check(rawwaker_box_read(&list, &n, 1) == 1 && n.id == 7 && n.woken, "a notice in the child");
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
  unsigned polls = 0;
  check(rawwaker_block_on((rawwaker_future){&polls, &signal_vtable}, NULL) == RAWWAKER_READY,
        "block_on in the child");
  rawwaker_drop(from_signal);
  check(polls == 2 && signals == 1, "not one poll for each signal in the child");
  check(rawwaker_live() == live, "a waker of the child is left");
}

static int storms(unsigned long forks) {
  pthread_t ids[THREADS];
  unsigned long locked = 0, done = 0;
  int ends[2];
  check(pipe(ends) == 0, "pipe");
  sink = rawwaker_sink_new(0);
  check(sink != NULL, "no sink");
  for (unsigned i = 0; i < THREADS; i++) boxes[i] = rawwaker_box_new(sink, i + 1, 0);
  theirs[0] = rawwaker_box_ref(boxes[0]);
  theirs[1] = rawwaker_from_fn(count, &fn_woken, NULL);
  rawwaker_block_on((rawwaker_future){&theirs[2], &keep_vtable}, NULL);
  mine_box = rawwaker_box_new(sink, 100, 0);
  mine[0] = rawwaker_box_ref(mine_box);
  mine[1] = rawwaker_from_fn(nothing, &mine_dropped, count);
  rawwaker_block_on((rawwaker_future){&mine[2], &keep_vtable}, NULL);
  for (uintptr_t i = 0; i < THREADS; i++)
    check(pthread_create(&ids[i], NULL, storm, (void *)i) == 0, "pthread_create");
  for (; done < forks; done++) {
    usleep((useconds_t)(done * 37 % 200));
    fflush(stdout);
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
      bool held = false;
      child(&held);
      char one = (char)held;
      _exit(write(ends[1], &one, 1) == 1 ? 0 : 1);
    }
    int status = -1;
    for (int ms = 0; waitpid(pid, &status, WNOHANG) == 0; ms++) {
      if (ms > 10000) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        check(false, "a child hangs");
      }
      usleep(200);
      if (ms % 5 == 0) drain();
    }
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
    char one;
    check(read(ends[0], &one, 1) == 1, "no answer of a child");
    locked += one != 0;
    drain();
  }
  stop = true;
  for (int i = 0; i < THREADS; i++) pthread_join(ids[i], NULL);
  drain();
  unsigned long woken = 0;
  for (int i = 0; i < THREADS; i++) {
    check(seen[i] == announced[i], "a wake of the parent was lost");
    woken += seen[i];
  }
  check(fn_woken == fn_requested, "a function's wake of the parent was lost");
  check(mine_dropped == 0, "a child dropped a waker of the parent");
  rawwaker_cell_drop(&cell);
  for (int i = 0; i < 3; i++) {
    rawwaker_drop(theirs[i]);
    rawwaker_drop(mine[i]);
  }
  for (int i = 0; i < THREADS; i++) rawwaker_box_close(boxes[i]);
  rawwaker_box_close(mine_box);
  drain();
  rawwaker_sink_drop(sink);
  check(mine_dropped == 1 && rawwaker_live() == 0, "a waker of the parent is left");
  printf("ok fork: faults %lu, each child single-threaded, none hangs; %lu found a cell in use; "
         "the parent's %lu wakes and %lu calls: 0 lost\n",
      forks, locked, woken, (unsigned long)fn_woken);
  return 0;
}

/* ----------------------------------------------------------------- descriptors after exec -- */

static int list_descriptors(void) {
  DIR *d = opendir("/proc/self/fd");
  int more = 0;
  if (d == NULL) return 99;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    int fd = atoi(e->d_name);
    char at[64], to[256] = "";
    if (fd <= 2 || fd == dirfd(d)) continue;
    snprintf(at, sizeof at, "/proc/self/fd/%d", fd);
    if (readlink(at, to, sizeof to - 1) > 0) printf("a descriptor is left open: %d, %s\n", fd, to);
    more++;
  }
  closedir(d);
  return more;
}
static void *opens(void *arg) { /* during the fork */
  while (!stop) {
    rawwaker_sink *s = rawwaker_sink_new(0);
    if (s != NULL) rawwaker_sink_drop(s);
  }
  return arg;
}
static int execs(const char *lister, unsigned long times) {
  enum { SINKS = 8 };
  static rawwaker_sink *all[SINKS]; /* the first is permanent, and is no leak */
  pthread_t id;
  for (int i = 0; i < SINKS; i++)
    check((all[i] = rawwaker_sink_new(i == 0 ? RAWWAKER_SINK_FOREVER : 0)) != NULL, "no sink");
#ifndef PIPES
  check(pthread_create(&id, NULL, opens, NULL) == 0, "pthread_create");
#else
  (void)opens, (void)id; /* a fork between pipe and fcntl would inherit the descriptor */
#endif
#ifdef HOST
  ffiwaker_executor *executors[SINKS];
  for (int i = 0; i < SINKS; i++) {
    check((executors[i] = ffiwaker_executor_new()) != NULL, "no executor");
    ffiwaker_executor_spawn(executors[i], ffiwaker_sleep(1000000), NULL, NULL, NULL);
    ffiwaker_executor_tick(executors[i]);
  }
#endif
  for (unsigned long i = 0; i < times; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      execl(lister, lister, "list", (char *)NULL);
      _exit(98);
    }
    int status;
    waitpid(pid, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0,
          "a descriptor of a sink is open after exec");
  }
#ifndef PIPES
  stop = true;
  pthread_join(id, NULL);
#endif
  for (int i = 0; i < SINKS; i++) {
    rawwaker_sink_drop(all[i]);
#ifdef HOST
    ffiwaker_executor_drop(executors[i]);
#endif
  }
#if defined(HOST)
  const char *beside = ", as many of Go's executors, others opened meanwhile";
#elif defined(PIPES)
  const char *beside = " as pipes";
#else
  const char *beside = ", others opened meanwhile";
#endif
  printf("ok exec: faults %lu: %d sinks open%s; the new program sees none\n", times, SINKS, beside);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "list") == 0) return list_descriptors();
  if (argc == 4 && strcmp(argv[1], "descriptors") == 0)
    return execs(argv[3], strtoul(argv[2], NULL, 10));
  if (argc == 6 && strcmp(argv[1], "clean") == 0) {
    close_range(3, ~0u, 0); /* the caller may have left some open */
    execv(argv[2], argv + 2);
    return 97;
  }
  return storms(argc > 1 ? strtoul(argv[1], NULL, 10) : 200);
}
