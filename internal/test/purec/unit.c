/* unit.c - tests each sentence of rawwaker.h, on one thread or two, and prints TAP. ./run builds
 * and runs it, also under the tools. */
#define _GNU_SOURCE
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------ a task whose wakers write letters -- */

/* Each reference is allocated separately, so its second use is a use of freed memory. The letters
 * are those of the task and of the slot: "ac" is a clone of a's waker. */
typedef struct task {
  char name;
  int refs;
  void (*on_drop)(void);
} task;
typedef struct token {
  task *of;
} token;

static char events[256];
static void note(char a, char b) {
  size_t n = strlen(events);
  if (n + 3 < sizeof events) {
    events[n] = a;
    events[n + 1] = b;
    events[n + 2] = '\0';
  }
}
static void forget(void) { events[0] = '\0'; }

static rawwaker task_waker(task *t);
static void token_end(token *k) {
  k->of->refs--;
  free(k);
}
static rawwaker task_clone(void *data) {
  token *k = data;
  note(k->of->name, 'c');
  return task_waker(k->of);
}
static void task_wake(void *data) {
  token *k = data;
  note(k->of->name, 'w');
  token_end(k);
}
static void task_wake_by_ref(void *data) { note(((token *)data)->of->name, 'r'); }
static void task_drop(void *data) {
  token *k = data;
  void (*hook)(void) = k->of->on_drop;
  note(k->of->name, 'd');
  token_end(k);
  if (hook != NULL) hook();
}
static const rawwaker_vtable task_vtable = {task_clone, task_wake, task_wake_by_ref, task_drop};
static rawwaker task_waker(task *t) {
  token *k = malloc(sizeof *k);
  if (k == NULL) abort();
  k->of = t;
  t->refs++;
  return (rawwaker){k, &task_vtable};
}

/* A task whose clone slot must not be called: its result would be refused. */
static task *same_task;
static rawwaker same_clone(void *data) {
  note(same_task->name, 'c');
  same_task->refs++;
  return (rawwaker){data, NULL};
}

/* ------------------------------------------------------------------- the calls of a waker -- */

static void version(void) { CHECK(rawwaker_abi_version() == RAWWAKER_ABI_VERSION); }

static void verbs(void) {
  task a = {.name = 'a'};
  forget();
  rawwaker w = task_waker(&a), c = rawwaker_clone(&w), d;
  rawwaker_clone_into(&w, &d);
  rawwaker_wake_by_ref(&c);
  rawwaker_wake(c);
  rawwaker_drop(d);
  rawwaker_drop(w);
  CHECK(strcmp(events, "acacarawadad") == 0);
  CHECK(a.refs == 0);
}

static void will_wake(void) {
  int x, y;
  rawwaker a = {&x, &task_vtable}, b = {&y, &task_vtable}, c = {&x, rawwaker_noop().vtable};
  CHECK(rawwaker_will_wake(&a, &a));
  CHECK(!rawwaker_will_wake(&a, &b));
  CHECK(!rawwaker_will_wake(&a, &c));
}

static rawwaker number_clone(void *data);
static uintptr_t number_dropped;
static void number_none(void *data) { (void)data; }
static void number_drop(void *data) { number_dropped = number_dropped * 100 + (uintptr_t)data; }
static const rawwaker_vtable number_vtable = {number_clone, number_drop, number_none, number_drop};
static rawwaker number_clone(void *data) {
  return (rawwaker){(void *)((uintptr_t)data + 1), &number_vtable};
}

static void data_is_any_integer(void) {
  rawwaker w = {(void *)(uintptr_t)42, &number_vtable}, c = rawwaker_clone(&w);
  CHECK((uintptr_t)c.data == 43);
  number_dropped = 0;
  rawwaker_drop(w);
  rawwaker_wake(c);
  CHECK(number_dropped == 4243);
}

static void clone_from_same(void) {
  rawwaker noop = rawwaker_noop(), dst = noop;
  rawwaker_clone_from(&dst, &noop);
  CHECK(rawwaker_will_wake(&dst, &noop));
  same_task = &(task){.name = 's'};
  static const rawwaker_vtable equal = {same_clone, number_none, number_none, number_none};
  rawwaker w = {same_task, &equal}, x = w;
  forget();
  rawwaker_clone_from(&x, &w);
  CHECK(events[0] == '\0');
}

static rawwaker stored;
static task old_task, new_task;
static void look_at_stored(void) {
  note(stored.vtable == &task_vtable && ((token *)stored.data)->of == &new_task ? '+' : '-', ' ');
}
static void clone_from_order(void) {
  old_task = (task){.name = 'o', .on_drop = look_at_stored};
  new_task = (task){.name = 'n'};
  rawwaker src = task_waker(&new_task);
  stored = task_waker(&old_task);
  forget();
  rawwaker_clone_from(&stored, &src);
  /* clone, store, drop: drop finds the new waker stored */
  CHECK(strcmp(events, "ncod+ ") == 0);
  rawwaker_drop(stored);
  rawwaker empty = {NULL, NULL};
  forget();
  rawwaker_clone_from(&empty, &src);
  CHECK(strcmp(events, "nc") == 0);
  rawwaker_drop(empty);
  rawwaker_drop(src);
  CHECK(old_task.refs == 0 && new_task.refs == 0);
}

static void noop(void) {
  rawwaker n = rawwaker_noop(), c = rawwaker_clone(&n);
  CHECK(n.data == NULL);
  CHECK(rawwaker_will_wake(&n, &c));
  CHECK(!rawwaker_is_box(&n));
  rawwaker_wake_by_ref(&n);
  rawwaker_wake(c);
  rawwaker_drop(n);
  rawwaker_drop(n); /* optional, so a second drop is allowed too */
}

/* --------------------------------------------------------------- counted, from a function -- */

static int woken, ended;
static rawwaker kept;
static void fn_count(void *arg) { *(int *)arg += 1; }
static void fn_end(void *arg) { ended += *(int *)arg == 3; }
static void fn_drops_a_clone(void *arg) {
  (void)arg;
  if (kept.vtable != NULL) {
    rawwaker k = kept;
    kept.vtable = NULL;
    rawwaker_drop(k);
  }
}

static void from_fn(void) {
  woken = ended = 0;
  rawwaker w = rawwaker_from_fn(fn_count, &woken, fn_end), c = rawwaker_clone(&w);
  CHECK(rawwaker_live() == 1);
  CHECK(rawwaker_will_wake(&w, &c));
  rawwaker_wake_by_ref(&w);
  rawwaker_wake_by_ref(&c);
  rawwaker_drop(w);
  CHECK(ended == 0);
  rawwaker_wake(c);
  CHECK(woken == 3 && ended == 1);
  rawwaker_drop(rawwaker_from_fn(fn_count, &woken, NULL));
}

static void from_fn_drops_in_wake(void) {
  rawwaker w = rawwaker_from_fn(fn_drops_a_clone, NULL, NULL);
  kept = rawwaker_clone(&w);
  rawwaker_wake(w);
}

/* It drops the reference that it is called through, which is the last. The waker ends inside the
 * call, and must not be accessed afterwards. */
static int inside_wake, ended_inside;
static void fn_drops_all(void *arg) {
  inside_wake++;
  fn_drops_a_clone(arg);
  inside_wake--;
}
static void fn_ends(void *arg) {
  (void)arg;
  ended_inside += inside_wake;
  ended++;
}
static void from_fn_drops_itself_in_wake(void) {
  for (int by_value = 0; by_value < 2; by_value++) {
    ended = ended_inside = 0;
    rawwaker w = kept = rawwaker_from_fn(fn_drops_all, NULL, fn_ends);
    if (by_value) {
      kept = rawwaker_clone(&w);
      rawwaker_wake(w);
    } else {
      rawwaker_wake_by_ref(&w);
    }
    CHECK(ended == 1 && ended_inside == !by_value && rawwaker_live() == 0);
  }
}

/* The Rust side of async-ffi uses only the data pointer. */
static void boxed(rawwaker w, const int *wakes) {
  CHECK(rawwaker_is_box(&w));
  int before = wakes == NULL ? 0 : *wakes;
  const rawwaker_boxed *b = w.data, *c = b->vtable->clone(b);
  CHECK(c == b);
  b->vtable->wake_by_ref(b);
  b->vtable->wake(c);
  b->vtable->drop(b);
  if (wakes != NULL) CHECK(*wakes == before + 2);
}
static void async_ffi(void) {
  woken = 0;
  boxed(rawwaker_from_fn(fn_count, &woken, NULL), &woken);
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 7, 0);
  boxed(rawwaker_box_ref(b), NULL);
  rawwaker_box *list = rawwaker_sink_take(s);
  rawwaker_notice n[2];
  CHECK(rawwaker_box_read(&list, n, 2) == 1 && n[0].id == 7 && n[0].woken == 1 && n[0].last == 0);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

/* ------------------------------------------------------------------------------- the cell -- */

static void cell(void) {
  task a = {.name = 'a'}, b = {.name = 'b'};
  rawwaker_cell c, zeroed;
  rawwaker out = {NULL, NULL};
  rawwaker_cell_init(&c);
  memset(&zeroed, 0, sizeof zeroed);
  CHECK(!rawwaker_cell_take(&zeroed, &out) && out.vtable == NULL);
  rawwaker wa = task_waker(&a), wb = task_waker(&b), n = rawwaker_noop();
  forget();
  rawwaker_cell_wake(&c); /* empty: does nothing */
  rawwaker_cell_register(&c, &wa);
  rawwaker_cell_register(&c, &wb);
  CHECK(strcmp(events, "acbcad") == 0);
  rawwaker_cell_wake(&c);
  rawwaker_cell_wake(&c);
  CHECK(strcmp(events, "acbcadbw") == 0);
  rawwaker_cell_register(&c, &wa);
  CHECK(rawwaker_cell_take(&c, &out));
  rawwaker_drop(out);
  rawwaker_cell_register(&c, &n);
  rawwaker_cell_register(&c, &n);
  rawwaker_cell_drop(&c);
  rawwaker_cell_register(&c, &wb); /* may be used again */
  rawwaker_cell_drop(&c);
  rawwaker_drop(wa);
  rawwaker_drop(wb);
  CHECK(a.refs == 0 && b.refs == 0);
}

