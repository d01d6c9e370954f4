/* hosts.c - runs a program of calls, and compares what happens with a model. README.md describes
 * both. With -DFFIWAKER it uses libffiwaker, else rawwaker.c, rawwaker_channel.c and executor.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hosts.h"

#include "program.h"
#include "rawwaker_channel.h"
#if defined(FFIWAKER)
#include "ffiwaker.h"
#else
#include "executor.h"
#endif
#if defined(FFIWAKER) || defined(AUDIT)
#include "rawwaker_audit.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXECUTORS = 2, WORKS = 8, OWN = 4, CELLS = 2, CHANNELS = 2, SENDERS = 3, GATES = 2 };
enum { TARGETS = 2 * MOST + WORKS, DEPTH = 4, QUEUED = 6, CLOSED_FDS = 2 * MOST };
enum { SENTINEL = -77, VALUE = 1000 };
#if defined(FFIWAKER)
static const uint64_t hour = 3600000000000; /* nanoseconds */
void hostsValue(int64_t value, void *out);
#endif

static program now;
static _Thread_local int me = -1;       /* the thread of the program; -1: the library's */
static _Thread_local int depth, waking; /* nested operations; wakes under way */
static _Thread_local bool in_signal, in_child, may_abort;
static _Thread_local int never; /* 1 + the depth at which a block_on is to be cancelled */
static _Thread_local unsigned long wake_began;
/* The shared cell that a register is under way at, and, while a clone of it runs another operation,
 * the cell that is therefore owned. */
static _Thread_local int registering = -1, held = -1;
static _Atomic(unsigned long) clock_now; /* counts wakes and ends of executors */

static bool alone(void) { return (now.mode & 3) != TOGETHER; }
/* Whether the futures and wakers of the program are wrapped by the auditor. */
static bool audited(void) {
#if defined(AUDIT)
  return (now.mode & AUDITED) != 0;
#else
  return false;
#endif
}

_Noreturn void fail(const char *what, ...) {
  va_list args;
  fprintf(stderr, "hosts: violation: ");
  va_start(args, what);
  vfprintf(stderr, what, args);
  va_end(args);
  fprintf(stderr, "\n");
  if (in_child) _exit(FAILED);
  failed();
}
#define expect(what, ...)           \
  do {                              \
    if (!(what)) fail(__VA_ARGS__); \
  } while (0)

/* The harness's own waits are no cancellation points. */
static int hold(void) {
  int was;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
  return was;
}
static void release_hold(int was) {
  int held;
  pthread_setcancelstate(was, &held);
}

/* A user's code is a cancellation point, but not inside a call that is none. Those of ffiwaker.h
 * and rawwaker_block_on disable cancellation around it; that of executor.h does not. */
static void user_code(bool in_block_on) {
#if defined(FFIWAKER)
  in_block_on = true;
#endif
  if (in_block_on && me >= 0 && !in_signal) pthread_testcancel();
}

/* ---------------------------------------------------------------------- where code is run -- */

static _Atomic(const operation *) places[PLACES_END][QUEUED];
static void run(const operation *o);
static bool possible(const operation *o);
static unsigned visits; /* how many operations have run at steps, by another thread */
static unsigned visits_before; /* at the beginning of this operation of the program */
static bool checks;            /* the calls of a check are not stopped */
static _Thread_local bool visits_now; /* the thread is the visitor */

/* Each kind of place runs the operations that were left for it, one at a time. What runs there
 * stands for the user's code, or, in a slot or a system call, for another thread that comes while
 * this one is stopped. */
static void at_place(enum how place) {
  if (me < 0 || in_signal || depth >= DEPTH) return;
  const operation *o = NULL;
  for (int i = 0; i < QUEUED && o == NULL; i++) {
    o = places[place][i];
    if (o != NULL && (!possible(o) || !atomic_compare_exchange_strong(&places[place][i], &o, NULL)))
      o = NULL;
  }
  if (o == NULL) return;
  if (o->code == op_block_on && place != AT_POLL && place != AT_DROP && place != AT_DONE) return;
  int saved = errno, was_waking = waking, cancel = hold(), was_held = held, was_to = registering;
  unsigned long was_began = wake_began;
  waking = 0;
  held = place == AT_CLONE ? registering : -1;
  registering = -1;
  depth++;
  run(o);
  depth--;
  held = was_held;
  registering = was_to;
  waking = was_waking;
  wake_began = was_began;
  release_hold(cancel);
  errno = saved;
}

#if defined(STEPS)
void __sanitizer_cov_trace_pc(void);
#endif
/* A system call is a step too. */
static void step_of_library(void) {
#if defined(STEPS)
  __sanitizer_cov_trace_pc();
#endif
}
ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n) {
  step_of_library();
  at_place(AT_WRITE);
  if (me >= 0 && !in_signal) pthread_testcancel(); /* also if the kernel would not have slept */
  return __real_write(fd, from, n);
}
/* The trace writes by syscall, because it must not be a cancellation point. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
  enum { MOST_ARGUMENTS = 6 };
  long a[MOST_ARGUMENTS];
  va_list args;
  va_start(args, number);
  for (int i = 0; i < MOST_ARGUMENTS; i++) a[i] = va_arg(args, long); /* as the C library does */
  va_end(args);
  step_of_library();
  if (number == SYS_write) at_place(AT_WRITE);
  return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n) {
  step_of_library();
  at_place(AT_READ);
  return __real_read(fd, to, n);
}
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
  at_place(AT_CLOSE);
  return __real_close(fd);
}
int __real_dup3(int from, int to, int flags);
int __wrap_dup3(int from, int to, int flags);
int __wrap_dup3(int from, int to, int flags) {
  at_place(AT_CLOSE);
  return __real_dup3(from, to, flags);
}

/* Between these two, standard error goes nowhere: a call that must abort says why. */
static int stderr_off(void) {
  fflush(stderr);
  int was = dup(2), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(null, 2);
  __real_close(null);
  return was;
}
static void stderr_on(int was) {
  dup2(was, 2);
  __real_close(was);
}

#if defined(STEPS)
/* The lane whose library calls this at each basic block. An operation that was left for a step is
 * run by another thread, the visitor, while this one is stopped there. */
static struct visitor {
  sem_t go, back;
  const operation *o;
  int me, depth;
  bool there;
} visitor;
static unsigned steps; /* since the last visit, while an operation is left for one */
static void *visitor_thread(void *arg) {
  (void)arg;
  visits_now = true;
  for (;;) {
    while (sem_wait(&visitor.go) != 0) {
    }
    me = visitor.me, depth = visitor.depth + 1;
    run(visitor.o);
    me = -1;
    sem_post(&visitor.back);
  }
  return NULL;
}
static void visit(const operation *o) {
  int saved = errno, cancel = hold();
  if (!visitor.there) {
    pthread_t id;
    sem_init(&visitor.go, 0, 0), sem_init(&visitor.back, 0, 0);
    expect(pthread_create(&id, NULL, visitor_thread, NULL) == 0, "no thread");
    pthread_detach(id);
    visitor.there = true;
  }
  visits++;
  visitor.o = o, visitor.me = me, visitor.depth = depth;
  sem_post(&visitor.go);
  while (sem_wait(&visitor.back) != 0) {
  }
  release_hold(cancel);
  errno = saved;
}
void __sanitizer_cov_trace_pc(void) {
  if (me < 0 || in_signal || in_child || visits_now || mutexes_held != 0 || !alone() ||
      checks || depth + 1 >= DEPTH)
    return;
  for (int i = 0; i < QUEUED; i++) {
    const operation *o = places[AT_STEP][i];
    if (o == NULL) continue;
    if (++steps < steps_of(o, now.mode)) return;
    steps = 0;
    places[AT_STEP][i] = NULL;
    if (possible(o)) visit(o);
    return;
  }
}
#endif

/* A call that must abort is made by a thread that stays in abort for good, or, if it holds nothing
 * that a return from abort would leave, by this thread, which comes back. */
static sem_t aborted_there;
static _Thread_local jmp_buf *comes_back;
_Noreturn void __real_abort(void);
_Noreturn void __wrap_abort(void);
_Noreturn void __wrap_abort(void) {
  if (comes_back != NULL) longjmp(*comes_back, 1);
  if (!may_abort) __real_abort();
  sem_post(&aborted_there);
  for (;;) pause();
}

/* ------------------------------------------------------------------------------ the model -- */

/* What a waker of the program wakes. */
typedef struct target {
  bool token;
  atomic_long made, seen, live; /* references, of a token */
  atomic_int drops;
} target;
static target targets[TARGETS];
static atomic_int ntargets;

typedef struct hook {
  struct hook *next;
  int ex;
  atomic_int inside, calls, drops;
  _Atomic(unsigned long) ended; /* when the executor was dropped */
} hook;

typedef struct executor {
  ffiwaker_executor *ex;
  atomic_int uses; /* ABSENT, BUSY (made or dropped), or how many calls use it */
  atomic_bool ticking;
  pthread_t ticker;
  hook *hook;
  int fd, calls_when_armed;
  bool armed, ticked;
  atomic_int tasks;
} executor;
enum { ABSENT = -1, BUSY = -2 };
static executor executors[EXECUTORS];

enum driver { BY_HAND, BY_EXECUTOR, BY_BLOCK_ON };
typedef struct work {
  atomic_int holds;  /* 0: the place is free */
  atomic_bool live;  /* its future was not dropped yet, or its done has not returned */
  _Atomic(unsigned long) serial;
  enum driver driver;
  enum kind kind;
  int ex, script;
  atomic_bool busy; /* by hand: one thread at a time */
  atomic_int inside;
  atomic_bool due, pending, aborted, open, sent, ended, never;
  int polls, drops, dones;
  rawwaker_poll code;
  char why[160];
  int64_t *out;
  rawwaker_future inner;
  rawwaker_cell cell;
  _Atomic(ffiwaker_task *) task;
  rawwaker_oneshot *hidden;
  _Atomic(rawwaker_oneshot *) tx;
  _Atomic(rawwaker_job *) job;
  bool has_value;
  atomic_int starts, cancels, delivered, destroyed, releases;
  int channel, want;
  size_t places;
  bool expired, owes;
  rawwaker waker; /* by hand */
  target *target;
  long seen;
} work;
static work works[WORKS];
static _Atomic(unsigned long) serials;

