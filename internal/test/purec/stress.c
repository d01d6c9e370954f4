/* stress.c - many threads on rawwaker.c, with exact counts at the end: ./stress [rounds] [seed].
 * ./run builds and runs it. */
#define _GNU_SOURCE
#include "rawwaker.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8 };

static unsigned long rounds = 20000, seed = 1;

static void die(const char *why) {
  printf("FAIL (seed %lu): %s\n", seed, why);
  exit(1);
}
static void check(bool ok, const char *why) {
  if (!ok) die(why);
}
static void *memory(size_t n) {
  void *p = calloc(1, n);
  if (p == NULL) die("out of memory");
  return p;
}

static uint64_t next(uint64_t *s) {
  *s ^= *s << 13;
  *s ^= *s >> 7;
  *s ^= *s << 17;
  return *s;
}
static uint64_t random_of(unsigned long thread) {
  return (seed * 1000003 + thread) * 0x9e3779b97f4a7c15u | 1;
}

static void spawn(pthread_t *t, void *(*f)(void *), void *arg) {
  if (pthread_create(t, NULL, f, arg) != 0) die("pthread_create");
}

/* ---------------------------------------------------------- references of a counting task -- */

static atomic_ulong clones, wakes, by_refs, drops;

/* Each reference is allocated separately, with a plain word that only its owner may access, so that
 * a sanitizer reports any other access. */
typedef struct token {
  unsigned long uses;
} token;

static rawwaker token_new(void);
static rawwaker token_clone(void *data) {
  (void)((token *)data)->uses;
  atomic_fetch_add_explicit(&clones, 1, memory_order_relaxed);
  return token_new();
}
static void token_wake(void *data) {
  atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed);
  free(data);
}
static void token_wake_by_ref(void *data) {
  (void)((token *)data)->uses;
  atomic_fetch_add_explicit(&by_refs, 1, memory_order_relaxed);
}
static void token_drop(void *data) {
  atomic_fetch_add_explicit(&drops, 1, memory_order_relaxed);
  free(data);
}
static const rawwaker_vtable token_vtable = {token_clone, token_wake, token_wake_by_ref,
                                             token_drop};
static rawwaker token_new(void) { return (rawwaker){memory(sizeof(token)), &token_vtable}; }

/* Performs random operations that the contract allows on w and its clones, and consumes them
 * all. */
static void play(rawwaker w, uint64_t *r, rawwaker_cell *shared) {
  rawwaker own[6] = {w};
  size_t n = 1;
  while (n > 0) {
    switch (next(r) % 10) {
    case 0:
    case 1:
    case 2:
      if (n < 6) {
        own[n] = rawwaker_clone(&own[n - 1]);
        n++;
      }
      break;
    case 3: rawwaker_wake_by_ref(&own[n - 1]); break;
    case 4: rawwaker_cell_register(shared, &own[n - 1]); break;
    case 5: rawwaker_cell_wake(shared); break;
    case 6: {
      rawwaker taken;
      if (n < 6 && rawwaker_cell_take(shared, &taken)) own[n++] = taken;
      break;
    }
    case 7:
    case 8: rawwaker_wake(own[--n]); break;
    default: rawwaker_drop(own[--n]); break;
    }
  }
}

typedef struct player {
  pthread_t id;
  unsigned long thread;
  rawwaker_cell *cell;
  rawwaker w;      /* this player's own, or none: then it uses a token each round */
  unsigned long rounds;
} player;

static void *play_all(void *arg) {
  player *p = arg;
  uint64_t r = random_of(p->thread);
  for (unsigned long i = 0; i < p->rounds; i++)
    play(p->w.vtable == NULL ? token_new() : rawwaker_clone(&p->w), &r, p->cell);
  if (p->w.vtable != NULL) rawwaker_drop(p->w);
  return NULL;
}

