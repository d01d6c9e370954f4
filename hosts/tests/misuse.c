/* Each misuse, in a child process: it prints one line, in the names of ffiwaker.h, and aborts. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;

static rawwaker_poll nine(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  return 9;
}
static rawwaker_poll at_once(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  return RAWWAKER_READY;
}
static rawwaker_poll call(void *data, rawwaker_context *cx, void *out) {
  (void)cx, (void)out;
  ((void (*)(void))(uintptr_t)data)();
  return RAWWAKER_READY;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable nine_vtable = {nine, nothing}, no_poll = {NULL, nothing},
                                    no_drop = {nine, NULL}, ready_vtable = {at_once, nothing},
                                    call_vtable = {call, nothing};
static rawwaker_future ready(void) { return (rawwaker_future){NULL, &ready_vtable}; }

static void poll_after_drop(void) {
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_future f = ffiwaker_sleep(1), g;
  f.vtable->drop(f.data);
  g = ffiwaker_sleep(1); /* at the same address, with another number */
  f.vtable->poll(f.data, &cx, NULL);
  g.vtable->drop(g.data);
}
static void drop_future_twice(void) {
  rawwaker_future f = ffiwaker_sleep(1);
  f.vtable->drop(f.data);
  f.vtable->drop(f.data);
}
static void unknown_code(void) {
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &nine_vtable}, NULL, NULL, NULL);
  ffiwaker_executor_tick(ex);
}
static void unknown_code_of_a_task(void) {
  ffiwaker_executor_spawn_task(ex, (rawwaker_future){NULL, &nine_vtable}, NULL, NULL, NULL);
  ffiwaker_executor_tick(ex);
}
static void spawn_null(void) {
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, NULL}, NULL, NULL, NULL);
}
static void spawn_task_null(void) {
  ffiwaker_executor_spawn_task(ex, (rawwaker_future){NULL, NULL}, NULL, NULL, NULL);
}
static void spawn_no_poll(void) {
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &no_poll}, NULL, NULL, NULL);
}
static void timeout_no_drop(void) {
  bool expired;
  ffiwaker_timeout((rawwaker_future){NULL, &no_drop}, 1, &expired);
}
static void timeout_no_expired(void) { ffiwaker_timeout(ready(), 1, NULL); }
static void hook_twice(void) {
  ffiwaker_executor_on_wake(ex, nothing, NULL, NULL);
  ffiwaker_executor_on_wake(ex, nothing, NULL, nothing);
}
static void hook_null(void) { ffiwaker_executor_on_wake(ex, NULL, NULL, nothing); }

/* Each call on an executor: after its drop, and on NULL. */
static void new_(void) { ffiwaker_executor_new(); }
static void spawn(void) { ffiwaker_executor_spawn(ex, ready(), NULL, NULL, NULL); }
static void spawn_task(void) { ffiwaker_executor_spawn_task(ex, ready(), NULL, NULL, NULL); }
static void tick(void) { ffiwaker_executor_tick(ex); }
static void tick_n(void) { ffiwaker_executor_tick_n(ex, 1); }
static void tick_for(void) { ffiwaker_executor_tick_for(ex, 1); }
static void fd(void) { ffiwaker_executor_fd(ex); }
static void on_wake(void) { ffiwaker_executor_on_wake(ex, nothing, NULL, NULL); }
static void tasks(void) { ffiwaker_executor_tasks(ex); }
static void drop(void) { ffiwaker_executor_drop(ex); }
static void sleep_(void) { ffiwaker_sleep(1); }
static void timeout(void) {
  bool expired;
  ffiwaker_timeout(ready(), 1, &expired);
}

static ffiwaker_task *task;
static void abort_(void) { ffiwaker_task_abort(task); }
static void clone(void) { ffiwaker_task_clone(task); }
static void drop_task(void) { ffiwaker_task_drop(task); }

static const struct {
  const char *name;
  void (*f)(void);
} of_executor[] = {{"spawn", spawn},     {"spawn_task", spawn_task}, {"tick", tick},
                   {"tick_n", tick_n},   {"tick_for", tick_for},     {"fd", fd},
                   {"on_wake", on_wake}, {"tasks", tasks},           {"drop", drop}},
  of_task[] = {{"abort", abort_}, {"clone", clone}, {"drop", drop_task}},
  others[] = {{"new", new_}, {"sleep", sleep_}, {"timeout", timeout}};