typedef struct channel {
  rawwaker_stream stream;
  atomic_bool claimed, gone, failed;
  _Atomic(rawwaker_sender *) tx[SENDERS];
  rawwaker_sender *hidden;
  size_t capacity;
  atomic_int senders, sent, received, destroyed, releases, cancels;
  uint64_t next[THREADS], got[THREADS];
} channel;
static channel channels[CHANNELS];

static struct engine {
  rawwaker_queue *queue;
  atomic_int uses; /* as an executor's */
  atomic_bool busy, waits;
  int fd;
} engine, nodes;
static atomic_int nodes_pushed, nodes_back;

typedef struct own {
  rawwaker w;
  work *of;
  unsigned long serial;
  target *target;
} own;
static own owns[THREADS][OWN];
static rawwaker_cell cells[CELLS];
static hook *hooks;
static int closed_fds[CLOSED_FDS], baits[CLOSED_FDS];
static atomic_int nclosed, nbaits;
static pthread_mutex_t baits_mu = PTHREAD_MUTEX_INITIALIZER;
int sacrificed; /* threads that stay in abort */

static bool use(atomic_int *uses) {
  int n = *uses;
  while (n >= 0)
    if (atomic_compare_exchange_weak(uses, &n, n + 1)) return true;
  return false;
}
static bool take_whole(atomic_int *uses, int from) {
  return atomic_compare_exchange_strong(uses, &from, BUSY);
}
static bool try_lock(atomic_bool *b) { return !atomic_exchange(b, true); }

/* Whether an operation that was left for a place would find its executor unused. */
static bool possible(const operation *o) {
  const executor *e = &executors[o->x % EXECUTORS];
  if (o->code == op_executor_drop) return e->uses == 0;
  return (o->code != op_tick && o->code != op_tick_all) || !e->ticking;
}

static int index_of(const work *w) { return (int)(w - works); }
static executor *ex_of(const work *w) { return &executors[w->ex]; }
static bool driven(const work *w) { return w->live && w->driver == BY_EXECUTOR && !w->ended; }

static bool readable(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  int cancel = hold(), got = poll(&p, 1, 0);
  release_hold(cancel);
  return got == 1;
}

/* -------------------------------------------------------------------- wakers that count -- */

static target *target_new(bool token) {
  int n = atomic_fetch_add(&ntargets, 1);
  expect(n < TARGETS, "the harness has too few targets");
  targets[n].token = token;
  return &targets[n];
}
static void fn_wake(void *arg) {
  target *t = arg;
  expect(t->drops == 0, "rawwaker_from_fn: a wake after its drop");
  t->seen++;
  at_place(AT_FN);
}
static void fn_drop(void *arg) {
  target *t = arg;
  expect(atomic_fetch_add(&t->drops, 1) == 0, "rawwaker_from_fn: dropped twice");
}

typedef struct token {
  uint64_t magic;
  target *t;
} token;
enum { MAGIC = 0x70c3 };
static target *token_target(void *data) {
  token *k = data;
  expect(k->magic == MAGIC, "a slot was called with data that is no reference");
  return k->t;
}
static void token_end(void *data) {
  token_target(data)->live--;
  ((token *)data)->magic = 0;
  free(data);
}
static rawwaker token_clone(void *data);
static void token_wake(void *data) {
  target *t = token_target(data);
  t->seen++;
  token_end(data);
  at_place(AT_TOKEN_WAKE);
}
static void token_wake_by_ref(void *data) {
  token_target(data)->seen++;
  at_place(AT_TOKEN_WAKE);
}
static void token_drop(void *data) {
  token_end(data);
  at_place(AT_TOKEN_DROP);
}
static const rawwaker_vtable token_vtable = {token_clone, token_wake, token_wake_by_ref,
                                             token_drop};
static rawwaker token_new(target *t) {
  token *k = malloc(sizeof *k);
  if (k == NULL) abort();
  *k = (token){MAGIC, t};
  t->live++;
  return (rawwaker){k, &token_vtable};
}
static rawwaker token_clone(void *data) {
  rawwaker w = token_new(token_target(data));
  at_place(AT_CLONE);
  return w;
}
static rawwaker target_waker(target *t) {
  rawwaker w = t->token ? token_new(t) : rawwaker_from_fn(fn_wake, t, fn_drop);
#if defined(AUDIT)
  if (audited()) w = rawwaker_audit(w);
#endif
  return w;
}

/* Between these two a wake is made, by this thread. */
static void wake_begin(void) {
  if (waking++ == 0) wake_began = ++clock_now;
}
static void wake_end(void) { waking--; }

/* -------------------------------------------------------------------------------- the hook -- */

static void hook_call(void *arg) {
  hook *h = arg;
  expect(h->drops == 0, "the hook was called after its drop(arg)");
  expect(me < 0 || h->ended == 0 || waking == 0 || wake_began < h->ended,
         "a wake that began after ffiwaker_executor_drop has called the hook");
  h->inside++;
  h->calls++;
  user_code(false);
  at_place(AT_HOOK);
  expect(h->drops == 0, "the hook's drop(arg) came during a call of the hook");
  h->inside--;
}
static void hook_drop(void *arg) {
  hook *h = arg;
  expect(h->inside == 0, "the hook's drop(arg) came during a call of the hook");
  expect(waking == 0, "the hook's drop(arg) came inside a wake");
  at_place(AT_HOOK_DROP);
  expect(atomic_fetch_add(&h->drops, 1) == 0, "the hook's drop(arg) came twice");
}

/* -------------------------------------------------------------------------------- a work -- */

/* The program's own wakers. A call borrows or consumes what was taken out of its place. */
static own own_take(own *at) {
  own o = *at;
  at->w.vtable = NULL;
  return o;
}
static void own_put(own *at, own o) {
  own old = own_take(at);
  *at = o;
  if (old.w.vtable != NULL) rawwaker_drop(old.w);
}


static void open_it(work *w) {
  w->open = true;
  wake_begin();
  rawwaker_cell_wake(&w->cell);
  wake_end();
}
static rawwaker_poll gate_poll(void *data, rawwaker_context *cx, void *out) {
  work *w = data;
  (void)out;
  rawwaker_cell_register(&w->cell, cx->waker);
  return w->open ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void gate_drop(void *data) { rawwaker_cell_drop(&((work *)data)->cell); }
static const rawwaker_future_vtable gate_vtable = {gate_poll, gate_drop};

static rawwaker_poll text_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  rawwaker_set_panic("another text", 12);
  return RAWWAKER_PANICKED;
}
static void no_drop(void *data) { (void)data; }
static void set_another_text(void) {
  static const rawwaker_future_vtable vtable = {text_poll, no_drop};
  rawwaker_block_on((rawwaker_future){NULL, &vtable}, NULL);
}

/* The callbacks of a oneshot, and of a job. */
static void shot_start(void *arg) {
  work *w = arg;
  expect(w->starts++ == 0, "start was called twice");
  w->tx = w->hidden;
  at_place(AT_START);
}
static void shot_cancel(void *arg) {
  work *w = arg;
  expect(w->cancels++ == 0, "cancel was called twice");
  expect(w->releases == 0, "cancel after release");
  at_place(AT_CANCEL);
}
static void shot_destroy(void *arg, void *value) {
  work *w = arg;
  expect(*(int64_t *)value == VALUE + index_of(w), "destroy has another value");
  w->destroyed++;
  at_place(AT_DESTROY);
}
static void shot_release(void *arg) {
  work *w = arg;
  at_place(AT_RELEASE);
  expect(w->releases++ == 0, "release was called twice");
  expect(w->delivered + w->destroyed == (w->has_value ? 1 : 0),
         "the value of work %d was given %d times and destroyed %d times", index_of(w),
         w->delivered, w->destroyed);
  w->holds--;
}
static const rawwaker_oneshot_ops shot_ops = {shot_start, shot_cancel, shot_destroy, shot_release};
static const rawwaker_oneshot_ops begun_ops = {NULL, shot_cancel, shot_destroy, shot_release};

static void shot_end(work *w, rawwaker_oneshot *tx, int how) {
  int64_t value = VALUE + index_of(w);
  w->sent = true;
  if (driven(w)) w->due = true;
  w->has_value = how == 0 || how == 3;
  wake_begin();
  if (how == 1) rawwaker_oneshot_fail(tx, "broken", 6);
  else if (how == 2) rawwaker_oneshot_drop(tx);
  else rawwaker_oneshot_send(tx, &value);
  wake_end();
}

static work *job_work(rawwaker_job *j) { return *(work **)rawwaker_job_data(j); }
static void job_end(work *w, rawwaker_job *j, int how) {
  int64_t value = VALUE + index_of(w);
  w->sent = true;
  if (driven(w)) w->due = true;
  w->has_value = how != 1;
  wake_begin();
  if (how == 1) rawwaker_job_fail(j, "broken", 6);
  else rawwaker_job_send(j, &value);
  wake_end();
}
static void job_submit(void *at, rawwaker_job *j) {
  work *w = job_work(j);
  expect(w->starts++ == 0, "submit was called twice");
  at_place(AT_SUBMIT);
  if (at == NULL || (w->script & SELF) != 0) job_end(w, j, w->script & PANICS ? 1 : 0);
  else w->job = j;
}
static void job_cancel(void *at, rawwaker_job *j) {
  work *w = job_work(j);
  expect(at != NULL && w->starts == 1, "cancel before submit");
  shot_cancel(w);
  j = atomic_exchange(&w->job, NULL);
  if (j != NULL) job_end(w, j, 0);
}
static void job_destroy(rawwaker_job *j, void *value) { shot_destroy(job_work(j), value); }
static void job_release(rawwaker_job *j) { shot_release(job_work(j)); }
static const rawwaker_job_ops job_ops = {job_submit, job_cancel, job_destroy, job_release};

