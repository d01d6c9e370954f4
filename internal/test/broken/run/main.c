/* Runs one of the faulty programs of ../table.c, or lists them. ./build builds it.
 *
 *   run list         prints name, kind, the kit's scenario, the auditor's rule and the fault of
 *                    each, separated by tabs
 *   run kit NAME     tests it with the kit; prints TAP; status 1 if a scenario fails, 3 if it hangs
 *                    or crashes
 *   run audit NAME   uses it correctly, under the auditor; prints findings on standard error;
 *                    status 1 if there is one
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../broken.h"
#include "rawwaker_audit.h"

static void nothing(void *arg) { (void)arg; }

/* Uses a waker correctly. */
static void use_waker(const broken *b) {
  rawwaker_test_waker s = broken_waker((void *)(uintptr_t)b);
  rawwaker w = rawwaker_audit(s.waker), c = rawwaker_clone(&w), d = rawwaker_clone(&c);
  rawwaker_wake_by_ref(&c);
  rawwaker_drop(c);
  rawwaker_wake(d);
  rawwaker_drop(w);
}

/* Executes a future correctly. */
static void use_future(const broken *b) {
  rawwaker_test_future s = broken_future((void *)(uintptr_t)b);
  rawwaker_future f = rawwaker_audit_future(s.future);
  uint64_t out = 0;
  rawwaker one = rawwaker_from_fn(nothing, NULL, NULL), two = rawwaker_from_fn(nothing, NULL, NULL);
  rawwaker_context first = {&one}, second = {&two};
  bool elsewhere = broken_is(b, "keeps_its_waker_over_drop");
  rawwaker_poll got = f.vtable->poll(f.data, &first, &out);
  if (got == RAWWAKER_PENDING) got = f.vtable->poll(f.data, &second, &out);
  if (got == RAWWAKER_PENDING) got = f.vtable->poll(f.data, &second, &out);
  if (!elsewhere) s.complete(s.arg);
  if (got == RAWWAKER_PENDING && !elsewhere) f.vtable->poll(f.data, &second, &out);
  f.vtable->drop(f.data);
  rawwaker_audit_leaks();
  rawwaker_drop(one);
  rawwaker_drop(two);
}

struct other {
  void *data;
  rawwaker_poll (*poll)(void *data, rawwaker_context *cx, void *out);
  rawwaker_context *cx;
};
static void *poll_there(void *arg) {
  struct other *o = arg;
  uint64_t out;
  o->poll(o->data, o->cx, &out);
  return NULL;
}
static void on_another_thread(void *data,
                              rawwaker_poll (*poll)(void *, rawwaker_context *, void *),
                              void (*drop)(void *)) {
  rawwaker w = rawwaker_from_fn(nothing, NULL, NULL);
  rawwaker_context cx = {&w};
  struct other o = {data, poll, &cx};
  pthread_t t;
  if (pthread_create(&t, NULL, poll_there, &o) != 0) exit(2);
  pthread_join(t, NULL);
  drop(data);
  rawwaker_drop(w);
}
static void use_future_on_threads(const broken *b) {
  rawwaker_future f = rawwaker_audit_future(broken_future((void *)(uintptr_t)b).future);
  on_another_thread(f.data, f.vtable->poll, f.vtable->drop);
}
static void use_stream_on_threads(const broken *b) {
  rawwaker_stream s = rawwaker_audit_stream(broken_stream((void *)(uintptr_t)b).stream);
  on_another_thread(s.data, s.vtable->poll_next, s.vtable->drop);
}

/* Reads a stream to its end correctly. */
static void use_stream(const broken *b) {
  rawwaker_test_stream s = broken_stream((void *)(uintptr_t)b);
  rawwaker_stream f = rawwaker_audit_stream(s.stream);
  uint64_t out = 0;
  rawwaker one = rawwaker_from_fn(nothing, NULL, NULL), two = rawwaker_from_fn(nothing, NULL, NULL);
  rawwaker_context first = {&one}, second = {&two};
  f.vtable->poll_next(f.data, &first, &out);
  rawwaker_poll got = f.vtable->poll_next(f.data, &second, &out);
  if (!broken_is(b, "stream_keeps_its_waker_over_drop")) {
    for (size_t i = 0; i <= s.count && got != 9; i++) {
      s.produce(s.arg);
      got = f.vtable->poll_next(f.data, &second, &out);
    }
    if (got == RAWWAKER_DONE) f.vtable->poll_next(f.data, &second, &out);
  }
  f.vtable->drop(f.data);
  rawwaker_audit_leaks();
  rawwaker_drop(one);
  rawwaker_drop(two);
}

