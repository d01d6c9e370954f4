#include "future.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *or_die(void *p) {
  if (p == NULL) abort();
  return p;
}

/* ----------------------------------------------------------------------------- the script -- */

struct ctest_script {
  char *letters;
  size_t at;
  rawwaker kept;
  _Atomic(int) polls, drops, misses;
  pthread_mutex_t mu;
  pthread_cond_t changed;
  bool held, inside;
  bool calling; /* its drop slot calls Go */
};

extern void ctestCall(void);

static void *wake_it(void *arg) {
  rawwaker_wake(*(rawwaker *)arg);
  return NULL;
}
/* Wakes on another thread. It wakes a clone, because the wake may lead to the poll that completes
 * the future, which drops the waker that it kept. */
static void wake_kept(const ctest_script *s) {
  rawwaker w = rawwaker_clone(&s->kept);
  pthread_t id;
  if (pthread_create(&id, NULL, wake_it, &w) != 0) abort();
  pthread_join(id, NULL);
}
static rawwaker_poll script_step(ctest_script *s, rawwaker_context *cx, void *out) {
  char letter = s->letters[s->at];
  if (letter != '*') s->at++; /* '*' is repeated forever */
  switch (letter) {
    case 's': rawwaker_wake_by_ref(cx->waker); return RAWWAKER_PENDING;
    case '*':
      rawwaker_wake_by_ref(cx->waker);
      return RAWWAKER_PENDING;
    case 'c':
    case 'S':
    case 'K':
      if (letter == 'S') rawwaker_wake_by_ref(cx->waker);
      if (letter == 'K') rawwaker_clone_from(&s->kept, cx->waker);
      ctestCall();
      return RAWWAKER_PENDING;
    case 'R':
      if (out != NULL) memcpy(out, &(uint64_t){42}, sizeof(uint64_t));
      s->calling = true;
      return RAWWAKER_READY;
    case 'k':
      s->misses += s->kept.vtable == NULL || !rawwaker_will_wake(&s->kept, cx->waker);
      rawwaker_clone_from(&s->kept, cx->waker);
      return RAWWAKER_PENDING;
    case 't': {
      s->misses += s->kept.vtable == NULL || !rawwaker_will_wake(&s->kept, cx->waker);
      rawwaker_clone_from(&s->kept, cx->waker);
      wake_kept(s);
      return RAWWAKER_PENDING;
    }
    case 'b':
    case 'h':
      pthread_mutex_lock(&s->mu);
      s->inside = true;
      pthread_cond_broadcast(&s->changed);
      while (s->held) pthread_cond_wait(&s->changed, &s->mu);
      pthread_mutex_unlock(&s->mu);
      if (letter == 'h') rawwaker_clone_from(&s->kept, cx->waker);
      return RAWWAKER_PENDING;
    case 'r':
      if (out != NULL) memcpy(out, &(uint64_t){42}, sizeof(uint64_t));
      return RAWWAKER_READY;
    case 'z': return RAWWAKER_READY;
    case 'p': rawwaker_set_panic("why not", 7); return RAWWAKER_PANICKED;
    case 'q': return RAWWAKER_PANICKED;
    case '9': return 9;
    default: return RAWWAKER_PENDING;
  }
}
static rawwaker_poll script_poll(void *data, rawwaker_context *cx, void *out) {
  ctest_script *s = data;
  rawwaker_poll got = script_step(s, cx, out);
  s->polls++; /* after the step: a thread that sees the new count may wake the kept waker */
  return got;
}
static void script_drop(void *data) {
  ctest_script *s = data;
  if (s->kept.vtable != NULL) rawwaker_drop(s->kept);
  s->kept.vtable = NULL;
  rawwaker_set_panic("not this", 8);
  s->drops++;
  if (s->calling) ctestCall();
}
static const rawwaker_future_vtable script_vtable = {script_poll, script_drop};

ctest_script *ctest_script_new(const char *letters) {
  ctest_script *s = or_die(calloc(1, sizeof *s));
  s->letters = or_die(strdup(letters));
  pthread_mutex_init(&s->mu, NULL);
  pthread_cond_init(&s->changed, NULL);
  return s;
}
rawwaker_future ctest_script_future(ctest_script *s) {
  return (rawwaker_future){s, &script_vtable};
}
void ctest_script_wake(ctest_script *s) { wake_kept(s); }
bool ctest_script_kept(const ctest_script *s) { return s->kept.vtable != NULL; }
void ctest_script_hold(ctest_script *s, bool held) {
  pthread_mutex_lock(&s->mu);
  s->held = held;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->mu);
}
void ctest_script_await(ctest_script *s) {
  pthread_mutex_lock(&s->mu);
  while (!s->inside) pthread_cond_wait(&s->changed, &s->mu);
  pthread_mutex_unlock(&s->mu);
}
int ctest_script_polls(ctest_script *s) { return s->polls; }
int ctest_script_drops(ctest_script *s) { return s->drops; }
int ctest_script_misses(ctest_script *s) { return s->misses; }
void ctest_script_free(ctest_script *s) {
  pthread_mutex_destroy(&s->mu);
  pthread_cond_destroy(&s->changed);
  free(s->letters);
  free(s);
}

