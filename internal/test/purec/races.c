/* races.c - two threads in one race window, many times: ./races [rounds]. Each round makes its
 * objects, starts the threads at the same time, and checks the result when both have finished.
 * ./run builds and runs it. */
#define _GNU_SOURCE
#include "rawwaker.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned long rounds = 20000;

static void check(bool ok, const char *race, const char *why) {
  if (ok) return;
  printf("FAIL %s: %s\n", race, why);
  exit(1);
}

/* ----------------------------------------------------------------------- the other thread -- */

static atomic_ulong begun, ended;
static _Atomic(void (*)(void)) theirs; /* NULL ends the thread */

static void meet(atomic_ulong *at, unsigned long n) {
  for (unsigned tries = 0; atomic_load_explicit(at, memory_order_acquire) < n; tries++)
    if (tries > 1000) sched_yield();
}
static void *other(void *unused) {
  for (unsigned long n = 1;; n++) {
    meet(&begun, n);
    void (*f)(void) = atomic_load(&theirs);
    if (f == NULL) return unused;
    f();
    atomic_store_explicit(&ended, n, memory_order_release);
  }
}
/* Runs both at the same time. The delay before ours begins changes from round to round. */
static void at_once(void (*ours)(void), void (*their)(void)) {
  static unsigned long n;
  atomic_store(&theirs, their);
  atomic_store_explicit(&begun, ++n, memory_order_release);
  if (their == NULL) return;
  for (volatile unsigned long i = n * 7 % 211; i > 0; i--) {
  }
  ours();
  meet(&ended, n);
}

/* ---------------------------------------------------------------------------- the objects -- */

static rawwaker_sink *sink;
static rawwaker_box *box, *second;
static rawwaker waker, other_waker;
static bool told;
static unsigned long listed, woken;

static void begin(void) {
  sink = rawwaker_sink_new(0);
  box = rawwaker_box_new(sink, 1, 0);
  second = rawwaker_box_new(sink, 2, 0);
  check(box != NULL && second != NULL, "begin", "out of memory");
  waker = rawwaker_box_ref(box);
  other_waker = rawwaker_box_ref(second);
  told = false;
  listed = woken = 0;
}
static void drain(void) {
  rawwaker_notice n;
  rawwaker_box *list = rawwaker_sink_take(sink);
  for (listed = woken = 0; rawwaker_box_read(&list, &n, 1) != 0; listed++) woken += n.woken;
}
static void end(const char *race) {
  check(rawwaker_live() == 0, race, "a box is left");
}
static void close_box(void) { rawwaker_box_close(box); }
static void wake_first(void) { rawwaker_wake_by_ref(&waker); }
static void wake_second(void) { rawwaker_wake_by_ref(&other_waker); }
static void give_up(void) {
  rawwaker_drop(waker);
  rawwaker_drop(other_waker);
  rawwaker_box_close(second);
  rawwaker_sink_drop(sink);
}

/* Never ready. */
static rawwaker_poll pending(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)cx;
  (void)out;
  return RAWWAKER_PENDING;
}
static void no_drop(void *data) { (void)data; }
static const rawwaker_future_vtable pending_vtable = {pending, no_drop};
static void poll_it(void) {
  rawwaker_box_poll(sink, &box, (rawwaker_future){NULL, &pending_vtable}, NULL, &told);
}

/* ---------------------------------------------------------------------------- the windows -- */

static void closed_while_it_is_read(void) {
  static const char *const race = "a box closed while it is read";
  begin();
  rawwaker_wake_by_ref(&waker);
  at_once(drain, close_box);
  rawwaker_wake_by_ref(&waker);
  drain();
  check(listed == 0, race, "a wake listed it after that");
  give_up();
  end(race);
}

static void closed_while_it_is_polled(void) {
  static const char *const race = "a box closed while it is polled";
  begin();
  at_once(poll_it, close_box);
  rawwaker_wake_by_ref(&waker);
  drain();
  check(listed == 0, race, "a wake listed it after that");
  give_up();
  end(race);
}

static void woken_while_it_is_polled(void) {
  static const char *const race = "a box woken while it is polled";
  begin();
  at_once(poll_it, wake_first);
  rawwaker_wake_by_ref(&waker);
  drain();
  check(told || woken > 0, race, "a wake was lost");
  check(listed == 1, race, "not listed once");
  drain();
  check(listed == 0, race, "listed after it was read");
  close_box();
  give_up();
  end(race);
}

static void woken_while_it_is_read(void) {
  static const char *const race = "a box woken while it is read";
  begin();
  rawwaker_wake_by_ref(&waker);
  at_once(drain, wake_first);
  unsigned long before = woken;
  drain();
  check(before == 1 && woken <= 1, race, "not reported once or twice");
  rawwaker_wake_by_ref(&waker);
  drain();
  check(woken == 1, race, "the next wake was lost");
  close_box();
  give_up();
  end(race);
}

