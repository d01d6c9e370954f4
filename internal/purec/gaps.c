/* Interleavings, all of them, of one thread that makes atomic steps with what others do in the gaps between: ./gaps. Each scenario has
 * a call under test and two things that others do; those are done in every pair of gaps of the call. The library is a part of this
 * file, and its atomic steps call gap first. Built and run by ./run. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>

static void gap(void);
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit(p, order) (gap(), __atomic_load_n((p), (order)))
#define atomic_store_explicit(p, v, order) (gap(), __atomic_store_n((p), (v), (order)))
#define atomic_exchange_explicit(p, v, order) (gap(), __atomic_exchange_n((p), (v), (order)))
#define atomic_fetch_add_explicit(p, v, order) (gap(), __atomic_fetch_add((p), (v), (order)))
#define atomic_fetch_sub_explicit(p, v, order) (gap(), __atomic_fetch_sub((p), (v), (order)))
#define atomic_compare_exchange_strong_explicit(p, e, v, order, fail) \
  (gap(), __atomic_compare_exchange_n((p), (e), (v), 0, (order), (fail)))
#define atomic_compare_exchange_weak_explicit(p, e, v, order, fail) \
  (gap(), __atomic_compare_exchange_n((p), (e), (v), 0, (order), (fail)))
#ifndef RAWWAKER_C
#define RAWWAKER_C "../../rawwaker.c"
#endif
#include RAWWAKER_C

/* ------------------------------------------------------------------------------------ the gaps ---------------------- */

static void (*first)(void), (*second)(void); /* what others do */
static unsigned long gaps, first_at, second_at, interleavings;
static bool alone; /* nobody else is there, or it is they who step */

static void gap(void) {
  if (alone) return;
  alone = true;
  gaps++;
  if (gaps == first_at) first();
  if (gaps == second_at) second();
  alone = false;
}

/* ------------------------------------------------------------------------------------ what there is ----------------- */

static rawwaker_sink *sink;
static rawwaker_box *box; /* NULL: retired or closed */
static rawwaker mine;     /* the reference of the thread under test */
static rawwaker theirs;   /* one of the others' */
static unsigned wakes, asked, seen, told, polls; /* wakes: since the last notice that said woken, or poll; asked: in all */
static bool closed, sink_dropped, woken;
static const char *scenario;

static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL %s, gaps %lu and %lu: %s\n", scenario, first_at, second_at, why);
  exit(1);
}

static void drain(void) {
  if (sink_dropped) return;
  bool was_closed = closed;
  rawwaker_box *list = rawwaker_sink_take(sink);
  rawwaker_notice n;
  unsigned listed = 0;
  while (rawwaker_box_read(&list, &n, 1) != 0) {
    check(++listed == 1, "listed twice");
    if (n.woken) {
      check(!was_closed && ++seen <= asked, "a notice that nobody has asked for");
      wakes = 0;
    }
    if (n.last) {
      told++;
      if (rawwaker_box_retire(box)) box = NULL;
    }
  }
}
static void ask(void) { /* before the wake: it is what the wake tells of */
  wakes++;
  asked++;
}
static void wake_mine_by_ref(void) {
  ask();
  rawwaker_wake_by_ref(&mine);
}
static void wake_mine(void) {
  ask();
  rawwaker_wake(mine);
}
static void drop_mine(void) { rawwaker_drop(mine); }
static void wake_theirs(void) {
  if (theirs.vtable == NULL) return;
  ask();
  rawwaker_wake(theirs);
  theirs.vtable = NULL;
}
static void wake_theirs_by_ref(void) {
  if (theirs.vtable == NULL) return;
  ask();
  rawwaker_wake_by_ref(&theirs);
}
static void drop_theirs(void) {
  if (theirs.vtable == NULL) return;
  rawwaker_drop(theirs);
  theirs.vtable = NULL;
}
static void lend_and_wake(void) {
  if (box == NULL || closed) return;
  rawwaker w = rawwaker_box_ref(box);
  ask();
  rawwaker_wake(w);
}
static void lend_and_drop(void) {
  if (box == NULL || closed) return;
  rawwaker_drop(rawwaker_box_ref(box));
}
static void close_it(void) {
  if (box == NULL || closed) return;
  closed = true;
  wakes = 0; /* nobody is told any more */
  rawwaker_box_close(box);
}
static void end_it(void) {
  close_it();
  if (sink_dropped) return;
  sink_dropped = true;
  rawwaker_sink_drop(sink);
}
static void nothing(void) {}

