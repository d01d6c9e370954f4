/* A forked child, in which Go's threads do not exist. It is made by the C library's fork, and by
 * the system call alone, which runs no pthread_atfork handler. misuse.c tests the whole line that
 * each call prints. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;
static ffiwaker_task *task;
static rawwaker_future slept, timed, fresh;
static rawwaker kept;

static rawwaker_poll keep(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  rawwaker_clone_from(&kept, cx->waker);
  return RAWWAKER_PENDING;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable never = {keep, nothing};

static pid_t by_fork(void) { return fork(); }
static pid_t by_system_call(void) {
  return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

/* The waker of the polls. A pending Go future holds a clone of it until it is dropped. */
static rawwaker waker;
static int wakers_dropped;
static void count_drop(void *arg) {
  (void)arg;
  wakers_dropped++;
}
static unsigned poll_code(rawwaker_future f) {
  rawwaker_context cx = {&waker};
  return f.vtable->poll(f.data, &cx, NULL);
}

/* The calls that do not abort. They print by write, because another thread of the parent may have
 * been inside stdio at the fork. */
static void allowed(void) {
  char text[512];
  unsigned polled = poll_code(slept);
  int n = snprintf(text, sizeof text, "  in the child: forked %d, a poll gives %u, \"%s\"\n",
                   ffiwaker_in_forked_child(), polled, rawwaker_last_panic());
  if (write(1, text, (size_t)n) != n) _exit(1);
  polled = poll_code(fresh); /* one that was never polled */
  rawwaker_drop(waker);      /* now only the Go future holds one */
  slept.vtable->drop(slept.data);
  fresh.vtable->drop(fresh.data);
  timed.vtable->drop(timed.data);
  rawwaker_wake_by_ref(&kept);
  ffiwaker_task_drop(task);
  ffiwaker_task_drop(task);
  ffiwaker_executor_drop(ex);
  ffiwaker_executor_drop(ex);
  n = snprintf(text, sizeof text, "  another gives %u; the drops have dropped %d wakers\n", polled,
               wakers_dropped);
  if (write(1, text, (size_t)n) != n) _exit(1);
}

static void new_(void) { ffiwaker_executor_new(); }
static const rawwaker_future sleeper = {NULL, &never};
static void spawn(void) { ffiwaker_executor_spawn(ex, sleeper, NULL, NULL, NULL); }
static void spawn_task(void) { ffiwaker_executor_spawn_task(ex, sleeper, NULL, NULL, NULL); }
static void tick(void) { ffiwaker_executor_tick(ex); }
static void tick_n(void) { ffiwaker_executor_tick_n(ex, 1); }
static void tick_for(void) { ffiwaker_executor_tick_for(ex, 1); }
static void fd(void) { ffiwaker_executor_fd(ex); }
static void on_wake(void) { ffiwaker_executor_on_wake(ex, nothing, NULL, nothing); }
static void tasks(void) { ffiwaker_executor_tasks(ex); }
static void abort_(void) { ffiwaker_task_abort(task); }
static void clone_(void) { ffiwaker_task_clone(task); }
static void sleep_(void) { ffiwaker_sleep(1); }
static void timeout(void) {
  bool expired;
  ffiwaker_timeout(sleeper, 1, &expired);
}
static const struct {
  const char *name;
  void (*f)(void);
} calls[] = {{"ffiwaker_executor_new", new_},
             {"ffiwaker_executor_spawn", spawn},
             {"ffiwaker_executor_spawn_task", spawn_task},
             {"ffiwaker_executor_tick", tick},
             {"ffiwaker_executor_tick_n", tick_n},
             {"ffiwaker_executor_tick_for", tick_for},
             {"ffiwaker_executor_fd", fd},
             {"ffiwaker_executor_on_wake", on_wake},
             {"ffiwaker_executor_tasks", tasks},
             {"ffiwaker_task_abort", abort_},
             {"ffiwaker_task_clone", clone_},
             {"ffiwaker_sleep", sleep_},
             {"ffiwaker_timeout", timeout}};
enum { CALLS = sizeof calls / sizeof *calls };

/* Runs f in a child, puts its standard error into said, and returns its status. */
static int in_child(pid_t (*a_fork)(void), void (*f)(void), char *said, size_t size) {
  int ends[2], status = -1;
  size_t n = 0;
  fflush(stdout);
  if (pipe(ends) != 0) return -1;
  pid_t child = a_fork();
  if (child == 0) {
    dup2(ends[1], 2);
    close(ends[0]), close(ends[1]);
    alarm(60); /* because a call that waits for Go would never return */
    f();
    _exit(0);
  }
  close(ends[1]);
  for (ssize_t got; (got = read(ends[0], said + n, size - 1 - n)) > 0;) n += (size_t)got;
  said[n] = '\0';
  close(ends[0]);
  waitpid(child, &status, 0);
  return status;
}

static void try_it(const char *name, pid_t (*a_fork)(void)) {
  char said[1024], want[256];
  printf("%s:\n", name);
  int status = in_child(a_fork, allowed, said, sizeof said), aborted = 0;
  if (status != 0 || *said != '\0') printf("  status %d, %s\n", status, said);
  for (int i = 0; i < CALLS; i++) {
    status = in_child(a_fork, calls[i].f, said, sizeof said);
    snprintf(want, sizeof want, "rawwaker: %s: in a forked child: ", calls[i].name);
    const char *end = strchr(said, '\n');
    bool one_line = strncmp(said, want, strlen(want)) == 0 && end != NULL && end[1] == '\0';
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && one_line) aborted++;
    else printf("  %s: status %d, %s\n", calls[i].name, status, said);
  }
  printf("  calls that abort with one line: %d of %d\n", aborted, CALLS);
  printf("  in the parent: forked %d, a poll gives %u, tasks %zu\n", ffiwaker_in_forked_child(),
         poll_code(slept), ffiwaker_executor_tasks(ex));
}

int main(void) {
  bool expired;
  waker = rawwaker_from_fn(nothing, NULL, count_drop);
  ex = ffiwaker_executor_new();
  task = ffiwaker_executor_spawn_task(ex, sleeper, NULL, NULL, NULL);
  while (ffiwaker_executor_tick(ex)) {}
  slept = ffiwaker_sleep(3600000000000), fresh = ffiwaker_sleep(3600000000000);
  timed = ffiwaker_timeout(ffiwaker_sleep(3600000000000), 3600000000000, &expired);
  printf("before: forked %d, a poll gives %u\n", ffiwaker_in_forked_child(), poll_code(slept));
  try_it("fork", by_fork);
  try_it("the system call", by_system_call);
  rawwaker_drop(waker);
  printf("wakers dropped before the future that holds it: %d", wakers_dropped);
  slept.vtable->drop(slept.data);
  printf(", and after: %d\n", wakers_dropped);
  fresh.vtable->drop(fresh.data);
  timed.vtable->drop(timed.data);
  ffiwaker_task_drop(task);
  ffiwaker_executor_drop(ex);
  rawwaker_drop(kept);
  printf("boxes left: %zu\n", rawwaker_live());
  return 0;
}