static bool asleep(void) {
  void *head;
  uint32_t *sleeping;
  rawwaker_sink_words(sink, &head, &sleeping);
  return __atomic_load_n(sleeping, __ATOMIC_SEQ_CST) != 0;
}

static atomic_ulong hook_calls;
static void count_call(void *arg) { atomic_fetch_add((atomic_ulong *)arg, 1); }

static void two_wakes_find_a_sleeper(void) {
  static const char *const race = "two wakes and a sleeper";
  begin();
  atomic_store(&hook_calls, 0);
  check(rawwaker_sink_on_wake(sink, rawwaker_from_fn(count_call, &hook_calls, NULL)), race,
        "out of memory");
  check(rawwaker_sink_sleep(sink), race, "nothing is listed, and sleep returned false");
  at_once(wake_first, wake_second);
  check(atomic_load(&hook_calls) >= 1 && atomic_load(&hook_calls) <= 2, race,
        "the hook was not called by one wake or both");
  check(!asleep(), race, "the flag was not cleared");
  drain();
  check(listed == 2, race, "a wake was lost");
  close_box();
  give_up();
  end(race);
}

static atomic_bool may_sleep;
static void sleeper(void) { atomic_store(&may_sleep, rawwaker_sink_sleep(sink)); }
static void a_wake_while_one_falls_asleep(void) {
  static const char *const race = "a wake while the runtime falls asleep";
  begin();
  atomic_store(&hook_calls, 0);
  check(rawwaker_sink_on_wake(sink, rawwaker_from_fn(count_call, &hook_calls, NULL)), race,
        "out of memory");
  at_once(sleeper, wake_second);
  check(!atomic_load(&may_sleep) || (atomic_load(&hook_calls) == 1 && !asleep()), race,
        "asleep, and the hook was not called");
  drain();
  check(listed == 1, race, "a wake was lost");
  close_box();
  give_up();
  end(race);
}

static atomic_ulong dropped_hooks;
static void drop_hook(void *arg) {
  (void)arg;
  atomic_fetch_add(&dropped_hooks, 1);
}
static void add_hook(void) {
  if (!rawwaker_sink_on_wake(sink, rawwaker_from_fn(count_call, &hook_calls, drop_hook))) abort();
}
static void two_hooks_at_once(void) {
  static const char *const race = "two hooks at once";
  begin();
  atomic_store(&dropped_hooks, 0);
  at_once(add_hook, add_hook);
  close_box();
  give_up();
  check(atomic_load(&dropped_hooks) == 2, race, "a hook was not dropped");
  end(race);
}

static void end_all(void) {
  rawwaker_box_close(box);
  rawwaker_box_close(second);
  rawwaker_sink_drop(sink);
}
static void wake_both(void) {
  rawwaker_wake(waker);
  rawwaker_wake(other_waker);
}
static void a_sink_dropped_while_it_is_woken(void) {
  begin();
  at_once(end_all, wake_both);
  end("a sink dropped while it is woken");
}

static rawwaker_cell cell;
static void register_first(void) { rawwaker_cell_register(&cell, &waker); }
static void register_second(void) { rawwaker_cell_register(&cell, &other_waker); }
static void wake_cell(void) { rawwaker_cell_wake(&cell); }
static void two_register(void) {
  begin();
  rawwaker_cell_init(&cell);
  at_once(register_first, register_second);
  at_once(register_first, wake_cell);
  rawwaker_cell_drop(&cell);
  drain();
  close_box();
  give_up();
  end("two at one cell");
}

int main(int argc, char **argv) {
  static void (*const windows[])(void) = {
      closed_while_it_is_read, closed_while_it_is_polled,        woken_while_it_is_polled,
      woken_while_it_is_read,  two_wakes_find_a_sleeper,         a_wake_while_one_falls_asleep,
      two_hooks_at_once,       a_sink_dropped_while_it_is_woken, two_register};
  if (argc > 1) rounds = strtoul(argv[1], NULL, 10);
  pthread_t id;
  if (pthread_create(&id, NULL, other, NULL) != 0) abort();
  for (unsigned long i = 0; i < rounds; i++)
    for (size_t k = 0; k < sizeof windows / sizeof *windows; k++) windows[k]();
  at_once(NULL, NULL);
  pthread_join(id, NULL);
  printf("ok: %zu windows, each raced %lu times by two threads, 0 wakes lost\n",
         sizeof windows / sizeof *windows, rounds);
  return 0;
}
