/* gaps.c - runs every interleaving of one thread's atomic steps with the actions of other threads.
 *
 * Each scenario has a call under test and two actions of other threads. The actions run in every
 * pair of gaps between the call's atomic steps. Further scenarios stop a thread permanently: each
 * call is left in each of its gaps, and the wakes of another task must still be delivered.
 *
 * This file includes the library, whose atomic steps and writes call gap first. ./run builds and
 * runs it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "gap.h"
#ifndef RAWWAKER_C
#define RAWWAKER_C "../../../rawwaker.c"
#endif
static int still_clock(clockid_t id, struct timespec *t) { /* time does not pass */
  (void)id;
  *t = (struct timespec){1, 0};
  return 0;
}
#define write(fd, bytes, n) (gap(), write((fd), (bytes), (n)))
#define clock_gettime still_clock
#include RAWWAKER_C
#undef write
#undef clock_gettime

/* ------------------------------------------------------------------------------- the gaps -- */

static void (*first)(void), (*second)(void); /* the actions of other threads */

static void gap(void) {
  if (alone) return;
  alone = true;
  gaps++;
  if (gaps == stop_at) longjmp(stopped, 1);
  if (gaps == first_at) first();
  if (gaps == second_at) second();
  alone = false;
}

/* ---------------------------------------------------------------------------- the objects -- */

static rawwaker_sink *sink;
static rawwaker_box *box; /* NULL if retired or closed */
static rawwaker mine;     /* the reference of the thread under test */
static rawwaker theirs;   /* a reference of another thread */
/* wakes: since the last notice with woken set, or the last poll; requested: all wakes */
static unsigned wakes, requested, seen, told, polls;
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
      check(!was_closed && ++seen <= requested, "a notice without a wake");
      wakes = 0;
    }
    if (n.last) {
      told++;
      if (rawwaker_box_retire(box)) box = NULL;
    }
  }
}
static void request_wake(void) { /* call it before the wake */
  wakes++;
  requested++;
}
static void wake_mine_by_ref(void) {
  request_wake();
  rawwaker_wake_by_ref(&mine);
}
static void wake_mine(void) {
  request_wake();
  rawwaker_wake(mine);
}
static void drop_mine(void) { rawwaker_drop(mine); }
static void wake_theirs(void) {
  if (theirs.vtable == NULL) return;
  request_wake();
  rawwaker_wake(theirs);
  theirs.vtable = NULL;
}
static void wake_theirs_by_ref(void) {
  if (theirs.vtable == NULL) return;
  request_wake();
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
  request_wake();
  rawwaker_wake(w);
}
static void lend_and_drop(void) {
  if (box == NULL || closed) return;
  rawwaker_drop(rawwaker_box_ref(box));
}
static void close_it(void) {
  if (box == NULL || closed) return;
  closed = true;
  wakes = 0; /* no wake is reported after the close */
  rawwaker_box_close(box);
}
static void end_it(void) {
  close_it();
  if (sink_dropped) return;
  sink_dropped = true;
  rawwaker_sink_drop(sink);
}
static void nothing(void) {}