/* A waker that equals its clones, as in most runtimes. */
static rawwaker equal_clone(void *data);
static void equal_drop(void *data) { note(*(char *)data, 'd'); }
static const rawwaker_vtable equal_vtable = {equal_clone, equal_drop, equal_drop, equal_drop};
static rawwaker equal_clone(void *data) {
  note(*(char *)data, 'c');
  return (rawwaker){data, &equal_vtable};
}
static void cell_keeps_an_equal_one(void) {
  char name = 'e';
  rawwaker w = {&name, &equal_vtable};
  rawwaker_cell c;
  rawwaker_cell_init(&c);
  forget();
  for (int i = 0; i < 3; i++) rawwaker_cell_register(&c, &w);
  CHECK(strcmp(events, "ec") == 0);
  rawwaker_cell_drop(&c);
  CHECK(strcmp(events, "eced") == 0);
}

/* A slot that uses its own cell. If the cell held a lock during the slot, it would hang. */
static rawwaker_cell busy_cell;
static rawwaker reenter_clone(void *data);
static void reenter(void *data) {
  (void)data;
  rawwaker n = rawwaker_noop();
  rawwaker_cell_register(&busy_cell, &n);
}
static const rawwaker_vtable reenter_vtable = {reenter_clone, reenter, reenter, reenter};
static rawwaker reenter_clone(void *data) {
  reenter(data);
  return (rawwaker){data, &reenter_vtable};
}
static void cell_may_be_used_by_its_slots(void) {
  alarm(20);
  rawwaker w = {NULL, &reenter_vtable}, n = rawwaker_noop();
  rawwaker_cell_init(&busy_cell);
  rawwaker_cell_register(&busy_cell, &w);
  rawwaker_cell_register(&busy_cell, &n);
  rawwaker_cell_register(&busy_cell, &w);
  rawwaker_cell_wake(&busy_cell);
  rawwaker_cell_register(&busy_cell, &w);
  rawwaker_cell_drop(&busy_cell);
  rawwaker_cell_drop(&busy_cell);
  alarm(0);
}

/* Actions of other threads while one thread is inside a register, for any time: `inside` runs in
 * its clone slot. */
static void (*inside)(void);
static task other;
static rawwaker stopped_clone(void *data) {
  inside();
  return task_clone(data);
}
static const rawwaker_vtable stopped_vtable = {stopped_clone, task_wake, task_wake_by_ref,
                                               task_drop};
static void takes_inside(void) {
  rawwaker out = {NULL, NULL};
  note('t', rawwaker_cell_take(&busy_cell, &out) ? '+' : '-');
  CHECK(out.vtable == NULL);
}
static void wakes_inside(void) { rawwaker_cell_wake(&busy_cell); }
static void wakes_twice_inside(void) {
  wakes_inside();
  wakes_inside();
}
static void drops_inside(void) { rawwaker_cell_drop(&busy_cell); }
static void registers_inside(void) {
  rawwaker w = task_waker(&other);
  rawwaker_cell_register(&busy_cell, &w);
  rawwaker_drop(w);
}
static void wakes_and_registers_inside(void) {
  wakes_inside();
  registers_inside();
}
static void cell_waits_for_no_register(void) {
  static const struct {
    void (*inside)(void);
    const char *events, *then; /* of the register, and of a later wake */
  } cases[] = {
      {wakes_inside, "acawbd", ""},         {wakes_twice_inside, "acawbd", ""},
      {takes_inside, "t-acawbd", ""},       {drops_inside, "acawbd", ""},
      {registers_inside, "orodacbd", "aw"}, {wakes_and_registers_inside, "orodacawbd", ""},
  };
  task a = {.name = 'a'}, b = {.name = 'b'};
  other = (task){.name = 'o'};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    rawwaker wa = task_waker(&a), wb = task_waker(&b);
    wa.vtable = &stopped_vtable;
    rawwaker_cell_init(&busy_cell);
    rawwaker_cell_register(&busy_cell, &wb);
    forget();
    inside = cases[i].inside;
    rawwaker_cell_register(&busy_cell, &wa);
    CHECK(strcmp(events, cases[i].events) == 0);
    forget();
    rawwaker_cell_wake(&busy_cell);
    CHECK(strcmp(events, cases[i].then) == 0);
    rawwaker_cell_register(&busy_cell, &wb); /* it can register again */
    rawwaker_cell_drop(&busy_cell);
    rawwaker_drop(wa);
    rawwaker_drop(wb);
    CHECK(a.refs == 0 && b.refs == 0 && other.refs == 0);
  }
}

/* ------------------------------------------------------------------------------- block_on -- */

/* Needs `left` wakes, which arrive as `how` specifies. It writes p for a poll and d for the
 * drop. */
typedef struct counting {
  int left;
  enum { BY_SELF, BY_THREAD_DURING, BY_THREAD_AFTER, NESTED } how;
  rawwaker_poll last;
  pthread_t threads[4];
  int started;
  atomic_int arrived;
  rawwaker_cell cell;
} counting;

static void *wake_it(void *arg) {
  rawwaker *w = arg;
  rawwaker_wake(*w);
  free(w);
  return NULL;
}
static void *arrive(void *arg) {
  counting *c = arg;
  atomic_fetch_add(&c->arrived, 1);
  rawwaker_cell_wake(&c->cell);
  return NULL;
}
static const rawwaker_future_vtable counting_vtable;

static rawwaker_poll counting_poll(void *data, rawwaker_context *cx, void *out) {
  counting *c = data;
  note('p', ' ');
  if (c->how == BY_THREAD_AFTER) {
    rawwaker_cell_register(&c->cell, cx->waker);
    if (atomic_load(&c->arrived) == c->left) goto done;
    if (c->started == 0)
      for (; c->started < c->left; c->started++)
        pthread_create(&c->threads[c->started], NULL, arrive, c);
    return RAWWAKER_PENDING;
  }
  if (c->left-- == 0) goto done;
  if (c->how == BY_SELF) rawwaker_wake_by_ref(cx->waker);
  if (c->how == NESTED) {
    counting inner = {.left = 1, .how = BY_SELF};
    CHECK(rawwaker_block_on((rawwaker_future){&inner, &counting_vtable}, NULL) == RAWWAKER_READY);
    rawwaker_wake_by_ref(cx->waker);
  }
  if (c->how == BY_THREAD_DURING) {
    rawwaker *w = malloc(sizeof *w);
    if (w == NULL) abort();
    *w = rawwaker_clone(cx->waker);
    pthread_t t;
    pthread_create(&t, NULL, wake_it, w);
    pthread_join(t, NULL);
  }
  return RAWWAKER_PENDING;
done:
  if (c->last == RAWWAKER_READY && out != NULL) *(int *)out = 42;
  if (c->last == RAWWAKER_PANICKED) rawwaker_set_panic("boom", 4);
  return c->last;
}
static void counting_drop(void *data) {
  counting *c = data;
  for (int i = 0; i < c->started; i++) pthread_join(c->threads[i], NULL);
  rawwaker_cell_drop(&c->cell);
  note('d', ' ');
}
static const rawwaker_future_vtable counting_vtable = {counting_poll, counting_drop};

static rawwaker_poll block_on(counting c, int *out) {
  forget();
  return rawwaker_block_on((rawwaker_future){&c, &counting_vtable}, out);
}

static void block_on_polls_once_a_wake(void) {
  int out = 0;
  CHECK(block_on((counting){.left = 0}, &out) == RAWWAKER_READY && out == 42);
  CHECK(strcmp(events, "p d ") == 0);
  CHECK(block_on((counting){.left = 3, .how = BY_SELF}, &out) == RAWWAKER_READY);
  CHECK(strcmp(events, "p p p p d ") == 0);
  CHECK(block_on((counting){.left = 3, .how = BY_THREAD_DURING}, &out) == RAWWAKER_READY);
  CHECK(strcmp(events, "p p p p d ") == 0);
  CHECK(block_on((counting){.left = 2, .how = NESTED}, &out) == RAWWAKER_READY);
  CHECK(strcmp(events, "p p p d p p p d p d ") == 0);
  for (int i = 0; i < 200; i++)
    CHECK(block_on((counting){.left = 4, .how = BY_THREAD_AFTER}, &out) == RAWWAKER_READY);
}

/* Each poll requests one wake, which arrives shortly after the poll. A poll without a wake would
 * come before it. */
