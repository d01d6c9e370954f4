/* fuzz.c - runs programs of operations on rawwaker.c, and compares it with a model that counts
 * references and wakes. README.md describes a program.
 *
 * There are three drivers: libFuzzer (the default), AFL++ (-DAFL), and a main that replays the
 * files on its command line (-DREPLAY). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rawwaker.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------- the program -- */

enum op_code {
#define OP(name, what) op_##name,
#include "../operations.def"
#undef OP
  OPS
};
static const char *const op_names[] = {
#define OP(name, what) #name,
#include "../operations.def"
#undef OP
};

enum { TOGETHER = 1, EARLY = 2, HOOKED = 4 }; /* the first byte */
enum { MOST = 128, WAKERS = 8, RAWS = 4, CELLS = 2, FUTURES = 4, THREADS = 3, DEPTH = 3 };
enum { NOOP, FN, BOX, TOKEN, TELL, KINDS, PARKER = KINDS };

typedef struct operation {
  uint8_t code, who, x, y;
} operation;

static struct program {
  uint8_t mode;
  size_t n;
  operation ops[MOST];
} program;

static void decode(const uint8_t *data, size_t size) {
  program.mode = size > 0 ? data[0] & 7 : 0;
  program.n = 0;
  for (size_t at = 1; at < size && program.n < MOST; at += 4) {
    uint8_t b[4] = {0};
    memcpy(b, data + at, size - at < 4 ? size - at : 4);
    program.ops[program.n++] =
        (operation){(uint8_t)(b[0] % OPS), (uint8_t)(b[1] % THREADS), b[2], b[3]};
  }
}
static void list(FILE *to, size_t n) {
  fprintf(to, "mode %d\n", program.mode);
  for (size_t i = 0; i < n; i++) {
    const operation *o = &program.ops[i];
    fprintf(to, "%s %d %d %d\n", op_names[o->code], o->who, o->x, o->y);
  }
}

static size_t at;                     /* the current operation of a sequential program */
static _Atomic(uint64_t) operations;  /* executed by this process */
static rawwaker_sink *sink;

static _Noreturn void fail(const char *what, ...) {
  va_list args;
  fprintf(stderr, "fuzz: ");
  va_start(args, what);
  vfprintf(stderr, what, args);
  va_end(args);
  fprintf(stderr, "\nfuzz: the program%s\n", program.mode & TOGETHER ? "" : ", up to there:");
  list(stderr, program.mode & TOGETHER ? program.n : at < program.n ? at + 1 : program.n);
  abort();
}
#define expect(what, ...)              \
  do {                                 \
    if (!(what)) fail(__VA_ARGS__);    \
  } while (0)

/* The slots called since the last comparison, in order: those seen, and those of the model. */
enum { SEEN, MODEL };
static struct log {
  char letters[4096];
  size_t n;
} logs[2];
static void note(int which, char letter, int task) {
  struct log *l = &logs[which];
  if (program.mode & TOGETHER || l->n + 8 > sizeof l->letters) return;
  l->n += (size_t)snprintf(l->letters + l->n, 8, " %c%d", letter, task);
}

static bool readable(void) {
  struct pollfd p = {rawwaker_sink_fd(sink), POLLIN, 0};
  return poll(&p, 1, 0) == 1;
}

/* ------------------------------------------------------------------------------ the model -- */

/* The states of a box and of a parker, as in docs/CONCURRENCY.md. */
enum word { IDLE, WOKEN, LAST, LOOP };

typedef struct task {
  int kind;
  size_t refs;         /* held by C: wakers, the list, a notice before its retire */
  bool hold, gone, unborn;
  enum word word;
  long wakes;          /* of a function or a token */
  rawwaker w;          /* the two words; each reference to a token has its own */
  _Atomic(long) seen_wakes, seen_live, seen_drops;
} task;

typedef struct reference {
  rawwaker w;
  task *t; /* NULL if there is none */
} reference;

static struct world {
  task tasks[MOST];
  size_t ntasks, live;
  reference wakers[WAKERS], raws[RAWS];
  task *listed[MOST], *taken[MOST], *noticed[MOST];
  size_t nlisted, ntaken, nnoticed;
  rawwaker_box *rest; /* the rest of a taken list */
  bool sleeping, readable, dropped;
  long hook, seen_hook;
} world;

static int index_of(const task *t) { return (int)(t - world.tasks); }
static task *task_new(int kind) {
  expect(world.ntasks < MOST, "more tasks than operations");
  task *t = &world.tasks[world.ntasks++];
  memset(t, 0, sizeof *t);
  t->kind = kind;
  return t;
}
static void count(task *t) {
  if (t->kind != NOOP && t->kind != TOKEN) world.live++;
}
static void m_free(task *t) {
  expect(!t->gone, "the model frees task %d twice", index_of(t));
  t->gone = true;
  if (t->kind == FN) note(MODEL, 'D', index_of(t));
  if (t->kind != NOOP && t->kind != TOKEN) world.live--;
}
static bool boxed(const task *t) { return t->kind == BOX || t->kind == TELL; }

static void m_unref(task *t);
static void m_push(task *t) {
  if (world.dropped) {
    m_unref(t);
    return;
  }
  world.listed[world.nlisted++] = t;
  if (!world.sleeping) return;
  world.sleeping = false;
  world.readable = true;
  if (program.mode & HOOKED) world.hook++;
}
static void m_note(const task *t, char letter) {
  if (t->kind == TOKEN || (t->kind == FN && letter == 'r')) note(MODEL, letter, index_of(t));
}
static void m_ref(task *t) {
  expect(!t->gone, "a reference to task %d, which was freed", index_of(t));
  t->refs++;
  m_note(t, 'c');
}
static rawwaker_cell *reenter;
static void m_reenter(const task *t);
static void m_unref(task *t) {
  expect(t->refs > 0, "task %d has no reference to release", index_of(t));
  if (t->kind == TELL && t->refs == 1 && t->hold && t->word == IDLE) {
    t->word = LAST;
    m_push(t);
    return;
  }
  m_note(t, 'd');
  if (--t->refs == 0 && !t->hold) m_free(t);
  m_reenter(t);
}
static void m_wake_by_ref(task *t) {
  m_note(t, 'r');
  enum word was = t->word;
  t->word = WOKEN;
  t->wakes++;
  if (!boxed(t) || was != IDLE) return;
  t->refs++;
  m_push(t);
}
static void m_wake(task *t) {
  if (!boxed(t)) {
    if (t->kind != TOKEN) m_wake_by_ref(t);
    if (t->kind == TOKEN) {
      m_note(t, 'w');
      t->wakes++;
      if (--t->refs == 0) m_free(t);
      return;
    }
    m_unref(t);
    return;
  }
  enum word was = t->word;
  t->word = WOKEN;
  if (was == IDLE)
    m_push(t);
  else
    m_unref(t);
}