/* A channel's. */
static void channel_start(void *arg) {
  channel *c = arg;
  c->tx[0] = c->hidden;
  at_place(AT_START);
}
static void channel_cancel(void *arg) {
  expect(((channel *)arg)->cancels++ == 0, "a channel's cancel was called twice");
  at_place(AT_CANCEL);
}
static void channel_destroy(void *arg, void *item) {
  (void)item;
  ((channel *)arg)->destroyed++;
  at_place(AT_DESTROY);
}
static void channel_release(void *arg) {
  at_place(AT_RELEASE);
  expect(((channel *)arg)->releases++ == 0, "a channel's release was called twice");
}
static const rawwaker_channel_ops channel_ops[CHANNELS] = {
    {NULL, channel_cancel, channel_destroy, channel_release},
    {channel_start, channel_cancel, channel_destroy, channel_release}};

static rawwaker_sender *sender_take(channel *c, int *at) {
  for (int i = 0; i < SENDERS; i++) {
    rawwaker_sender *tx = atomic_exchange(&c->tx[i], NULL);
    if (tx == NULL) continue;
    *at = i;
    return tx;
  }
  return NULL;
}
/* Puts a sender where it was, unless another is there by now. */
static void sender_put(channel *c, int at, rawwaker_sender *tx) {
  rawwaker_sender *none = NULL;
  if (atomic_compare_exchange_strong(&c->tx[at], &none, tx)) return;
  c->senders--;
  rawwaker_sender_drop(tx);
}
/* Sends one item: of thread t, its next. */
static int send_one(channel *c, rawwaker_sender *tx) {
  int t = me < 0 ? 0 : me;
  if (visits_now) t = (t + 1) % THREADS; /* the thread that is stopped may have begun to send */
  uint64_t item = (uint64_t)t << 32 | ++c->next[t];
  c->sent++; /* before: it may be received at once */
  wake_begin();
  int got = rawwaker_sender_try_send(tx, &item);
  wake_end();
  if (got == RAWWAKER_SENT) return got;
  c->sent--;
  if (c->next[t] == (item & UINT32_MAX)) c->next[t]--; /* no nested operation has sent */
  return got;
}
static void send_from(channel *c) {
  int at;
  rawwaker_sender *tx = sender_take(c, &at);
  if (tx == NULL) return;
  int free_before = (int)c->capacity - (c->sent - c->received - c->destroyed);
  int must = c->failed || c->gone ? RAWWAKER_CLOSED
             : free_before > 0    ? RAWWAKER_SENT
                                  : RAWWAKER_FULL;
  unsigned visited = visits;
  int got = send_one(c, tx);
  if (alone() && depth == 0 && visits == visited)
    expect(got == must,
           "rawwaker_sender_try_send returns %d, with %d places free", got, free_before);
  sender_put(c, at, tx);
}

/* The work is to be polled again. */
static rawwaker_poll go_on(work *w, rawwaker_context *cx) {
  if (w->driver == BY_EXECUTOR) w->due = true;
  wake_begin();
  rawwaker_wake_by_ref(cx->waker);
  wake_end();
  return RAWWAKER_PENDING;
}
static rawwaker_poll receive(work *w, rawwaker_context *cx) {
  channel *c = &channels[w->channel];
  for (;;) {
    uint64_t item = 0;
    bool null = (w->script & NULL_OUT) != 0;
    rawwaker_poll got = w->inner.vtable->poll(w->inner.data, cx, null ? NULL : (void *)&item);
    expect(!null || got == RAWWAKER_PANICKED, "a stream's poll_next with a NULL out gives %d", got);
    if (got == RAWWAKER_DONE) return RAWWAKER_READY;
    if (got != RAWWAKER_READY) return got;
    c->received++;
    uint64_t from = item >> 32;
    expect(from < THREADS && (item & UINT32_MAX) > c->got[from], "an item came twice or too late");
    c->got[from] = item & UINT32_MAX;
    if (--w->want <= 0) return RAWWAKER_READY;
    if ((w->script & SELF) != 0) return go_on(w, cx); /* one item at a time */
  }
}

static void complete(work *w, int how);

/* A task that was given READY by a room sends next: now, or in a later poll, or in its drop. */
static void send_owed(work *w) {
  channel *c = &channels[w->channel];
  int at;
  rawwaker_sender *tx = sender_take(c, &at);
  w->owes = false;
  if (tx == NULL) return;
  send_one(c, tx);
  sender_put(c, at, tx);
}

/* Whether it is a Go future with a result. */
static bool gives(const work *w) {
#if defined(FFIWAKER)
  return w->kind == AT_ONCE && (w->script & SELF) != 0;
#else
  (void)w;
  return false;
#endif
}
/* The future of a work. */
static rawwaker_poll work_poll(void *data, rawwaker_context *cx, void *out) {
  work *w = data;
  int n = index_of(w);
  expect(atomic_fetch_add(&w->inside, 1) == 0, "work %d is polled during a poll or drop", n);
  expect(w->drops == 0, "work %d is polled after its drop", n);
  expect(!w->ended, "work %d is polled after its completion", n);
  expect(audited() ? (out == NULL) == (w->out == NULL) : out == w->out,
         "work %d is polled with another out", n);
  int64_t *to = out;
  if (w->driver == BY_EXECUTOR)
    expect(ex_of(w)->ticking && pthread_equal(ex_of(w)->ticker, pthread_self()),
           "work %d is polled outside a tick", n);
  w->pending = false;
  w->due = false;
  w->polls++;
  if (w->driver != BY_HAND) user_code(w->driver == BY_BLOCK_ON);
  at_place(AT_POLL);
  if ((w->script & KEEPS) != 0 && me >= 0) {
    own *o = &owns[me][n % OWN];
    if (o->w.vtable == NULL) {
      rawwaker mine = rawwaker_clone(cx->waker);
      own_put(o, (own){mine, w, w->serial, w->target});
    }
  }
  rawwaker_poll got = w->kind == RECV ? receive(w, cx)
                      : w->owes       ? RAWWAKER_READY
                                      : w->inner.vtable->poll(w->inner.data, cx, out);
  if (got == RAWWAKER_PENDING && w->driver == BY_BLOCK_ON && alone() && !w->never)
    complete(w, (w->script & PANICS) != 0);
  else if (got == RAWWAKER_PENDING && (w->script & SELF) != 0 && w->kind != JOB && w->polls < 3)
    go_on(w, cx);
  if (w->kind == ROOM && got == RAWWAKER_READY && (w->script & SELF) != 0 && !w->owes) {
    w->owes = true; /* it sends in its next poll */
    got = go_on(w, cx);
  } else if (w->kind == ROOM && got == RAWWAKER_READY) {
    send_owed(w);
  }
  if (got == RAWWAKER_PANICKED)
    snprintf(w->why, sizeof w->why, "%s", rawwaker_last_panic());
  if (got == RAWWAKER_READY && (w->script & PANICS) != 0 && w->kind != ONESHOT && w->kind != JOB) {
    snprintf(w->why, sizeof w->why, "the text of work %d", n);
    rawwaker_set_panic(w->why, strlen(w->why));
    got = RAWWAKER_PANICKED;
  }
  if (w->kind == ONESHOT || w->kind == JOB) {
    if (got == RAWWAKER_READY) w->delivered++;
    if (got != RAWWAKER_PENDING) {
      bool null = w->script & NULL_OUT;
      expect((got == RAWWAKER_READY) == (w->has_value && !null),
             "the oneshot of work %d gives %d, which is not what was sent", n, got);
      expect(got != RAWWAKER_READY || *to == VALUE + n, "work %d has another value", n);
    }
  } else if (gives(w) && got != RAWWAKER_PENDING) {
    bool null = (w->script & NULL_OUT) != 0;
    expect(!null || (got == RAWWAKER_PANICKED && strstr(w->why, "NULL") != NULL),
           "a Go future with a NULL out gives %d, and the text \"%s\"", got, w->why);
    expect(got != RAWWAKER_READY || *to == VALUE + n, "work %d has another value", n);
  } else if (got == RAWWAKER_READY && to != NULL) {
    *to = VALUE + n;
  }
  if (gives(w) && got == RAWWAKER_PANICKED && to != NULL) *to = SENTINEL;
  if (got == RAWWAKER_PANICKED) expect(w->why[0] != '\0', "a panic of work %d has no text", n);
  if (got != RAWWAKER_PENDING) {
    w->code = got;
    w->ended = true;
  }
  w->pending = got == RAWWAKER_PENDING;
  if (w->kind == JOB && w->pending && w->polls == 1 && w->starts == 0) engine.waits = true;
  w->inside--;
  return got;
}
static void work_over(work *w) {
  free(w->out);
  w->out = NULL;
  w->live = false;
  w->holds--;
}
static void work_drop(void *data) {
  work *w = data;
  int n = index_of(w);
#if defined(FFIWAKER)
  expect(!in_child, "a drop slot is called in a forked child");
#endif
  expect(atomic_fetch_add(&w->inside, 1) == 0, "work %d is dropped during a poll or drop", n);
  expect(w->drops++ == 0, "work %d is dropped twice", n);
  if (w->driver == BY_EXECUTOR)
    expect(ex_of(w)->ticking && pthread_equal(ex_of(w)->ticker, pthread_self()),
           "work %d is dropped on another thread", n);
  if (w->driver != BY_HAND) user_code(w->driver == BY_BLOCK_ON);
  at_place(AT_DROP);
  if ((w->script & DROP_POLLS) != 0) set_another_text();
  if (w->owes) send_owed(w);
  channel *c = w->kind == RECV ? &channels[w->channel] : NULL;
  if (c != NULL) c->gone = true;
  w->inner.vtable->drop(w->inner.data);
  if (w->kind == TIMEOUT) rawwaker_cell_drop(&w->cell);
  if (w->driver == BY_EXECUTOR && (w->script & NO_DONE) != 0) {
    ex_of(w)->tasks--;
    w->inside--;
    work_over(w);
    return;
  }
  w->inside--;
}
static const rawwaker_future_vtable work_vtable = {work_poll, work_drop};
static rawwaker_future audited_future(work *w) {
  rawwaker_future f = {w, &work_vtable};
#if defined(AUDIT)
  if (audited() && w->out == NULL) return rawwaker_audit_future(f);
  if (audited()) return rawwaker_audit_future_sized(f, sizeof *w->out);
#endif
  return f;
}