typedef struct exchange {
  sem_t polled;
  rawwaker_cell cell;
  atomic_int wakes;
  int polls;
} exchange;
enum { EXCHANGES = 40 };
static void *exchange_waker(void *arg) {
  exchange *e = arg;
  for (int i = 0; i < EXCHANGES; i++) {
    while (sem_wait(&e->polled) != 0) {
    }
    usleep(300);
    atomic_fetch_add(&e->wakes, 1);
    rawwaker_cell_wake(&e->cell);
  }
  return NULL;
}
static rawwaker_poll exchange_poll(void *data, rawwaker_context *cx, void *out) {
  exchange *e = data;
  (void)out;
  CHECK(atomic_load(&e->wakes) == e->polls);
  if (e->polls++ == EXCHANGES) return RAWWAKER_READY;
  rawwaker_cell_register(&e->cell, cx->waker);
  sem_post(&e->polled);
  return RAWWAKER_PENDING;
}
static void exchange_drop(void *data) { (void)data; }
static void block_on_sleeps_between_wakes(void) {
  static const rawwaker_future_vtable vtable = {exchange_poll, exchange_drop};
  exchange e = {.polls = 0};
  pthread_t id;
  sem_init(&e.polled, 0, 0);
  rawwaker_cell_init(&e.cell);
  pthread_create(&id, NULL, exchange_waker, &e);
  CHECK(rawwaker_block_on((rawwaker_future){&e, &vtable}, NULL) == RAWWAKER_READY);
  CHECK(e.polls == EXCHANGES + 1);
  pthread_join(id, NULL);
  rawwaker_cell_drop(&e.cell);
  sem_destroy(&e.polled);
}

static void block_on_panicked(void) {
  int out = 7;
  CHECK(block_on((counting){.left = 1, .last = RAWWAKER_PANICKED}, &out) == RAWWAKER_PANICKED);
  CHECK(out == 7);
  CHECK(strcmp(events, "p p d ") == 0);
  CHECK(strcmp(rawwaker_last_panic(), "boom") == 0);
  CHECK(block_on((counting){.left = 0}, &out) == RAWWAKER_READY);
  CHECK(rawwaker_last_panic()[0] == '\0');
}

static void nothing_is_left(void) {
  bool woken = true;
  CHECK(rawwaker_box_poll_left(0, &woken) == NULL);
  CHECK(!woken);
}

static void *other_threads_panic(void *arg) {
  CHECK(rawwaker_last_panic()[0] == '\0');
  rawwaker_set_panic("other", 5); /* freed with the thread; a leak checker reports it otherwise */
  return arg;
}
static void panic_text(void) {
  char long_text[2000];
  memset(long_text, 'x', sizeof long_text);
  rawwaker_set_panic(long_text, sizeof long_text);
  CHECK(strlen(rawwaker_last_panic()) == 1024);
  rawwaker_set_panic("mine and more", 4);
  pthread_t t;
  pthread_create(&t, NULL, other_threads_panic, NULL);
  pthread_join(t, NULL);
  CHECK(strcmp(rawwaker_last_panic(), "mine") == 0);
  rawwaker_set_panic(NULL, 0);
  CHECK(rawwaker_last_panic()[0] == '\0');
}

/* A future that panics, and whose drop slot polls another one: one that is ready, panics, or is
 * pending. */
typedef struct failing {
  const char *why;
  counting then;
  const char *sets; /* by the drop slot, as its last call */
} failing;
static rawwaker_poll failing_poll(void *data, rawwaker_context *cx, void *out) {
  (void)cx;
  (void)out;
  const char *why = ((failing *)data)->why;
  if (why != NULL) rawwaker_set_panic(why, strlen(why));
  return RAWWAKER_PANICKED;
}
static void failing_drop(void *data) {
  failing *f = data;
  rawwaker_block_on((rawwaker_future){&f->then, &counting_vtable}, NULL);
  if (f->sets != NULL) rawwaker_set_panic(f->sets, strlen(f->sets));
}
static const rawwaker_future_vtable failing_vtable = {failing_poll, failing_drop};
static void the_text_outlives_the_drop(void) {
  static const failing cases[] = {
      {"why", {.left = 0}, NULL},
      {"why", {.left = 2, .how = BY_SELF}, NULL},
      {"why", {.left = 2, .how = BY_THREAD_AFTER}, NULL},
      {"why", {.left = 0, .last = RAWWAKER_PANICKED}, NULL},
      {"why", {.left = 0}, "another"},
      {NULL, {.left = 0, .last = RAWWAKER_PANICKED}, "another"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    failing f = cases[i];
    rawwaker_set_panic("before", 6);
    CHECK(rawwaker_block_on((rawwaker_future){&f, &failing_vtable}, NULL) == RAWWAKER_PANICKED);
    CHECK(strcmp(rawwaker_last_panic(), f.why == NULL ? "" : f.why) == 0);
  }
  rawwaker_set_panic(rawwaker_last_panic(), 0);
}

/* A text may be made from the previous one. */
static void the_text_of_a_text(void) {
  rawwaker_set_panic("it: why", 7);
  rawwaker_set_panic(rawwaker_last_panic() + 4, 3);
  CHECK(strcmp(rawwaker_last_panic(), "why") == 0);
  rawwaker_set_panic(rawwaker_last_panic(), 2);
  CHECK(strcmp(rawwaker_last_panic(), "wh") == 0);
  rawwaker_set_panic("", 0);
}

#ifndef _WIN32 /* it has no cancellation */
/* A wait in a thread that is cancelled, by another thread or by its own future. The drop slot
 * itself waits. */
enum { ASLEEP, IN_POLL, WOKEN_IN_POLL, NOT_WILLING, SLEPT, HOWS, SLEEPS = 8 };
typedef struct cancelled {
  int how; /* one of the five */
  sem_t polled;
  rawwaker_cell cell;
  int polls, drops;
  bool came_back, kept_state;
  rawwaker_poll got;
} cancelled;
static rawwaker_poll cancelled_poll(void *data, rawwaker_context *cx, void *out) {
  cancelled *c = data;
  (void)out;
  if (c->how == IN_POLL || c->how == WOKEN_IN_POLL) {
    if (c->polls == 0) pthread_cancel(pthread_self());
    pthread_testcancel(); /* a cancellation point, as write is */
  }
  if (c->how == SLEPT) { /* it was asleep between most of these polls */
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    CHECK(state == PTHREAD_CANCEL_DISABLE);
    if (c->polls == SLEEPS) pthread_cancel(pthread_self());
  }
  if (c->how == IN_POLL || c->polls++ >= (c->how == SLEPT ? SLEEPS : 1)) return RAWWAKER_READY;
  rawwaker_cell_register(&c->cell, cx->waker);
  if (c->how == WOKEN_IN_POLL) rawwaker_cell_wake(&c->cell); /* so block_on does not sleep */
  sem_post(&c->polled);
  return RAWWAKER_PENDING;
}
/* which does not know that a cancelled sem_wait orders threads */
#if defined(__SANITIZE_THREAD__)
#define AFTER_A_CANCEL BY_SELF
#else
#define AFTER_A_CANCEL BY_THREAD_AFTER
#endif
static void cancelled_drop(void *data) {
  cancelled *c = data;
  counting then = {.left = 2, .how = AFTER_A_CANCEL};
  pthread_testcancel();
  CHECK(rawwaker_block_on((rawwaker_future){&then, &counting_vtable}, NULL) == RAWWAKER_READY);
  pthread_testcancel();
  rawwaker_cell_drop(&c->cell);
  c->drops++;
}
static void *cancelled_waits(void *arg) {
  static const rawwaker_future_vtable vtable = {cancelled_poll, cancelled_drop};
  cancelled *c = arg;
  int state;
  if (c->how == NOT_WILLING) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
  c->got = rawwaker_block_on((rawwaker_future){c, &vtable}, NULL);
  c->came_back = true;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
  c->kept_state = state == (c->how == NOT_WILLING ? PTHREAD_CANCEL_DISABLE : PTHREAD_CANCEL_ENABLE);
  pthread_testcancel();
  return NULL;
}
static void block_on_is_cancelled_in_its_sleep_only(void) {
  alarm(60);
  for (int round = 0; round < 40; round++) {
    cancelled c = {.how = round % HOWS};
    pthread_t t;
    void *result;
    sem_init(&c.polled, 0, 0);
    pthread_create(&t, NULL, cancelled_waits, &c);
    if (c.how == ASLEEP || c.how == NOT_WILLING) {
      sem_wait(&c.polled);
      pthread_cancel(t);
      if (c.how == NOT_WILLING) rawwaker_cell_wake(&c.cell);
    }
    for (int i = 0; c.how == SLEPT && i < SLEEPS; i++) {
      sem_wait(&c.polled);
      usleep(500);
      rawwaker_cell_wake(&c.cell);
    }
    pthread_join(t, &result);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(c.drops == 1);
    CHECK(c.came_back == (c.how != ASLEEP));
    CHECK(c.how == ASLEEP || (c.kept_state && c.got == RAWWAKER_READY));
    sem_destroy(&c.polled);
  }
  alarm(0);
}
#endif

/* A waker of block_on that is used after the call has returned. */
static rawwaker outlives;
static rawwaker_poll keeps_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)out;
  outlives = rawwaker_clone(cx->waker);
  return RAWWAKER_READY;
}
static void late_wakes(void) {
  static const rawwaker_future_vtable vtable = {keeps_poll, number_none};
  rawwaker_block_on((rawwaker_future){NULL, &vtable}, NULL);
  CHECK(rawwaker_is_box(&outlives));
  rawwaker_wake_by_ref(&outlives);
  boxed(outlives, NULL);
}

/* ------------------------------------------------------------------------ sinks and boxes -- */

static bool readable(const rawwaker_sink *s) {
  struct pollfd p = {.fd = rawwaker_sink_fd(s), .events = POLLIN};
  return poll(&p, 1, 0) == 1;
}
static size_t drain(rawwaker_sink *s, rawwaker_notice *out, size_t n) {
  rawwaker_box *list = rawwaker_sink_take(s);
  size_t got = 0, more;
  while ((more = rawwaker_box_read(&list, out + got, n - got)) != 0) got += more;
  return got;
}