/* ---------------------------------------------------------------------- wakers that count -- */

static void fn_wake(void *arg) {
  atomic_fetch_add(&((task *)arg)->seen_wakes, 1);
  note(SEEN, 'r', index_of(arg));
}
static void fn_drop(void *arg) {
  atomic_fetch_add(&((task *)arg)->seen_drops, 1);
  note(SEEN, 'D', index_of(arg));
}
static void hook_wake(void *arg) { ++*(long *)arg; }

/* Each reference is allocated separately, so that AddressSanitizer reports a use after its end. */
typedef struct token {
  uint64_t magic;
  task *t;
} token;
enum { MAGIC = 0x70c3 };

static rawwaker token_clone(void *data);
static token *token_of(void *data) {
  token *k = data;
  expect(k->magic == MAGIC, "a slot was called with data that is no reference");
  return k;
}
static void token_end(void *data) {
  token *k = token_of(data);
  atomic_fetch_sub(&k->t->seen_live, 1);
  k->magic = 0;
  free(k);
}
static void token_woken(void *data, char letter) {
  task *t = token_of(data)->t;
  atomic_fetch_add(&t->seen_wakes, 1);
  note(SEEN, letter, index_of(t));
}
static void token_wake_by_ref(void *data) { token_woken(data, 'r'); }
static void token_wake(void *data) {
  token_woken(data, 'w');
  token_end(data);
}
static void token_drop(void *data) {
  note(SEEN, 'd', index_of(token_of(data)->t));
  token_end(data);
  rawwaker_cell *c = program.mode & TOGETHER ? NULL : reenter;
  if (c == NULL) return;
  reenter = NULL;
  rawwaker_cell_wake(c);
}
static const rawwaker_vtable token_vtable = {token_clone, token_wake, token_wake_by_ref,
                                             token_drop};
static rawwaker token_new(task *t) {
  token *k = malloc(sizeof *k);
  if (k == NULL) abort();
  *k = (token){MAGIC, t};
  atomic_fetch_add(&t->seen_live, 1);
  return (rawwaker){k, &token_vtable};
}
static rawwaker token_clone(void *data) {
  task *t = token_of(data)->t;
  note(SEEN, 'c', index_of(t));
  return token_new(t);
}

/* ---------------------------------------------------------- references, real and modelled -- */

static bool same(const reference *a, const reference *b) {
  if (a->t->kind == NOOP && b->t->kind == NOOP) return true;
  if (a->t != b->t) return false;
  return a->t->kind != TOKEN || a->w.data == b->w.data;
}
static reference r_clone(const reference *r) {
  m_ref(r->t);
  reference c = {rawwaker_clone(&r->w), r->t};
  expect(c.w.vtable == r->w.vtable, "a clone has another vtable");
  expect(rawwaker_will_wake(&c.w, &r->w) == (r->t->kind != TOKEN),
         "will_wake is wrong for a clone");
  return c;
}
static void r_wake(reference *r) {
  reference was = *r;
  *r = (reference){0};
  m_wake(was.t);
  rawwaker_wake(was.w);
}
static void r_wake_by_ref(const reference *r) {
  m_wake_by_ref(r->t);
  rawwaker_wake_by_ref(&r->w);
}
static void r_drop(reference *r) {
  reference was = *r;
  *r = (reference){0};
  if (was.t == NULL) return;
  m_unref(was.t);
  rawwaker_drop(was.w);
}
static void put(reference *at_slot, reference r) {
  reference old = *at_slot;
  *at_slot = r;
  r_drop(&old);
}

static rawwaker_box *box_of(const task *t) { return t->w.data; }
static task *box_task(rawwaker_box *b, int kind) {
  task *t = task_new(kind);
  t->hold = true;
  count(t);
  t->w = rawwaker_box_lend(b);
  return t;
}

static reference make(int kind) {
  task *t;
  uint64_t id = world.ntasks + 1;
  switch (kind) {
    case BOX:
    case TELL: {
      rawwaker_box *b = rawwaker_box_new(sink, id, kind == TELL ? RAWWAKER_BOX_TELL : 0);
      expect(b != NULL, "no memory");
      t = box_task(b, kind);
      expect(!rawwaker_box_lent(b), "box_lent is true for a new box");
      m_ref(t);
      rawwaker w = rawwaker_box_ref(b);
      expect(rawwaker_will_wake(&w, &t->w) && rawwaker_box_id(&w) == id,
             "box_ref returned another waker");
      return (reference){t->w, t};
    }
    case FN:
      t = task_new(kind);
      t->w = rawwaker_from_fn(fn_wake, t, fn_drop);
      break;
    case TOKEN:
      t = task_new(kind);
      t->w = token_new(t);
      break;
    default:
      t = task_new(NOOP);
      t->w = rawwaker_noop();
  }
  count(t);
  t->refs = 1;
  return (reference){t->w, t};
}

/* ------------------------------------------------------------------------------ the cells -- */

typedef struct cell {
  rawwaker_cell cell;
  /* The data of a token is not known before it is taken; it is NULL, which equals no token. */
  reference kept;
} cell;

/* The cell that a token's drop slot wakes: a slot may use the cell that is dropping its
 * reference. */
