#include "ctest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------- the task -- */

enum { LOG = 4096, MAGIC = 0x7a5c };

struct ctest_task {
  _Atomic(uint64_t) clones, wakes, by_refs, drops, live, foul, made, logged;
  char log[LOG];
  pthread_mutex_t mu;
  pthread_cond_t changed;
  bool held;
  int inside;
};
typedef struct token {
  uint64_t magic;
  ctest_task *task;
} token;

static rawwaker task_clone(void *data);
static void task_wake(void *data);
static void task_wake_by_ref(void *data);
static void task_drop(void *data);
static const rawwaker_vtable task_vtable = {task_clone, task_wake, task_wake_by_ref, task_drop};

static void *or_die(void *p) {
  if (p == NULL) abort();
  return p;
}

static rawwaker token_new(ctest_task *t) {
  token *k = or_die(malloc(sizeof *k));
  *k = (token){MAGIC, t};
  atomic_fetch_add(&t->live, 1);
  return (rawwaker){k, &task_vtable};
}
static ctest_task *token_task(void *data, char letter) {
  token *k = data;
  ctest_task *t = k->task;
  if (k->magic != MAGIC) {
    atomic_fetch_add(&t->foul, 1);
    letter = '!';
  }
  uint64_t at = atomic_fetch_add(&t->logged, 1);
  if (at < LOG) t->log[at] = letter;
  return t;
}
static void token_free(void *data) {
  token *k = data;
  atomic_fetch_sub(&k->task->live, 1);
  k->magic = 0;
  free(k);
}

static rawwaker task_clone(void *data) {
  ctest_task *t = token_task(data, 'c');
  atomic_fetch_add(&t->clones, 1);
  return token_new(t);
}
static void wait_while_held(ctest_task *t) {
  pthread_mutex_lock(&t->mu);
  t->inside++;
  pthread_cond_broadcast(&t->changed);
  while (t->held) pthread_cond_wait(&t->changed, &t->mu);
  t->inside--;
  pthread_mutex_unlock(&t->mu);
}
static void task_wake(void *data) {
  ctest_task *t = token_task(data, 'w');
  atomic_fetch_add(&t->wakes, 1);
  wait_while_held(t);
  token_free(data);
}
static void task_wake_by_ref(void *data) {
  ctest_task *t = token_task(data, 'r');
  atomic_fetch_add(&t->by_refs, 1);
  wait_while_held(t);
}
static void task_drop(void *data) {
  ctest_task *t = token_task(data, 'd');
  atomic_fetch_add(&t->drops, 1);
  wait_while_held(t);
  token_free(data);
}

ctest_task *ctest_task_new(void) {
  ctest_task *t = or_die(calloc(1, sizeof *t));
  pthread_mutex_init(&t->mu, NULL);
  pthread_cond_init(&t->changed, NULL);
  return t;
}
void ctest_task_free(ctest_task *t) {
  pthread_mutex_destroy(&t->mu);
  pthread_cond_destroy(&t->changed);
  free(t);
}
void ctest_task_hold(ctest_task *t, bool held) {
  pthread_mutex_lock(&t->mu);
  t->held = held;
  pthread_cond_broadcast(&t->changed);
  pthread_mutex_unlock(&t->mu);
}
void ctest_task_await(ctest_task *t, int inside) {
  pthread_mutex_lock(&t->mu);
  while (t->inside < inside) pthread_cond_wait(&t->changed, &t->mu);
  pthread_mutex_unlock(&t->mu);
}
rawwaker ctest_task_waker(ctest_task *t) {
  atomic_fetch_add(&t->made, 1);
  return token_new(t);
}
ctest_counts ctest_task_counts(ctest_task *t) {
  return (ctest_counts){t->made, t->clones, t->wakes, t->by_refs, t->drops, t->live, t->foul};
}
size_t ctest_task_log(ctest_task *t, char *out, size_t n) {
  size_t len = t->logged < LOG ? t->logged : LOG;
  if (len > n) len = n;
  memcpy(out, t->log, len);
  return len;
}

/* ----------------------------------------------------------------------- data is a number -- */

static _Atomic(uintptr_t) number_first, number_next;
static _Atomic(uint64_t) number_faults, number_refs;

static rawwaker number_clone(void *data);
static void number_check(void *data) {
  uintptr_t n = (uintptr_t)data;
  if (n < number_first || n >= number_next) atomic_fetch_add(&number_faults, 1);
}
static void number_end(void *data) {
  number_check(data);
  atomic_fetch_sub(&number_refs, 1);
}
static const rawwaker_vtable number_vtable = {number_clone, number_end, number_check, number_end};

static rawwaker number_new(void) {
  atomic_fetch_add(&number_refs, 1);
  return (rawwaker){(void *)atomic_fetch_add(&number_next, 1), &number_vtable};
}
static rawwaker number_clone(void *data) {
  number_check(data);
  return number_new();
}
rawwaker ctest_number_waker(uintptr_t first) {
  number_first = number_next = first;
  return number_new();
}
uint64_t ctest_number_faults(void) { return number_faults; }
uint64_t ctest_number_refs(void) { return number_refs; }

/* ----------------------------------------------------------------------------- one thread -- */