static void boxes_list_once_in_order(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b[3];
  rawwaker w[3];
  for (int i = 0; i < 3; i++) {
    b[i] = rawwaker_box_new(s, (uint64_t)i + 1, 0);
    w[i] = rawwaker_box_ref(b[i]);
    CHECK(rawwaker_box_id(&w[i]) == (uint64_t)i + 1);
    rawwaker lent = rawwaker_box_lend(b[i]);
    CHECK(rawwaker_will_wake(&w[i], &lent));
  }
  rawwaker noop = rawwaker_noop();
  CHECK(rawwaker_box_id(&noop) == 0);
  CHECK(w[0].vtable == rawwaker_box_vtable());
  rawwaker_notice n[8];
  for (int round = 0; round < 2; round++) {
    rawwaker_wake_by_ref(&w[1]);
    rawwaker_wake_by_ref(&w[0]);
    rawwaker_wake_by_ref(&w[1]);
    rawwaker_wake_by_ref(&w[2]);
    CHECK(drain(s, n, 8) == 3);
    CHECK(n[0].id == 2 && n[1].id == 1 && n[2].id == 3);
    CHECK(n[0].woken && n[1].woken && n[2].woken && !n[0].last);
    CHECK(drain(s, n, 8) == 0);
  }
  CHECK(!readable(s)); /* no sleep, so no write */
  for (int i = 0; i < 3; i++) {
    rawwaker_wake(w[i]);
    rawwaker_box_close(b[i]);
  }
  CHECK(drain(s, n, 8) == 3 && !n[0].woken && !n[1].woken && !n[2].woken); /* closed while listed */
  rawwaker_sink_drop(s);
}

static void a_sleeper_is_woken_once(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0), *c = rawwaker_box_new(s, 2, 0);
  rawwaker w = rawwaker_box_ref(b), x = rawwaker_box_ref(c);
  rawwaker_notice n[4];
  void **head;
  void *words;
  uint32_t *sleeping;
  rawwaker_sink_words(s, &words, &sleeping);
  head = words;
  CHECK(rawwaker_sink_sleep(s) && *sleeping == 1 && *head == NULL);
  rawwaker_wake_by_ref(&w);
  CHECK(readable(s) && *sleeping == 0 && *head != NULL);
  rawwaker_sink_ack(s);
  rawwaker_wake_by_ref(&x); /* listed, but no sleep */
  CHECK(!readable(s));
  CHECK(!rawwaker_sink_sleep(s) && *sleeping == 0);
  CHECK(drain(s, n, 4) == 2);
  rawwaker_sink_kick(s);
  rawwaker_sink_kick(s);
  CHECK(readable(s));
  rawwaker_sink_ack(s);
  CHECK(!readable(s));
  rawwaker_drop(w);
  rawwaker_drop(x);
  rawwaker_box_close(b);
  rawwaker_box_close(c);
  rawwaker_sink_drop(s);
}

static int hooked, unhooked;
static void hook(void *arg) { *(int *)arg += 1; }
static void unhook(void *arg) {
  (void)arg;
  unhooked++;
}

static void the_hook_is_called_with_the_descriptor(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  rawwaker w = rawwaker_box_ref(b);
  rawwaker_notice n[2];
  int first = 0;
  hooked = unhooked = 0;
  CHECK(rawwaker_sink_on_wake(s, rawwaker_from_fn(hook, &first, unhook)));
  CHECK(rawwaker_sink_on_wake(s, rawwaker_from_fn(hook, &hooked, unhook)));
  rawwaker_wake_by_ref(&w); /* no sleep */
  CHECK(hooked == 0 && drain(s, n, 2) == 1);
  CHECK(rawwaker_sink_sleep(s));
  rawwaker_wake_by_ref(&w);
  rawwaker_wake_by_ref(&w);
  CHECK(hooked == 1 && first == 0 && readable(s) && drain(s, n, 2) == 1);
  CHECK(rawwaker_sink_on_wake(s, rawwaker_noop()) && unhooked == 0);
  CHECK(rawwaker_sink_sleep(s));
  rawwaker_wake_by_ref(&w);
  CHECK(hooked == 1 && drain(s, n, 2) == 1);
  rawwaker_drop(w);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
  CHECK(unhooked == 2);
}

/* A future that does what its letters specify, one for each poll: s wakes itself; k keeps the waker
 * (clone_from); t wakes the kept waker on another thread; d drops it; r is ready; R is ready, but
 * wakes itself first; p panics; S sleeps 30 us and wakes itself; . does nothing. */
typedef struct script {
  const char *letters;
  rawwaker kept;
  int polls, misses;
} script;
static void *wake_kept(void *arg) {
  rawwaker_wake_by_ref(arg);
  return NULL;
}
static rawwaker_poll script_poll(void *data, rawwaker_context *cx, void *out) {
  script *f = data;
  f->polls++;
  switch (*f->letters == '\0' ? 's' : *f->letters++) {
    case 'S':
      usleep(30);
      rawwaker_wake_by_ref(cx->waker);
      return RAWWAKER_PENDING;
    case 's': rawwaker_wake_by_ref(cx->waker); return RAWWAKER_PENDING;
    case 'k':
      f->misses += f->kept.vtable == NULL || !rawwaker_will_wake(&f->kept, cx->waker);
      rawwaker_clone_from(&f->kept, cx->waker);
      return RAWWAKER_PENDING;
    case 't': {
      pthread_t id;
      pthread_create(&id, NULL, wake_kept, &f->kept);
      pthread_join(id, NULL);
      return RAWWAKER_PENDING;
    }
    case 'd':
      rawwaker_drop(f->kept);
      f->kept.vtable = NULL;
      return RAWWAKER_PENDING;
    case 'R': rawwaker_wake_by_ref(cx->waker); *(int *)out = 42; return RAWWAKER_READY;
    case 'r': *(int *)out = 42; return RAWWAKER_READY;
    case 'p': rawwaker_set_panic("why", 3); return RAWWAKER_PANICKED;
    default: return RAWWAKER_PENDING;
  }
}
static void script_drop(void *data) { (void)data; }
static const rawwaker_future_vtable script_vtable = {script_poll, script_drop};

static rawwaker_poll poll_script(rawwaker_sink *s, rawwaker_box **b, script *f, bool *told) {
  int out = 0;
  rawwaker_poll got = rawwaker_box_poll(s, b, (rawwaker_future){f, &script_vtable}, &out, told);
  CHECK((got == RAWWAKER_READY) == (out == 42));
  return got;
}

static void a_future_that_wakes_itself_is_polled_again(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = NULL;
  bool told = true;
  script ready = {.letters = "r"}, then = {.letters = "ssr"}, ever = {.letters = ""},
         slow = {.letters = "SSSSSSSSSSSSSSSS"}, panics = {.letters = "sp"},
         last = {.letters = "R"}, again = {.letters = "R"};
  rawwaker_box *held = rawwaker_box_new(s, 1, 0);
  CHECK(poll_script(s, &b, &ready, &told) == RAWWAKER_READY && b == NULL && !told);
  script thrice;
  int tries = 0;
  do { /* a slow machine may reach the limit of 100 us first */
    thrice = (script){.letters = "sss."};
    CHECK(poll_script(s, &b, &thrice, &told) == RAWWAKER_PENDING && b == NULL && told);
  } while (thrice.polls != 4 && ++tries < 50);
  CHECK(thrice.polls == 4);
  CHECK(poll_script(s, &b, &then, &told) == RAWWAKER_READY && b == NULL && told);
  CHECK(poll_script(s, &b, &last, &told) == RAWWAKER_READY && b == NULL && told);
  CHECK(poll_script(s, &held, &again, &told) == RAWWAKER_READY && told);
  rawwaker_box_close(held);
  CHECK(poll_script(s, &b, &ever, &told) == RAWWAKER_PENDING && told && ever.polls <= 64);
  CHECK(poll_script(s, &b, &slow, &told) == RAWWAKER_PENDING && told && slow.polls < 8);
  CHECK(poll_script(s, &b, &panics, &told) == RAWWAKER_PANICKED && told &&
        strcmp(rawwaker_last_panic(), "why") == 0);
  CHECK(poll_script(s, &b, &(script){.letters = "r"}, &told) == RAWWAKER_READY &&
        rawwaker_last_panic()[0] == '\0');
  CHECK(rawwaker_live() == 0);
  rawwaker_sink_drop(s);
}

/* A poll that a runtime leaves by an unwind, as Go does by a panic. It does what its letters
 * specify before: s wakes itself, and is polled again; k keeps the waker; w wakes itself; the end
 * leaves. */