static cell *m_reentered;
static void m_reenter(const task *t) {
  cell *c = m_reentered;
  if (c == NULL || t->kind != TOKEN) return;
  m_reentered = NULL;
  task *kept = c->kept.t;
  c->kept.t = NULL;
  if (kept != NULL) m_wake(kept);
}
static void m_register(cell *c, const reference *r) {
  if (c->kept.t != NULL && same(&c->kept, r)) return;
  m_ref(r->t);
  reference old = c->kept;
  c->kept = *r;
  if (r->t->kind == TOKEN) c->kept.w.data = NULL;
  if (old.t != NULL) m_unref(old.t);
}
static void c_register(cell *c, const reference *r) {
  m_register(c, r);
  rawwaker_cell_register(&c->cell, &r->w);
}
static void c_wake(cell *c) {
  task *t = c->kept.t;
  c->kept.t = NULL;
  if (t != NULL) m_wake(t);
  rawwaker_cell_wake(&c->cell);
}
static void c_drop(cell *c) {
  task *t = c->kept.t;
  c->kept.t = NULL;
  if (t != NULL) m_unref(t);
  rawwaker_cell_drop(&c->cell);
}
static reference c_take(cell *c) {
  reference r = {c->kept.w, c->kept.t};
  rawwaker got = {&r, NULL};
  bool any = rawwaker_cell_take(&c->cell, &got);
  expect(any == (r.t != NULL), "cell_take returned %d", any);
  c->kept.t = NULL;
  if (!any) {
    expect(got.data == &r && got.vtable == NULL, "cell_take of an empty cell wrote");
    return (reference){0};
  }
  expect(got.vtable == r.w.vtable, "cell_take returned another vtable");
  if (r.t->kind == TOKEN)
    expect(token_of(got.data)->t == r.t, "cell_take returned another task's reference");
  else
    expect(got.data == r.w.data, "cell_take returned another task's waker");
  r.w = got;
  return r;
}

static cell cells[CELLS];

/* ---------------------------------------------------------------------------- the futures -- */

/* The bits of script. 0 and 1: its end (0, 3: when completed; 1: ready, 2: panicked, after as many
 * pending polls as bits 2 and 3 specify). 4: it wakes itself in each pending poll. 5: it keeps no
 * waker. 6: it wakes itself in its last poll. */
typedef struct future {
  bool exists, completed, busy;
  uint8_t script;
  enum { DIRECT, UNDER_BOX, BORN, BLOCKED } way;
  unsigned polls, turn;
  rawwaker_poll last;
  reference under; /* the waker of the current poll */
  cell kept;
  unsigned nested; /* how many operations its first poll performs */
  unsigned slot;   /* of block_on: where its waker is stored */
  bool dropped;
} future;

static future futures[FUTURES];
static void run(size_t n, bool inside);
static int depth;

static rawwaker_poll future_poll(void *data, rawwaker_context *cx, void *out) {
  future *f = data;
  expect(f->exists && !f->dropped, "a poll of a future that was dropped");
  if (f->turn == 0 && f->way == BLOCKED) {
    task *t = task_new(PARKER);
    count(t);
    t->refs = 1;
    t->w = *cx->waker;
    f->under = (reference){t->w, t};
  }
  if (f->turn == 0 && f->way == BORN) {
    task *t = task_new(BOX); /* not counted, because it may be freed before it is returned */
    t->hold = t->unborn = true;
    t->word = LOOP;
    t->w = *cx->waker;
    f->under = (reference){t->w, t};
  }
  task *t = f->under.t;
  if (f->turn++ > 0) {
    expect(f->way != DIRECT, "a second poll of one call");
    expect(f->last == RAWWAKER_PENDING, "polled again after its end");
    expect(t->word == WOKEN, "polled again without a wake");
    t->word = f->way == BLOCKED ? IDLE : LOOP;
  }
  expect(rawwaker_will_wake(cx->waker, &f->under.w), "a poll under another waker");
  f->polls++;
  if (!(f->script & 32)) c_register(&f->kept, &f->under);
  if (f->turn == 1 && f->way == BLOCKED) put(&world.wakers[f->slot], r_clone(&f->under));
  if (f->turn == 1 && f->nested > 0) {
    depth++;
    run(f->nested, true);
    depth--;
  }
  unsigned how = f->script & 3u, after = f->script >> 2 & 3u;
  bool completes =
      how == 1 || how == 2 ? f->polls > after : f->completed || (f->way == BLOCKED && f->polls > 3);
  if (!completes) {
    if (f->script & 16 || (f->way == BLOCKED && t->word != WOKEN)) r_wake_by_ref(&f->under);
    return f->last = RAWWAKER_PENDING;
  }
  if (f->script & 64) r_wake_by_ref(&f->under);
  if (how == 2) {
    rawwaker_set_panic("why not", 7);
    return f->last = RAWWAKER_PANICKED;
  }
  *(unsigned *)out = f->polls;
  return f->last = RAWWAKER_READY;
}
static void future_drop(void *data) {
  future *f = data;
  expect(f->exists && !f->dropped, "a future was dropped twice");
  f->dropped = true;
  c_drop(&f->kept);
}
static const rawwaker_future_vtable future_vtable = {future_poll, future_drop};

