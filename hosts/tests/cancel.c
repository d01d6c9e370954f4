/* No call into Go is a cancellation point: each returns to a thread that has a cancel pending, and
 * the executor remains usable for the next thread. */
#include <pthread.h>
#include <poll.h>
#include <stdio.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;
static rawwaker kept;
static ffiwaker_task *task;
static int polls, dones, back;

static rawwaker_poll keep(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  polls++;
  rawwaker_clone_from(&kept, cx->waker);
  pthread_testcancel(); /* nor are the calls inside a poll */
  return RAWWAKER_PENDING;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable never = {keep, nothing};
static void done(void *arg, rawwaker_poll code) {
  (void)arg, (void)code;
  puts("done"); /* write is a cancellation point */
  fflush(stdout);
  dones++;
}

static void tick(void) { while (ffiwaker_executor_tick(ex)) {} }
static void tick_n(void) { while (ffiwaker_executor_tick_n(ex, 4) == 4) {} }
static void tick_for(void) { while (ffiwaker_executor_tick_for(ex, 1) != 0) {} }
static void spawn(void) {
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &never}, NULL, done, NULL);
}
static void spawn_task(void) {
  task = ffiwaker_executor_spawn_task(ex, (rawwaker_future){NULL, &never}, NULL, done, NULL);
}
static void task_calls(void) {
  ffiwaker_task *t = ffiwaker_task_clone(task);
  ffiwaker_task_abort(t);
  ffiwaker_task_drop(t);
  ffiwaker_task_drop(task);
}
static void executor_calls(void) {
  ffiwaker_executor *other = ffiwaker_executor_new();
  ffiwaker_executor_on_wake(other, nothing, NULL, nothing);
  ffiwaker_executor_fd(other), ffiwaker_executor_tasks(other);
  ffiwaker_executor_drop(other);
}
static void future(void) { /* its poll and its drop */
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  bool expired;
  rawwaker_future f = ffiwaker_timeout(ffiwaker_sleep(3600000000000), 3600000000000, &expired);
  if (f.vtable->poll(f.data, &cx, NULL) != RAWWAKER_PENDING) puts("not pending");
  f.vtable->drop(f.data);
}
static void drop(void) { ffiwaker_executor_drop(ex); }

static void *cancelled(void *f) {
  int state;
  pthread_cancel(pthread_self()); /* acts at the next cancellation point */
  ((void (*)(void))(uintptr_t)f)();
  back++;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
  if (state != PTHREAD_CANCEL_ENABLE) puts("it is off now");
  pthread_testcancel();
  puts("not cancelled any more");
  return NULL;
}

int main(void) {
  void (*all[])(void) = {spawn,    tick,           spawn_task, tick_n, task_calls,
                         tick_for, executor_calls, future,     drop};
  enum { CALLS = sizeof all / sizeof *all };
  ex = ffiwaker_executor_new();
  for (int i = 0; i < CALLS; i++) {
    pthread_t id;
    void *value;
    if (kept.vtable != NULL) rawwaker_wake_by_ref(&kept);
    pthread_create(&id, NULL, cancelled, (void *)(uintptr_t)all[i]);
    pthread_join(id, &value);
    if (value != PTHREAD_CANCELED) puts("it was not cancelled");
  }
  rawwaker_drop(kept);
  printf("back from %d of %d, more polls than one: %d, dones %d, boxes left: %zu\n", back, CALLS,
         polls > 1, dones, rawwaker_live());
  return 0;
}