/* Wakes itself in its first two polls. */
static rawwaker_poll self_waking(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)out;
  wakes = 0;
  if (++polls <= 2) {
    request_wake();
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

/* ---------------------------------------------------------------------- all pairs of gaps -- */

typedef struct script {
  const char *name;
  bool tell;
  void (*under_test)(void), (*first)(void), (*second)(void);
} script;

/* Has others step in two gaps of the next call under test. */
static void others(const char *name, void (*one)(void), void (*two)(void), unsigned long one_at,
                   unsigned long two_at) {
  scenario = name;
  first = one;
  second = two;
  first_at = one_at;
  second_at = two_at;
  alone = true;
}

static void play(const script *s, unsigned long one, unsigned long two) {
  others(s->name, s->first, s->second, one, two);
  wakes = requested = seen = told = 0;
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
  check(!s->tell || closed || (box == NULL && told > 0), "C's last drop was not reported");
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

/* ---------------------------------------------------------------------- threads that stop -- */

/* A thread stops permanently in a call on one task's waker, or on the cell, in each of its gaps.
 * The references that it held stay. The wakes of another task are delivered, and the sink's end
 * waits for no thread. */
static rawwaker_cell cell;
static rawwaker_box *other_box;
static unsigned long called, dropped_hooks;
static void hook_wake(void *arg) {
  (void)arg;
  gap();
  called++;
}
static void hook_drop(void *arg) {
  (void)arg;
  dropped_hooks++;
}
static void clone_mine(void) {
  if (!alone) rawwaker_drop(rawwaker_clone(&mine));
}
static void register_mine(void) { rawwaker_cell_register(&cell, &mine); }
static void take_mine(void) {
  rawwaker w;
  if (rawwaker_cell_take(&cell, &w)) rawwaker_drop(w);
}
static void wake_cell(void) { rawwaker_cell_wake(&cell); }
static void drop_cell(void) { rawwaker_cell_drop(&cell); }

static bool readable(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

/* The host drains and falls asleep again. It may find the other task, and the stopped thread's.
 * Returns whether the other task was woken. */
static bool fall_asleep(void) {
  rawwaker_notice n;
  bool found = false;
  rawwaker_sink_ack(sink);
  for (rawwaker_box *list = rawwaker_sink_take(sink); rawwaker_box_read(&list, &n, 1) != 0;)
    if (n.id == 8) found = n.woken;
  check(rawwaker_sink_sleep(sink), "nothing is listed, and sleep returned false");
  called = 0;
  return found;
}

typedef struct halt {
  const char *name;
  bool tell, in_cell; /* in_cell: mine is registered before */
  void (*under_test)(void);
} halt;

/* Returns whether the call was left, that is, whether it has that many gaps. */
static bool stop(const halt *h, unsigned long at, bool late) {
  others(h->name, nothing, nothing, at, late);
  wakes = requested = seen = told = 0;
  closed = sink_dropped = woken = false;
  called = dropped_hooks = 0;
  sink = rawwaker_sink_new(0);
  box = rawwaker_box_new(sink, 7, h->tell ? RAWWAKER_BOX_TELL : 0);
  other_box = rawwaker_box_new(sink, 8, 0);
  check(sink != NULL && box != NULL && other_box != NULL, "out of memory");
  check(rawwaker_sink_on_wake(sink, rawwaker_from_fn(hook_wake, NULL, hook_drop)), "out of memory");
  mine = rawwaker_box_ref(box);
  theirs = rawwaker_box_ref(other_box);
  rawwaker_cell_init(&cell);
  if (h->in_cell) register_mine();
  int fd = rawwaker_sink_fd(sink);
  fall_asleep();
  keep(sink);
  keep(box);
  keep(other_box);
  gaps = 0;
  stop_at = at;
  bool left = false;
  if (setjmp(stopped) == 0) {
    alone = false;
    h->under_test();
  } else {
    left = true;
  }
  alone = true;
  stop_at = 0;
  if (!left) keep(mine.data);
  /* The runtime may have fallen asleep again meanwhile. */
  if (late) fall_asleep();
  /* At the cell, a task that registers now is woken, at once or by the next wake. Only a wake that
   * finds the stopped thread's register is left to that thread, and it is of that thread's task. */
  bool at_cell = h->in_cell || h->under_test == register_mine;
  for (int round = 0; round < 3; round++) {
    if (at_cell && round == 0) {
      rawwaker_cell_register(&cell, &theirs);
      rawwaker_cell_wake(&cell);
    } else {
      rawwaker_wake_by_ref(&theirs);
    }
    check(readable(fd) && called > 0, "a wake of another task does not wake the host");
    check(fall_asleep(), "a wake of another task is not delivered");
  }
  stops++;
  /* No call waits for the stopped thread, and no event of the descriptor is reported any more. */
  rawwaker_wake_by_ref(&theirs);
  rawwaker_sink_drop(sink);
  rawwaker_sink_reap();
  check(!readable(fd), "the descriptor of a sink that is dropped is readable");
  check(dropped_hooks <= 1, "a hook was dropped twice");
  rawwaker_wake_by_ref(&theirs);
  check(!readable(fd), "a wake has written to a descriptor after its sink was dropped");
  if (fcntl(fd, F_GETFD) >= 0) close(fd);
  return left;
}

/* A wake finds the host asleep. Meanwhile the host takes a step, and another task is woken. At the
 * end the host was woken for what is listed, and the next wake wakes it too. */
static void wake_other(void) {
  if (!sink_dropped) rawwaker_wake_by_ref(&theirs);
}
static void sleep_again(void) {
  if (!sink_dropped) fall_asleep();
}
static int reused = -1, watched = -1; /* watched: what an epoll set of the host still has */
static void drop_sink(void) {
  if (sink_dropped) return;
  sink_dropped = true;
  rawwaker_sink_ack(sink);
  watched = fcntl(rawwaker_sink_fd(sink), F_DUPFD_CLOEXEC, 0);
  rawwaker_sink_drop(sink);
  reused = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); /* it gets the number if that is free */
}

/* The same if no more descriptors can be opened than given. If they are too few to replace the
 * sink's, it is only made unreadable. */
static void drop_sink_with(int more) {
  if (sink_dropped) return;
  sink_dropped = true;
  int fd = rawwaker_sink_fd(sink), next = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  close(next);
  struct rlimit limit, few;
  check(getrlimit(RLIMIT_NOFILE, &limit) == 0, "no limit");
  few = limit;
  few.rlim_cur = more == 0 ? 0 : (rlim_t)(next + more);
  check(setrlimit(RLIMIT_NOFILE, &few) == 0, "the limit stays");
  rawwaker_sink_drop(sink);
  check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit stays");
  check(fcntl(fd, F_GETFD) < 0 || !readable(fd), "a host that has ended is still woken");
}
static void drop_sink_without_descriptors(void) { drop_sink_with(0); }
static void drop_sink_with_one_descriptor(void) { drop_sink_with(1); }

/* Another thread begins to use the descriptor and, in another gap, writes and ends. */
static bool using;
static void begin_use(void) {
  if (using) return;
  sink_ref(sink);
  using = use_begin(&sink->descriptor);
  if (!using) sink_unref(sink);
}
static void end_use(void) {
  if (!using) return;
  using = false;
  sink_write(sink);
  if (use_end(&sink->descriptor)) sink_shut(sink);
  sink_unref(sink);
}
static void end_host(void) {
  sink_dropped = true;
  rawwaker_sink_drop(sink);
  reused = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static int descriptors(void) {
  int n = 0;
  for (int fd = 0; fd < 64; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

static void beside(const script *s, unsigned long one, unsigned long two) {
  others(s->name, s->first, s->second, one, two);
  closed = sink_dropped = false;
  called = dropped_hooks = 0;
  reused = watched = -1;
  int open_before = descriptors();
  sink = rawwaker_sink_new(0);
  box = rawwaker_box_new(sink, 7, 0);
  other_box = rawwaker_box_new(sink, 8, 0);
  check(sink != NULL && box != NULL && other_box != NULL, "out of memory");
  check(rawwaker_sink_on_wake(sink, rawwaker_from_fn(hook_wake, NULL, hook_drop)), "out of memory");
  mine = rawwaker_box_ref(box);
  theirs = rawwaker_box_ref(other_box);
  int fd = rawwaker_sink_fd(sink);
  fall_asleep();
  gaps = 0;
  alone = false;
  s->under_test();
  alone = true;
  end_use();
  interleavings++;
  if (!sink_dropped) {
    bool listed = __atomic_load_n(&sink->head, __ATOMIC_SEQ_CST) != NULL;
    check(!listed || (readable(fd) && called > 0), "the host sleeps while something is listed");
    rawwaker_wake_by_ref(&theirs);
    check(readable(fd) && called > 0, "the next wake does not wake the host");
    rawwaker_sink_drop(sink);
  }
  if (reused >= 0) {
    check(!readable(reused), "a reused number was written to");
    check(fcntl(reused, F_GETFD) >= 0 && close(reused) == 0, "a reused number was closed");
  }
  if (watched >= 0) {
    check(!readable(watched), "what a host watched is written to after its end");
    close(watched);
  }
  rawwaker_sink_reap();
  check(dropped_hooks == 1, "the hook was not dropped exactly once");
  check(fd == reused || fcntl(fd, F_GETFD) < 0, "the descriptor stays open");
  check(descriptors() == open_before, "a descriptor is left open");
  rawwaker_box_close(box);
  rawwaker_box_close(other_box);
  rawwaker_drop(mine);
  rawwaker_drop(theirs);
  check(rawwaker_live() == 0, "a box is left");
}

static const script besides[] = {
    {"a wake of a host that sleeps again", false, wake_mine_by_ref, sleep_again, wake_other},
    {"a wake beside another, of a host that sleeps again", false, wake_mine_by_ref, wake_other,
     sleep_again},
    {"a wake of a host that sleeps again twice", false, wake_mine_by_ref, sleep_again, sleep_again},
    {"a wake of a host that ends", false, wake_mine_by_ref, wake_other, drop_sink},
    {"a wake of a host that sleeps again, and ends", false, wake_mine_by_ref, sleep_again,
     drop_sink},
    {"a wake of a host that ends, without descriptors", false, wake_mine_by_ref, wake_other,
     drop_sink_without_descriptors},
    {"a wake of a host that ends, with one descriptor left", false, wake_mine_by_ref, wake_other,
     drop_sink_with_one_descriptor},
    {"the end of a host beside a write that begins and ends", false, end_host, begin_use, end_use},
};

static const halt halts[] = {
    {"a thread stops in wake", false, false, wake_mine},
    {"a thread stops in wake, of a box that tells", true, false, wake_mine},
    {"a thread stops in wake_by_ref", false, false, wake_mine_by_ref},
    {"a thread stops in clone", false, false, clone_mine},
    {"a thread stops in drop", false, false, drop_mine},
    {"a thread stops in the last drop of a box that tells", true, false, drop_mine},
    {"a thread stops in a poll", false, false, poll_it},
    {"a thread stops in rawwaker_cell_register", false, false, register_mine},
    {"a thread stops in rawwaker_cell_register of the kept waker", false, true, register_mine},
    {"a thread stops in rawwaker_cell_take", false, true, take_mine},
    {"a thread stops in rawwaker_cell_wake", false, true, wake_cell},
    {"a thread stops in rawwaker_cell_drop", false, true, drop_cell},
};

/* ---------------------------------------------------------------------------- the oneshot -- */

/* A oneshot whose future is polled with waker 0 or 1, and whose sender is used once. */
static struct {
  rawwaker_future f;
  rawwaker_oneshot *tx;
  bool used, sent, dropped, ended, pending, cancel_ends;
  int last;                           /* the waker of the latest poll */
  unsigned refs[2], woken[2], seen;   /* seen: woken[last] when that poll began */
  unsigned taken, destroyed, cancels, releases;
} one;

static rawwaker one_clone(void *data);
static void one_by_ref(void *data) { one.woken[(unsigned *)data - one.refs]++; }
static void one_unref(void *data) {
  check(*(unsigned *)data > 0, "a waker was ended twice");
  --*(unsigned *)data;
}
static void one_wake(void *data) {
  gap();
  one_by_ref(data);
  one_unref(data);
}
static const rawwaker_vtable one_vtable = {one_clone, one_wake, one_by_ref, one_unref};
static rawwaker one_clone(void *data) {
  ++*(unsigned *)data;
  gap();
  return (rawwaker){data, &one_vtable};
}

static void one_send(void) {
  static const uint64_t value = 42;
  if (one.used) return;
  one.used = one.sent = true;
  rawwaker_oneshot_send(one.tx, &value);
}
static void one_fail(void) {
  if (one.used) return;
  one.used = true;
  rawwaker_oneshot_drop(one.tx);
}
static void one_poll(int with) {
  if (one.dropped || one.ended) return;
  rawwaker w = {&one.refs[with], &one_vtable};
  rawwaker_context cx = {&w};
  uint64_t out = 0;
  one.last = with;
  one.seen = one.woken[with];
  rawwaker_poll got = one.f.vtable->poll(one.f.data, &cx, &out);
  one.pending = got == RAWWAKER_PENDING;
  one.ended = !one.pending;
  check(got == RAWWAKER_PENDING || one.used, "a result that was not sent");
  check(one.pending || got == (one.sent ? RAWWAKER_READY : RAWWAKER_PANICKED), "a wrong code");
  if (got == RAWWAKER_READY) check(++one.taken == 1 && out == 42, "a wrong value was taken");
}
static void one_poll_0(void) { one_poll(0); }
static void one_poll_1(void) { one_poll(1); }
static void one_drop(void) {
  if (one.dropped) return;
  one.dropped = true;
  one.f.vtable->drop(one.f.data);
}
static void one_cancel(void) {
  if (!one.dropped) rawwaker_oneshot_cancel(one.f);
}
static void one_on_cancel(void *arg) {
  (void)arg;
  check(++one.cancels == 1, "cancel was called twice");
  check(!one.ended, "cancel was called although the result was taken");
  gap();
  if (one.cancel_ends) one_fail();
}
static void one_on_destroy(void *arg, void *value) {
  (void)arg;
  check(*(uint64_t *)value == 42 && ++one.destroyed == 1, "a wrong value was destroyed");
  gap();
}
static void one_on_release(void *arg) {
  (void)arg;
  check(++one.releases == 1, "release was called twice");
}
static const rawwaker_oneshot_ops one_ops = {NULL, one_on_cancel, one_on_destroy, one_on_release};

typedef struct once {
  const char *name;
  bool cancel_ends; /* cancel drops the sender, unless it was used */
  void (*before)(void), (*under_test)(void), (*first)(void), (*second)(void);
} once;

static void one_begin(const once *s, unsigned long first_gap, unsigned long second_gap) {
  others(s->name, s->first, s->second, first_gap, second_gap);
  memset(&one, 0, sizeof one);
  one.cancel_ends = s->cancel_ends;
  one.f = rawwaker_oneshot_new(8, 8, &one_ops, NULL, &one.tx);
  s->before();
  gaps = 0;
}

static void play_once(const once *s, unsigned long one_at, unsigned long two_at) {
  one_begin(s, one_at, two_at);
  alone = false;
  s->under_test();
  alone = true;
  interleavings++;
  check(one.releases == (one.used && one.dropped), "release was called early, or not at all");
  one_send();
  if (!one.dropped && one.pending) {
    check(one.woken[one.last] > one.seen, "a wake was lost");
    one_poll(one.last);
    check(one.ended, "a sender was used, and its future is pending");
  }
  one_drop();
  check(one.taken + one.destroyed == one.sent, "the value was not taken or destroyed exactly once");
  check(one.refs[0] == 0 && one.refs[1] == 0, "a waker is left");
  check(one.releases == 1, "release was not called exactly once");
  rawwaker_set_panic(NULL, 0);
}

static const once onces[] = {
    {"a send beside the first poll", false, nothing, one_send, one_poll_0, one_drop},
    {"a send beside two first polls", false, nothing, one_send, one_poll_0, one_poll_1},
    {"a send beside a poll and a drop", false, one_poll_0, one_send, one_poll_0, one_drop},
    {"a send beside a poll with another waker", false, one_poll_0, one_send, one_poll_1, one_drop},
    {"a send beside polls with other wakers", false, one_poll_0, one_send, one_poll_1, one_poll_0},
    {"a send beside cancel and drop", false, one_poll_0, one_send, one_cancel, one_drop},
    {"a send beside cancel and poll", false, one_poll_0, one_send, one_cancel, one_poll_1},
    {"a send beside the drop of an unpolled future", false, nothing, one_send, one_drop, nothing},
    {"a send after a cancel beside a drop", false, one_cancel, one_send, one_poll_0, one_drop},
    {"a fail beside the first poll", false, nothing, one_fail, one_poll_0, one_drop},
    {"a fail beside a poll and a drop", false, one_poll_0, one_fail, one_poll_0, one_drop},
    {"a fail beside a poll with another waker", false, one_poll_0, one_fail, one_poll_1, one_drop},
    {"a fail beside cancel and drop", false, one_poll_0, one_fail, one_cancel, one_drop},
    {"a first poll beside a send", false, nothing, one_poll_0, one_send, nothing},
    {"a first poll beside a fail", false, nothing, one_poll_0, one_fail, nothing},
    {"a poll beside a send", false, one_poll_0, one_poll_0, one_send, nothing},
    {"a poll with another waker beside a send", false, one_poll_0, one_poll_1, one_send, nothing},
    {"a poll with another waker beside a fail", false, one_poll_0, one_poll_1, one_fail, nothing},
    {"a drop beside a send", false, one_poll_0, one_drop, one_send, nothing},
    {"a drop beside a fail", false, one_poll_0, one_drop, one_fail, nothing},
    {"a drop of an unpolled future beside a send", false, nothing, one_drop, one_send, nothing},
    {"a drop beside a send, and cancel ends it", true, one_poll_0, one_drop, one_send, nothing},
    {"a cancel beside a send", false, one_poll_0, one_cancel, one_send, nothing},
    {"a cancel beside a send, and cancel ends it", true, one_poll_0, one_cancel, one_send, nothing},
};

/* A thread stops in one side's call, and returns whether the call has that many gaps. The calls of
 * the other side return: the thread holds back nothing but release. */
static bool stop_once(const once *s, unsigned long at) {
  one_begin(s, 0, 0);
  keep(one.f.data);
  stop_at = at;
  bool left = false;
  if (setjmp(stopped) == 0) {
    alone = false;
    s->under_test();
  } else {
    left = true;
  }
  alone = true;
  stop_at = 0;
  stops++;
  if (s->under_test == one_send || s->under_test == one_fail) {
    one_poll_0();
    one_poll_1();
    one_drop();
    check(one.ended || one.cancels == 1, "a drop without a result has not called cancel");
  } else {
    one_send();
  }
  check(!left || one.releases == 0, "release was called while a thread is inside");
  rawwaker_set_panic(NULL, 0);
  return left;
}

/* ------------------------------------------------------------------------------ the queue -- */

static rawwaker_queue *queue;
static struct {
  rawwaker_queue_node nodes[4];
  bool pushed[4], refused[4];
  unsigned taken[4];
  int order[4];
  unsigned n;
  bool dropped, closed, pushing;
  int latest; /* what is being pushed, if pushing */
} work;

static void push(int i) {
  if (work.dropped || work.pushed[i] || work.refused[i]) return;
  bool outside = work.pushing;
  if (!outside) work.latest = i;
  work.pushing = true;
  work.pushed[i] = rawwaker_queue_push(queue, &work.nodes[i]);
  work.refused[i] = !work.pushed[i];
  work.pushing = outside;
}
static void push_0(void) { push(0); }
static void push_1(void) { push(1); }
static void push_2(void) { push(2); }
static void accept(rawwaker_queue_node *n) {
  for (; n != NULL; n = rawwaker_queue_next(n)) {
    ptrdiff_t i = n - work.nodes;
    check(i >= 0 && i < 4 && ++work.taken[i] == 1, "a node was taken twice");
    work.order[work.n++] = (int)i;
  }
}
static void take_once(void) {
  if (!work.dropped) accept(rawwaker_queue_take(queue));
}
static void take_all(void) {
  if (work.dropped) return;
  for (rawwaker_queue_node *n; (n = rawwaker_queue_take(queue)) != NULL;) accept(n);
}
static void close_queue(void) {
  if (work.dropped) return;
  work.closed = true;
  accept(rawwaker_queue_close(queue));
}
/* No push may be about to begin, so the thread that drops has taken what is being pushed. */
static void drop_queue(void) {
  if (work.dropped) return;
  close_queue();
  if (work.pushing && work.taken[work.latest] == 0) return;
  work.dropped = true;
  rawwaker_queue_drop(queue);
  reused = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); /* it gets the number if that is free */
}

static void queue_begin(void) {
  alone = true;
  memset(&work, 0, sizeof work);
  reused = -1;
  queue = rawwaker_queue_new();
  check(queue != NULL, "out of memory");
  gaps = 0;
}
static void queue_end(int fd) {
  drop_queue();
  for (int i = 0; i < 4; i++)
    check(work.taken[i] == work.pushed[i], "a node that was pushed was not taken exactly once");
  check(!readable(reused), "a reused number was written to");
  check(fcntl(reused, F_GETFD) >= 0 && close(reused) == 0, "a reused number was closed");
  check(fd == reused || fcntl(fd, F_GETFD) < 0 || !readable(fd), "a dropped queue is readable");
}

static void queue_beside(const script *s, unsigned long one_at, unsigned long two_at) {
  others(s->name, s->first, s->second, one_at, two_at);
  int open_before = descriptors();
  queue_begin();
  int fd = rawwaker_queue_fd(queue);
  if (s->tell) { /* it is awake, and something is left in it */
    push(2);
    push(3);
    take_once();
    push(1);
    gaps = 0;
  }
  alone = false;
  s->under_test();
  alone = true;
  interleavings++;
  if (s->under_test == take_once && work.n > 0)
    check(queue->sink.sleeping == 0, "an engine that has work to do counts as asleep");
  if (!work.dropped) {
    bool left = queue->head != NULL && queue->head != &refused;
    check(!left || readable(fd) || s->tell, "the engine sleeps while something is in the queue");
    take_all();
    check(!readable(fd) && (work.closed || queue->sink.sleeping != 0), "the engine is awake");
    push(0);
    check(!work.pushed[0] || work.taken[0] || readable(fd),
          "the next push does not wake the engine");
  }
  queue_end(fd);
  check(descriptors() == open_before, "a descriptor is left open");
}

static const script queues[] = {
    {"a push beside another and a take", false, push_1, push_2, take_all},
    {"a push beside two takes", false, push_1, take_once, take_all},
    {"a push beside another and a close", false, push_1, push_2, close_queue},
    {"a push beside a take and a close", false, push_1, take_all, close_queue},
    {"a push to a queue that is dropped", false, push_1, push_2, drop_queue},
    {"a push to a queue that is taken and dropped", false, push_1, take_all, drop_queue},
    {"a push to an engine that is awake", true, push_0, take_once, take_all},
    {"a take beside two pushes", false, take_all, push_1, push_2},
    {"a take beside a push and a close", false, take_all, push_1, close_queue},
    {"one take beside two pushes", false, take_once, push_1, push_2},
    {"a take of an engine that is awake beside a push", true, take_all, push_0, nothing},
    {"a close beside two pushes", false, close_queue, push_1, push_2},
};

static bool stop_push(unsigned long at, bool late) {
  others("a thread stops in a push", nothing, nothing, at, late);
  queue_begin();
  keep(queue);
  int fd = rawwaker_queue_fd(queue);
  stop_at = at;
  bool left = false;
  if (setjmp(stopped) == 0) {
    alone = false;
    push_0();
  } else {
    left = true;
  }
  alone = true;
  stop_at = 0;
  stops++;
  if (late) take_all();
  for (int i = 1; i < 4; i++) {
    push(i);
    check(readable(fd), "a push does not wake the engine");
    take_all();
    check(work.taken[i] == 1, "a push was not taken");
    check(!readable(fd), "the engine does not sleep");
  }
  work.pushed[0] = work.taken[0] == 1; /* it may have stopped before the push */
  work.pushing = false;
  queue_end(fd);
  if (fd != reused && fcntl(fd, F_GETFD) >= 0) close(fd);
  return left;
}

/* ------------------------------------------------------------------------------- the job -- */

/* A job, the thread of its engine, and the one that polls and drops its future. */
static struct {
  rawwaker_queue *q;
  rawwaker_future f;
  rawwaker_job *j;
  bool submitted, used, dropped, ended, running;
  unsigned taken, destroyed, cancels, releases;
} job;

static void job_send(void) {
  static const int value = 42;
  job.used = true;
  rawwaker_job_send(job.j, &value);
}
static void on_submit(void *engine, rawwaker_job *j) {
  (void)engine;
  check(j == job.j && !job.submitted, "a job was submitted twice");
  job.submitted = true;
}
static void on_job_cancel(void *engine, rawwaker_job *j) {
  (void)engine;
  (void)j;
  check(job.submitted && !job.used, "cancel was called for a job that had not begun or had ended");
  check(++job.cancels == 1, "cancel was called twice");
}
static void on_job_destroy(rawwaker_job *j, void *value) {
  (void)j;
  check(*(int *)value == 42 && ++job.destroyed == 1, "another value was destroyed");
}
static void on_job_release(rawwaker_job *j) {
  check(j == job.j && ++job.releases == 1, "release was called twice");
}
static const rawwaker_job_ops job_ops = {on_submit, on_job_cancel, on_job_destroy, on_job_release};

static void job_run_engine(void) {
  if (job.running) return;
  job.running = true;
  rawwaker_queue_run(job.q, &job);
  job.running = false;
}
static void job_answer(void) {
  if (job.running || !job.submitted || job.used) return;
  job.running = true;
  job_send();
  job.running = false;
}
static void job_poll(void) {
  if (job.dropped || job.ended) return;
  rawwaker waker = rawwaker_noop();
  int out = 0;
  rawwaker_poll got = job.f.vtable->poll(job.f.data, &(rawwaker_context){&waker}, &out);
  job.ended = got != RAWWAKER_PENDING;
  job.taken += got == RAWWAKER_READY && out == 42;
}
static void job_cancel_future(void) {
  if (!job.dropped && !job.ended) rawwaker_oneshot_cancel(job.f);
}
static void job_drop(void) {
  if (job.dropped) return;
  job.dropped = true;
  job.f.vtable->drop(job.f.data);
}

static void job_beside(const script *s, unsigned long one_at, unsigned long two_at) {
  others(s->name, s->first, s->second, one_at, two_at);
  memset(&job, 0, sizeof job);
  job.q = rawwaker_queue_new();
  check(job.q != NULL, "out of memory");
  job.f = rawwaker_job_new(job.q, &job_ops, sizeof(int), _Alignof(int), 0, &job.j);
  job_poll();
  if (s->tell) job_run_engine(); /* it is submitted */
  gaps = 0;
  alone = false;
  s->under_test();
  alone = true;
  interleavings++;
  job_run_engine();
  check(job.submitted || job.dropped, "a job was not submitted");
  job_answer();
  job_poll();
  check(job.ended || job.dropped, "a job that was ended is not ready");
  job_drop();
  job_run_engine();
  check(job.taken + job.destroyed == job.used, "a value was not taken or destroyed exactly once");
  check(job.releases == 1, "release was not called exactly once");
  rawwaker_queue_end(job.q);
  rawwaker_queue_drop(job.q);
  rawwaker_set_panic(NULL, 0);
}

static const script job_scripts[] = {
    {"the drop of a job beside its submit and its answer", false, job_drop, job_run_engine,
     job_answer},
    {"the drop of a job beside its answer and its cancel", true, job_drop, job_answer,
     job_run_engine},
    {"the drop of a job beside its cancel and its answer", true, job_drop, job_run_engine,
     job_answer},
    {"the cancel of a job beside its answer and its engine", true, job_cancel_future, job_answer,
     job_run_engine},
    {"a submit beside a cancel and a drop", false, job_run_engine, job_cancel_future, job_drop},
    {"an answer beside a cancel and a drop", true, job_answer, job_cancel_future, job_drop},
    {"an answer beside a poll and a drop", true, job_answer, job_poll, job_drop},
    {"a poll of a job beside its answer", true, job_poll, job_answer, job_run_engine},
};

static void every_pair(void (*run)(const script *s, unsigned long one, unsigned long two),
                       const script *s) {
  unsigned long most = 1;
  for (unsigned long one = 1; one <= most + 1; one++)
    for (unsigned long two = one; two <= most + 1; two++) {
      run(s, one, two);
      if (gaps > most) most = gaps;
      check(gaps < 1000, "it does not end");
    }
}

static void every_pair_once(const once *s) {
  unsigned long most = 1;
  for (unsigned long one_at = 1; one_at <= most + 1; one_at++)
    for (unsigned long two_at = one_at; two_at <= most + 1; two_at++) {
      play_once(s, one_at, two_at);
      if (gaps > most) most = gaps;
      check(gaps < 1000, "it does not end");
    }
}

/* A copy of the library in a plug-in that is unloaded gives back what it has of the process: here
 * more often than a process has keys. */
static void unload_often(void) {
  others("unloads", nothing, nothing, 0, 0);
  for (int i = 0; i < PTHREAD_KEYS_MAX + 50; i++) {
    rawwaker_set_panic("why", 3);
    check(strcmp(rawwaker_last_panic(), "why") == 0, "a panic text is lost after many unloads");
    panic_unload();
    check(*rawwaker_last_panic() == '\0', "a panic text is left after an unload");
  }
}

/* A future that wakes itself is polled again in the same call, as long as the time is not up. */
static unsigned polls;
static rawwaker_poll self_waking_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)out;
  polls++;
  rawwaker_wake_by_ref(cx->waker);
  return RAWWAKER_PENDING;
}
static void polls_again(void) {
  static const rawwaker_future_vtable self_waking = {self_waking_poll, NULL};
  others("a poll of a future that wakes itself", nothing, nothing, 0, 0);
  rawwaker_box *b = NULL;
  sink = rawwaker_sink_new(0);
  check(sink != NULL, "out of memory");
  rawwaker_box_poll(sink, &b, (rawwaker_future){NULL, &self_waking}, NULL, &woken);
  check(b == NULL && woken, "a wake during a poll is not reported");
  check(polls == POLLS, "it is polled more or less often than a call allows");
  rawwaker_sink_drop(sink);
}

int main(void) {
  unload_often();
  polls_again();
  size_t n = sizeof scripts / sizeof *scripts, k = sizeof besides / sizeof *besides;
  size_t j = sizeof job_scripts / sizeof *job_scripts;
  size_t o = sizeof onces / sizeof *onces, q = sizeof queues / sizeof *queues;
  for (const script *s = scripts; s < scripts + n; s++) every_pair(play, s);
  for (const script *s = besides; s < besides + k; s++) every_pair(beside, s);
  for (const script *s = queues; s < queues + q; s++) every_pair(queue_beside, s);
  for (const script *s = job_scripts; s < job_scripts + j; s++) every_pair(job_beside, s);
  for (const once *s = onces; s < onces + o; s++) every_pair_once(s);
  size_t m = sizeof halts / sizeof *halts;
  for (const halt *h = halts; h < halts + m; h++)
    for (int late = 0; late < 2; late++)
      for (unsigned long at = 1; stop(h, at, late != 0); at++)
        check(at < 1000, "it does not end");
  for (const once *s = onces; s < onces + o; s++)
    for (unsigned long at = 1; stop_once(s, at); at++) check(at < 1000, "it does not end");
  for (int late = 0; late < 2; late++)
    for (unsigned long at = 1; stop_push(at, late != 0); at++) check(at < 1000, "it does not end");
  printf("ok: %zu calls, each with two actions of others in every pair of its gaps: "
         "%lu interleavings, 0 wakes lost; "
         "and %zu in which a thread stops permanently, %lu times: 0 wakes of others lost\n",
         n + k + q + j + o, interleavings, m + o + 1, stops);
  return 0;
}