static void cancel(future *f) {
  if (!f->exists || f->busy) return;
  future_drop(f);
  memset(f, 0, sizeof *f);
}
static rawwaker_poll poll_direct(future *f, const rawwaker *w, unsigned *out) {
  rawwaker_context cx = {w};
  return future_poll(f, &cx, out);
}
static rawwaker_poll poll_under_box(future *f, unsigned *out) {
  task *t = f->under.t;
  bool looping = t->kind == BOX && t->word == IDLE, woken = false;
  if (looping) {
    f->way = UNDER_BOX;
    t->word = LOOP;
  }
  rawwaker_box *b = box_of(t), *was = b;
  rawwaker_poll got =
      rawwaker_box_poll(sink, &b, (rawwaker_future){f, &future_vtable}, out, &woken);
  expect(b == was, "box_poll returned another box");
  /* If the poll closes its own task, whether a wake is reported depends on how the poll ends. */
  bool came =
      looping && (f->turn > 1 || (t->word == WOKEN && (t->hold || got == RAWWAKER_PENDING)));
  expect(woken == came, "box_poll set woken to %d: %s", woken,
         came ? "a wake was lost" : "there was no wake");
  if (looping) t->word = t->hold ? IDLE : WOKEN;
  return got;
}
static rawwaker_poll poll_born(future *f, unsigned *out) {
  bool woken = false;
  rawwaker_box *b = NULL;
  f->way = BORN;
  rawwaker_poll got =
      rawwaker_box_poll(sink, &b, (rawwaker_future){f, &future_vtable}, out, &woken);
  task *t = f->under.t;
  bool came = t->word == WOKEN || f->turn > 1;
  expect(woken == came, "box_poll without a box set woken to %d: %s", woken,
         came ? "a wake was lost" : "there was no wake");
  expect((b != NULL) == (t->refs > 0),
         "box_poll without a box: the future has kept %zu, and a box was %s", t->refs,
         b != NULL ? "returned" : "not returned");
  t->unborn = false;
  if (b == NULL) {
    t->hold = false;
    t->gone = true;
    return got;
  }
  count(t);
  expect(b == box_of(t), "box_poll returned another box");
  bool since = rawwaker_box_adopt(b, (uint64_t)index_of(t) + 1);
  expect(since == (t->word == WOKEN), "box_adopt returned %d", since);
  t->word = IDLE;
  return got;
}
static void poll_future(future *f, uint8_t y) {
  reference *r = &world.wakers[y % WAKERS];
  unsigned out = 0, way = y >> 4 & 3u;
  if (!f->exists || f->busy || (r->t == NULL && way != 2)) return;
  bool held = r->t != NULL && boxed(r->t) && r->t->hold;
  /* The reference lent for the poll is valid during all of it. */
  reference lent = way != 2 ? r_clone(r) : (reference){0};
  f->turn = 0;
  f->way = DIRECT;
  f->under = lent;
  f->nested = y >> 6;
  f->busy = true;
  rawwaker_set_panic("", 0);
  rawwaker box = held ? rawwaker_box_lend(box_of(r->t)) : lent.w;
  rawwaker_poll got = way == 2           ? poll_born(f, &out)
                      : way == 1 && held ? poll_under_box(f, &out)
                                         : poll_direct(f, way == 3 ? &box : &lent.w, &out);
  f->busy = false;
  expect(got == f->last, "a poll returned %d and not %d", got, f->last);
  if (got == RAWWAKER_READY)
    expect(out == f->polls, "a future's value was %u and not %u", out, f->polls);
  if (got == RAWWAKER_PANICKED)
    expect(strcmp(rawwaker_last_panic(), "why not") == 0, "a panic's text is wrong");
  if (got != RAWWAKER_PENDING) cancel(f);
  r_drop(&lent);
}
static void block_on(uint8_t script, uint8_t y) {
  if (depth >= DEPTH) return;
  future f = {
      .exists = true, .script = script, .way = BLOCKED, .nested = y % 8u, .slot = y / 8u % WAKERS};
  unsigned out = 0;
  rawwaker_poll got = rawwaker_block_on((rawwaker_future){&f, &future_vtable}, &out);
  expect(f.dropped, "block_on has not dropped its future");
  expect(got == f.last && got != RAWWAKER_PENDING, "block_on returned %d and not %d", got, f.last);
  if (got == RAWWAKER_READY)
    expect(out == f.polls, "block_on's value was %u and not %u", out, f.polls);
  if (got == RAWWAKER_PANICKED)
    expect(strcmp(rawwaker_last_panic(), "why not") == 0, "a panic's text is wrong");
  m_unref(f.under.t);
}

/* ---------------------------------------------------------------------------- the runtime -- */

static void retire(task *t) {
  bool freed = t->refs == 1 && t->hold;
  bool got = rawwaker_box_retire(box_of(t));
  expect(got == freed, "box_retire returned %d", got);
  if (freed) t->hold = false;
  m_unref(t);
}
static void retire_all(void) {
  for (size_t i = 0; i < world.nnoticed; i++) retire(world.noticed[i]);
  world.nnoticed = 0;
}

/* Reads up to rounds times n notices. The rest of the list stays for the next read. */
static void read_list(size_t n, unsigned rounds, bool at_once) {
  while (rounds-- > 0) {
    if (world.ntaken == 0) {
      expect(world.rest == NULL, "a list is longer than the wakes");
      world.rest = rawwaker_sink_take(sink);
      memcpy(world.taken, world.listed, sizeof world.taken);
      world.ntaken = world.nlisted;
      world.nlisted = 0;
    }
    rawwaker_notice notices[4];
    size_t got = rawwaker_box_read(&world.rest, notices, n),
           want = world.ntaken < n ? world.ntaken : n;
    expect(got == want, "%zu notices and not %zu: %s", got, want,
           got < want ? "a wake was lost" : "there was no wake");
    for (size_t i = 0; i < got; i++) {
      task *t = world.taken[i];
      bool woken = t->hold && t->word == WOKEN; /* a closed box reports no wake */
      t->word = t->hold ? IDLE : WOKEN;
      bool last = t->kind == TELL && t->refs == 1 && t->hold;
      expect(notices[i].id == (uint64_t)index_of(t) + 1, "a notice of task %d and not of %d",
             (int)notices[i].id - 1, index_of(t));
      expect(notices[i].woken == woken, "a notice has woken %u: %s", notices[i].woken,
             woken ? "a wake was lost" : "there was no wake");
      expect(notices[i].last == last, "a notice has last %u", notices[i].last);
      if (!last)
        m_unref(t);
      else
        world.noticed[world.nnoticed++] = t;
    }
    world.ntaken -= got;
    memmove(world.taken, world.taken + got, world.ntaken * sizeof world.taken[0]);
    if (at_once) retire_all();
    if (got == 0) return;
  }
}
static void sleep_in(uint8_t way) {
  switch (way % 3) {
    case 0: {
      bool empty = world.nlisted == 0, got = rawwaker_sink_sleep(sink);
      expect(got == empty, "sink_sleep returned %d: %s", got,
             got ? "a wake was lost" : "nothing is listed");
      world.sleeping = empty;
      break;
    }
    case 1:
      rawwaker_sink_ack(sink);
      world.readable = false;
      break;
    default:
      rawwaker_sink_kick(sink);
      world.readable = true;
  }
}
static void close_task(task *t) {
  if (!boxed(t) || !t->hold || t->unborn) return;
  t->hold = false;
  t->word = WOKEN;
  rawwaker_box *b = box_of(t);
  if (t->refs == 0) m_free(t);
  rawwaker_box_close(b);
}

/* -------------------------------------------------------------------- sequential programs -- */

static void borrow(const reference *r, uint8_t way) {
  bool box = rawwaker_is_box(&r->w);
  expect(box == (r->t->kind != NOOP && r->t->kind != TOKEN), "is_box returned %d", box);
  expect(rawwaker_box_id(&r->w) == (boxed(r->t) ? (uint64_t)index_of(r->t) + 1 : 0), "box_id");
  if (way % 4 == 0 || !box) {
    reference c = {.t = r->t};
    m_ref(r->t);
    rawwaker_clone_into(&r->w, &c.w);
    expect(rawwaker_will_wake(&c.w, &r->w) == (r->t->kind != TOKEN),
           "will_wake is wrong for clone_into");
    r_drop(&c);
    return;
  }
  /* As async-ffi uses it: one pointer, which points to its vtable. */
  const rawwaker_boxed *b = r->w.data;
  expect(rawwaker_from_boxed(b).vtable == r->w.vtable, "from_boxed returned another kind");
  m_ref(r->t);
  const rawwaker_boxed *c = b->vtable->clone(b);
  expect(c == b, "async-ffi's clone returned another waker");
  switch (way % 4) {
    case 1:
      m_wake(r->t);
      c->vtable->wake(c);
      break;
    case 2:
      m_wake_by_ref(r->t);
      c->vtable->wake_by_ref(c); /* fall through */
    default:
      m_unref(r->t);
      c->vtable->drop(c);
  }
}