struct ctest_thread {
  pthread_t id;
  rawwaker w;
  char letters[64];
};

static _Atomic(uint64_t) arrivals;
uint64_t ctest_arrivals(void) { return arrivals; }

static void *thread_main(void *arg) {
  ctest_thread *t = arg;
  rawwaker own[sizeof t->letters + 1];
  size_t n = 0;
  own[n++] = t->w;
  for (const char *l = t->letters; *l != '\0'; l++) {
    if (n == 0) abort();
    switch (*l) {
    case 'c': own[n] = rawwaker_clone(&own[n - 1]); n++; break;
    case 'r': rawwaker_wake_by_ref(&own[n - 1]); break;
    case 'w': rawwaker_wake(own[--n]); break;
    case 'd': rawwaker_drop(own[--n]); break;
    case 'i': atomic_fetch_add(&arrivals, 1); break;
    default: abort();
    }
  }
  if (n != 0) abort();
  return NULL;
}

ctest_thread *ctest_thread_start(rawwaker w, const char *letters) {
  ctest_thread *t = or_die(calloc(1, sizeof *t));
  t->w = w;
  if (strlen(letters) >= sizeof t->letters) abort();
  strcpy(t->letters, letters);
  if (pthread_create(&t->id, NULL, thread_main, t) != 0) abort();
  return t;
}
void ctest_thread_join(ctest_thread *t) {
  pthread_join(t->id, NULL);
  free(t);
}

/* --------------------------------------------------------------------------- many threads -- */

typedef struct node {
  struct node *next;
  rawwaker w;
} node;

struct ctest_pool {
  pthread_mutex_t mu;
  pthread_cond_t more;
  node *head;
  int ended, threads;
  uint64_t seed;
  _Atomic(uint64_t) ops;
  pthread_t ids[64];
};

static uint64_t next_random(uint64_t *s) {
  *s ^= *s << 13;
  *s ^= *s >> 7;
  *s ^= *s << 17;
  return *s;
}

static void play(rawwaker w, uint64_t *random, uint64_t *ops) {
  rawwaker own[4] = {w};
  size_t n = 1;
  while (n > 0) {
    ++*ops;
    switch (next_random(random) % 6) {
    case 0:
    case 1:
      if (n < 4) {
        own[n] = rawwaker_clone(&own[n - 1]);
        n++;
      }
      break;
    case 2: rawwaker_wake_by_ref(&own[n - 1]); break;
    case 3:
    case 4: rawwaker_wake(own[--n]); break;
    default: rawwaker_drop(own[--n]); break;
    }
  }
}

static void *pool_main(void *arg) {
  ctest_pool *p = arg;
  pthread_mutex_lock(&p->mu);
  uint64_t random = p->seed++ * 0x9e3779b97f4a7c15u | 1, ops = 0;
  for (;;) {
    while (p->head == NULL && !p->ended) pthread_cond_wait(&p->more, &p->mu);
    node *n = p->head;
    if (n == NULL) break;
    p->head = n->next;
    pthread_mutex_unlock(&p->mu);
    play(n->w, &random, &ops);
    free(n);
    pthread_mutex_lock(&p->mu);
  }
  pthread_mutex_unlock(&p->mu);
  p->ops += ops;
  return NULL;
}

ctest_pool *ctest_pool_start(int threads, uint64_t seed) {
  ctest_pool *p = or_die(calloc(1, sizeof *p));
  pthread_mutex_init(&p->mu, NULL);
  pthread_cond_init(&p->more, NULL);
  p->threads = threads;
  p->seed = seed;
  for (int i = 0; i < threads; i++)
    if (pthread_create(&p->ids[i], NULL, pool_main, p) != 0) abort();
  return p;
}
void ctest_pool_give(ctest_pool *p, rawwaker w) {
  node *n = or_die(malloc(sizeof *n));
  n->w = w;
  pthread_mutex_lock(&p->mu);
  n->next = p->head;
  p->head = n;
  pthread_cond_signal(&p->more);
  pthread_mutex_unlock(&p->mu);
}
uint64_t ctest_pool_end(ctest_pool *p) {
  pthread_mutex_lock(&p->mu);
  p->ended = 1;
  pthread_cond_broadcast(&p->more);
  pthread_mutex_unlock(&p->mu);
  for (int i = 0; i < p->threads; i++) pthread_join(p->ids[i], NULL);
  uint64_t ops = p->ops;
  pthread_mutex_destroy(&p->mu);
  pthread_cond_destroy(&p->more);
  free(p);
  return ops;
}

/* ------------------------------------------------------------------------------- the cell -- */

ctest_cell *ctest_cell_new(void) {
  ctest_cell *c = or_die(malloc(sizeof *c));
  rawwaker_cell_init(&c->cell);
  return c;
}
void ctest_cell_free(ctest_cell *c) {
  rawwaker_cell_drop(&c->cell);
  free(c);
}

void ctest_oneshot(int use) {
  rawwaker_oneshot *tx;
  rawwaker_future f = rawwaker_oneshot_new(0, 0, NULL, NULL, &tx);
  if (use != 1) rawwaker_oneshot_drop(tx);
  if (use == 2) rawwaker_oneshot_send(tx, NULL);
  f.vtable->drop(f.data);
}