static void work_done(void *arg, rawwaker_poll code) {
  work *w = arg;
  int n = index_of(w);
#if defined(FFIWAKER)
  expect(!in_child, "done is called in a forked child");
#endif
  expect(w->drops == 1, "done of work %d is called before its future's drop", n);
  expect(w->dones++ == 0, "done of work %d is called twice", n);
  expect(ex_of(w)->ticking && pthread_equal(ex_of(w)->ticker, pthread_self()),
         "done of work %d is called on another thread", n);
  expect(code == (w->ended ? w->code : (rawwaker_poll)FFIWAKER_ABORTED),
         "done of work %d receives %d", n, code);
  expect(code != RAWWAKER_PANICKED || strcmp(w->why, rawwaker_last_panic()) == 0,
         "in done of work %d the text is \"%s\", and was \"%s\"", n, rawwaker_last_panic(), w->why);
  if (w->out != NULL)
    expect(*w->out == (code == RAWWAKER_READY ? VALUE + n : SENTINEL),
           "in done of work %d its value is %ld", n, (long)*w->out);
  user_code(false);
  at_place(AT_DONE);
  ex_of(w)->tasks--;
  work_over(w);
}

/* Returns a free work that has become what o asks for, or NULL. */
static work *work_new(const operation *o, enum driver driver) {
  work *w = &works[o->y % WORKS];
  int none = 0;
  if (!atomic_compare_exchange_strong(&w->holds, &none, 1)) return NULL;
  ffiwaker_task *t = atomic_exchange(&w->task, NULL);
  if (t != NULL) ffiwaker_task_drop(t);
  w->serial = ++serials;
  w->driver = driver;
  w->kind = (enum kind)kind_of(o);
  w->script = o->x & ~1;
  w->due = w->pending = w->aborted = w->open = w->sent = w->ended = false;
  w->never = never == depth + 1;
  w->polls = w->drops = w->dones = w->code = 0;
  w->starts = w->cancels = w->delivered = w->destroyed = w->releases = 0;
  w->has_value = w->owes = false;
  w->why[0] = '\0';
  w->tx = NULL;
  w->job = NULL;
  w->ex = o->x % EXECUTORS;
  w->channel = o->y / 64 % CHANNELS;
  w->target = NULL, w->waker = (rawwaker){NULL, NULL};
  channel *c = &channels[w->channel];
  if (driver == BY_BLOCK_ON && w->kind != ONESHOT) w->kind = GATE;
  if (w->kind != ONESHOT && w->kind != RECV && !gives(w)) w->script &= ~NULL_OUT;
  w->out = NULL;
  if ((w->script & NULL_OUT) == 0 || w->kind == RECV) {
    w->out = malloc(sizeof *w->out);
    if (w->out == NULL) abort();
    *w->out = SENTINEL;
  }
  int at;
  rawwaker_sender *tx;
  w->inner = (rawwaker_future){w, &gate_vtable};
  switch (w->kind) {
  case ONESHOT: {
    rawwaker_oneshot *shot;
    bool starts = index_of(w) & 1;
    w->holds++;
    w->inner = rawwaker_oneshot_new(8, 8, starts ? &shot_ops : &begun_ops, w, &shot);
    if (starts) w->hidden = shot;
    else w->tx = shot;
    break;
  }
  case JOB:
    if (!use(&engine.uses)) {
      w->kind = GATE;
      break;
    }
    rawwaker_job *j;
    w->holds++;
    w->inner = rawwaker_job_new(engine.queue, &job_ops, 8, 8, sizeof(work *), &j);
    *(work **)rawwaker_job_data(j) = w;
    engine.uses--;
    break;
  case RECV:
    w->want = 2 + index_of(w) % 3;
    if (try_lock(&c->claimed)) {
      w->inner.data = c->stream.data;
      w->inner.vtable = (const rawwaker_future_vtable *)(const void *)c->stream.vtable;
    } else {
      w->kind = GATE;
    }
    break;
  case ROOM:
    tx = sender_take(c, &at);
    if (tx == NULL) {
      w->kind = GATE;
      break;
    }
    w->places = 1 + (size_t)index_of(w) / 4;
    if (w->places > c->capacity) w->places = c->capacity;
    w->inner = w->places == 1 ? rawwaker_sender_room(tx) : rawwaker_sender_room_for(tx, w->places);
    sender_put(c, at, tx);
    break;
  case AT_ONCE:
    w->open = true;
#if defined(FFIWAKER)
    if (gives(w)) hostsValue(VALUE + index_of(w), &w->inner);
#endif
    break;
#if defined(FFIWAKER)
  case SLEEP: w->inner = ffiwaker_sleep((w->script & SELF) != 0 ? 0 : hour); break;
  case TIMEOUT: w->inner = ffiwaker_timeout(w->inner, hour, &w->expired); break;
#endif
  default: break;
  }
  w->busy = driver == BY_HAND; /* until its first poll has returned */
  w->live = true;
  return w;
}

static void complete(work *w, int how) {
  if (!w->live) return;
  rawwaker_oneshot *tx;
  rawwaker_job *j;
  switch (w->kind) {
  case GATE:
  case TIMEOUT:
    if (how == 3) { /* a wake without a cause */
      if (alone() && driven(w) && w->pending) w->due = true;
      wake_begin();
      rawwaker_cell_wake(&w->cell);
      wake_end();
      break;
    }
    w->open = true;
    if (driven(w)) w->due = true;
    open_it(w);
    break;
  case ONESHOT:
    tx = atomic_exchange(&w->tx, NULL);
    if (tx != NULL) shot_end(w, tx, how);
    break;
  case JOB:
    if (!try_lock(&engine.busy)) break;
    j = atomic_exchange(&w->job, NULL);
    if (j != NULL) job_end(w, j, how);
    engine.busy = false;
    break;
  default: break;
  }
}

/* Whether the next poll of a work that is pending would complete it, or could make progress. */
static bool could_go_on(work *w) {
  channel *c = &channels[w->channel];
  int there = c->sent - c->received - c->destroyed;
  switch (w->kind) {
  case GATE:
  case TIMEOUT: return w->open;
  case ONESHOT:
  case JOB: return w->sent;
  case RECV: return there > 0 || c->senders == 0 || c->failed;
  case ROOM: return c->gone || c->failed || (size_t)((int)c->capacity - there) >= w->places;
  default: return false;
  }
}

/* ---------------------------------------------------------------------------- the checks -- */

static bool in_use(int fd) {
  for (int i = 0; i < EXECUTORS; i++)
    if (executors[i].uses >= 0 && executors[i].fd == fd) return true;
  for (int i = 0; i < nbaits; i++)
    if (baits[i] == fd) return true;
  return (engine.uses >= 0 && rawwaker_queue_fd(engine.queue) == fd) ||
         (nodes.uses >= 0 && rawwaker_queue_fd(nodes.queue) == fd);
}
/* Each descriptor of an executor that was dropped is closed now. Another is opened in its place:
 * nothing may be written to it, and nobody may close it. */