static void step(const operation *o) {
  reference *x = &world.wakers[o->x % WAKERS], *y = &world.wakers[o->y % WAKERS];
  cell *c = &cells[o->x % CELLS];
  future *f = &futures[o->x % FUTURES];
  reference *raw;
  task *t = world.ntasks > 0 ? &world.tasks[o->x % world.ntasks] : NULL;
  atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
  switch ((enum op_code)o->code) {
    case op_make: put(x, make(o->y % KINDS)); break;
    case op_clone:
      if (x->t != NULL) put(y, r_clone(x));
      break;
    case op_wake:
      if (x->t != NULL) r_wake(x);
      break;
    case op_wake_by_ref:
      if (x->t != NULL) r_wake_by_ref(x);
      break;
    case op_drop:
    case op_forget: r_drop(x); break;
    case op_clone_from:
      if (y->t == NULL) break;
      if (x->t == NULL || !same(x, y)) {
        task *old = x->t;
        m_ref(y->t);
        x->t = y->t;
        if (old != NULL) m_unref(old);
      }
      rawwaker_clone_from(&x->w, &y->w);
      break;
    case op_will_wake:
      if (x->t != NULL && y->t != NULL)
        expect(rawwaker_will_wake(&x->w, &y->w) == same(x, y), "will_wake is not %d", same(x, y));
      break;
    case op_borrow:
      if (x->t != NULL) borrow(x, o->y);
      break;
    case op_move:
      if (x->t == NULL) break;
      raw = &world.raws[o->y % RAWS];
      put(raw, *x);
      *x = (reference){0};
      break;
    case op_back:
      raw = &world.raws[o->x % RAWS];
      if (raw->t == NULL) break;
      reference r = *raw;
      *raw = (reference){0};
      if ((o->x >> 4 & 3) == 1) {
        r_wake(&r);
        break;
      }
      if ((o->x >> 4 & 3) == 2) {
        r_drop(&r);
        break;
      }
      if (rawwaker_is_box(&r.w)) r.w = rawwaker_from_boxed(r.w.data);
      expect(r.w.vtable != NULL, "from_boxed does not recognise a box");
      put(y, r);
      break;
    case op_cell_register:
      if (y->t == NULL) break;
      if (o->x & 16) {
        m_reentered = c;
        reenter = &c->cell;
      }
      c_register(c, y);
      m_reentered = NULL;
      reenter = NULL;
      break;
    case op_cell_wake: c_wake(c); break;
    case op_cell_take: {
      reference got = c_take(c);
      if (got.t != NULL) put(y, got);
      break;
    }
    case op_cell_drop: c_drop(c); break;
    case op_future:
      if (f->busy) break;
      cancel(f);
      f->exists = true;
      f->script = o->y;
      break;
    case op_poll: poll_future(f, o->y); break;
    case op_complete:
      if (!f->exists) break;
      f->completed = true;
      c_wake(&f->kept);
      break;
    case op_cancel: cancel(f); break;
    case op_block_on: block_on(o->x, o->y); break;
    case op_ref:
      if (t == NULL || !boxed(t) || !t->hold || t->unborn) break;
      m_ref(t);
      put(y, (reference){rawwaker_box_ref(box_of(t)), t});
      break;
    case op_close:
      if (t != NULL) close_task(t);
      break;
    case op_read: read_list(o->y % 4u + 1, o->y & 8 ? 1 : MOST, o->x & 1); break;
    case op_sleep: sleep_in(o->x); break;
    case op_retire: retire_all(); break;
    case OPS: break;
  }
}

/* The checks after each operation. */
static void compare(void) {
  size_t live = world.live + (program.mode & HOOKED && !world.dropped ? 1 : 0);
  if (!world.dropped || world.live == 0)
    expect(rawwaker_live() == live, "%zu wakers exist and not %zu", rawwaker_live(), live);
  for (size_t i = 0; i < world.ntasks; i++) {
    task *t = &world.tasks[i];
    if (t->kind != FN && t->kind != TOKEN) continue;
    expect(t->seen_wakes == t->wakes, "task %zu: %ld wakes have arrived of %ld%s", i, t->seen_wakes,
           t->wakes, t->seen_wakes < t->wakes ? ": a wake was lost" : "");
    if (t->kind == FN)
      expect(t->seen_drops == (t->refs == 0),
             "task %zu has %zu references and was dropped %ld times", i, t->refs, t->seen_drops);
    else
      expect(t->seen_live == (long)t->refs, "task %zu: %ld references and not %zu", i, t->seen_live,
             t->refs);
  }
  expect(strcmp(logs[SEEN].letters, logs[MODEL].letters) == 0, "the slots called were%s, and not%s",
         logs[SEEN].letters, logs[MODEL].letters);
  for (int i = 0; i < 2; i++) logs[i].letters[logs[i].n = 0] = '\0';
  expect(world.seen_hook == world.hook, "the sink's hook was called %ld times and not %ld",
         world.seen_hook, world.hook);
  if (!world.dropped)
    expect(readable() == world.readable, "the descriptor is%s readable%s",
           world.readable ? " not" : "", world.readable ? ": a wake was lost" : "");
}

/* ---------------------------------------------------------------------------- the threads -- */

static struct worker {
  pthread_t id;
  sem_t go, done;
  void (*run)(int);
  bool started;
} workers[THREADS];

static void *work(void *arg) {
  struct worker *w = arg;
  for (;;) {
    while (sem_wait(&w->go) != 0) {
    }
    w->run((int)(w - workers));
    sem_post(&w->done);
  }
  return NULL;
}
static void start(int who, void (*what)(int)) {
  struct worker *w = &workers[who];
  w->run = what;
  if (!w->started) {
    w->started = true;
    if (sem_init(&w->go, 0, 0) != 0 || sem_init(&w->done, 0, 0) != 0) abort();
    if (pthread_create(&w->id, NULL, work, w) != 0) abort();
  }
  sem_post(&w->go);
}
static void join(int who) {
  while (sem_wait(&workers[who].done) != 0) {
  }
}

