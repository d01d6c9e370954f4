/* The functions of ffiwaker.h: their C types, errno, and the parts that need no Go. The other parts
 * are in archive.go. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* dladdr */
#endif
#include "ffiwaker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if !defined(_WIN32)
#include <dlfcn.h>
#pragma weak dladdr /* a statically linked program has no dladdr */
#endif

#include "../../internal/capi/host.h"

/* Numbers cross to Go, not pointers. thread identifies the calling thread; site is the address that
 * the call returns to. */
extern uintptr_t ffiwakerExecutorNew(int *err);
extern uintptr_t ffiwakerExecutorSpawn(uintptr_t ex, uintptr_t data, uintptr_t vtable,
                                       uintptr_t site, int handle);
extern size_t ffiwakerExecutorTick(uintptr_t ex, uintptr_t thread, int kind, uint64_t most);
extern int ffiwakerExecutorFD(uintptr_t ex);
extern void ffiwakerExecutorOnWake(uintptr_t ex, uintptr_t data, uintptr_t vtable);
extern size_t ffiwakerExecutorTasks(uintptr_t ex);
extern void ffiwakerExecutorDrop(uintptr_t ex, uintptr_t thread);
extern void ffiwakerTaskAbort(uintptr_t task);
extern uintptr_t ffiwakerTaskClone(uintptr_t task);
extern void ffiwakerTaskDrop(uintptr_t task);
extern void ffiwakerSleep(uint64_t ns, void *out);

static _Noreturn void die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

/* Each call into Go stands between enter and leave. */
static int enter(const char *call) {
  if (ffiwaker_forked())
    die(call, "in a forked child: Go's threads do not exist there "
              "(exec first, or fork before the library is loaded)");
  return ffiwaker_hold_cancel();
}
static void leave(int cancel) { ffiwaker_restore_cancel(cancel); }

static uintptr_t this_thread(void) { return (uintptr_t)&errno; }

static void check(rawwaker_future f, const char *call) {
  if (f.vtable == NULL) die(call, "NULL vtable");
  if (f.vtable->poll == NULL) die(call, "empty slot poll");
  if (f.vtable->drop == NULL) die(call, "empty slot drop");
}

bool ffiwaker_in_forked_child(void) { return ffiwaker_forked(); }

ffiwaker_executor *ffiwaker_executor_new(void) {
  int cancel = enter(__func__), err = 0;
  uintptr_t ex = ffiwakerExecutorNew(&err);
  leave(cancel);
  if (ex == 0) errno = err;
  return (ffiwaker_executor *)ex;
}

/* The future that Go polls for a task: the caller's f, its out and its done. */
typedef struct spawned {
  rawwaker_future f; /* vtable NULL: the task has ended */
  void *out;
  void (*done)(void *arg, rawwaker_poll code);
  void *arg;
  const char *call; /* the function that spawned it, for error texts */
} spawned;

/* Ends the task after *out was written: drops f, then calls done. f's drop slot may set another
 * panic text, so the text of f's panic is kept until done is called. */
static void spawned_end(spawned *s, rawwaker_poll code) {
  rawwaker_future f = s->f;
  s->f.vtable = NULL;
  char *text = code == RAWWAKER_PANICKED && s->done != NULL ? strdup(rawwaker_last_panic()) : NULL;
  f.vtable->drop(f.data);
  if (s->done == NULL) return;
  if (text != NULL) rawwaker_set_panic(text, strlen(text));
  else if (code != RAWWAKER_PANICKED) rawwaker_set_panic("", 0);
  free(text);
  s->done(s->arg, code);
}
static rawwaker_poll spawned_poll(void *data, rawwaker_context *cx, void *out) {
  spawned *s = data;
  (void)out;
  rawwaker_poll got = s->f.vtable->poll(s->f.data, cx, s->out);
  if (got == RAWWAKER_PENDING) return got;
  if (got != RAWWAKER_READY && got != RAWWAKER_PANICKED) {
    char why[32];
    snprintf(why, sizeof why, "slot poll gave %u", (unsigned)got);
    die(s->call, why);
  }
  spawned_end(s, got);
  return RAWWAKER_READY;
}
static void spawned_drop(void *data) {
  spawned *s = data;
  if (s->f.vtable != NULL) spawned_end(s, FFIWAKER_ABORTED);
  free(s);
}
static const rawwaker_future_vtable spawned_vtable = {spawned_poll, spawned_drop};

static uintptr_t spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                       void (*done)(void *arg, rawwaker_poll code), void *arg, const char *call,
                       void *site, int handle) {
  int cancel = enter(call);
  check(f, call);
  spawned *s = malloc(sizeof *s);
  if (s == NULL) die(call, "out of memory");
  *s = (spawned){f, out, done, arg, call};
  uintptr_t task = ffiwakerExecutorSpawn((uintptr_t)ex, (uintptr_t)s, (uintptr_t)&spawned_vtable,
                                         (uintptr_t)site, handle);
  leave(cancel);
  return task;
}