typedef struct leaving {
  const char *letters;
  rawwaker kept;
  jmp_buf out;
} leaving;
static rawwaker_poll leaving_poll(void *data, rawwaker_context *cx, void *out) {
  leaving *f = data;
  (void)out;
  for (;;) {
    switch (*f->letters++) {
      case 's': rawwaker_wake_by_ref(cx->waker); return RAWWAKER_PENDING;
      case 'k': f->kept = rawwaker_clone(cx->waker); break;
      case 'w': rawwaker_wake_by_ref(cx->waker); break;
      case '.': return RAWWAKER_PENDING;
      default: longjmp(f->out, 1);
    }
  }
}
/* Polls until f is left, and ends that. */
static rawwaker_box *poll_and_leave(rawwaker_sink *s, rawwaker_box **b, leaving *f, bool *woken) {
  static const rawwaker_future_vtable vtable = {leaving_poll, script_drop};
  static uintptr_t note;
  static rawwaker_future polled; /* not a local variable, which longjmp may change */
  bool ignored;
  polled = (rawwaker_future){f, &vtable};
  *woken = true;
  if (setjmp(f->out) == 0) {
    rawwaker_box_poll_noted(s, b, polled, NULL, &ignored, &note);
    CHECK(false); /* it was not left */
  }
  return rawwaker_box_poll_left(note, woken);
}
static void a_poll_that_is_left(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_notice n[2];
  bool woken;
  /* that has kept nothing leaves nothing */
  static const struct {
    const char *letters;
    bool woken;
  } keeps_none[] = {{"", false}, {"w", true}, {"s", true}, {"sw", true}};
  for (size_t i = 0; i < sizeof keeps_none / sizeof keeps_none[0]; i++) {
    rawwaker_box *b = NULL;
    leaving f = {.letters = keeps_none[i].letters};
    CHECK(poll_and_leave(s, &b, &f, &woken) == NULL && b == NULL);
    CHECK(woken == keeps_none[i].woken && rawwaker_live() == 0);
  }
  /* that has kept its waker gives the box, to be adopted or closed */
  static const struct {
    const char *letters;
    bool woken;
  } keeps[] = {{"k", false}, {"kw", true}, {"sk", true}};
  for (size_t i = 0; i < sizeof keeps / sizeof keeps[0]; i++) {
    rawwaker_box *b = NULL;
    leaving f = {.letters = keeps[i].letters};
    rawwaker_box *made = poll_and_leave(s, &b, &f, &woken);
    CHECK(made != NULL && b == NULL && woken == keeps[i].woken);
    CHECK(rawwaker_box_adopt(made, 7) == (i == 1) && rawwaker_box_id(&f.kept) == 7);
    rawwaker_wake(f.kept);
    CHECK(drain(s, n, 2) == 1 && n[0].id == 7 && n[0].woken);
    /* of a box that there is: its wakes are listed again */
    f = (leaving){.letters = "s"};
    rawwaker w = rawwaker_box_ref(made);
    CHECK(poll_and_leave(s, &made, &f, &woken) == NULL && woken && drain(s, n, 2) == 0);
    rawwaker_wake_by_ref(&w);
    CHECK(drain(s, n, 2) == 1);
    /* it was listed: the poll does not loop, and leaves nothing to end */
    rawwaker_wake_by_ref(&w);
    f = (leaving){.letters = "w"};
    CHECK(poll_and_leave(s, &made, &f, &woken) == NULL && !woken && drain(s, n, 2) == 1);
    rawwaker_drop(w);
    rawwaker_box_close(made);
  }
  rawwaker_sink_drop(s);
}

/* The future keeps its waker, wakes it and panics: the loop ends at once, and the box is given. */
static rawwaker_poll keeps_and_panics_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker *kept = data;
  (void)out;
  *kept = rawwaker_clone(cx->waker);
  rawwaker_wake_by_ref(kept);
  return RAWWAKER_PANICKED;
}
static void a_box_that_was_woken_by_a_poll_that_panics(void) {
  static const rawwaker_future_vtable vtable = {keeps_and_panics_poll, script_drop};
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = NULL;
  rawwaker_notice n[2];
  bool told = false;
  rawwaker kept;
  CHECK(rawwaker_box_poll(s, &b, (rawwaker_future){&kept, &vtable}, NULL, &told) ==
            RAWWAKER_PANICKED &&
        told && b != NULL);
  CHECK(rawwaker_box_adopt(b, 3));
  rawwaker_wake_by_ref(&kept);
  CHECK(drain(s, n, 2) == 1 && n[0].id == 3);
  rawwaker_drop(kept);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

#ifdef PR_SET_TSC
/* If a process may not read the time (rdtsc, and so clock_gettime, raises a signal), a future that
 * does not wake itself can still be polled: the clock is read only for a future that does. */
static void no_clock_for_a_future_that_does_not_wake_itself(void) {
  pid_t child = fork();
  if (child == 0) {
    if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV) != 0) _exit(0); /* not this kind of processor */
    rawwaker_sink *s = rawwaker_sink_new(0);
    rawwaker_box *b = NULL;
    bool told;
    script f = {.letters = ".r"};
    rawwaker_poll first = poll_script(s, &b, &f, &told), second = poll_script(s, &b, &f, &told);
    _exit(first == RAWWAKER_PENDING && second == RAWWAKER_READY ? 0 : 1);
  }
  int status;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}
#endif

static void a_box_made_by_a_poll_is_given_back_if_it_was_kept(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = NULL;
  rawwaker_notice n[2];
  bool told = true;
  script f = {.letters = "kk.t.ktd."};
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && b != NULL && !told);
  rawwaker_wake_by_ref(&f.kept); /* before the box has an id: not listed */
  CHECK(drain(s, n, 2) == 0);
  CHECK(rawwaker_box_adopt(b, 7));
  CHECK(rawwaker_box_id(&f.kept) == 7);
  rawwaker_wake_by_ref(&f.kept);
  CHECK(drain(s, n, 2) == 1 && n[0].id == 7 && n[0].woken == 1);
  /* will_wake is true since the first */
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told && f.misses == 1);
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told);
  /* t, on another thread, and then . */
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && told && f.polls == 5);
  CHECK(drain(s, n, 2) == 0);
  /* listed: the next poll does not loop, and its wakes go to the list */
  rawwaker_wake_by_ref(&f.kept);
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told && f.polls == 6);
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told && f.polls == 7);
  CHECK(drain(s, n, 2) == 1 && n[0].woken == 1);
  rawwaker_box_close(b);
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told); /* d, the last reference */
  rawwaker_sink_drop(s);
}

static void a_box_closed_during_its_poll_stays_closed(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 3, 0), *born = NULL;
  rawwaker_notice n[2];
  bool told = false;
  rawwaker w = rawwaker_box_ref(b);
  script f = {.letters = "k."};
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told);
  rawwaker_box_close(b);
  rawwaker_wake_by_ref(&w);
  CHECK(drain(s, n, 2) == 0);
  CHECK(poll_script(s, &b, &f, &told) == RAWWAKER_PENDING && !told && f.polls == 2);
  rawwaker_wake(w);
  rawwaker_drop(f.kept);
  CHECK(drain(s, n, 2) == 0);
  script g = {.letters = "k"};
  CHECK(poll_script(s, &born, &g, &told) == RAWWAKER_PENDING && born != NULL);
  rawwaker_box_close(born); /* it was never adopted */
  rawwaker_wake(g.kept);
  CHECK(drain(s, n, 2) == 0);
  rawwaker_sink_drop(s);
}

static rawwaker_poll known_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker w = rawwaker_from_boxed(cx->waker->data);
  (void)data;
  (void)out;
  CHECK(w.vtable != NULL && rawwaker_will_wake(&w, cx->waker));
  return RAWWAKER_READY;
}
static void boxes_are_known_by_their_first_word(void) {
  static const rawwaker_future_vtable of_block_on = {known_poll, script_drop};
  CHECK(rawwaker_block_on((rawwaker_future){NULL, &of_block_on}, NULL) == RAWWAKER_READY);
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 3, 0);
  uint32_t word;
  memcpy(&word, (const char *)b + rawwaker_box_word(), sizeof word);
  CHECK(word == RAWWAKER_BOX_IDLE);
  rawwaker w = rawwaker_box_ref(b), f = rawwaker_from_fn(hook, &hooked, NULL);
  rawwaker x = rawwaker_from_boxed(w.data), y = rawwaker_from_boxed(f.data);
  rawwaker_boxed_vtable copied = *((const rawwaker_boxed *)w.data)->vtable;
  rawwaker_boxed theirs = {&copied};
  CHECK(rawwaker_will_wake(&w, &x) && rawwaker_will_wake(&f, &y));
  CHECK(rawwaker_from_boxed(&theirs).vtable == NULL);
  rawwaker_drop(x);
  rawwaker_drop(y);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

static void closed_boxes_do_nothing(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, RAWWAKER_BOX_TELL);
  rawwaker w = rawwaker_box_ref(b), c = rawwaker_clone(&w);
  rawwaker_notice n[2];
  rawwaker_box_close(b);
  rawwaker_wake_by_ref(&w);
  rawwaker_wake(c);
  CHECK(drain(s, n, 2) == 0);
  rawwaker_box *listed = rawwaker_box_new(s, 2, 0);
  rawwaker x = rawwaker_box_ref(listed);
  rawwaker_wake_by_ref(&x);
  rawwaker_box_close(listed);
  CHECK(drain(s, n, 2) == 1 && n[0].id == 2 && !n[0].woken && !n[0].last);
  rawwaker_wake_by_ref(&x);
  CHECK(drain(s, n, 2) == 0); /* it is never listed again */
  rawwaker_drop(x);
  rawwaker_sink_drop(s); /* the box keeps the sink */
  rawwaker_drop(w);
}

static void boxes_that_tell(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 5, RAWWAKER_BOX_TELL);
  rawwaker_notice n[2];
  rawwaker_drop(rawwaker_box_ref(b)); /* no wake, but C's last reference */
  CHECK(drain(s, n, 2) == 1 && n[0].id == 5 && !n[0].woken && n[0].last);
  rawwaker again = rawwaker_box_ref(b);
  CHECK(!rawwaker_box_retire(b)); /* C has a reference again */
  rawwaker_wake(again);
  CHECK(drain(s, n, 2) == 1 && n[0].woken && n[0].last);
  CHECK(rawwaker_box_retire(b));
  rawwaker_sink_drop(s);
}

static void the_last_reference_of_a_box_that_does_not_tell(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 5, 0);
  rawwaker_notice n[2];
  CHECK(!rawwaker_box_lent(b));
  rawwaker w = rawwaker_box_ref(b);
  CHECK(rawwaker_box_lent(b));
  rawwaker_drop(w);
  CHECK(!rawwaker_box_lent(b));
  CHECK(drain(s, n, 2) == 0);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