static void step_on(int who) {
  (void)who;
  step(&program.ops[at]);
}
/* Performs n operations. Inside a poll all are performed on the polling thread. */
static void run(size_t n, bool inside) {
  for (size_t i = 0; i < n && (inside ? at + 1 : at) < program.n; i++) {
    if (inside) at++;
    int who = program.ops[at].who;
    if (inside || who == 0) {
      step(&program.ops[at]);
    } else {
      start(who, step_on);
      join(who);
    }
    if (!inside) {
      compare();
      at++;
    }
  }
}

static void sequence(void) {
  memset(&world, 0, sizeof world);
  memset(cells, 0, sizeof cells);
  memset(futures, 0, sizeof futures);
  memset(logs, 0, sizeof logs);
  at = 0;
  sink = rawwaker_sink_new(0);
  expect(sink != NULL, "no sink");
  if (program.mode & HOOKED)
    expect(rawwaker_sink_on_wake(sink, rawwaker_from_fn(hook_wake, &world.seen_hook, NULL)),
           "no memory");
  run(MOST, false);

  for (int i = 0; i < FUTURES; i++) cancel(&futures[i]);
  for (int i = 0; i < CELLS; i++) c_drop(&cells[i]);
  if (!(program.mode & EARLY)) {
    for (int i = 0; i < WAKERS; i++) r_drop(&world.wakers[i]);
    for (int i = 0; i < RAWS; i++) r_drop(&world.raws[i]);
    compare();
    read_list(4, MOST, true);
  }
  retire_all();
  for (unsigned i = 0; world.ntaken > 0 && i < MOST; i++) read_list(1, 1, true);
  for (size_t i = 0; i < world.ntasks; i++) close_task(&world.tasks[i]);
  if (!(program.mode & EARLY)) read_list(4, MOST, true);
  compare();
  /* The sink frees what is listed. The remaining wakers outlive it. */
  size_t listed = world.nlisted;
  world.nlisted = 0;
  world.dropped = true;
  for (size_t i = 0; i < listed; i++) m_unref(world.listed[i]);
  rawwaker_sink_drop(sink);
  for (int i = 0; i < WAKERS; i++)
    if (world.wakers[i].t != NULL) r_wake(&world.wakers[i]);
  for (int i = 0; i < RAWS; i++) r_drop(&world.raws[i]);
  compare();
  expect(world.live == 0, "the model has %zu left", world.live);
  expect(rawwaker_live() == 0, "%zu wakers are left", rawwaker_live());
  for (size_t i = 0; i < world.ntasks; i++)
    expect(world.tasks[i].refs == 0, "task %zu: the model has %zu references left", i,
           world.tasks[i].refs);
}

/* -------------------------------------------------------------------- concurrent programs -- */

/* For each box of the runtime, by its id: whether a wake was made that no notice has reported. */
typedef struct record {
  _Atomic(bool) dirty, closed;
} record;

static struct shared {
  task fn, token, hook;
  rawwaker fn_waker, token_waker;
  _Atomic(long) fn_wakes, fn_maybe, token_wakes, token_maybe;
  struct {
    pthread_mutex_t mu; /* held during box_ref, close and retire, as the header requires */
    rawwaker_box *box;
    uint64_t id;
  } runtime[KINDS];
  record records[MOST + 2];
  _Atomic(uint64_t) ids;
  rawwaker_cell cells[CELLS];
  struct gate {
    rawwaker_cell cell;
    _Atomic(bool) waited;
    _Atomic(int) polls, opens, wants, waking, beside;
    bool ended;
  } futures[THREADS], gates[THREADS];
  bool asleep; /* used by thread 0, which alone sleeps */
  _Atomic(int) running, ready;
} shared;

typedef struct own {
  rawwaker wakers[WAKERS], raws[RAWS];
} own;

static record *record_of(const rawwaker *w) {
  uint64_t id = rawwaker_box_id(w);
  return id != 0 ? &shared.records[id] : NULL;
}
static void dirty(const rawwaker *w) {
  record *r = record_of(w);
  if (r != NULL) atomic_store_explicit(&r->dirty, true, memory_order_relaxed);
  if (w->vtable == shared.fn_waker.vtable) shared.fn_wakes++;
  if (w->vtable == &token_vtable) shared.token_wakes++;
}
/* A cell may hold either waker. A register that overlaps another register, a wake, a take or a drop
 * wakes its own waker. */
static void maybe(void) {
  shared.fn_maybe++;
  shared.token_maybe++;
}
static rawwaker s_make(int kind) {
  rawwaker w = rawwaker_noop();
  if (kind == FN) return rawwaker_clone(&shared.fn_waker);
  if (kind == TOKEN) return rawwaker_clone(&shared.token_waker);
  if (kind == NOOP) return w;
  pthread_mutex_lock(&shared.runtime[kind].mu);
  if (shared.runtime[kind].box == NULL && shared.ids < MOST + 1) {
    shared.runtime[kind].id = ++shared.ids;
    shared.runtime[kind].box =
        rawwaker_box_new(sink, shared.runtime[kind].id, kind == TELL ? RAWWAKER_BOX_TELL : 0);
  }
  if (shared.runtime[kind].box != NULL) w = rawwaker_box_ref(shared.runtime[kind].box);
  pthread_mutex_unlock(&shared.runtime[kind].mu);
  return w;
}
static void s_close(int kind) {
  pthread_mutex_lock(&shared.runtime[kind].mu);
  rawwaker_box *b = shared.runtime[kind].box;
  if (b != NULL) {
    shared.records[shared.runtime[kind].id].closed = true;
    rawwaker_box_close(b);
    shared.runtime[kind].box = NULL;
  }
  pthread_mutex_unlock(&shared.runtime[kind].mu);
}
static void s_read(void) {
  rawwaker_box *l = rawwaker_sink_take(sink);
  rawwaker_notice n;
  while (rawwaker_box_read(&l, &n, 1) != 0) {
    expect(n.id > 0 && n.id <= shared.ids, "a notice with an unknown id");
    if (n.woken) atomic_exchange_explicit(&shared.records[n.id].dirty, false, memory_order_relaxed);
    if (!n.last) continue;
    /* Only this thread retires it, so a notice with last is the only one. */
    pthread_mutex_lock(&shared.runtime[TELL].mu);
    bool current = shared.runtime[TELL].box != NULL && shared.runtime[TELL].id == n.id;
    rawwaker_box *b = shared.runtime[TELL].box;
    if (current && rawwaker_box_retire(b)) shared.runtime[TELL].box = NULL;
    pthread_mutex_unlock(&shared.runtime[TELL].mu);
    expect(current, "a notice with last of a box that was retired");
  }
}
static void s_put(rawwaker *to, rawwaker w) {
  if (to->vtable != NULL) rawwaker_drop(*to);
  *to = w;
}