/* Wakes itself with its first two polls. */
static rawwaker_poll self_waking(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)out;
  wakes = 0;
  if (++polls <= 2) {
    ask();
    rawwaker_wake_by_ref(cx->waker);
  }
  return RAWWAKER_PENDING;
}
static void no_drop(void *data) { (void)data; }
static void poll_it(void) {
  static const rawwaker_future_vtable vtable = {self_waking, no_drop};
  rawwaker_box *b = box;
  polls = 0;
  rawwaker_box_poll(sink, &b, (rawwaker_future){NULL, &vtable}, NULL, &woken);
  if (woken) wakes = 0; /* the runtime wakes the task */
}

/* ------------------------------------------------------------------------------------ all pairs of gaps ------------- */

typedef struct script {
  const char *name;
  bool tell;
  void (*under_test)(void), (*first)(void), (*second)(void);
} script;

static void play(const script *s, unsigned long one, unsigned long two) {
  scenario = s->name;
  first = s->first;
  second = s->second;
  first_at = one;
  second_at = two;
  alone = true;
  wakes = asked = seen = told = 0;
  closed = sink_dropped = woken = false;
  sink = rawwaker_sink_new(0);
  box = rawwaker_box_new(sink, 7, s->tell ? RAWWAKER_BOX_TELL : 0);
  check(sink != NULL && box != NULL, "out of memory");
  mine = rawwaker_box_ref(box);
  bool others = s->first != lend_and_wake && s->first != lend_and_drop;
  theirs = others ? rawwaker_box_ref(box) : (rawwaker){NULL, NULL};
  gaps = 0;
  alone = false;
  s->under_test();
  alone = true;
  interleavings++;
  bool consumed = s->under_test == wake_mine || s->under_test == drop_mine;
  if (closed && !consumed && !sink_dropped) {
    for (int i = 0; i < 2; i++) drain();
    rawwaker_wake_by_ref(&mine);
    check(rawwaker_sink_take(sink) == NULL, "a wake has listed a closed box");
  }
  if (!consumed) drop_mine();
  drop_theirs();
  for (int i = 0; i < 4; i++) drain();
  check(closed || wakes == 0, "a wake was lost");
  check(!s->tell || closed || (box == NULL && told > 0), "C's last drop was not told");
  end_it();
  if (!sink_dropped) rawwaker_sink_drop(sink);
  check(rawwaker_live() == 0, "a box is left");
}

static const script scripts[] = {
    {"the last drop beside a new reference that is woken", true, drop_mine, lend_and_wake, drain},
    {"the last drop beside a new reference that is dropped", true, drop_mine, lend_and_drop, drain},
    {"the last drop beside a close", true, drop_mine, lend_and_wake, close_it},
    {"a drop beside another that wakes", true, drop_mine, wake_theirs, drain},
    {"a drop beside another", true, drop_mine, drop_theirs, drain},
    {"a drop beside the end", true, drop_mine, drop_theirs, end_it},
    {"a wake beside another", false, wake_mine, wake_theirs, drain},
    {"a wake beside another, of a box that tells", true, wake_mine, wake_theirs, drain},
    {"a wake by reference beside another", false, wake_mine_by_ref, wake_theirs_by_ref, drain},
    {"a wake beside a close", false, wake_mine, wake_theirs, close_it},
    {"a wake beside the end", false, wake_mine, drain, end_it},
    {"a wake by reference beside the end", false, wake_mine_by_ref, wake_theirs, end_it},
    {"a wake beside the end, of a box that tells", true, wake_mine, drop_theirs, end_it},
    {"a drain beside a wake", false, drain, wake_theirs_by_ref, nothing},
    {"a drain beside two wakes", false, drain, wake_theirs_by_ref, wake_theirs},
    {"a drain beside a close", false, drain, wake_theirs_by_ref, close_it},
    {"a drain beside a last drop", true, drain, wake_theirs, nothing},
    {"a poll beside a wake", false, poll_it, wake_theirs_by_ref, drain},
    {"a poll beside two wakes", false, poll_it, wake_theirs_by_ref, wake_theirs},
    {"a poll beside a drop", false, poll_it, drop_theirs, drain},
    {"a poll of a box that is listed", false, poll_it, wake_theirs_by_ref, drain},
    {"a poll beside a close", false, poll_it, wake_theirs_by_ref, close_it},
};

int main(void) {
  size_t n = sizeof scripts / sizeof *scripts;
  for (const script *s = scripts; s < scripts + n; s++) {
    unsigned long most = 1;
    for (unsigned long one = 1; one <= most + 1; one++)
      for (unsigned long two = one; two <= most + 1; two++) {
        play(s, one, two);
        if (gaps > most) most = gaps;
        check(gaps < 1000, "it goes on for ever");
      }
  }
  printf("ok: %zu calls, each with what others do in every pair of its gaps: %lu interleavings, 0 wakes lost\n", n, interleavings);
  return 0;
}
