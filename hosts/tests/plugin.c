/* A plug-in that contains libffiwaker.a and, with -DHOST, the program that loads it. The program
 * uses the plug-in, closes it while a thread wakes a task of the plug-in, and wakes the task again
 * afterwards. Go cannot be unloaded, so the plug-in must stay loaded. argv: the plug-in. */
#include "rawwaker.h"

#ifndef HOST
#include <poll.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;
static rawwaker kept;
static int polls, slept;

static rawwaker_poll keep(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  polls++;
  rawwaker_clone_from(&kept, cx->waker);
  return RAWWAKER_PENDING;
}
static void nothing(void *data) { (void)data; }
static void count(void *arg, rawwaker_poll code) { *(int *)arg += code == RAWWAKER_READY; }

/* Runs two of Go's timers, and leaves a pending task. Returns how many timers have run in all. */
int plugin_run(void);
int plugin_run(void) {
  static const rawwaker_future_vtable never = {keep, nothing};
  if (ex == NULL) {
    ex = ffiwaker_executor_new();
    ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &never}, NULL, NULL, NULL);
  }
  for (int i = 0; i < 2; i++)
    ffiwaker_executor_spawn(ex, ffiwaker_sleep(1000), NULL, count, &slept);
  while (ffiwaker_executor_tick(ex) || ffiwaker_executor_tasks(ex) > 1) {
    struct pollfd p = {.fd = ffiwaker_executor_fd(ex), .events = POLLIN};
    poll(&p, 1, -1);
  }
  return slept;
}
/* Ticks until no task is left to poll, and returns how often the pending task was polled. */
int plugin_polls(void);
int plugin_polls(void) {
  while (ffiwaker_executor_tick(ex)) {}
  return polls;
}
const rawwaker *plugin_waker(void);
const rawwaker *plugin_waker(void) { return &kept; }

#else
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_bool stop;
static atomic_long wakes;
static void *wake(void *arg) {
  rawwaker w = *(const rawwaker *)arg;
  while (!stop) {
    w.vtable->wake_by_ref(w.data);
    wakes++;
  }
  return NULL;
}
static int (*function(void *plugin, const char *name))(void) {
  int (*f)(void);
  *(void **)&f = dlsym(plugin, name);
  return f;
}

int main(int argc, char **argv) {
  rawwaker w = {NULL, NULL};
  if (argc != 2) return 2;
  for (int round = 1; round <= 2; round++) {
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) return printf("%s\n", dlerror()), 1;
    printf("round %d: %d timers", round, function(plugin, "plugin_run")());
    const rawwaker *(*waker)(void);
    *(void **)&waker = dlsym(plugin, "plugin_waker");
    w = *waker();
    pthread_t id;
    long begun = wakes;
    stop = false;
    pthread_create(&id, NULL, wake, &w);
    while (wakes < begun + 100) sched_yield();
    int closed = dlclose(plugin);
    for (begun = wakes; wakes < begun + 100;) sched_yield();
    stop = true;
    pthread_join(id, NULL);
    void *again = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);
    printf(", dlclose: %d, still loaded: %d\n", closed, again != NULL);
    if (again == NULL) return 1;
    int (*polls)(void) = function(again, "plugin_polls");
    int before = polls();
    w.vtable->wake_by_ref(w.data);
    printf("a wake after that: %d more poll\n", polls() - before);
    dlclose(again);
  }
  return 0;
}
#endif