static rawwaker_poll gate_poll(void *data, rawwaker_context *cx, void *out) {
  struct gate *g = data;
  (void)out;
  g->polls++;
  maybe();
  rawwaker_cell_register(&g->cell, cx->waker);
  if (g->waking > 0) g->beside++;
  return g->opens >= g->wants ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void gate_drop(void *data) { rawwaker_cell_drop(&((struct gate *)data)->cell); }
static const rawwaker_future_vtable gate_vtable = {gate_poll, gate_drop};
static void gate_open(struct gate *g) {
  g->opens++;
  maybe();
  g->waking++;
  rawwaker_cell_wake(&g->cell);
  g->waking--;
}

static void s_poll(int who, const rawwaker *w, bool box) {
  struct gate *g = &shared.futures[who];
  if (g->ended) return;
  rawwaker_poll got;
  rawwaker_context cx = {w};
  record *r = record_of(w);
  if (box && r != NULL) {
    /* The runtime may release the box meanwhile; w keeps it. */
    bool woken;
    rawwaker_box *b = w->data;
    got = rawwaker_box_poll(sink, &b, (rawwaker_future){g, &gate_vtable}, NULL, &woken);
    if (woken) atomic_exchange_explicit(&r->dirty, false, memory_order_relaxed);
  } else {
    got = gate_poll(g, &cx, NULL);
  }
  if (got == RAWWAKER_PENDING) return;
  gate_drop(g);
  g->ended = true;
}

static void s_step(int who, own *me, const operation *o) {
  rawwaker *x = &me->wakers[o->x % WAKERS], *y = &me->wakers[o->y % WAKERS], w;
  rawwaker_cell *c = &shared.cells[o->x % CELLS];
  bool any = x->vtable != NULL;
  atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
  switch ((enum op_code)o->code) {
    case op_make: s_put(x, s_make(o->y % KINDS)); break;
    case op_ref: s_put(y, s_make(o->x & 1 ? BOX : TELL)); break;
    case op_clone:
      if (any && x != y) s_put(y, rawwaker_clone(x));
      break;
    case op_wake:
      if (!any) break;
      w = *x;
      x->vtable = NULL;
      dirty(&w);
      rawwaker_wake(w);
      break;
    case op_wake_by_ref:
      if (!any) break;
      dirty(x);
      rawwaker_wake_by_ref(x);
      break;
    case op_drop:
    case op_forget:
      if (any) s_put(x, (rawwaker){0});
      break;
    case op_clone_from:
      if (y->vtable != NULL) rawwaker_clone_from(x, y);
      break;
    case op_will_wake:
      if (any && y->vtable != NULL)
        expect(rawwaker_will_wake(x, y) == rawwaker_will_wake(y, x),
               "will_wake is not symmetric");
      break;
    case op_borrow:
      if (!any || !rawwaker_is_box(x)) break;
      const rawwaker_boxed *b = x->data, *k = b->vtable->clone(b);
      dirty(x);
      k->vtable->wake(k);
      break;
    case op_move:
      if (!any) break;
      s_put(&me->raws[o->y % RAWS], *x);
      x->vtable = NULL;
      break;
    case op_back:
      w = me->raws[o->x % RAWS];
      me->raws[o->x % RAWS].vtable = NULL;
      if (w.vtable != NULL) s_put(y, w);
      break;
    case op_cell_register:
      if (y->vtable == NULL) break;
      maybe();
      rawwaker_cell_register(c, y);
      break;
    case op_cell_wake:
      maybe();
      rawwaker_cell_wake(c);
      break;
    case op_cell_take:
      if (rawwaker_cell_take(c, &w)) s_put(y, w);
      break;
    case op_cell_drop: rawwaker_cell_drop(c); break;
    case op_future:
      shared.futures[who].wants = shared.futures[who].opens + 1;
      shared.futures[who].ended = false;
      break;
    case op_poll:
      if (y->vtable != NULL) s_poll(who, y, o->y & 16);
      break;
    case op_complete:
      gate_open(&(o->x & 128 ? shared.gates : shared.futures)[o->x % THREADS]);
      break;
    case op_cancel:
      if (!shared.futures[who].ended) gate_drop(&shared.futures[who]);
      shared.futures[who].ended = true;
      break;
    case op_block_on: {
      struct gate *g = &shared.gates[who];
      int opens = g->opens;
      g->wants = opens + 3;
      g->polls = g->beside = 0;
      g->waited = true;
      rawwaker_block_on((rawwaker_future){g, &gate_vtable}, NULL);
      g->waited = false;
      /* A register beside a wake of the cell wakes too, again and again while the thread that
       * wakes has no processor. The poll that sees such a wake end is not counted as beside. */
      expect(g->polls - g->beside <= 2 * (g->opens - opens + THREADS),
             "block_on has polled %d times, %d of them beside a wake, and was woken %d times at most",
             g->polls, g->beside, g->opens - opens);
      break;
    }
    case op_close: s_close(BOX); break;
    case op_read:
    case op_retire: s_read(); break;
    case op_sleep:
      if (who != 0) {
        rawwaker_sink_kick(sink);
      } else if (o->x % 2 == 0) {
        shared.asleep = rawwaker_sink_sleep(sink);
      } else {
        rawwaker_sink_ack(sink);
        shared.asleep = false;
      }
      break;
    case OPS: break;
  }
}
static void s_run(int who) {
  own me;
  memset(&me, 0, sizeof me);
  /* Otherwise the first thread may have finished before the last has begun. */
  for (shared.ready++; shared.ready < THREADS;) sched_yield();
  for (size_t i = 0; i < program.n; i++)
    if (program.ops[i].who == who) s_step(who, &me, &program.ops[i]);
  for (int i = 0; i < WAKERS; i++) s_put(&me.wakers[i], (rawwaker){0});
  for (int i = 0; i < RAWS; i++) s_put(&me.raws[i], (rawwaker){0});
  shared.running--;
}

static void together(void) {
  memset(&shared, 0, sizeof shared);
  for (int k = 0; k < KINDS; k++) pthread_mutex_init(&shared.runtime[k].mu, NULL);
  sink = rawwaker_sink_new(0);
  expect(sink != NULL, "no sink");
  if (program.mode & HOOKED)
    expect(rawwaker_sink_on_wake(sink, rawwaker_from_fn(fn_wake, &shared.hook, fn_drop)),
           "no memory");
  shared.fn_waker = rawwaker_from_fn(fn_wake, &shared.fn, fn_drop);
  shared.token_waker = token_new(&shared.token);
  shared.running = THREADS;
  for (int i = 0; i < THREADS; i++) start(i, s_run);
  /* Each thread that waits at a gate is released, by this thread if by no other. */
  struct timespec from, now;
  clock_gettime(CLOCK_MONOTONIC, &from);
  while (shared.running > 0) {
    for (int i = 0; i < THREADS; i++)
      if (shared.gates[i].waited) gate_open(&shared.gates[i]);
    /* Long enough for a block_on that does not sleep to poll many times. */
    for (int i = 0; i < 20 && shared.running > 0; i++) sched_yield();
    clock_gettime(CLOCK_MONOTONIC, &now);
    expect(now.tv_sec - from.tv_sec < 20, "a block_on does not return: a wake was lost");
  }
  for (int i = 0; i < THREADS; i++) join(i);

  void *head;
  uint32_t *sleeping;
  rawwaker_sink_words(sink, &head, &sleeping);
  bool listed = atomic_load((_Atomic(void *) *)head) != NULL;
  if (shared.asleep && listed)
    expect(readable(), "the runtime sleeps and the list is not empty: a wake was lost");
  for (int i = 0; i < THREADS; i++) {
    rawwaker_cell_drop(&shared.futures[i].cell);
    rawwaker_cell_drop(&shared.gates[i].cell);
  }
  for (int i = 0; i < CELLS; i++) rawwaker_cell_drop(&shared.cells[i]);
  if (!(program.mode & EARLY)) {
    s_read();
    s_read(); /* boxes that a late retire has listed */
    expect(shared.runtime[TELL].box == NULL,
           "no notice reports the end of a box's last reference: it was lost");
  }
  for (uint64_t id = 1; !(program.mode & EARLY) && id <= shared.ids; id++)
    expect(shared.records[id].closed || !shared.records[id].dirty,
           "box %d was woken, and no notice reports it: a wake was lost", (int)id);
  s_close(BOX);
  s_close(TELL);
  rawwaker_sink_drop(sink);

  rawwaker_drop(shared.fn_waker);
  rawwaker_drop(shared.token_waker);
  long seen = shared.fn.seen_wakes;
  expect(seen >= shared.fn_wakes, "%ld wakes of a function have arrived of %ld: a wake was lost",
         seen, shared.fn_wakes);
  expect(seen <= shared.fn_wakes + shared.fn_maybe,
         "%ld wakes of a function have arrived, and %ld were made", seen,
         shared.fn_wakes + shared.fn_maybe);
  seen = shared.token.seen_wakes;
  expect(seen >= shared.token_wakes, "%ld wakes of a token have arrived of %ld: a wake was lost",
         seen, shared.token_wakes);
  expect(seen <= shared.token_wakes + shared.token_maybe,
         "%ld wakes of a token have arrived, and %ld were made", seen,
         shared.token_wakes + shared.token_maybe);
  expect(shared.fn.seen_drops == 1, "a function waker was dropped %ld times", shared.fn.seen_drops);
  expect(shared.hook.seen_drops == (program.mode & HOOKED ? 1 : 0),
         "the hook was dropped %ld times", shared.hook.seen_drops);
  expect(shared.token.seen_live == 0, "%ld tokens are left", shared.token.seen_live);
  expect(rawwaker_live() == 0, "%zu wakers are left", rawwaker_live());
  for (int k = 0; k < KINDS; k++) pthread_mutex_destroy(&shared.runtime[k].mu);
}

/* ---------------------------------------------------------------------------- the drivers -- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  decode(data, size);
  if (program.mode & TOGETHER)
    together();
  else
    sequence();
  return 0;
}

static void say_operations(void) {
  /* A file, because AFL++ starts many processes and discards their output. */
  const char *to = getenv("FUZZ_OPERATIONS");
  if (to == NULL) {
    printf("operations %llu\n", (unsigned long long)operations);
    return;
  }
  FILE *f = fopen(to, "a");
  if (f == NULL) return;
  fprintf(f, "operations %llu\n", (unsigned long long)operations);
  fclose(f);
}

