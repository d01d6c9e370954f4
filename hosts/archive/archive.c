/* The C halves of ffiwaker.h: types and errno, and what needs no Go. */
#include "ffiwaker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

extern uintptr_t ffiwakerExecutorNew(int *err);
extern void ffiwakerExecutorSpawn(uintptr_t ex, uintptr_t data, uintptr_t vtable);
extern int ffiwakerExecutorTick(uintptr_t ex);
extern int ffiwakerExecutorFD(uintptr_t ex);
extern void ffiwakerExecutorOnWake(uintptr_t ex, uintptr_t data, uintptr_t vtable);
extern size_t ffiwakerExecutorTasks(uintptr_t ex);
extern void ffiwakerExecutorDrop(uintptr_t ex);
extern void ffiwakerSleep(uint64_t ns, void *out);

static _Noreturn void die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

static void check(rawwaker_future f, const char *call) {
  if (f.vtable == NULL) die(call, "NULL vtable");
  if (f.vtable->poll == NULL) die(call, "empty slot poll");
  if (f.vtable->drop == NULL) die(call, "empty slot drop");
}

ffiwaker_executor *ffiwaker_executor_new(void) {
  int err = 0;
  uintptr_t ex = ffiwakerExecutorNew(&err);
  if (ex == 0) errno = err;
  return (ffiwaker_executor *)ex;
}

/* A task's future: f, with where its result goes and who is told. */
typedef struct spawned {
  rawwaker_future f;
  void *out;
  void (*done)(void *arg, rawwaker_poll code);
  void *arg;
} spawned;

static rawwaker_poll spawned_poll(void *data, rawwaker_context *cx, void *out) {
  spawned *s = data;
  (void)out;
  rawwaker_poll got = s->f.vtable->poll(s->f.data, cx, s->out);
  if (got == RAWWAKER_PENDING) return got;
  if (got != RAWWAKER_READY && got != RAWWAKER_PANICKED) {
    char why[32];
    snprintf(why, sizeof why, "slot poll gave %u", (unsigned)got);
    die("ffiwaker_executor_spawn", why);
  }
  if (s->done != NULL) s->done(s->arg, got);
  return RAWWAKER_READY;
}
static void spawned_drop(void *data) {
  spawned *s = data;
  s->f.vtable->drop(s->f.data);
  free(s);
}
static const rawwaker_future_vtable spawned_vtable = {spawned_poll, spawned_drop};

void ffiwaker_executor_spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                             void (*done)(void *arg, rawwaker_poll code), void *arg) {
  check(f, __func__);
  spawned *s = malloc(sizeof *s);
  if (s == NULL) die(__func__, "out of memory");
  *s = (spawned){f, out, done, arg};
  ffiwakerExecutorSpawn((uintptr_t)ex, (uintptr_t)s, (uintptr_t)&spawned_vtable);
}

bool ffiwaker_executor_tick(ffiwaker_executor *ex) { return ffiwakerExecutorTick((uintptr_t)ex) != 0; }

int ffiwaker_executor_fd(ffiwaker_executor *ex) { return ffiwakerExecutorFD((uintptr_t)ex); }

void ffiwaker_executor_on_wake(ffiwaker_executor *ex, void (*f)(void *arg), void *arg) {
  rawwaker w = rawwaker_from_fn(f, arg, NULL);
  ffiwakerExecutorOnWake((uintptr_t)ex, (uintptr_t)w.data, (uintptr_t)w.vtable);
}

size_t ffiwaker_executor_tasks(ffiwaker_executor *ex) { return ffiwakerExecutorTasks((uintptr_t)ex); }

void ffiwaker_executor_drop(ffiwaker_executor *ex) { ffiwakerExecutorDrop((uintptr_t)ex); }

rawwaker_future ffiwaker_sleep(uint64_t ns) {
  rawwaker_future f;
  ffiwakerSleep(ns, &f);
  return f;
}

/* f against the clock. Each of the two is dropped once: when it has lost, or with the whole. */
typedef struct timeout {
  rawwaker_future f, sleep;
  bool *expired;
} timeout;

static void end(rawwaker_future *f) {
  if (f->vtable == NULL) return;
  const rawwaker_future_vtable *vtable = f->vtable;
  f->vtable = NULL;
  vtable->drop(f->data);
}
static rawwaker_poll timeout_poll(void *data, rawwaker_context *cx, void *out) {
  timeout *t = data;
  rawwaker_poll got = t->f.vtable->poll(t->f.data, cx, out);
  if (got != RAWWAKER_PENDING) {
    *t->expired = false;
    end(&t->sleep);
    return got;
  }
  got = t->sleep.vtable->poll(t->sleep.data, cx, NULL);
  if (got == RAWWAKER_READY) {
    end(&t->f);
    *t->expired = true;
  }
  return got;
}
static void timeout_drop(void *data) {
  timeout *t = data;
  end(&t->f);
  end(&t->sleep);
  free(t);
}
static const rawwaker_future_vtable timeout_vtable = {timeout_poll, timeout_drop};

rawwaker_future ffiwaker_timeout(rawwaker_future f, uint64_t ns, bool *expired) {
  check(f, __func__);
  timeout *t = malloc(sizeof *t);
  if (t == NULL) die(__func__, "out of memory");
  *t = (timeout){f, ffiwaker_sleep(ns), expired};
  return (rawwaker_future){t, &timeout_vtable};
}