#if defined(__GNUC__)
#define CALLER __builtin_return_address(0)
#else
#define CALLER NULL
#endif

void ffiwaker_executor_spawn(ffiwaker_executor *ex, rawwaker_future f, void *out,
                             void (*done)(void *arg, rawwaker_poll code), void *arg) {
  spawn(ex, f, out, done, arg, __func__, CALLER, 0);
}

ffiwaker_task *ffiwaker_executor_spawn_task(ffiwaker_executor *ex, rawwaker_future f, void *out,
                                            void (*done)(void *arg, rawwaker_poll code),
                                            void *arg) {
  return (ffiwaker_task *)spawn(ex, f, out, done, arg, __func__, CALLER, 1);
}

/* Writes a name of site, for a diagnosis: the function if the loader knows it, else the address. */
void ffiwaker_site(uintptr_t site, char *text, size_t size) {
#if !defined(_WIN32)
  Dl_info at;
  if (dladdr != NULL && site != 0 && dladdr((void *)site, &at) != 0 && at.dli_fname != NULL) {
    const char *slash = strrchr(at.dli_fname, '/'),
               *file = slash != NULL ? slash + 1 : at.dli_fname;
    if (at.dli_sname != NULL)
      snprintf(text, size, "%s(%s+0x%" PRIxPTR ")", file, at.dli_sname,
               site - (uintptr_t)at.dli_saddr);
    else
      snprintf(text, size, "%s(+0x%" PRIxPTR ")", file, site - (uintptr_t)at.dli_fbase);
    return;
  }
#endif
  snprintf(text, size, "0x%" PRIxPTR, site);
}

enum { ONE, UP_TO, FOR }; /* the kinds of tick; archive.go has the same numbers */

static size_t tick(ffiwaker_executor *ex, int kind, uint64_t most, const char *call) {
  int cancel = enter(call);
  size_t polled = ffiwakerExecutorTick((uintptr_t)ex, this_thread(), kind, most);
  leave(cancel);
  return polled;
}

bool ffiwaker_executor_tick(ffiwaker_executor *ex) { return tick(ex, ONE, 1, __func__) != 0; }

size_t ffiwaker_executor_tick_n(ffiwaker_executor *ex, size_t n) {
  return tick(ex, UP_TO, n, __func__);
}

size_t ffiwaker_executor_tick_for(ffiwaker_executor *ex, uint64_t ns) {
  return tick(ex, FOR, ns, __func__);
}

int ffiwaker_executor_fd(ffiwaker_executor *ex) {
  int cancel = enter(__func__), fd = ffiwakerExecutorFD((uintptr_t)ex);
  leave(cancel);
  return fd;
}

void ffiwaker_executor_on_wake(ffiwaker_executor *ex, void (*f)(void *arg), void *arg,
                               void (*drop)(void *arg)) {
  int cancel = enter(__func__);
  if (f == NULL) die(__func__, "NULL f");
  rawwaker w = rawwaker_from_fn(f, arg, drop);
  ffiwakerExecutorOnWake((uintptr_t)ex, (uintptr_t)w.data, (uintptr_t)w.vtable);
  leave(cancel);
}

size_t ffiwaker_executor_tasks(ffiwaker_executor *ex) {
  int cancel = enter(__func__);
  size_t tasks = ffiwakerExecutorTasks((uintptr_t)ex);
  leave(cancel);
  return tasks;
}

void ffiwaker_executor_drop(ffiwaker_executor *ex) {
  if (ffiwaker_forked()) return;
  int cancel = enter(__func__);
  ffiwakerExecutorDrop((uintptr_t)ex, this_thread());
  leave(cancel);
}

void ffiwaker_task_abort(ffiwaker_task *t) {
  int cancel = enter(__func__);
  ffiwakerTaskAbort((uintptr_t)t);
  leave(cancel);
}

ffiwaker_task *ffiwaker_task_clone(ffiwaker_task *t) {
  int cancel = enter(__func__);
  uintptr_t clone = ffiwakerTaskClone((uintptr_t)t);
  leave(cancel);
  return (ffiwaker_task *)clone;
}

void ffiwaker_task_drop(ffiwaker_task *t) {
  if (t == NULL || ffiwaker_forked()) return;
  int cancel = enter(__func__);
  ffiwakerTaskDrop((uintptr_t)t);
  leave(cancel);
}

static rawwaker_future new_sleep(uint64_t ns, const char *call) {
  rawwaker_future f;
  int cancel = enter(call);
  ffiwakerSleep(ns, &f);
  leave(cancel);
  return f;
}

rawwaker_future ffiwaker_sleep(uint64_t ns) { return new_sleep(ns, __func__); }

/* f, and a sleep that limits it. Each is dropped once: when the other is ready first, or with the
 * timeout. */
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
  if (expired == NULL) die(__func__, "NULL expired");
  timeout *t = malloc(sizeof *t);
  if (t == NULL) die(__func__, "out of memory");
  *t = (timeout){f, new_sleep(ns, __func__), expired};
  return (rawwaker_future){t, &timeout_vtable};
}