#if defined(REPLAY)
static int descriptors(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  if (d == NULL) return -1;
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n;
}
static void too_late(int signal) {
  (void)signal;
  fail("it does not return: a wake was lost");
}
int main(int argc, char **argv) {
  signal(SIGALRM, too_late);
  bool only_list = argc > 1 && strcmp(argv[1], "-list") == 0;
  static uint8_t data[1 << 16];
  int before = descriptors();
  for (int i = only_list ? 2 : 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    if (f == NULL) {
      perror(argv[i]);
      return 2;
    }
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    if (only_list) {
      decode(data, size);
      printf("# %s\n", strrchr(argv[i], '/') != NULL ? strrchr(argv[i], '/') + 1 : argv[i]);
      list(stdout, program.n);
      continue;
    }
    const char *slash = strrchr(argv[i], '/');
    /* The last name printed is that of the program that failed. */
    fprintf(stderr, "%s\n", slash != NULL ? slash + 1 : argv[i]);
    alarm(60);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
  }
  if (only_list) return 0;
  expect(descriptors() == before, "%d descriptors are open, and %d were", descriptors(), before);
  say_operations();
  return 0;
}
#elif defined(AFL)
__AFL_FUZZ_INIT();
int main(void) {
  const unsigned char *data = __AFL_FUZZ_TESTCASE_BUF;
  while (__AFL_LOOP(1000)) LLVMFuzzerTestOneInput(data, (size_t)__AFL_FUZZ_TESTCASE_LEN);
  say_operations();
  return 0;
}
#else
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  atexit(say_operations);
  return 0;
}
#endif