static void references(void) {
  player players[THREADS];
  rawwaker_cell cell;
  rawwaker_cell_init(&cell);
  for (unsigned long i = 0; i < THREADS; i++) {
    players[i] = (player){.thread = i, .cell = &cell, .rounds = rounds / 2};
    spawn(&players[i].id, play_all, &players[i]);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(players[i].id, NULL);
  rawwaker_cell_drop(&cell);
  unsigned long made = THREADS * (rounds / 2);
  check(made + clones == wakes + drops, "made + clones differ from wakes + drops");
  printf("ok: references: %lu made + %lu clones = %lu wakes + %lu drops; %lu by reference\n", made,
         clones, wakes, drops, by_refs);
}

/* ---------------------------------------------------------- a counted waker of a function -- */

static atomic_ulong fn_wakes, fn_drops;
static void fn_wake(void *arg) {
  atomic_fetch_add_explicit((atomic_ulong *)arg, 1, memory_order_relaxed);
}
static void fn_drop(void *arg) {
  (void)arg;
  atomic_fetch_add(&fn_drops, 1);
}

static void functions(void) {
  player players[THREADS];
  rawwaker_cell cell;
  rawwaker_cell_init(&cell);
  rawwaker w = rawwaker_from_fn(fn_wake, &fn_wakes, fn_drop);
  for (unsigned long i = 0; i < THREADS; i++) {
    players[i] =
        (player){.thread = i, .cell = &cell, .w = rawwaker_clone(&w), .rounds = rounds / 2};
    spawn(&players[i].id, play_all, &players[i]);
  }
  rawwaker_drop(w);
  for (int i = 0; i < THREADS; i++) pthread_join(players[i].id, NULL);
  rawwaker_cell_drop(&cell);
  check(fn_drops == 1 && rawwaker_live() == 0, "not one drop, with the last reference");
  printf("ok: a function: %lu wakes, 1 drop\n", fn_wakes);
}

/* ----------------------------------------------------------- a wake's happens-before edge -- */

/* Each round, every thread writes a letter, wakes, and increments a relaxed counter, which orders
 * nothing. The reader waits for the counter and then reads the letters, which are plain words: only
 * the wakes order them, including wakes that found the task woken. TSan reports a missing edge; a
 * lost wake hangs. */
static unsigned long letters[THREADS][16];
static atomic_ulong round_now, arrived;

static void write_letters(unsigned long thread, unsigned long n, void (*wake)(void *), void *arg) {
  for (unsigned long i = 1; i <= n; i++) {
    while (atomic_load_explicit(&round_now, memory_order_acquire) < i) sched_yield();
    letters[thread][0] = i;
    wake(arg);
    atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
    wake(arg);
  }
}
static bool all_arrived(unsigned long i) {
  return atomic_load_explicit(&arrived, memory_order_relaxed) == THREADS * i;
}
static void read_letters(unsigned long i) {
  for (int t = 0; t < THREADS; t++) check(letters[t][0] == i, "a letter was lost");
  atomic_store_explicit(&round_now, i + 1, memory_order_release);
}
static void begin_letters(void) {
  memset(letters, 0, sizeof letters);
  atomic_store(&arrived, 0);
  atomic_store(&round_now, 1);
}

static void wake_by_ref(void *w) { rawwaker_wake_by_ref(w); }
static void wake_clone(void *w) { rawwaker_wake(rawwaker_clone(w)); }
static void *writer(void *arg) {
  player *p = arg;
  write_letters(p->thread, p->rounds, p->thread % 2 == 0 ? wake_by_ref : wake_clone, &p->w);
  rawwaker_drop(p->w);
  return NULL;
}

/* Polled by block_on. The letters that the counter showed to one poll are read by the next, after
 * another wake. That wake is another thread's, because the polling thread's own exchange on the
 * state word would order the letters by itself. */
typedef struct reader {
  unsigned long round, rounds, polls;
  bool there;
  player players[THREADS], nudger;
  atomic_ulong nudge;
} reader;
static void *nudger(void *arg) {
  reader *r = arg;
  for (unsigned long i = 1; i <= r->rounds; i++) {
    while (atomic_load_explicit(&r->nudge, memory_order_relaxed) < i) sched_yield();
    rawwaker_wake_by_ref(&r->nudger.w);
  }
  rawwaker_drop(r->nudger.w);
  return NULL;
}
static rawwaker_poll reader_poll(void *data, rawwaker_context *cx, void *out) {
  reader *r = data;
  (void)out;
  if (r->polls++ == 0) {
    r->nudger.w = rawwaker_clone(cx->waker);
    spawn(&r->nudger.id, nudger, r);
    for (unsigned long i = 0; i < THREADS; i++) {
      r->players[i] = (player){.thread = i, .w = rawwaker_clone(cx->waker), .rounds = r->rounds};
      spawn(&r->players[i].id, writer, &r->players[i]);
    }
  }
  if (r->there) {
    read_letters(r->round);
    r->there = false;
    if (r->round++ == r->rounds) return RAWWAKER_READY;
  }
  if (!r->there && all_arrived(r->round)) {
    r->there = true;
    atomic_store_explicit(&r->nudge, r->round, memory_order_relaxed);
  }
  return RAWWAKER_PENDING;
}
static void reader_drop(void *data) {
  reader *r = data;
  for (int i = 0; i < THREADS; i++) pthread_join(r->players[i].id, NULL);
  pthread_join(r->nudger.id, NULL);
}

static void edge_of_the_parker(void) {
  static const rawwaker_future_vtable vtable = {reader_poll, reader_drop};
  reader r = {.round = 1, .rounds = rounds / 20 + 1};
  begin_letters();
  check(rawwaker_block_on((rawwaker_future){&r, &vtable}, NULL) == RAWWAKER_READY, "ready");
  check(rawwaker_live() == 0, "the parker is left");
  printf("ok: block_on: %lu letters from %d threads in %lu polls, 0 lost\n", r.rounds * THREADS,
         THREADS, r.polls);
}

static void edge_of_the_box(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  player players[THREADS];
  unsigned long n = rounds / 20 + 1, notices = 0;
  begin_letters();
  for (unsigned long i = 0; i < THREADS; i++) {
    players[i] = (player){.thread = i, .w = rawwaker_box_ref(b), .rounds = n};
    spawn(&players[i].id, writer, &players[i]);
  }
  for (unsigned long i = 1; i <= n; i++) {
    while (!all_arrived(i)) sched_yield();
    rawwaker_box *list = rawwaker_sink_take(s);
    rawwaker_notice notice;
    while (rawwaker_box_read(&list, &notice, 1) != 0) notices++;
    /* A second wake may have listed the box again; its letters are older. */
    read_letters(i);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(players[i].id, NULL);
  rawwaker_box_close(b);
  rawwaker_box *list = rawwaker_sink_take(s);
  rawwaker_notice notice;
  while (rawwaker_box_read(&list, &notice, 1) != 0) {
  }
  rawwaker_sink_drop(s);
  check(notices >= n && rawwaker_live() == 0, "not every round was noticed");
  printf("ok: a box: %lu letters from %d threads in %lu notices, 0 lost\n", n * THREADS, THREADS,
         notices);
}

/* The same future, polled by the loop of rawwaker_box_poll: the loop must acquire what a wake has
 * released. */
static void edge_of_the_loop(void) {
  static const rawwaker_future_vtable vtable = {reader_poll, reader_drop};
  reader r = {.round = 1, .rounds = rounds / 20 + 1};
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = NULL;
  bool told;
  begin_letters();
  for (bool first = true;
       rawwaker_box_poll(s, &b, (rawwaker_future){&r, &vtable}, NULL, &told) != RAWWAKER_READY;
       first = false) {
    if (first) told |= rawwaker_box_adopt(b, 1);
    while (!told) {
      rawwaker_notice notice;
      rawwaker_box *list = rawwaker_sink_take(s);
      if (list == NULL) sched_yield();
      while (rawwaker_box_read(&list, &notice, 1) != 0) told |= notice.woken == 1;
    }
  }
  reader_drop(&r);
  rawwaker_box_close(b);
  rawwaker_notice notice;
  rawwaker_box *list = rawwaker_sink_take(s);
  while (rawwaker_box_read(&list, &notice, 1) != 0) {
  }
  rawwaker_sink_drop(s);
  check(rawwaker_live() == 0, "the box is left");
  printf("ok: a loop under a box: %lu letters from %d threads in %lu polls, 0 lost\n",
         r.rounds * THREADS, THREADS, r.polls);
}

/* The cell: the reader registers and then tests; the writers set the condition and then wake. */
static atomic_ulong sent;
static rawwaker_cell post;
static void *sender(void *arg) {
  player *p = arg;
  for (unsigned long i = 0; i < p->rounds; i++) {
    atomic_fetch_add(&sent, 1);
    rawwaker_cell_wake(&post);
  }
  return NULL;
}
static rawwaker_poll receiver_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  rawwaker_cell_register(&post, cx->waker);
  return atomic_load(&sent) == *(unsigned long *)data ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void receiver_drop(void *data) { (void)data; }

static void the_cell(void) {
  static const rawwaker_future_vtable vtable = {receiver_poll, receiver_drop};
  player players[THREADS];
  unsigned long all = THREADS * rounds;
  for (int i = 0; i < THREADS; i++) {
    players[i] = (player){.rounds = rounds};
    spawn(&players[i].id, sender, &players[i]);
  }
  rawwaker_block_on((rawwaker_future){&all, &vtable}, NULL);
  for (int i = 0; i < THREADS; i++) pthread_join(players[i].id, NULL);
  rawwaker_cell_drop(&post);
  check(rawwaker_live() == 0, "a waker is left in the cell");
  printf("ok: a cell: %lu wakes by %d threads, 0 lost\n", all, THREADS);
}

/* ----------------------------------------------------------------------- boxes and a sink -- */

enum { BOXES = 16 };

/* A task, found by its number. It has its own counts, because wakes of a closed task are lost
 * intentionally. */
typedef struct task {
  rawwaker_box *box;
  uint64_t id;
  atomic_ulong announced; /* incremented before a wake */
  unsigned long seen;     /* set when its notice arrives */
  bool closed;
  struct task *next;
} task;

static rawwaker_sink *sink;
static struct place {
  pthread_mutex_t mu; /* as the header requires: no box_ref during retire or close */
  task *now;
} places[BOXES];
static task *all_tasks;
static uint64_t last_id;
static atomic_ulong given, woken;
static atomic_int running;

static void lend(int i) {
  task *t = memory(sizeof *t);
  t->id = ++last_id << 8 | (uint64_t)i; /* a number is never used twice */
  t->box = rawwaker_box_new(sink, t->id, i % 2 == 0 ? RAWWAKER_BOX_TELL : 0);
  if (t->box == NULL) die("out of memory");
  t->next = all_tasks;
  all_tasks = t;
  places[i].now = t;
}

static void *waker_main(void *arg) {
  player *p = arg;
  uint64_t r = random_of(p->thread + 100);
  for (unsigned long i = 0; i < p->rounds; i++) {
    struct place *at = &places[next(&r) % BOXES];
    pthread_mutex_lock(&at->mu);
    task *t = at->now;
    rawwaker w = rawwaker_box_ref(t->box);
    pthread_mutex_unlock(&at->mu);
    atomic_fetch_add(&given, 1);
    if (next(&r) % 3 == 0) {
      rawwaker_cell none;
      rawwaker_cell_init(&none);
      play(w, &r, &none);
      rawwaker_cell_drop(&none);
    } else {
      atomic_fetch_add_explicit(&t->announced, 1, memory_order_relaxed);
      atomic_fetch_add(&woken, 1);
      rawwaker_wake(w);
    }
  }
  atomic_fetch_sub(&running, 1);
  rawwaker_sink_kick(sink);
  return NULL;
}

static void boxes(void) {
  player players[THREADS];
  unsigned long notices = 0, retired = 0, closed = 0, late = 0;
  uint64_t r = random_of(99);
  sink = rawwaker_sink_new(0);
  check(sink != NULL, "no sink");
  for (int i = 0; i < BOXES; i++) {
    pthread_mutex_init(&places[i].mu, NULL);
    lend(i);
  }
  running = THREADS;
  for (unsigned long i = 0; i < THREADS; i++) {
    players[i] = (player){.thread = i, .rounds = rounds};
    spawn(&players[i].id, waker_main, &players[i]);
  }
  for (bool last = false; !last;) {
    last = running == 0; /* read before the list is taken, which then holds every wake so far */
    rawwaker_notice n[32];
    rawwaker_box *list = rawwaker_sink_take(sink);
    unsigned long in_a_row = 0;
    for (size_t got; (got = rawwaker_box_read(&list, n, 32)) != 0;) {
      check((in_a_row += got) <= given + BOXES, "the list has a cycle");
      for (size_t k = 0; k < got; k++) {
        notices++;
        int i = (int)(n[k].id & 0xff);
        pthread_mutex_lock(&places[i].mu);
        task *t = places[i].now;
        if (t->id != n[k].id) {
          check(!n[k].woken && !n[k].last, "a notice of a closed box");
          late++;
        } else {
          if (n[k].woken) t->seen = atomic_load_explicit(&t->announced, memory_order_relaxed);
          if (n[k].last && rawwaker_box_retire(t->box)) {
            t->box = NULL;
            lend(i);
            retired++;
          } else if (next(&r) % 8 == 0) { /* the task ends while C holds its wakers */
            t->closed = true;
            rawwaker_box_close(t->box);
            lend(i);
            closed++;
          }
        }
        pthread_mutex_unlock(&places[i].mu);
      }
    }
    if (!last && rawwaker_sink_sleep(sink)) {
      struct pollfd p = {.fd = rawwaker_sink_fd(sink), .events = POLLIN};
      poll(&p, 1, running == 0 ? 0 : -1);
      rawwaker_sink_ack(sink);
    }
  }
  for (int i = 0; i < THREADS; i++) pthread_join(players[i].id, NULL);
  for (int i = 0; i < BOXES; i++) {
    rawwaker_box_close(places[i].now->box);
    pthread_mutex_destroy(&places[i].mu);
  }
  rawwaker_notice n;
  rawwaker_box *list = rawwaker_sink_take(sink);
  while (rawwaker_box_read(&list, &n, 1) != 0) {
  }
  rawwaker_sink_drop(sink);
  while (all_tasks != NULL) {
    task *t = all_tasks;
    check(t->closed || t->seen == t->announced, "a wake was lost");
    all_tasks = t->next;
    free(t);
  }
  check(rawwaker_live() == 0, "a box is left");
  printf("ok: boxes: %lu references, %lu wakes, %lu notices (%lu late); "
         "%lu closed by the runtime, %lu returned by C; 0 lost\n",
         given, woken, notices, late, closed, retired);
}

int main(int argc, char **argv) {
  if (argc > 1) rounds = strtoul(argv[1], NULL, 10);
  if (argc > 2) seed = strtoul(argv[2], NULL, 10);
  references();
  functions();
  edge_of_the_parker();
  edge_of_the_box();
  edge_of_the_loop();
  the_cell();
  boxes();
  return 0;
}