static void check_closed(void) {
  for (int i = 0; i < nclosed; i++) {
    int fd = closed_fds[i];
    if (in_use(fd)) continue;
    expect(fcntl(fd, F_GETFD) < 0, "a descriptor is open after ffiwaker_executor_drop");
    if (nbaits < CLOSED_FDS) baits[nbaits++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  }
}
static void bait(void) {
  pthread_mutex_lock(&baits_mu);
  if (nbaits < CLOSED_FDS) baits[nbaits++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  pthread_mutex_unlock(&baits_mu);
}
static void check_baits(void) {
  for (int i = 0; i < nbaits; i++) {
    uint64_t n;
    expect(fcntl(baits[i], F_GETFD) >= 0, "a number that was reused is closed by another's owner");
    expect(__real_read(baits[i], &n, sizeof n) < 0 && errno == EAGAIN,
           "a wake has written to a number that was reused");
  }
}

static int due(int ex) {
  int n = 0;
  for (int i = 0; i < WORKS; i++) {
    work *w = &works[i];
    n += driven(w) && w->ex == ex && (w->due || w->aborted);
  }
  return n;
}

/* After each operation that is not beside another: what holds between calls. */
static void check_now(void) {
  checks = true;
  for (int i = 0; i < EXECUTORS; i++) {
    executor *e = &executors[i];
    if (e->uses < 0) continue;
    if (due(i) != 0) {
      expect(readable(e->fd), "ex[%d] is not readable, and a task of it waits", i);
      expect(!e->armed || e->hook == NULL || e->hook->calls > e->calls_when_armed,
             "the hook of ex[%d] was not called, and a task of it waits", i);
    }
    size_t tasks = ffiwaker_executor_tasks(e->ex);
    expect(tasks == (size_t)e->tasks, "ex[%d] has %zu tasks of %d", i, tasks, (int)e->tasks);
  }
  if (engine.uses >= 0 && engine.waits)
    expect(readable(rawwaker_queue_fd(engine.queue)), "the queue is not readable, and a job waits");
  check_closed();
  checks = false;
}

/* ------------------------------------------------------------------------ threads, gates -- */

/* A gate is waited at until another thread opens it, or until every thread waits or has ended. So
 * no time is involved, and every program ends. */
enum { RUNS, AT_GATE, IN_BLOCK_ON, OVER };
static pthread_mutex_t gate_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static int status[THREADS], gate_of[THREADS];
static bool gates[GATES];
static _Atomic(work *) blocked[THREADS];

static void set_status(int who, int to) {
  int cancel = hold();
  pthread_mutex_lock(&gate_mu);
  status[who] = to;
  pthread_cond_broadcast(&gate_cond);
  pthread_mutex_unlock(&gate_mu);
  release_hold(cancel);
}
static void waits_begin(int who) {
  if (!alone()) set_status(who, IN_BLOCK_ON);
}
static void waits_end(int who) {
  if (!alone()) set_status(who, blocked[who] != NULL ? IN_BLOCK_ON : RUNS);
}
static void gate_await(int who, int gate) {
  if (alone() || in_child) return;
  int cancel = hold();
  pthread_mutex_lock(&gate_mu);
  status[who] = AT_GATE;
  gate_of[who] = gate;
  pthread_cond_broadcast(&gate_cond);
  while (!gates[gate] && status[who] == AT_GATE) pthread_cond_wait(&gate_cond, &gate_mu);
  status[who] = blocked[who] != NULL ? IN_BLOCK_ON : RUNS; /* it may be a poll that waits */
  pthread_cond_broadcast(&gate_cond);
  pthread_mutex_unlock(&gate_mu);
  release_hold(cancel);
}
static void gate_open(int gate) {
  if (alone() || in_child) return;
  int cancel = hold();
  pthread_mutex_lock(&gate_mu);
  gates[gate] = true;
  pthread_cond_broadcast(&gate_cond);
  pthread_mutex_unlock(&gate_mu);
  release_hold(cancel);
}
/* Until each thread has ended its part. */
static void coordinate(void) {
  pthread_mutex_lock(&gate_mu);
  for (;;) {
    int n[OVER + 1] = {0}, at_gate = -1;
    for (int i = 0; i < THREADS; i++) {
      n[status[i]]++;
      if (status[i] == AT_GATE) at_gate = i;
    }
    if (n[OVER] == THREADS) break;
    if (n[RUNS] == 0 && at_gate >= 0) {
      status[at_gate] = RUNS;
      pthread_cond_broadcast(&gate_cond);
    } else if (n[RUNS] == 0) {
      pthread_mutex_unlock(&gate_mu);
      for (int i = 0; i < THREADS; i++) {
        work *w = blocked[i];
        if (w == NULL) continue;
        w->holds++;
        complete(w, 0);
        w->holds--;
      }
      sched_yield();
      pthread_mutex_lock(&gate_mu);
    } else {
      pthread_cond_wait(&gate_cond, &gate_mu);
    }
  }
  pthread_mutex_unlock(&gate_mu);
}

/* ------------------------------------------------------------------------ the operations -- */

static bool ex_use(int i) {
  executor *e = &executors[i];
  if (use(&e->uses)) return true;
  if (!take_whole(&e->uses, ABSENT)) return false;
  e->ex = ffiwaker_executor_new();
  expect(e->ex != NULL, "no executor: errno %d", errno);
  e->fd = ffiwaker_executor_fd(e->ex);
  e->hook = NULL;
  e->armed = true;
  e->ticked = false;
  e->calls_when_armed = 0;
  e->tasks = 0;
  e->uses = 1;
  return true;
}
static void ex_unuse(int i) { executors[i].uses--; }

static void do_on_wake(int i) {
  executor *e = &executors[i];
  if (!ex_use(i)) return;
#if defined(FFIWAKER)
  bool may = alone() && e->hook == NULL && !e->ticked; /* once, before the first tick */
#else
  bool may = alone() && !visits_now; /* not beside another */
#endif
  if (may) {
    hook *h = calloc(1, sizeof *h);
    if (h == NULL) abort();
    h->ex = i;
    h->next = hooks;
    hooks = h;
    e->hook = h;
    e->calls_when_armed = 0;
    ffiwaker_executor_on_wake(e->ex, hook_call, h, hook_drop);
  }
  ex_unuse(i);
}

static void do_spawn(const operation *o) {
  int i = o->x % EXECUTORS;
  if (!ex_use(i)) return;
  work *w = work_new(o, BY_EXECUTOR);
  if (w != NULL) {
    executor *e = &executors[i];
    w->holds++;
    w->due = true;
    e->tasks++;
    void (*done)(void *, rawwaker_poll) = w->script & NO_DONE ? NULL : work_done;
    rawwaker_future f = audited_future(w);
    wake_begin();
    if (w->script & NO_HANDLE) ffiwaker_executor_spawn(e->ex, f, w->out, done, w);
    else w->task = ffiwaker_executor_spawn_task(e->ex, f, w->out, done, w);
    wake_end();
    w->holds--;
  }
  ex_unuse(i);
}

enum { TICK_ALL = -1, TICK = -2, TICK_FOR = -3 };
static void do_tick(int i, int how, unsigned n) {
  executor *e = &executors[i];
  if (!ex_use(i)) return;
  if (try_lock(&e->ticking)) {
    e->ticker = pthread_self();
    e->ticked = true;
    bool arms = true;
    size_t got = 0;
    unsigned visited = visits;
    int waiting = alone() ? due(i) : 0;
    switch (how) {
    case TICK: arms = !ffiwaker_executor_tick(e->ex); break;
    case TICK_ALL:
      while (ffiwaker_executor_tick(e->ex))
        if (++got > 10000) fail("ex[%d] ticks without an end", i);
      break;
    case TICK_FOR:
      got = ffiwaker_executor_tick_for(e->ex, n);
      arms = n != 0 && got == 0;
      break;
    default:
      got = ffiwaker_executor_tick_n(e->ex, n);
      arms = got < n;
      expect(got <= n, "tick_n of %u returns %zu", n, got);
      expect(!alone() || depth > 0 || visits != visited ||
                 got >= (n < (unsigned)waiting ? n : (unsigned)waiting),
             "tick_n of %u returns %zu, and %d tasks were to be ticked", n, got, waiting);
    }
    /* A system call inside may have run another operation, which is a later wake. */
    if (arms && alone() && depth == 0 && visits == visited) {
      e->armed = true;
      if (due(i) == 0 && e->hook != NULL) e->calls_when_armed = e->hook->calls;
    } else {
      e->armed = false;
    }
    e->ticking = false;
  }
  ex_unuse(i);
}

static void do_executor_drop(int i) {
  executor *e = &executors[i];
  if (!take_whole(&e->uses, 0)) return;
  e->ticker = pthread_self();
  e->ticking = true;
  ffiwaker_executor_drop(e->ex);
  e->ticking = false;
  for (hook *h = hooks; h != NULL; h = h->next)
    if (h->ex == i && h->ended == 0) h->ended = ++clock_now;
  for (int k = 0; alone() && k < WORKS; k++)
    expect(!works[k].live || works[k].driver != BY_EXECUTOR || works[k].ex != i,
           "ffiwaker_executor_drop has not ended work %d", k);
  expect(!alone() || e->tasks == 0, "ffiwaker_executor_drop leaves %d tasks", (int)e->tasks);
  closed_fds[nclosed++] = e->fd;
  e->hook = NULL;
  bait();
  e->uses = ABSENT;
}

#if defined(FFIWAKER)
static void *drop_that_aborts(void *ex) {
  may_abort = true;
  ffiwaker_executor_drop(ex);
  return ex;
}
#endif
/* While this thread ticks ex, another thread drops it: that must abort. */
static void do_misuse(int i) {
#if defined(FFIWAKER)
  enum { MOST_SACRIFICED = 40, STACK = 256 << 10 };
  executor *e = &executors[i];
  if (!e->ticking || e->uses < 1 || !pthread_equal(e->ticker, pthread_self())) return;
  if (sacrificed >= MOST_SACRIFICED) return;
  sacrificed++;
  pthread_t id;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, STACK);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  int err = stderr_off();
  pthread_create(&id, &attr, drop_that_aborts, e->ex);
  while (sem_wait(&aborted_there) != 0) {
  }
  stderr_on(err);
  pthread_attr_destroy(&attr);
#else
  (void)i;
#endif
}

static void do_block_on(const operation *o) {
  work *w = work_new(o, BY_BLOCK_ON);
  if (w == NULL) return;
  int n = index_of(w);
  work *outer = atomic_exchange(&blocked[me], w); /* it may be called in a poll of another */
  waits_begin(me);
  rawwaker_poll got = rawwaker_block_on(audited_future(w), w->out);
  blocked[me] = outer;
  waits_end(me);
  expect(w->ended && got == w->code && w->drops == 1, "block_on of work %d returns %d", n, got);
  expect(got != RAWWAKER_PANICKED || strcmp(w->why, rawwaker_last_panic()) == 0,
         "after block_on of work %d the text is \"%s\", and was \"%s\"", n, rawwaker_last_panic(),
         w->why);
  expect(got != RAWWAKER_READY || w->out == NULL || *w->out == VALUE + n,
         "block_on of work %d has another value", n);
  work_over(w);
}

/* By hand: the work has a waker of its own. */
static void hand_end(work *w) {
  work_drop(w);
  rawwaker_drop(w->waker);
  w->waker.vtable = NULL;
  w->live = false; /* first, so that no thread claims it again */
  w->busy = false;
  work_over(w);
}
static void hand_poll(work *w) {
  rawwaker_context cx = {&w->waker};
  w->seen = w->target->seen;
  if (work_poll(w, &cx, w->out) == RAWWAKER_PENDING) {
    w->busy = false;
    return;
  }
  hand_end(w);
}
static bool hand_claim(work *w) {
  if (!w->live || w->driver != BY_HAND || !try_lock(&w->busy)) return false;
  if (w->live && w->driver == BY_HAND) return true;
  w->busy = false;
  return false;
}
static void do_poll(const operation *o) {
  work *w = &works[o->y % WORKS];
  w->holds++; /* it does not become another one meanwhile */
  if (hand_claim(w)) {
    hand_poll(w);
    w->holds--;
    return;
  }
  w->holds--;
  w = work_new(o, BY_HAND);
  if (w == NULL) return;
  w->target = target_new(o->x & 1);
  w->waker = target_waker(w->target);
  hand_poll(w);
}
static void do_hand_drop(work *w) {
  w->holds++;
  if (hand_claim(w)) hand_end(w);
  w->holds--;
}
static void do_cancel(work *w) {
  w->holds++;
  if (hand_claim(w)) {
    if (w->kind == ONESHOT) rawwaker_oneshot_cancel(w->inner);
    w->busy = false;
  }
  w->holds--;
}

static void own_wakes(const own *o) {
  if (o->target != NULL) o->target->made++;
  if (o->of == NULL) return;
  o->of->holds++;
  if (o->serial == o->of->serial && driven(o->of)) o->of->due = true;
  o->of->holds--;
}
static void do_wake(own *at, bool by_ref) {
  own o = own_take(at);
  if (o.w.vtable == NULL) return;
  own_wakes(&o);
  wake_begin();
  if (by_ref) {
    enum { ANY = 1234 };
    errno = ANY;
    rawwaker_wake_by_ref(&o.w);
    expect(errno == ANY, "a wake_by_ref changes errno to %d", errno);
  } else {
    rawwaker_wake(o.w);
  }
  wake_end();
  if (by_ref) own_put(at, o);
}
static void do_handle(work *w, int code) {
  w->holds++;
  ffiwaker_task *t = atomic_exchange(&w->task, NULL), *none = NULL;
  if (t != NULL && code == op_abort) {
    if (driven(w)) w->aborted = true;
    wake_begin();
    ffiwaker_task_abort(t);
    wake_end();
  } else if (t != NULL && code == op_handle) {
    ffiwaker_task_drop(ffiwaker_task_clone(t));
  }
  if (t != NULL && (code == op_forget || !atomic_compare_exchange_strong(&w->task, &none, t)))
    ffiwaker_task_drop(t);
  w->holds--;
}

/* Memory that was never a cell. */
static void do_garbage(int call, int byte) {
  if (!alone() || in_child) return;
  static rawwaker_cell c;
  rawwaker w = rawwaker_noop();
  jmp_buf back;
  int cancel = hold(), err = stderr_off();
  memset(&c, 0x50 + byte, sizeof c);
  c.private_waker = w;
  comes_back = &back;
  if (setjmp(back) == 0) {
    switch (call) {
    case 0: rawwaker_cell_register(&c, &w); break;
    case 1: rawwaker_cell_wake(&c); break;
    case 2: rawwaker_cell_take(&c, &w); break;
    default: rawwaker_cell_drop(&c);
    }
    comes_back = NULL;
  }
  bool used = comes_back == NULL;
  comes_back = NULL;
  stderr_on(err);
  release_hold(cancel);
  expect(!used, "memory that was never a cell is used silently");
}
static void do_look(void) {
  enum { FIELDS = 16 };
  rawwaker_box_field fields[FIELDS] = {{0}};
  size_t n = rawwaker_box_look(NULL, NULL, 0);
  expect(n > 0 && n <= FIELDS && rawwaker_box_look(NULL, fields, FIELDS) == n,
         "rawwaker_box_look gives %zu fields", n);
  for (size_t i = 0; i < n; i++)
    expect(fields[i].name != NULL && fields[i].value == 0, "a field of no box has a value");
}

#if defined(FFIWAKER) || defined(AUDIT)
static atomic_int findings_due; /* by misuse; the auditor makes none of anything else */
static size_t found_before;
static rawwaker_poll large_poll(void *data, rawwaker_context *cx, void *out) {
  (void)cx;
  memset(out, 1, *(size_t *)data);
  return RAWWAKER_READY;
}
static void do_overrun(size_t more) {
  static const rawwaker_future_vtable vtable = {large_poll, no_drop};
  int64_t out[2] = {0};
  size_t size = sizeof out[0] + more;
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_future f =
      rawwaker_audit_future_sized((rawwaker_future){&size, &vtable}, sizeof out[0]);
  expect(f.vtable->poll(f.data, &cx, &out[0]) == RAWWAKER_READY, "an audited poll is not READY");
  f.vtable->drop(f.data);
  expect(out[0] != 0 && out[1] == 0, "a result that is too large was written beyond its memory");
  if (more != 0) findings_due++;
}
static void do_loan(own *at, bool twice) {
  own o = own_take(at);
  if (o.w.vtable == NULL) return;
  rawwaker loan = rawwaker_audit_lend(&o.w);
  own_wakes(&o);
  wake_begin();
  rawwaker_wake_by_ref(&loan);
  wake_end();
  rawwaker_audit_return(&loan);
  if (twice) {
    rawwaker_audit_return(&loan);
    findings_due++;
  }
  own_put(at, o);
}
static void findings_begin(void) {
  findings_due = 0;
  found_before = rawwaker_audit_found();
}
static void findings_end(void) {
  const char *rule;
  char *text;
  while (rawwaker_audit_take(&rule, &text)) {
    bool misuse = strcmp(rule, "double_return") == 0 || strcmp(rule, "result_too_large") == 0 ||
                  strcmp(rule, "null_out") == 0;
    if (strcmp(rule, "null_out") == 0) findings_due++;
    expect(misuse && findings_due > 0, "the auditor reports %s: %s", rule, text);
    free(text);
  }
  expect(rawwaker_audit_found() - found_before == (size_t)findings_due,
         "the auditor has made %zu findings, and the program %d",
         rawwaker_audit_found() - found_before, (int)findings_due);
#if defined(AUDIT)
  expect(rawwaker_audit_live() == 0, "%zu audited wakers are left", rawwaker_audit_live());
#endif
}
#endif

typedef struct node {
  rawwaker_queue_node n;
  int value;
} node;
static void nodes_freed(rawwaker_queue_node *n) {
  for (rawwaker_queue_node *next; n != NULL; n = next) {
    next = rawwaker_queue_next(n);
    free(n);
    nodes_back++;
  }
}

/* Whether no other operation can have run during this one of the program. */
static bool undisturbed(void) { return alone() && depth == 0 && visits == visits_before; }
/* Whether none can have run during a system call of it either. */
static bool calm(void) {
  return undisturbed() && places[AT_READ][0] == NULL && places[AT_WRITE][0] == NULL;
}

static void run(const operation *o) {
  work *w = &works[o->y % WORKS];
  own *x = &owns[me][o->x % OWN], *y = &owns[me][o->y % OWN], a, b;
  channel *c = &channels[o->x % CHANNELS];
  rawwaker_cell *cell = &cells[o->x % CELLS];
  int i = o->x % EXECUTORS, at;
  rawwaker_sender *tx;
  count_operation();
  switch ((enum op_code)o->code) {
  case op_spawn: do_spawn(o); break;
  case op_tick: do_tick(i, TICK, 0); break;
  case op_tick_n: do_tick(i, 0, o->y % 4); break;
  case op_tick_for: do_tick(i, TICK_FOR, o->y % 2); break;
  case op_tick_all: do_tick(i, TICK_ALL, 0); break;
  case op_executor_drop: do_executor_drop(i); break;
  case op_on_wake: do_on_wake(i); break;
  case op_tasks:
    if (!ex_use(i)) break;
    ffiwaker_executor_tasks(executors[i].ex);
    ex_unuse(i);
    break;
  case op_misuse: do_misuse(i); break;
  case op_complete:
    w->holds++;
    complete(w, o->x % 4);
    w->holds--;
    break;
  case op_abort:
  case op_handle:
  case op_forget: do_handle(w, o->code); break;
  case op_block_on: do_block_on(o); break;
  case op_poll: do_poll(o); break;
  case op_hand_drop: do_hand_drop(w); break;
  case op_cancel: do_cancel(w); break;
  case op_wake: do_wake(x, false); break;
  case op_wake_by_ref: do_wake(x, true); break;
  case op_drop:
    a = own_take(x);
    if (a.w.vtable != NULL) rawwaker_drop(a.w);
    break;
  case op_clone:
    a = own_take(x);
    if (a.w.vtable == NULL) break;
    b = a;
    b.w = rawwaker_clone(&a.w);
    own_put(x, a);
    own_put(y, b);
    break;
  case op_clone_from:
    a = own_take(x), b = own_take(y);
    if (b.w.vtable != NULL) {
      rawwaker_clone_from(&a.w, &b.w);
      a.of = b.of, a.serial = b.serial, a.target = b.target;
      own_put(y, b);
    }
    if (a.w.vtable != NULL) own_put(x, a);
    break;
  case op_target: {
    target *t = target_new(o->y & 1);
    own_put(x, (own){target_waker(t), NULL, 0, t});
    break;
  }
  case op_cell_register:
    a = own_take(y);
    if (a.w.vtable == NULL) break;
    long seen = a.target != NULL ? (long)a.target->seen : 0;
    int was_to = registering;
    registering = o->x % CELLS;
    rawwaker_cell_register(cell, &a.w);
    registering = was_to;
    if (alone() && held == o->x % CELLS && a.target != NULL)
      expect(a.target->seen > seen, "a register beside another register wakes nothing");
    own_put(y, a);
    break;
  case op_cell_wake:
    wake_begin();
    rawwaker_cell_wake(cell);
    wake_end();
    break;
  case op_cell_take:
    a = (own){{NULL, NULL}, NULL, 0, NULL};
    if (!rawwaker_cell_take(cell, &a.w)) break;
    own_put(y, a);
    break;
  case op_cell_drop: rawwaker_cell_drop(cell); break;
  case op_send: send_from(c); break;
  case op_sender_clone:
    tx = sender_take(c, &at);
    if (tx == NULL) break;
    c->senders++;
    rawwaker_sender *more = rawwaker_sender_clone(tx);
    sender_put(c, at, tx);
    sender_put(c, (at + 1) % SENDERS, more);
    break;
  case op_sender_drop:
  case op_sender_fail:
    tx = sender_take(c, &at);
    if (tx == NULL) break;
    c->senders--;
    wake_begin();
    if (o->code == op_sender_fail) {
      c->failed = true;
      rawwaker_sender_fail(tx, "broken", 6);
    } else {
      rawwaker_sender_drop(tx);
    }
    wake_end();
    break;
  case op_queue_run:
    if (!use(&engine.uses)) break;
    if (try_lock(&engine.busy)) {
      rawwaker_queue_run(engine.queue, &engine);
      engine.waits = false;
      if (calm()) expect(!readable(engine.fd), "an empty queue is readable");
      engine.busy = false;
    }
    engine.uses--;
    break;
  case op_queue_end:
    if (!take_whole(&engine.uses, 0)) break;
    if (try_lock(&engine.busy)) {
      rawwaker_queue_end(engine.queue);
      rawwaker_queue_drop(engine.queue);
      engine.queue = NULL;
      engine.busy = false;
    } else {
      engine.uses = 0;
    }
    break;
  case op_push: {
    if (!use(&nodes.uses)) break;
    node *n = malloc(sizeof *n);
    if (n == NULL) abort();
    nodes_pushed++;
    bool pushed = rawwaker_queue_push(nodes.queue, &n->n);
    if (!pushed) free(n);
    expect(pushed, "a push to an open queue fails");
    if (alone() && depth == 0)
      expect(nodes_pushed == nodes_back || readable(nodes.fd),
             "a queue is not readable after a push");
    nodes.uses--;
    break;
  }
  case op_take:
    if (!use(&nodes.uses)) break;
    if (try_lock(&nodes.busy)) {
      for (rawwaker_queue_node *n; (n = rawwaker_queue_take(nodes.queue)) != NULL;) nodes_freed(n);
      if (undisturbed())
        expect(nodes_pushed == nodes_back, "a queue was taken empty, and %d nodes are in it",
               nodes_pushed - nodes_back);
      if (calm()) expect(!readable(nodes.fd), "an empty queue is readable");
      nodes.busy = false;
    }
    nodes.uses--;
    break;
  case op_nodes_close:
    if (!take_whole(&nodes.uses, 0)) break;
    nodes_freed(rawwaker_queue_close(nodes.queue));
    rawwaker_queue_drop(nodes.queue);
    nodes.queue = NULL;
    break;
  case op_await: gate_await(me, o->x % GATES); break;
  case op_open: gate_open(o->x % GATES); break;
  case op_panic: rawwaker_set_panic("another text", 12); break;
  case op_look: do_look(); break;
  case op_garbage: do_garbage(o->x % 4, o->y % 8); break;
#if defined(FFIWAKER) || defined(AUDIT)
  case op_loan: do_loan(x, o->y & 1); break;
  case op_overrun: do_overrun(o->y % 9); break;
#else
  case op_loan:
  case op_overrun: break;
#endif
  case OPS: break;
  }
}

/* ------------------------------------------------------------------- how one is performed -- */

static const operation *signalled; /* by this thread, or by none: signals are raised one by one */
static pthread_mutex_t signal_mu = PTHREAD_MUTEX_INITIALIZER;
static const rawwaker *_Atomic sent_waker; /* of another thread, which waits for handled */
static atomic_bool sending;
static sem_t handled;
static void on_signal(int number) {
  (void)number;
  enum { ANY = 4321 };
  int saved = errno;
  in_signal = true;
  errno = ANY;
  const rawwaker *w = atomic_exchange(&sent_waker, NULL);
  if (w != NULL) {
    wake_begin();
    rawwaker_wake_by_ref(w);
    wake_end();
    expect(errno == ANY, "a wake_by_ref in a signal handler changes errno to %d", errno);
    sem_post(&handled);
  } else {
    do_wake(&owns[me][signalled->x % OWN], true);
  }
  in_signal = false;
  errno = saved;
}
static pthread_t pool_ids[THREADS];
/* Interrupts another thread, in the middle of whatever it does, several times. */
static void run_sent(const operation *o) {
  enum { TIMES = 8 };
  if (!try_lock(&sending)) return; /* it must not wait: it may have to handle one */
  own *at = &owns[me][o->x % OWN], a = own_take(at);
  for (int i = 0; a.w.vtable != NULL && i <= o->y % TIMES; i++) {
    own_wakes(&a);
    sent_waker = &a.w;
    pthread_kill(pool_ids[(me + 1 + o->y / TIMES % (THREADS - 1)) % THREADS], SIGUSR1);
    while (sem_wait(&handled) != 0) {
    }
    sent_waker = NULL; /* it is: the handler has taken it */
  }
  if (a.w.vtable != NULL) own_put(at, a);
  sending = false;
}
/* The only operation of a handler is a wake by reference. */
static void run_signalled(const operation *o) {
  if (!alone()) {
    run_sent(o);
    return;
  }
  int cancel = hold();
  pthread_mutex_lock(&signal_mu);
  signalled = o;
  raise(SIGUSR1);
  pthread_mutex_unlock(&signal_mu);
  release_hold(cancel);
}

typedef struct apart {
  const operation *o;
  int me, depth;
  bool back;
} apart;
static void *cancelled(void *arg) {
  apart *a = arg;
  me = a->me, depth = a->depth;
  never = depth + 1;
  pthread_cancel(pthread_self()); /* acts at the next cancellation point */
  run(a->o);
  a->back = true;
  pthread_testcancel();
  return NULL;
}
static void *exits(void *arg) {
  apart *a = arg;
  me = a->me, depth = a->depth;
  run(a->o);
  a->back = true;
  pthread_exit(NULL);
}
static void run_apart(const operation *o) {
  apart a = {o, me, depth, false};
  pthread_t id;
  void *value;
  int cancel = hold();
  work *was = blocked[me];
  expect(pthread_create(&id, NULL, o->how == CANCELLED ? cancelled : exits, &a) == 0, "no thread");
  pthread_join(id, &value);
  release_hold(cancel);
  work *w = atomic_exchange(&blocked[me], was);
  if (o->how == CANCELLED && o->code == op_block_on && !a.back) {
    if (w == NULL || w == was) fail("block_on was cancelled outside its sleep");
    expect(w->drops == 1, "a block_on that was cancelled drops its future %d times", w->drops);
    waits_end(me);
    work_over(w);
    return;
  }
  expect(a.back, "a call other than rawwaker_block_on is a cancellation point");
  if (o->how == CANCELLED) expect(value == PTHREAD_CANCELED, "a pending cancel is lost");
}

/* What a forked child may do without an effect on its parent. */
static bool may_fork(const operation *o) {
  switch ((enum op_code)o->code) {
  case op_wake: case op_wake_by_ref: case op_forget: return true;
  case op_drop: case op_clone: case op_cell_wake: case op_cell_drop: return true;
  case op_executor_drop: case op_poll: case op_hand_drop: return alone();
#if defined(FFIWAKER)
  case op_spawn: case op_tick: case op_tick_n: case op_tick_for: case op_tick_all: case op_tasks:
  case op_abort: case op_handle: return alone();
#else
  case op_complete: case op_abort: case op_handle: case op_spawn: return alone();
#endif
  default: return false;
  }
}
#if defined(FFIWAKER)
/* Returns whether the call must abort. */
static bool in_child_of_go(const operation *o) {
  work *w = &works[o->y % WORKS];
  executor *e = &executors[o->x % EXECUTORS];
  expect(ffiwaker_in_forked_child(), "ffiwaker_in_forked_child is false in one");
  bool there = e->uses >= 0;
  ffiwaker_task *t = w->task;
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  bool by_hand = w->live && w->driver == BY_HAND && w->kind == SLEEP && !w->ended;
  switch ((enum op_code)o->code) {
  case op_executor_drop:
    if (there) ffiwaker_executor_drop(e->ex);
    return false;
  case op_forget:
    ffiwaker_task_drop(t);
    return false;
  case op_poll:
    if (by_hand)
      expect(w->inner.vtable->poll(w->inner.data, &cx, NULL) == RAWWAKER_PANICKED,
             "a poll of a Go future in a forked child does not give PANICKED");
    return false;
  case op_hand_drop:
    if (by_hand) w->inner.vtable->drop(w->inner.data);
    return false;
  case op_spawn:
  case op_tasks:
    if (there) ffiwaker_executor_tasks(e->ex);
    return there;
  case op_tick:
  case op_tick_all:
    if (there) ffiwaker_executor_tick(e->ex);
    return there;
  case op_tick_n:
    if (there) ffiwaker_executor_tick_n(e->ex, 3);
    return there;
  case op_tick_for:
    if (there) ffiwaker_executor_tick_for(e->ex, 1);
    return there;
  case op_abort:
    if (t != NULL) ffiwaker_task_abort(t);
    return t != NULL;
  case op_handle:
    if (t != NULL) ffiwaker_task_clone(t);
    return t != NULL;
  default: run(o); return false;
  }
}
#endif
static atomic_bool has_forked; /* once in a program: it takes as long as many of them */
static void run_forked(const operation *o) {
  if (!may_fork(o) || !try_lock(&has_forked)) return;
  int cancel = hold(), code = 0;
  fflush(NULL);
  pid_t child = fork();
  expect(child >= 0, "no fork");
  if (child == 0) {
    in_child = true;
    alarm(hang_seconds());
    memset(places, 0, sizeof places);
#if defined(FFIWAKER)
    int err = stderr_off();
    bool must = in_child_of_go(o);
    stderr_on(err);
    expect(!must, "a call in a forked child returns, and must abort");
#else
    run(o);
#endif
    _exit(0);
  }
  while (waitpid(child, &code, 0) < 0) {
  }
  release_hold(cancel);
  expect(!WIFSIGNALED(code) || WTERMSIG(code) != SIGALRM, "a call in a forked child hangs");
  bool aborts = WIFSIGNALED(code) && WTERMSIG(code) == SIGABRT;
#if defined(FFIWAKER)
  int n = o->code;
  aborts = aborts && n != op_executor_drop && n != op_forget && n != op_poll && n != op_hand_drop &&
           n != op_wake && n != op_wake_by_ref && n != op_drop && n != op_clone &&
           n != op_cell_wake && n != op_cell_drop;
#else
  aborts = false;
#endif
  expect(aborts || (WIFEXITED(code) && WEXITSTATUS(code) == 0),
         "a call in a forked child ends it with status 0x%x", code);
}

static void step(const operation *o) {
  if (alone()) visits_before = visits;
  switch (o->how) {
  case PLAIN: run(o); break;
  case SIGNALLED: run_signalled(o); break;
  case CANCELLED:
#if defined(__SANITIZE_THREAD__)
    /* It takes what runs after an unwind out of its sem_wait for unsynchronised. */
    if (o->code == op_block_on) break;
#endif
    run_apart(o);
    break;
  case EXITS: run_apart(o); break;
  case FORKED: run_forked(o); break;
  default:
    for (int i = 0; i < QUEUED; i++) {
      const operation *none = NULL;
      if (atomic_compare_exchange_strong(&places[o->how][i], &none, o)) break;
    }
  }
}

/* ------------------------------------------------------------------------- whole programs -- */

static struct pool {
  sem_t go, back;
  const operation *o; /* NULL: the whole part of the thread */
} pool[THREADS];
static void *pool_thread(void *arg) {
  int who = (int)(intptr_t)arg;
  me = who;
  for (;;) {
    while (sem_wait(&pool[who].go) != 0) {
    }
    if (pool[who].o != NULL) {
      step(pool[who].o);
    } else {
      for (size_t i = 0; i < now.n; i++)
        if (now.ops[i].who == who) step(&now.ops[i]);
      set_status(who, OVER);
    }
    sem_post(&pool[who].back);
  }
  return NULL;
}
static void pool_run(int who, const operation *o) {
  pool[who].o = o;
  sem_post(&pool[who].go);
}
static void pool_wait(int who) {
  while (sem_wait(&pool[who].back) != 0) {
  }
}
static void pool_start(void) {
  static bool there;
  if (there) return;
  there = true;
  for (int i = 0; i < THREADS; i++) {
    pthread_t id;
    sem_init(&pool[i].go, 0, 0), sem_init(&pool[i].back, 0, 0);
    expect(pthread_create(&id, NULL, pool_thread, (void *)(intptr_t)i) == 0, "no thread");
    pool_ids[i] = id;
    pthread_detach(id);
  }
}

static void begin(void) {
  memset(places, 0, sizeof places);
#if defined(STEPS)
  steps = 0;
#endif
  memset(targets, 0, sizeof targets[0] * (size_t)ntargets);
  memset(works, 0, sizeof works);
  memset(channels, 0, sizeof channels);
  memset(owns, 0, sizeof owns);
  memset(gates, 0, sizeof gates);
  memset(status, 0, sizeof status);
  memset(cells, 0, sizeof cells);
  memset(executors, 0, sizeof executors);
  ntargets = nclosed = nbaits = nodes_pushed = nodes_back = 0;
#if defined(FFIWAKER) || defined(AUDIT)
  findings_begin();
#endif
  has_forked = false;
  for (int i = 0; i < EXECUTORS; i++) executors[i].uses = ABSENT;
  bool jobs = false, pushes = false;
  for (size_t i = 0; i < now.n; i++) {
    const operation *o = &now.ops[i];
    jobs = jobs || ((o->code == op_spawn || o->code == op_poll) && kind_of(o) == JOB);
    pushes = pushes || o->code == op_push;
  }
  engine.uses = nodes.uses = ABSENT;
  engine.busy = engine.waits = nodes.busy = false;
  engine.queue = nodes.queue = NULL;
  if (jobs) {
    engine.queue = rawwaker_queue_new();
    expect(engine.queue != NULL, "no queue");
    engine.fd = rawwaker_queue_fd(engine.queue);
    engine.uses = 0;
  }
  if (pushes) {
    nodes.queue = rawwaker_queue_new();
    expect(nodes.queue != NULL, "no queue");
    nodes.fd = rawwaker_queue_fd(nodes.queue);
    nodes.uses = 0;
  }
  for (int i = 0; i < CHANNELS; i++) {
    channel *c = &channels[i];
    c->capacity = i != 0 ? 3 : now.mode & WIDE ? 2 : 1;
    c->stream = rawwaker_channel_new(8, 8, c->capacity, &channel_ops[i], c, &c->hidden);
    c->senders = 1;
    if (channel_ops[i].start == NULL) c->tx[0] = c->hidden;
  }
  if ((now.mode & HOOKED) != 0) {
    int mode = now.mode;
    now.mode = 0;
    do_on_wake(0);
    now.mode = (uint8_t)mode;
  }
}

/* Drives what is left until nothing is to be driven, and looks for wakes that were lost. */
static void drive(void) {
  for (int round = 0;; round++) {
    if (round > 1000) fail("the tasks do not come to rest");
    for (int i = 0; i < EXECUTORS; i++)
      if (executors[i].uses == 0) do_tick(i, TICK_ALL, 0);
    if (engine.uses >= 0) {
      rawwaker_queue_run(engine.queue, &engine);
      engine.waits = false;
    }
    bool again = false; /* a poll or a job may have woken a task of another executor */
    for (int i = 0; i < EXECUTORS; i++)
      again = again || (executors[i].uses == 0 && readable(executors[i].fd));
    for (int i = 0; i < WORKS; i++) {
      work *w = &works[i];
      if (!w->live || w->driver != BY_HAND || !w->pending || w->target->seen == w->seen) continue;
      again = true;
      if (hand_claim(w)) hand_poll(w);
    }
    if (!again) break;
  }
  for (int i = 0; i < WORKS; i++) {
    work *w = &works[i];
    if (driven(w)) {
      expect(!w->due, "a wake of work %d was lost", i);
      expect(!w->aborted, "an abort of work %d was lost", i);
    }
    if (w->live && w->pending)
      expect(!could_go_on(w), "work %d waits, and what it waits for is there: a wake was lost", i);
  }
}

static void end(void) {
  me = 0;
  memset(places, 0, sizeof places);
  if ((now.mode & EARLY) == 0) drive();
  for (int i = 0; i < EXECUTORS; i++)
    if (executors[i].uses == 0) do_executor_drop(i);
  for (int i = 0; i < EXECUTORS; i++)
    expect(executors[i].uses == ABSENT, "ex[%d] is still used", i);
  for (int i = 0; i < WORKS; i++) {
    work *w = &works[i];
    expect(!w->live || w->driver == BY_HAND, "work %d is left", i);
  }
  check_closed();
  for (int t = 0; t < THREADS; t++)
    for (int k = 0; k < OWN; k++) {
      do_wake(&owns[t][k], true);
      if ((k & 1) != 0) do_wake(&owns[t][k], false);
      own o = own_take(&owns[t][k]);
      if (o.w.vtable != NULL) rawwaker_drop(o.w);
    }
  for (int i = 0; i < WORKS; i++) {
    ffiwaker_task *t = atomic_exchange(&works[i].task, NULL);
    if (t == NULL) continue;
    ffiwaker_task_abort(t); /* does nothing */
    ffiwaker_task_drop(t);
  }
  for (int i = 0; i < WORKS; i++) do_hand_drop(&works[i]);
  rawwaker_cell_wake(&cells[0]);
  rawwaker_cell_drop(&cells[1]);
  for (int i = 0; i < CHANNELS; i++) {
    channel *c = &channels[i];
    if (!c->claimed) c->stream.vtable->drop(c->stream.data);
    rawwaker_sender *tx;
    for (int at; (tx = sender_take(c, &at)) != NULL;) rawwaker_sender_drop(tx);
    expect(c->releases == 1, "channel %d is not released", i);
    expect(c->sent == c->received + c->destroyed,
           "of %d items of channel %d, %d were received and %d destroyed", c->sent, i, c->received,
           c->destroyed);
  }
  if (engine.uses >= 0) {
    rawwaker_queue_stop(engine.queue);
    expect(!rawwaker_queue_run(engine.queue, &engine), "a queue that was stopped runs on");
  }
  for (int i = 0; i < WORKS; i++) {
    work *w = &works[i];
    rawwaker_oneshot *tx = atomic_exchange(&w->tx, NULL);
    rawwaker_job *j = atomic_exchange(&w->job, NULL);
    if (tx != NULL) shot_end(w, tx, i & 3);
    if (j != NULL) job_end(w, j, i & 1);
  }
  if (engine.uses >= 0) {
    rawwaker_queue_end(engine.queue);
    rawwaker_queue_drop(engine.queue);
  }
  for (int i = 0; i < WORKS; i++)
    expect(works[i].holds == 0, "work %d is held: its oneshot was not released", i);
  if (nodes.uses >= 0) {
    nodes_freed(rawwaker_queue_close(nodes.queue));
    rawwaker_queue_drop(nodes.queue);
  }
  expect(nodes_pushed == nodes_back, "%d nodes were pushed, and %d taken", nodes_pushed,
         nodes_back);
  rawwaker_sink_reap();
  /* A thread of the library may drop a hook later. */
  for (hook *h = hooks; h != NULL; h = h->next)
    while (h->drops == 0) wait_for_library("a hook is not dropped");
  while (rawwaker_live() != 0) wait_for_library("a waker is left");
  check_baits();
  for (int i = 0; i < nbaits; i++) __real_close(baits[i]);
  for (hook *h; (h = hooks) != NULL;) {
    hooks = h->next;
    expect(h->drops == 1 && h->inside == 0, "a hook was dropped %d times", h->drops);
    free(h);
  }
  for (int i = 0; i < ntargets; i++) {
    target *t = &targets[i];
    expect(t->token || t->drops == 1, "a function waker was dropped %d times", t->drops);
    expect(t->live == 0, "%ld tokens are left", t->live);
    expect(t->seen >= t->made, "%ld wakes of %ld have arrived: a wake was lost", t->seen, t->made);
  }
#if defined(FFIWAKER) || defined(AUDIT)
  findings_end();
#endif
  me = -1;
}

void run_program(const uint8_t *data, size_t size) {
  static bool begun;
  program_read(&now, data, size);
  if (!begun) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sem_init(&aborted_there, 0, 0), sem_init(&handled, 0, 0);
#if defined(FFIWAKER) || defined(AUDIT)
    rawwaker_audit_print(false);
#endif
#if defined(AUDIT)
    rawwaker_audit_senders();
#endif
    begun = true;
  }
  me = 0;
  begin();
  int how = now.mode & 3;
  if (how == TOGETHER) {
    pool_start();
    for (int i = 0; i < THREADS; i++) pool_run(i, NULL);
    me = -1;
    coordinate();
    for (int i = 0; i < THREADS; i++) pool_wait(i);
  } else {
    if (how == TURNS) pool_start();
    for (size_t i = 0; i < now.n; i++) {
      const operation *o = &now.ops[i];
      if (how == TURNS) {
        pool_run(o->who, o);
        pool_wait(o->who);
      } else {
        step(o);
      }
      check_now();
    }
  }
  end();
}
