/* The order at a task's end: *out is written, the future is dropped, and done is called, which can
 * read the panic's text. done is called once for each task, however it ends.
 * The letters: p a poll; d the future's drop; R, P, A a call of done, by its code. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "ffiwaker.h"

enum what { VALUE, PANIC, NEVER, ABORTS_ITSELF, ABORTS_AND_IS_READY };
typedef struct request {
  enum what what;
  bool drop_polls;
  int out;
  char order[16], why[64];
  pthread_t thread;
  ffiwaker_task *self;
  rawwaker kept;
} request;

static void letter(request *r, char c) {
  size_t n = strlen(r->order);
  if (n < sizeof r->order - 1) r->order[n] = c;
}
static rawwaker_poll other_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  rawwaker_set_panic("another text", 12);
  return RAWWAKER_PANICKED;
}
static void nothing(void *data) { (void)data; }
static rawwaker_poll request_poll(void *data, rawwaker_context *cx, void *out) {
  request *r = data;
  letter(r, 'p');
  if (r->kept.vtable == NULL) r->kept = rawwaker_clone(cx->waker);
  switch (r->what) {
  case VALUE: *(int *)out = 42; return RAWWAKER_READY;
  case PANIC: rawwaker_set_panic("the disk is full", 16); return RAWWAKER_PANICKED;
  case ABORTS_ITSELF: ffiwaker_task_abort(r->self); return RAWWAKER_PENDING;
  case ABORTS_AND_IS_READY:
    ffiwaker_task_abort(r->self);
    *(int *)out = 42;
    return RAWWAKER_READY;
  default: return RAWWAKER_PENDING;
  }
}
static void request_drop(void *data) {
  static const rawwaker_future_vtable other = {other_poll, nothing};
  request *r = data;
  if (r->drop_polls) rawwaker_block_on((rawwaker_future){NULL, &other}, NULL);
  letter(r, 'd');
}
static void done(void *arg, rawwaker_poll code) {
  request *r = arg;
  r->thread = pthread_self();
  snprintf(r->why, sizeof r->why, "%s", rawwaker_last_panic());
  letter(r, code == RAWWAKER_READY      ? 'R'
            : code == RAWWAKER_PANICKED ? 'P'
            : code == FFIWAKER_ABORTED  ? 'A'
                                        : '?');
}
static const rawwaker_future_vtable vtable = {request_poll, request_drop};

static void tell(const char *name, request *r) {
  printf("%s: %s, out %d, \"%s\"%s\n", name, r->order, r->out, r->why,
         pthread_equal(r->thread, pthread_self()) ? "" : ", on another thread");
  if (r->self != NULL) ffiwaker_task_drop(r->self);
  if (r->kept.vtable != NULL) rawwaker_drop(r->kept);
}
static void *abort_it(void *task) {
  ffiwaker_task_abort(task);
  return NULL;
}

int main(void) {
  static request ready = {.what = VALUE}, panicked = {.what = PANIC},
                 polls = {.what = PANIC, .drop_polls = true}, before = {.what = NEVER},
                 pending = {.what = NEVER}, twice = {.what = NEVER, .drop_polls = true},
                 elsewhere = {.what = NEVER}, itself = {.what = ABORTS_ITSELF},
                 wins = {.what = ABORTS_AND_IS_READY}, left = {.what = NEVER},
                 woken = {.what = NEVER, .drop_polls = true}, fresh = {.what = NEVER},
                 timed = {.what = NEVER}, late = {.what = NEVER};
  ffiwaker_executor *ex = ffiwaker_executor_new();
#define SPAWN(r) \
  r.self = ffiwaker_executor_spawn_task(ex, (rawwaker_future){&r, &vtable}, &r.out, done, &r)
#define TICK() while (ffiwaker_executor_tick(ex)) {}
  SPAWN(ready), SPAWN(panicked), SPAWN(polls), SPAWN(before), SPAWN(pending), SPAWN(twice),
      SPAWN(elsewhere), SPAWN(itself), SPAWN(wins);
  ffiwaker_task_abort(before.self);
  TICK();
  ffiwaker_task *other = ffiwaker_task_clone(pending.self);
  ffiwaker_task_abort(other);
  ffiwaker_task_drop(other);
  ffiwaker_task_abort(twice.self), ffiwaker_task_abort(twice.self);
  pthread_t id;
  pthread_create(&id, NULL, abort_it, elsewhere.self);
  pthread_join(id, NULL);
  printf("ended by one call: %zu\n", ffiwaker_executor_tick_n(ex, 100));
  ffiwaker_task_abort(ready.self), ffiwaker_task_abort(twice.self);
  TICK();
  bool expired = true;
  SPAWN(left), SPAWN(woken);
  ffiwaker_executor_spawn(
      ex, ffiwaker_timeout((rawwaker_future){&timed, &vtable}, 3600000000000, &expired), &timed.out,
      done, &timed);
  TICK();
  rawwaker_wake_by_ref(&woken.kept);
  SPAWN(late), ffiwaker_task_abort(late.self);
  ffiwaker_executor_spawn(ex, (rawwaker_future){&fresh, &vtable}, &fresh.out, done, &fresh);
  printf("left: %zu\n", ffiwaker_executor_tasks(ex));
  ffiwaker_executor_drop(ex);
  ffiwaker_task_abort(left.self); /* a handle outlives its executor */
  rawwaker_wake_by_ref(&left.kept);
  tell("ready", &ready), tell("panicked", &panicked), tell("panicked, and its drop polls", &polls);
  tell("aborted before its first poll", &before), tell("aborted", &pending),
      tell("aborted twice", &twice);
  tell("aborted on another thread", &elsewhere), tell("aborted in its poll", &itself),
      tell("aborted in its poll, and ready", &wins);
  tell("left", &left), tell("left, woken", &woken), tell("left, in a timeout", &timed),
      tell("left, aborted", &late), tell("left, new", &fresh);
  printf("boxes left: %zu\n", rawwaker_live());
  return 0;
}