static uint64_t look(rawwaker_box *b, const char *name) {
  rawwaker_box_field f[16];
  size_t n = rawwaker_box_look(b, f, 16);
  for (size_t i = 0; i < n && i < 16; i++)
    if (strcmp(f[i].name, name) == 0) return f[i].value;
  CHECK(name == NULL); /* no field of that name */
  return 0;
}

static void what_is_in_a_box_can_be_looked_at(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 77, RAWWAKER_BOX_TELL);
  rawwaker_box_field all[8], few[2] = {{NULL, 0, 0, 0}, {NULL, 0, 0, 0}};
  CHECK(rawwaker_box_look(NULL, all, 8) == 8);
  for (int i = 1; i < 8; i++)
    CHECK(all[i].offset >= all[i - 1].offset + all[i - 1].size && all[i].value == 0);
  CHECK(rawwaker_box_look(b, few, 1) == 8 && few[0].name != NULL && few[1].name == NULL);
  CHECK(rawwaker_box_look(b, NULL, 0) == 8 && rawwaker_box_look(NULL, NULL, 0) == 8);
  rawwaker w = rawwaker_box_ref(b);
  CHECK(look(b, "refs") == 3 && look(b, "queued") == 0 && look(b, "closed") == 0 &&
        look(b, "id") == 77 && look(b, "tell") == 1);
  CHECK(look(b, "sink") == (uintptr_t)s && look(b, "next") == 0);
  CHECK(look(b, "vtable") == (uintptr_t)((const rawwaker_boxed *)w.data)->vtable);
  rawwaker_wake_by_ref(&w);
  CHECK(look(b, "refs") == 5 && look(b, "queued") == 1);
  rawwaker_notice n[2];
  CHECK(drain(s, n, 2) == 1 && n[0].woken == 1);
  CHECK(look(b, "refs") == 3 && look(b, "queued") == 0);
  rawwaker_box_close(b);
  CHECK(look(b, "refs") == 2 && look(b, "queued") == 1 && look(b, "closed") == 1);
  rawwaker_drop(w);
  rawwaker_sink_drop(s);
}

/* A poll of a box that tells does not loop, because C's last drop during the poll must list it. */
static rawwaker_poll drops_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker *kept = data;
  (void)cx;
  (void)out;
  rawwaker_drop(*kept);
  return RAWWAKER_PENDING;
}
static void a_box_that_tells_is_listed_during_its_poll(void) {
  static const rawwaker_future_vtable vtable = {drops_poll, script_drop};
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 5, RAWWAKER_BOX_TELL);
  rawwaker kept = rawwaker_box_ref(b);
  rawwaker_notice n[2];
  bool told = true;
  CHECK(rawwaker_box_poll(s, &b, (rawwaker_future){&kept, &vtable}, NULL, &told) ==
            RAWWAKER_PENDING &&
        !told);
  CHECK(drain(s, n, 2) == 1 && n[0].id == 5 && !n[0].woken && n[0].last);
  CHECK(rawwaker_box_retire(b));
  rawwaker_sink_drop(s);
}

/* It lasts as long as the program, so no test's counts include it. */
static rawwaker_sink *forever;
static void a_permanent_sink(void) {
  rawwaker_notice n[2];
  for (int i = 0; i < 3; i++) {
    rawwaker_box *b = rawwaker_box_new(forever, 9, 0);
    rawwaker w = rawwaker_box_ref(b);
    rawwaker_wake_by_ref(&w);
    CHECK(drain(forever, n, 2) == 1 && n[0].id == 9);
    CHECK(rawwaker_sink_sleep(forever));
    rawwaker_wake(w);
    CHECK(readable(forever));
    rawwaker_sink_ack(forever);
    CHECK(drain(forever, n, 2) == 1);
    rawwaker_box_close(b);
    rawwaker_sink_drop(forever);
  }
}

/* A wake that stands between its exchange and its push while its box is closed and the sink is
 * dropped. */
static void a_wake_that_comes_to_a_dropped_sink(void) {
  for (int by_ref = 0; by_ref < 2; by_ref++) {
    rawwaker_sink *s = rawwaker_sink_new(0);
    rawwaker_box *b = rawwaker_box_new(s, 1, 0);
    rawwaker w = rawwaker_box_ref(b);
    int fd = rawwaker_sink_fd(s);
    rawwaker_sink_drop(s);
    if (by_ref) rawwaker_wake_by_ref(&w);
    else rawwaker_wake(w);
    rawwaker_box_close(b);
    CHECK((rawwaker_live() == 0) == !by_ref && fcntl(fd, F_GETFD) < 0);
    if (by_ref) rawwaker_drop(w);
  }
}

/* Actions of other threads while a wake calls the hook: it has written the descriptor, but not yet
 * cleared the flag. */
static struct {
  rawwaker_sink *s;
  uint32_t *sleeping;
  rawwaker other;
  int calls, drops;
  void (*meanwhile)(void);
} in_hook;
static void in_hook_call(void *arg) {
  (void)arg;
  in_hook.calls++;
  void (*meanwhile)(void) = in_hook.meanwhile;
  in_hook.meanwhile = NULL;
  if (meanwhile != NULL) meanwhile();
}
static void in_hook_drop(void *arg) {
  (void)arg;
  in_hook.drops++;
}
static void in_hook_begin(void (*meanwhile)(void)) {
  void *head;
  memset(&in_hook, 0, sizeof in_hook);
  in_hook.s = rawwaker_sink_new(0);
  rawwaker_sink_words(in_hook.s, &head, &in_hook.sleeping);
  CHECK(rawwaker_sink_on_wake(in_hook.s, rawwaker_from_fn(in_hook_call, NULL, in_hook_drop)));
  CHECK(rawwaker_sink_sleep(in_hook.s));
  in_hook.meanwhile = meanwhile;
}

static uint32_t asleep_again;
static void sleep_again(void) {
  rawwaker_notice n[2];
  CHECK(readable(in_hook.s) && *in_hook.sleeping != 0);
  rawwaker_sink_ack(in_hook.s);
  CHECK(drain(in_hook.s, n, 2) == 1);
  CHECK(rawwaker_sink_sleep(in_hook.s));
  asleep_again = *in_hook.sleeping;
}
static void a_wake_that_is_late_ends_no_later_sleep(void) {
  in_hook_begin(sleep_again);
  uint32_t before = *in_hook.sleeping;
  rawwaker_notice n[2];
  rawwaker_box *b = rawwaker_box_new(in_hook.s, 1, 0);
  rawwaker w = rawwaker_box_ref(b);
  rawwaker_wake_by_ref(&w);
  CHECK(asleep_again != before && *in_hook.sleeping == asleep_again && !readable(in_hook.s));
  rawwaker_wake(w);
  CHECK(readable(in_hook.s) && in_hook.calls == 2 && *in_hook.sleeping == 0 &&
        drain(in_hook.s, n, 2) == 1);
  rawwaker_box_close(b);
  rawwaker_sink_drop(in_hook.s);
}

static void wake_other(void) {
  rawwaker_sink_ack(in_hook.s); /* as if the first wake had not written yet */
  rawwaker_wake_by_ref(&in_hook.other);
  CHECK(readable(in_hook.s) && in_hook.calls == 2);
}
static void each_wake_that_finds_a_sleeper_wakes_it(void) {
  in_hook_begin(wake_other);
  rawwaker_notice n[2];
  rawwaker_box *a = rawwaker_box_new(in_hook.s, 1, 0), *b = rawwaker_box_new(in_hook.s, 2, 0);
  rawwaker w = rawwaker_box_ref(a);
  in_hook.other = rawwaker_box_lend(b);
  rawwaker_wake(w);
  CHECK(in_hook.calls == 2 && *in_hook.sleeping == 0 && drain(in_hook.s, n, 2) == 2);
  rawwaker_box_close(a);
  rawwaker_box_close(b);
  rawwaker_sink_drop(in_hook.s);
}

static int descriptor;
static bool in_hook_open(void) { return fcntl(descriptor, F_GETFD) >= 0; }
static void drop_the_sink(void) {
  rawwaker_sink_drop(in_hook.s);
  CHECK(!in_hook_open() && in_hook.drops == 0);
}
static void a_hook_may_drop_its_sink(void) {
  in_hook_begin(drop_the_sink);
  descriptor = rawwaker_sink_fd(in_hook.s);
  rawwaker_box *b = rawwaker_box_new(in_hook.s, 1, 0);
  rawwaker w = rawwaker_box_ref(b);
  rawwaker_wake_by_ref(&w);
  CHECK(in_hook.calls == 1 && in_hook.drops == 0); /* no wake drops the hook */
  rawwaker_sink_reap();
  CHECK(in_hook.drops == 1);
  rawwaker_wake(w);
  CHECK(in_hook.calls == 1);
  rawwaker_box_close(b);
  /* All that were set are dropped, also those that a later one has replaced. */
  in_hook_begin(drop_the_sink);
  descriptor = rawwaker_sink_fd(in_hook.s);
  CHECK(rawwaker_sink_on_wake(in_hook.s, rawwaker_from_fn(in_hook_call, NULL, in_hook_drop)));
  b = rawwaker_box_new(in_hook.s, 1, 0);
  rawwaker_wake(rawwaker_box_ref(b));
  CHECK(in_hook.calls == 1 && in_hook.drops == 0);
  rawwaker_sink_reap();
  CHECK(in_hook.drops == 2);
  rawwaker_box_close(b);
  /* If the runtime has set no reaper, another sink's calls do it too. */
  for (int way = 0; way < 2; way++) {
    in_hook_begin(drop_the_sink);
    descriptor = rawwaker_sink_fd(in_hook.s);
    b = rawwaker_box_new(in_hook.s, 1, 0);
    rawwaker_sink *other = rawwaker_sink_new(0);
    rawwaker_wake(rawwaker_box_ref(b));
    CHECK(in_hook.drops == 0);
    rawwaker_box_close(b);
    if (way == 0) CHECK(rawwaker_sink_on_wake(other, rawwaker_noop()));
    rawwaker_sink_drop(other);
    CHECK(in_hook.drops == 1);
  }
}