/* Spawns futures on an executor correctly. */
typedef struct sleeper {
  int polls;
} sleeper;
static rawwaker_poll sleeper_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  rawwaker_wake_by_ref(cx->waker);
  return ++((sleeper *)data)->polls > 3 ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void sleeper_drop(void *data) { (void)data; }
static const rawwaker_future_vtable sleeper_vtable = {sleeper_poll, sleeper_drop};
/* Its poll is still running when its waker's wake returns. */
static rawwaker_poll slow_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker_poll got = sleeper_poll(data, cx, out);
  struct timespec moment = {0, 20000000};
  nanosleep(&moment, NULL);
  return got;
}
static const rawwaker_future_vtable slow_vtable = {slow_poll, sleeper_drop};
static void *run_there(void *arg) {
  rawwaker_test_executor *x = arg;
  x->run(x->arg);
  return NULL;
}
static bool take_a_finding(void *rule) {
  char *text;
  return rawwaker_audit_take(rule, &text);
}
static void use_executor(const broken *b) {
  rawwaker_test_executor x = broken_executor((void *)(uintptr_t)b);
  sleeper s[8] = {{0}};
  bool slow = broken_is(b, "polls_twice_at_once");
  for (int i = 0; i < 8; i++)
    x.spawn(x.arg,
            rawwaker_audit_future((rawwaker_future){&s[i], slow ? &slow_vtable : &sleeper_vtable}));
  if (slow) { /* it may never complete, so it gets a limited time */
    pthread_t t;
    if (pthread_create(&t, NULL, run_there, &x) != 0) exit(2);
    const char *rule = NULL;
    bool found = broken_wait(take_a_finding, &rule, 10000);
    if (found) puts(rule);
    fflush(stdout);
    _Exit(found);
  }
  x.run(x.arg);
  x.close(x.arg);
}

static void use_user(const broken *b) {
  broken_user(b, rawwaker_audit(rawwaker_from_fn(nothing, NULL, NULL)));
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "list") == 0) {
    for (const broken *b = broken_all; b->name != NULL; b++)
      printf("%s\t%s\t%s%s\t%s\t%s\n", b->name, b->kind, b->tsan ? "tsan:" : "",
             b->kit ? b->kit : "-", b->audit ? b->audit : "-", b->does);
    return 0;
  }
  const broken *b = argc == 3 ? broken_find(argv[2]) : NULL;
  if (b == NULL) {
    fprintf(stderr,
            argc == 3 ? "run: no %s: see run list\n" : "usage: run list | kit NAME | audit NAME\n",
            argc == 3 ? argv[2] : "");
    return 2;
  }
  void *entry = (void *)(uintptr_t)b;
  if (strcmp(argv[1], "kit") == 0) {
    if (strcmp(b->kind, "waker") == 0)
      return rawwaker_test_wakers(b->name, broken_waker, entry) != 0;
    if (strcmp(b->kind, "future") == 0)
      return rawwaker_test_futures(b->name, broken_future, entry) != 0;
    if (strcmp(b->kind, "stream") == 0)
      return rawwaker_test_streams(b->name, broken_stream, entry) != 0;
    if (strcmp(b->kind, "executor") == 0)
      return rawwaker_test_executors(b->name, broken_executor, entry) != 0;
    fprintf(stderr, "run: kit: %s is a fault for the auditor (use run audit)\n", b->name);
    return 2;
  }
  if (strcmp(b->kind, "waker") == 0) use_waker(b);
  if (strcmp(b->kind, "future") == 0)
    broken_is(b, "knows_one_thread") ? use_future_on_threads(b) : use_future(b);
  if (strcmp(b->kind, "stream") == 0)
    broken_is(b, "stream_knows_one_thread") ? use_stream_on_threads(b) : use_stream(b);
  if (strcmp(b->kind, "executor") == 0) use_executor(b);
  if (strcmp(b->kind, "user") == 0) use_user(b);
  rawwaker_audit_leaks();
  const char *rule;
  char *text;
  int status = 0;
  while (rawwaker_audit_take(&rule, &text)) {
    printf("%s\n", rule);
    free(text);
    status = 1;
  }
  return status;
}
