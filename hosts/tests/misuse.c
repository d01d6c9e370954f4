/* Each misuse in a child: it aborts, with one line. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ffiwaker.h"

static rawwaker_poll nine(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  return 9;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable nine_vtable = {nine, nothing}, no_poll = {NULL, nothing}, no_drop = {nine, NULL};

static void poll_after_drop(void) {
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_future f = ffiwaker_sleep(1), g;
  f.vtable->drop(f.data);
  g = ffiwaker_sleep(1); /* in the same place, by another number */
  f.vtable->poll(f.data, &cx, NULL);
  g.vtable->drop(g.data);
}
static void drop_twice(void) {
  rawwaker_future f = ffiwaker_sleep(1);
  f.vtable->drop(f.data);
  f.vtable->drop(f.data);
}
static void drop_executor_twice(void) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  ffiwaker_executor_drop(ex);
  ffiwaker_executor_drop(ex);
}
static void tick_after_drop(void) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  ffiwaker_executor_drop(ex);
  ffiwaker_executor_tick(ex);
}
static void unknown_code(void) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &nine_vtable}, NULL, NULL, NULL);
  ffiwaker_executor_tick(ex);
}
static void spawn_null(void) {
  ffiwaker_executor_spawn(ffiwaker_executor_new(), (rawwaker_future){NULL, NULL}, NULL, NULL, NULL);
}
static void spawn_no_poll(void) {
  ffiwaker_executor_spawn(ffiwaker_executor_new(), (rawwaker_future){NULL, &no_poll}, NULL, NULL, NULL);
}
static void timeout_no_drop(void) {
  bool expired;
  ffiwaker_timeout((rawwaker_future){NULL, &no_drop}, 1, &expired);
}
static void hook_twice(void) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  ffiwaker_executor_on_wake(ex, nothing, NULL);
  ffiwaker_executor_on_wake(ex, nothing, NULL);
}

/* exec, because Go does not survive a fork. */
static const struct {
  const char *name;
  void (*f)(void);
} deaths[] = {{"poll after drop", poll_after_drop}, {"drop twice", drop_twice}, {"drop executor twice", drop_executor_twice},
              {"tick after drop", tick_after_drop}, {"unknown code", unknown_code}, {"spawn of a NULL vtable", spawn_null},
              {"spawn without poll", spawn_no_poll}, {"timeout without drop", timeout_no_drop}, {"hook twice", hook_twice}};

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
    if (argc == 2) {
      if (strcmp(argv[1], deaths[i].name) == 0) {
        dup2(1, 2);
        deaths[i].f();
        printf("it lived\n");
        return 0;
      }
      continue;
    }
    printf("%s: ", deaths[i].name);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      execl(argv[0], argv[0], deaths[i].name, (char *)NULL);
      _exit(9);
    }
    int status;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) printf("status %d\n", status);
  }
  return 0;
}