static bool can_be_cancelled(void) {
  int state;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
  return state == PTHREAD_CANCEL_ENABLE;
}
static void each_call_gives_the_cancel_state_back(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_notice n[2];
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  CHECK(rawwaker_sink_sleep(s) && can_be_cancelled());
  rawwaker_wake(rawwaker_box_ref(b));
  CHECK(can_be_cancelled());
  rawwaker_sink_ack(s);
  CHECK(can_be_cancelled());
  rawwaker_sink_kick(s);
  CHECK(can_be_cancelled() && drain(s, n, 2) == 1);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
  CHECK(can_be_cancelled());
}

static void set_another_and_drop_the_sink(void) {
  rawwaker_sink_close(in_hook.s);
  CHECK(rawwaker_sink_on_wake(in_hook.s, rawwaker_from_fn(in_hook_call, NULL, in_hook_drop)) &&
        in_hook.drops == 1);
  rawwaker_sink_drop(in_hook.s);
  CHECK(!in_hook_open() && in_hook.drops == 1);
}
static void a_sink_may_be_closed_before_it_is_dropped(void) {
  rawwaker_notice n[2];
  in_hook_begin(NULL);
  descriptor = rawwaker_sink_fd(in_hook.s);
  rawwaker_box *b = rawwaker_box_new(in_hook.s, 1, 0);
  rawwaker w = rawwaker_box_ref(b);
  rawwaker_sink_close(in_hook.s);
  CHECK(!in_hook_open() && in_hook.drops == 1);
  int reused = dup(0);
  CHECK(reused == descriptor);
  rawwaker_wake_by_ref(&w);
  rawwaker_sink_kick(in_hook.s);
  rawwaker_sink_ack(in_hook.s);
  rawwaker_sink_close(in_hook.s);
  CHECK(in_hook.calls == 0 && in_hook.drops == 1 && *in_hook.sleeping == 0 &&
        drain(in_hook.s, n, 2) == 1 && in_hook_open());
  close(reused);
  rawwaker_box_close(b);
  rawwaker_sink_drop(in_hook.s);
  rawwaker_drop(w);

  in_hook_begin(set_another_and_drop_the_sink);
  b = rawwaker_box_new(in_hook.s, 1, 0);
  descriptor = rawwaker_sink_fd(in_hook.s);
  rawwaker_wake(rawwaker_box_ref(b));
  CHECK(in_hook.calls == 1 && in_hook.drops == 1);
  rawwaker_box_close(b);
  rawwaker_sink_reap();
  CHECK(in_hook.drops == 2);
}

static int forever_calls;
static void forever_wake_by_ref(void *data) {
  (void)data;
  forever_calls++;
}
/* Its references are not counted, because the sink never drops it. */
static const rawwaker_vtable forever_vtable = {NULL, NULL, forever_wake_by_ref, NULL};
static void a_permanent_sink_calls_its_hook_and_is_not_closed(void) {
  rawwaker_notice n[2];
  CHECK(rawwaker_sink_on_wake(forever, (rawwaker){NULL, &forever_vtable}));
  rawwaker_sink_close(forever);
  CHECK(fcntl(rawwaker_sink_fd(forever), F_GETFD) >= 0);
  rawwaker_box *b = rawwaker_box_new(forever, 9, 0);
  CHECK(rawwaker_sink_sleep(forever));
  rawwaker_wake(rawwaker_box_ref(b));
  CHECK(forever_calls == 1 && readable(forever) && drain(forever, n, 2) == 1);
  rawwaker_sink_ack(forever);
  rawwaker_box_close(b);
}

/* The last test before the deaths, because a process sets its reaper once. */
static void a_reaper_is_kicked_and_no_other_call_drops_its_hooks(void) {
  void **word = rawwaker_sink_reaper(forever);
  CHECK(*word == NULL && !readable(forever));
  in_hook_begin(drop_the_sink);
  descriptor = rawwaker_sink_fd(in_hook.s);
  rawwaker_box *b = rawwaker_box_new(in_hook.s, 1, 0);
  rawwaker_sink *other = rawwaker_sink_new(0);
  rawwaker_wake(rawwaker_box_ref(b));
  CHECK(*word != NULL && readable(forever));
  rawwaker_box_close(b);
  CHECK(rawwaker_sink_on_wake(other, rawwaker_noop()));
  rawwaker_sink_drop(other);
  CHECK(in_hook.drops == 0 && *word != NULL);
  rawwaker_sink_ack(forever);
  rawwaker_sink_reap();
  CHECK(in_hook.drops == 1 && *word == NULL);
}

static rawwaker from_handler;
static void handler(int sig) {
  (void)sig;
  rawwaker_wake_by_ref(&from_handler);
}
static void signals_and_errno(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  rawwaker_notice n[2];
  from_handler = rawwaker_box_ref(b);
  for (int i = 0; i < 64; i++) rawwaker_sink_kick(s);
  CHECK(rawwaker_sink_sleep(s));
  signal(SIGUSR1, handler);
  errno = 77;
  raise(SIGUSR1);
  CHECK(errno == 77);
  CHECK(drain(s, n, 2) == 1);
  rawwaker_drop(from_handler);
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
}

/* --------------------------------------------------------------------------------- deaths -- */

static rawwaker gives_nothing(void *data) { return (rawwaker){data, NULL}; }
static rawwaker_poll gives_nine(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)cx;
  (void)out;
  return 9;
}
static const rawwaker_vtable holes = {NULL, NULL, NULL, NULL},
                             hollow = {gives_nothing, NULL, NULL, NULL};
static const rawwaker none = {NULL, NULL}, holed = {NULL, &holes};
static rawwaker into;
static rawwaker_cell cell_of(rawwaker w) {
  rawwaker_cell c;
  rawwaker_cell_init(&c);
  c.private_waker = w;
  return c;
}
static const rawwaker_future_vtable no_poll = {NULL, number_none}, no_drop = {gives_nine, NULL},
                                    nine = {gives_nine, number_none};

static void die_clone(void) { rawwaker_clone(&none); }
static void die_clone_slot(void) { rawwaker_clone(&holed); }
static void die_clone_gives(void) { rawwaker_clone(&(rawwaker){NULL, &hollow}); }
static void die_clone_into(void) { rawwaker_clone_into(&none, &into); }
static void die_clone_from(void) { rawwaker_clone_from(&into, &none); }
static void die_wake(void) { rawwaker_wake(none); }
static void die_wake_slot(void) { rawwaker_wake(holed); }
static void die_by_ref(void) { rawwaker_wake_by_ref(&none); }
static void die_by_ref_slot(void) { rawwaker_wake_by_ref(&holed); }
static void die_drop(void) { rawwaker_drop(none); }
static void die_drop_slot(void) { rawwaker_drop(holed); }
static void die_cell_register(void) {
  rawwaker_cell c = cell_of(none);
  rawwaker_cell_register(&c, &none);
}
static void die_cell_wake(void) { rawwaker_cell c = cell_of(holed); rawwaker_cell_wake(&c); }
static void die_cell_drop(void) { rawwaker_cell c = cell_of(holed); rawwaker_cell_drop(&c); }
/* Memory that is not a cell; this is its first word. */
static uint32_t garbage;
static rawwaker_cell no_cell(void) {
  rawwaker_cell c = cell_of(rawwaker_noop());
  c.private_lock = garbage;
  return c;
}
static void die_no_cell_register(void) {
  rawwaker_cell c = no_cell();
  rawwaker_cell_register(&c, &c.private_waker);
}
static void die_no_cell_wake(void) { rawwaker_cell c = no_cell(); rawwaker_cell_wake(&c); }
static void die_no_cell_take(void) { rawwaker_cell c = no_cell(); rawwaker_cell_take(&c, &into); }
static void die_no_cell_drop(void) { rawwaker_cell c = no_cell(); rawwaker_cell_drop(&c); }
static void registers_none_inside(void) { rawwaker_cell_register(&busy_cell, &none); }
static void not_cells_inside(void) { busy_cell.private_lock = 0xAAAAAAAA; }
static void die_overwritten(void) {
  rawwaker w = task_waker(&other);
  w.vtable = &stopped_vtable;
  inside = not_cells_inside;
  rawwaker_cell_init(&busy_cell);
  rawwaker_cell_register(&busy_cell, &w);
}
static void die_busy(void) {
  rawwaker w = task_waker(&other);
  w.vtable = &stopped_vtable;
  inside = registers_none_inside;
  rawwaker_cell_init(&busy_cell);
  rawwaker_cell_register(&busy_cell, &w);
}
static void die_block_on(void) { rawwaker_block_on((rawwaker_future){NULL, NULL}, NULL); }
static void die_block_on_poll(void) { rawwaker_block_on((rawwaker_future){NULL, &no_poll}, NULL); }
static void die_block_on_drop(void) { rawwaker_block_on((rawwaker_future){NULL, &no_drop}, NULL); }
static void die_block_on_nine(void) { rawwaker_block_on((rawwaker_future){NULL, &nine}, NULL); }
static void die_block_on_memory(void) {
  out_of_memory_at = 1;
  rawwaker_block_on((rawwaker_future){NULL, &nine}, NULL);
}
static void die_from_fn(void) { rawwaker_from_fn(NULL, NULL, NULL); }
static void die_from_fn_memory(void) {
  out_of_memory_at = 1;
  rawwaker_from_fn(number_none, NULL, NULL);
}