/* Calls in a poll, in done, and on another thread while a poll is in progress. */
static void in_poll(void (*f)(void)) {
  ffiwaker_executor_spawn(ex, (rawwaker_future){(void *)(uintptr_t)f, &call_vtable}, NULL, NULL,
                          NULL);
  ffiwaker_executor_tick(ex);
}
static void done(void *arg, rawwaker_poll code) {
  (void)code;
  ((void (*)(void))(uintptr_t)arg)();
}
static void in_done(void (*f)(void)) {
  ffiwaker_executor_spawn(ex, ready(), NULL, done, (void *)(uintptr_t)f);
  ffiwaker_executor_tick(ex);
}
static void *on_thread(void *f) {
  ((void (*)(void))(uintptr_t)f)();
  return NULL;
}
static void (*beside)(void);
static void call_beside(void) {
  pthread_t id;
  pthread_create(&id, NULL, on_thread, (void *)(uintptr_t)beside);
  pthread_join(id, NULL);
}

static void exec_child(char **argv, const char *where, const char *what) {
  printf("%s%s%s: ", what, *where != '\0' ? " " : "", where);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) { /* exec, because Go does not survive a fork */
    execl(argv[0], argv[0], where, what, (char *)NULL);
    _exit(9);
  }
  int status;
  waitpid(child, &status, 0);
  if (status != 0 && (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT))
    printf("status %d\n", status);
}

static const struct {
  const char *name;
  void (*f)(void);
} once[] = {{"poll after drop", poll_after_drop},
            {"drop twice", drop_future_twice},
            {"unknown code", unknown_code},
            {"unknown code of a task", unknown_code_of_a_task},
            {"spawn of a NULL vtable", spawn_null},
            {"spawn_task of a NULL vtable", spawn_task_null},
            {"spawn without poll", spawn_no_poll},
            {"timeout without drop", timeout_no_drop},
            {"timeout without expired", timeout_no_expired},
            {"hook twice", hook_twice},
            {"NULL hook", hook_null}};
static const char *const places[] = {"after drop", "of NULL",       "in a poll",
                                     "in done",    "beside a tick", "in a forked child"};
enum { AFTER_DROP, OF_NULL, IN_POLL, IN_DONE, BESIDE, IN_CHILD, PLACES };

static void at(int place, void (*f)(void), bool of_a_task) {
  switch (place) {
  case AFTER_DROP:
    if (of_a_task) ffiwaker_task_drop(task);
    else ffiwaker_executor_drop(ex);
    f();
    break;
  case OF_NULL:
    ex = NULL, task = NULL;
    f();
    break;
  case IN_POLL: in_poll(f); break;
  case IN_DONE: in_done(f); break;
  case BESIDE:
    beside = f;
    in_poll(call_beside);
    break;
  case IN_CHILD:
    fflush(stdout);
    pid_t child = fork();
    int status;
    if (child == 0) {
      f();
      _exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) signal(SIGABRT, SIG_DFL), raise(WTERMSIG(status));
    break;
  }
  printf("nothing happens\n");
}

/* Makes the call that argv[2] names, at the place that argv[1] names. */
#define TRY(calls, prefix, of_a_task)                                                         \
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {                                 \
    char name[64];                                                                            \
    snprintf(name, sizeof name, "%s%s", prefix, calls[i].name);                               \
    if (strcmp(argv[2], name) == 0) at(p, calls[i].f, of_a_task);                             \
  }

int main(int argc, char **argv) {
  if (argc == 3) {
    dup2(1, 2);
    ex = ffiwaker_executor_new();
    task =
        ffiwaker_executor_spawn_task(ex, (rawwaker_future){NULL, &ready_vtable}, NULL, NULL, NULL);
    while (ffiwaker_executor_tick(ex)) {
    }
    for (size_t i = 0; i < sizeof once / sizeof *once; i++)
      if (strcmp(argv[2], once[i].name) == 0) once[i].f();
    for (int p = 0; p < PLACES; p++) {
      if (strcmp(argv[1], places[p]) != 0) continue;
      TRY(of_executor, "", false)
      TRY(of_task, "task_", true)
      TRY(others, "", false)
    }
    fflush(stdout);
    _exit(0);
  }
  for (size_t i = 0; i < sizeof once / sizeof *once; i++) exec_child(argv, "", once[i].name);
  for (int p = 0; p < PLACES; p++) {
    char name[64];
    for (size_t i = 0; i < sizeof of_executor / sizeof *of_executor; i++) {
      bool ticks =
          strncmp(of_executor[i].name, "tick", 4) == 0 || strcmp(of_executor[i].name, "drop") == 0;
      if (p == AFTER_DROP || p == OF_NULL || p == IN_CHILD || ticks)
        exec_child(argv, places[p], of_executor[i].name);
    }
    for (size_t i = 0;
         i < sizeof of_task / sizeof *of_task && (p == AFTER_DROP || p == OF_NULL || p == IN_CHILD);
         i++) {
      snprintf(name, sizeof name, "task_%s", of_task[i].name);
      exec_child(argv, places[p], name);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others && p == IN_CHILD; i++)
      exec_child(argv, places[p], others[i].name);
  }
  return 0;
}
