/* Interleavings that want an exact gap: what other threads do is done inside the atomic steps of one. Built and run by ./run.
 * The compare-and-swaps of the library, which is part of this file, call step first. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>

static void step(void);
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_strong_explicit(p, e, v, order, fail) \
  (step(), __atomic_compare_exchange_n((p), (e), (v), 0, (order), (fail)))
#define atomic_compare_exchange_weak_explicit(p, e, v, order, fail) \
  (step(), __atomic_compare_exchange_n((p), (e), (v), 0, (order), (fail)))
#include "../../rawwaker.c"

static rawwaker_sink *sink;
static rawwaker_box *box;
static unsigned long steps;
static size_t told, retired, woken;
static void (*others)(void); /* called in the gap before each step of this thread's, and not by their own */

static void step(void) {
  void (*f)(void) = others;
  steps++;
  if (f == NULL) return;
  others = NULL;
  f();
  others = f;
}
static void drain(void) {
  rawwaker_box *list = rawwaker_sink_take(sink);
  rawwaker_notice n;
  while (rawwaker_box_read(&list, &n, 1) != 0) {
    woken += n.woken;
    told += n.last;
    if (n.last && rawwaker_box_retire(box)) retired++;
  }
}
static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL: %s\n", why);
  exit(1);
}

/* Between the count that the last drop has read and its next steps, the runtime lends the box again, that reference wakes it, and
 * the drainer takes it off the list: the count is what it was, and the drop is the last after all. */
static void lend_and_wake(void) {
  if (steps == 1) rawwaker_wake(rawwaker_box_ref(box));
  if (steps == 3) drain(); /* 2 is the push of that wake */
}
static void the_last_drop_beside_a_new_reference(void) {
  told = retired = woken = 0;
  sink = rawwaker_sink_new(0);
  box = rawwaker_box_new(sink, 7, RAWWAKER_BOX_TELL);
  rawwaker w = rawwaker_box_ref(box);
  steps = 0;
  others = lend_and_wake;
  rawwaker_drop(w);
  others = NULL;
  for (int i = 0; i < 3; i++) drain();
  check(woken == 1, "the wake was told of once");
  check(told == 1 && retired == 1, "C's last drop was told of once");
  rawwaker_sink_drop(sink);
  check(rawwaker_live() == 0, "the box is gone");
}

int main(void) {
  the_last_drop_beside_a_new_reference();
  printf("ok: a last drop beside a new reference\n");
  return 0;
}