/* ----------------------------------------------------------------------------- operations -- */

struct ctest_op {
  rawwaker_cell cell;
  _Atomic(uint32_t) done, refs;
  uint64_t value;
};
static _Atomic(uint64_t) ops_live, ops_dropped;

static void op_unref(ctest_op *op) {
  if (atomic_fetch_sub(&op->refs, 1) != 1) return;
  atomic_fetch_sub(&ops_live, 1);
  free(op);
}
static rawwaker_poll op_poll(void *data, rawwaker_context *cx, void *out) {
  ctest_op *op = data;
  rawwaker_cell_register(&op->cell, cx->waker);
  if (!atomic_load(&op->done)) return RAWWAKER_PENDING;
  memcpy(out, &op->value, sizeof op->value);
  return RAWWAKER_READY;
}
static void op_drop(void *data) {
  ctest_op *op = data;
  rawwaker_cell_drop(&op->cell);
  atomic_fetch_add(&ops_dropped, 1);
  op_unref(op);
}
static const rawwaker_future_vtable op_vtable = {op_poll, op_drop};

ctest_op *ctest_op_new(void) {
  ctest_op *op = or_die(calloc(1, sizeof *op));
  op->refs = 1;
  atomic_fetch_add(&ops_live, 1);
  return op;
}
rawwaker_future ctest_op_future(ctest_op *op) {
  atomic_fetch_add(&op->refs, 1);
  return (rawwaker_future){op, &op_vtable};
}
void ctest_op_complete(ctest_op *op, uint64_t v) {
  op->value = v;
  atomic_store(&op->done, 1);
  rawwaker_cell_wake(&op->cell);
  op_unref(op);
}
uint64_t ctest_ops_live(void) { return ops_live; }
uint64_t ctest_ops_dropped(void) { return ops_dropped; }

typedef struct share {
  pthread_t id;
  ctest_op **ops;
  uint32_t from, to;
} share;
static void *complete_share(void *arg) {
  share *s = arg;
  for (uint32_t i = s->from; i < s->to; i++) ctest_op_complete(s->ops[i], i);
  return NULL;
}
void ctest_ops_complete_all(ctest_op **ops, uint32_t n, int threads) {
  share *all = or_die(calloc((size_t)threads, sizeof *all));
  for (int i = 0; i < threads; i++) {
    all[i] = (share){.ops = ops, .from = n / (uint32_t)threads * (uint32_t)i,
                     .to = i == threads - 1 ? n : n / (uint32_t)threads * (uint32_t)(i + 1)};
    if (pthread_create(&all[i].id, NULL, complete_share, &all[i]) != 0) abort();
  }
  for (int i = 0; i < threads; i++) pthread_join(all[i].id, NULL);
  free(all);
}

/* ---------------------------------------------------------------------------------- hosts -- */

typedef struct blocked {
  rawwaker_future f;
  void *out;
  rawwaker_poll got;
} blocked;
static void *block_main(void *arg) {
  blocked *b = arg;
  b->got = rawwaker_block_on(b->f, b->out);
  return NULL;
}
rawwaker_poll ctest_block_on(rawwaker_future f, void *out) {
  blocked b = {f, out, 0};
  pthread_t id;
  if (pthread_create(&id, NULL, block_main, &b) != 0) abort();
  pthread_join(id, NULL);
  return b.got;
}

rawwaker_poll ctest_poll(rawwaker_future f, rawwaker w, void *out) {
  rawwaker_context cx = {&w};
  return f.vtable->poll(f.data, &cx, out);
}

typedef struct hop {
  rawwaker_future f;
  void *out;
  rawwaker w;
  rawwaker_poll got;
} hop;
static void post(void *arg) { sem_post(arg); }
static void *hop_main(void *arg) {
  hop *h = arg;
  h->got = ctest_poll(h->f, h->w, h->out);
  return NULL;
}
static void end_semaphore(void *arg) {
  sem_destroy(arg);
  free(arg);
}
rawwaker_poll ctest_hop(rawwaker_future f, void *out, int *polls) {
  sem_t *woken = or_die(malloc(sizeof *woken));
  sem_init(woken, 0, 0);
  hop h = {f, out, rawwaker_from_fn(post, woken, end_semaphore), RAWWAKER_PENDING};
  for (*polls = 0; h.got == RAWWAKER_PENDING;) {
    pthread_t id;
    if (*polls > 0)
      while (sem_wait(woken) != 0) {
      }
    ++*polls;
    if (pthread_create(&id, NULL, hop_main, &h) != 0) abort();
    pthread_join(id, NULL);
  }
  f.vtable->drop(f.data);
  rawwaker_drop(h.w);
  return h.got;
}