static void die_box_poll_memory(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = NULL;
  bool woken;
  out_of_memory_at = 1;
  rawwaker_box_poll(s, &b, (rawwaker_future){NULL, &nine}, NULL, &woken);
}
static void die_box_poll_noted_memory(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = NULL;
  bool woken;
  uintptr_t note;
  out_of_memory_at = 1;
  rawwaker_box_poll_noted(s, &b, (rawwaker_future){NULL, &nine}, NULL, &woken, &note);
}
static void die_reaper(void) { rawwaker_sink_reaper(rawwaker_sink_new(0)); }

static void deaths(void) {
  death("rawwaker_clone: NULL vtable", die_clone);
  death("rawwaker_clone: empty slot clone", die_clone_slot);
  death("rawwaker_clone: slot clone gave a NULL vtable", die_clone_gives);
  death("rawwaker_clone_into: NULL vtable", die_clone_into);
  death("rawwaker_clone_from: NULL vtable", die_clone_from);
  death("rawwaker_wake: NULL vtable", die_wake);
  death("rawwaker_wake: empty slot wake", die_wake_slot);
  death("rawwaker_wake_by_ref: NULL vtable", die_by_ref);
  death("rawwaker_wake_by_ref: empty slot wake_by_ref", die_by_ref_slot);
  death("rawwaker_drop: NULL vtable", die_drop);
  death("rawwaker_drop: empty slot drop", die_drop_slot);
  death("rawwaker_cell_register: NULL vtable", die_cell_register);
  death("rawwaker_cell_wake: empty slot wake", die_cell_wake);
  death("rawwaker_cell_drop: empty slot drop", die_cell_drop);
  death("rawwaker_cell_register: NULL vtable", die_busy);
  static const uint32_t words[] = {1, 2, 3, 4, 0x01010101, 0xAAAAAAAA, 0xFFFFFFFF};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    garbage = words[i];
    death("rawwaker_cell_register: not a cell (use rawwaker_cell_init, or zeroed memory)",
          die_no_cell_register);
    death("rawwaker_cell_wake: not a cell (use rawwaker_cell_init, or zeroed memory)",
          die_no_cell_wake);
    death("rawwaker_cell_take: not a cell (use rawwaker_cell_init, or zeroed memory)",
          die_no_cell_take);
    death("rawwaker_cell_drop: not a cell (use rawwaker_cell_init, or zeroed memory)",
          die_no_cell_drop);
  }
  death("rawwaker_cell_register: not a cell (use rawwaker_cell_init, or zeroed memory)",
        die_overwritten);
  death("rawwaker_block_on: NULL vtable", die_block_on);
  death("rawwaker_block_on: empty slot poll", die_block_on_poll);
  death("rawwaker_block_on: empty slot drop", die_block_on_drop);
  death("rawwaker_block_on: slot poll gave 9", die_block_on_nine);
  death("rawwaker_block_on: out of memory", die_block_on_memory);
  death("rawwaker_box_poll: out of memory", die_box_poll_memory);
  death("rawwaker_box_poll_noted: out of memory", die_box_poll_noted_memory);
  death("rawwaker_sink_reaper: the sink can be dropped (make it with RAWWAKER_SINK_FOREVER)",
        die_reaper);
  death("rawwaker_from_fn: NULL wake", die_from_fn);
  death("rawwaker_from_fn: out of memory", die_from_fn_memory);
}

static void no_memory_for_a_text(void) {
  for (int before = 0; before < 2; before++) {
    rawwaker_set_panic("before", before == 0 ? 0 : 6);
    out_of_memory_at = 1;
    rawwaker_set_panic("why", 3);
    CHECK(out_of_memory_at == 0);
    CHECK(strcmp(rawwaker_last_panic(), "") == 0);
    rawwaker_set_panic("why", 3);
    CHECK(strcmp(rawwaker_last_panic(), "why") == 0);
  }
  out_of_memory_at = 1;
  rawwaker_set_panic("", 0); /* needs no memory */
  CHECK(out_of_memory_at == 1);
  out_of_memory_at = 0;
}

static void no_memory_for_a_runtime(void) {
  rawwaker_sink *s = rawwaker_sink_new(0);
  out_of_memory_at = 1;
  CHECK(rawwaker_box_new(s, 1, 0) == NULL);
  out_of_memory_at = 1;
  CHECK(!rawwaker_sink_on_wake(s, rawwaker_noop()));
  out_of_memory_at = 1;
  CHECK(rawwaker_sink_new(0) == NULL);
  rawwaker_sink_drop(s);
}

int main(int argc, char **argv) {
  run("the panic's text is the thread's own and cut at 1 KiB, also the first of the process",
      panic_text);
  run("the linked version is the header's", version);
  run("a poll that was not in the loop leaves nothing to end", nothing_is_left);
  run("each call of a waker calls its slot, once, and no other", verbs);
  run("will_wake is equal data and equal vtable address", will_wake);
  run("data may be any integer and change with each clone", data_is_any_integer);
  run("clone_from calls no slot if both wake the same task", clone_from_same);
  run("clone_from clones, then stores, then drops; if dst is empty, it only stores",
      clone_from_order);
  run("the no-op does nothing, every clone equals it, dropping it is optional", noop);
  run("a function's waker counts its references and calls drop with the last", from_fn);
  run("a function may drop clones of the waker that called it", from_fn_drops_in_wake);
  run("a function may drop the last reference that it is called through",
      from_fn_drops_itself_in_wake);
  run("counted wakers serve async-ffi's four slots", async_ffi);
  run("a cell keeps the latest waker, returns it once, and may be used again", cell);
  run("a cell that keeps an equal waker calls no slot", cell_keeps_an_equal_one);
  run("a slot that a cell calls may use the cell", cell_may_be_used_by_its_slots);
  run("a cell: no call waits for a stopped register, which then delivers the wakes of that time",
      cell_waits_for_no_register);
  run("block_on polls once for each wake, before, during and after a poll, also nested",
      block_on_polls_once_a_wake);
  run("block_on sleeps between its wakes", block_on_sleeps_between_wakes);
  run("block_on returns a panic, does not write *out and drops the future once", block_on_panicked);
  run("a panic's text outlives what the drop slot polls and sets", the_text_outlives_the_drop);
  run("a panic's text may be made from the previous one", the_text_of_a_text);
  run("without memory for it a panic's text is empty", no_memory_for_a_text);
#ifndef _WIN32
  run("block_on is cancelled only in its sleep, and then drops its future and its waker",
      block_on_is_cancelled_in_its_sleep_only);
#endif
  run("wakes after block_on has returned do nothing", late_wakes);
  run("a box is listed once however often it is woken, oldest wake first",
      boxes_list_once_in_order);
  run("only the first wake of a sleep makes the descriptor readable",
      a_sleeper_is_woken_once);
  run("the hook is woken once, with the descriptor, and dropped with the sink",
      the_hook_is_called_with_the_descriptor);
  run("a future that wakes itself is polled again, up to a limit, and the wake is reported",
      a_future_that_wakes_itself_is_polled_again);
#ifdef PR_SET_TSC
  run("the clock is read only for a future that wakes itself",
      no_clock_for_a_future_that_does_not_wake_itself);
#endif
  run("a poll that is left by an unwind leaves the box as if it had returned",
      a_poll_that_is_left);
  run("a box made by a poll that wakes it and panics is returned, and its wake reported",
      a_box_that_was_woken_by_a_poll_that_panics);
  run("a box made by a poll is returned if the future kept it",
      a_box_made_by_a_poll_is_given_back_if_it_was_kept);
  run("a box closed in or before its poll stays closed", a_box_closed_during_its_poll_stays_closed);
  run("a box is known by its first word", boxes_are_known_by_their_first_word);
  run("wakes of a closed box do nothing, and it outlives its sink's owner",
      closed_boxes_do_nothing);
  run("a box that tells is listed by C's last drop, and retired unless C has a new reference",
      boxes_that_tell);
  run("a box that does not tell is not listed by C's last drop",
      the_last_reference_of_a_box_that_does_not_tell);
  run("the fields of a box can be read, one by one", what_is_in_a_box_can_be_looked_at);
  run("a box that tells is listed during its poll, too",
      a_box_that_tells_is_listed_during_its_poll);
  forever = rawwaker_sink_new(RAWWAKER_SINK_FOREVER);
  run("a sink made with FOREVER continues after its drop", a_permanent_sink);
  run("a wake that reaches a dropped sink frees everything",
      a_wake_that_comes_to_a_dropped_sink);
  run("a late wake does not end a later sleep", a_wake_that_is_late_ends_no_later_sleep);
  run("each wake that finds a sleeper wakes it, whatever other threads are about to do",
      each_wake_that_finds_a_sleeper_wakes_it);
  run("a hook may drop its own sink, and is itself dropped by no wake", a_hook_may_drop_its_sink);
  run("a sink may be closed before its drop, while hooks are set",
      a_sink_may_be_closed_before_it_is_dropped);
  run("wake_by_ref may be called in a signal handler and keeps errno", signals_and_errno);
  run("out of memory for a box is NULL", no_memory_for_a_runtime);
  run("each call on a sink restores the cancel state", each_call_gives_the_cancel_state_back);
  run("a sink made with FOREVER calls its hook and is not closed",
      a_permanent_sink_calls_its_hook_and_is_not_closed);
  run("the reaper is called, and no other call drops hooks",
      a_reaper_is_kicked_and_no_other_call_drops_its_hooks);
  if (argc > 1 && strcmp(argv[1], "-no-deaths") == 0)
    printf("# SKIP the deaths: the tool would add its report to the line\n");
  else
    deaths();
  printf("1..%d\n", tests);
  return failures != 0;
}
