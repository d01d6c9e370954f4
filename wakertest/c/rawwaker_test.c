/* rawwaker_test.c - see rawwaker_test.h.
 *
 * SPDX-License-Identifier: MIT
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "rawwaker_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16, THREADS = 4, ROUNDS = 2000, EVENTS = 64, OUT = 256 };

/* ----------------------------------------------------------------------------- the report -- */

/* What the current scenario has done. All accesses are relaxed: the report must not order the code
 * under test. */
static struct {
  const char *name, *rule;
  int number;
  _Atomic(int) failed, skipped;
  char why[512];
  _Atomic(const char *) events[EVENTS];
  _Atomic(unsigned) happened;
  _Atomic(int64_t) deadline; /* 0 between scenarios */
} now;

static int64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t patience(void) {
  const char *s = getenv("RAWWAKER_TEST_SECONDS");
  double seconds = s != NULL ? atof(s) : 0;
  return (int64_t)((seconds > 0 ? seconds : 10) * 1e9);
}

/* Waits a short time for other threads. */
static void pause_a_little(void) {
  struct timespec t = {0, 50000};
  nanosleep(&t, NULL);
}

static _Atomic(int64_t) patient; /* patience(), once it was read */

static void did(const char *what) {
  atomic_store_explicit(&now.deadline,
                        nanoseconds() + 2 * atomic_load_explicit(&patient, memory_order_relaxed),
                        memory_order_relaxed);
  unsigned i = atomic_fetch_add_explicit(&now.happened, 1, memory_order_relaxed);
  atomic_store_explicit(&now.events[i % EVENTS], what, memory_order_relaxed);
}

static void say_order(void) {
  unsigned n = atomic_load(&now.happened), i = n > EVENTS ? n - EVENTS : 0;
  printf("# in order:%s", i > 0 ? " ..." : "");
  for (bool first = true; i < n; i++, first = false) {
    const char *what = atomic_load(&now.events[i % EVENTS]);
    printf("%s %s", first ? "" : ";", what != NULL ? what : "?");
  }
  printf("\n");
}

static void say_failure(void) {
  printf("not ok %d - %s\n# the rule: %s\n# expected: %s\n", now.number, now.name, now.rule,
         now.why);
  say_order();
  fflush(stdout);
}

/* Returns cond. The first failure is recorded for the report. */
static bool expect(bool cond, const char *format, ...) {
  int none = 0;
  if (cond || !atomic_compare_exchange_strong(&now.failed, &none, 1)) return cond;
  va_list args;
  va_start(args, format);
  vsnprintf(now.why, sizeof now.why, format, args);
  va_end(args);
  return false;
}

static void skip(const char *why) {
  atomic_store(&now.skipped, 1);
  snprintf(now.why, sizeof now.why, "%s", why);
}

/* watch and crashed report a call that does not return, or that ends the program. */
static void *watch(void *unused) {
  (void)unused;
  for (;;) {
    struct timespec nap = {0, 20000000};
    nanosleep(&nap, NULL);
    int64_t deadline = atomic_load(&now.deadline);
    if (deadline == 0 || nanoseconds() < deadline) continue;
    expect(false, "every call to return; the latest did not");
    say_failure();
    printf("Bail out! %s did not return\n", now.name);
    fflush(stdout);
    _exit(3);
  }
  return NULL;
}

static void crashed(int signal) {
  /* printf is not safe in a signal handler, but the program ends here in any case. */
  if (atomic_load(&now.deadline) == 0) _exit(3);
  if (expect(false, "no signal; signal %d came", signal)) return;
  say_failure();
  printf("Bail out! signal %d in %s\n", signal, now.name);
  fflush(stdout);
  _exit(3);
}

typedef struct scenario {
  const char *name;
  void (*run)(void *make, void *arg);
  const char *rule;
} scenario;

static bool known(const char *name);

static int run_all(const char *subject, const scenario *all, void *make, void *arg) {
  static bool watched;
  int n = 0, failed = 0, chosen = 0;
  const char *only = getenv("RAWWAKER_TEST_ONLY");
  if (!watched) {
    pthread_t watcher;
    watched = pthread_create(&watcher, NULL, watch, NULL) == 0 && pthread_detach(watcher) == 0;
    signal(SIGABRT, crashed);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    signal(SIGSEGV, crashed);
#endif
#ifdef SIGBUS
    signal(SIGBUS, crashed);
#endif
  }
  if (only != NULL && !known(only)) {
    printf("Bail out! RAWWAKER_TEST_ONLY: there is no scenario %s\n", only);
    fflush(stdout);
    _exit(3);
  }
  for (const scenario *s = all; s->name != NULL; s++)
    n += only == NULL || strcmp(only, s->name) == 0;
  printf("TAP version 13\n# %s\n1..%d\n", subject, n);
  for (const scenario *s = all; s->name != NULL; s++) {
    if (only != NULL && strcmp(only, s->name) != 0) continue;
    now.name = s->name;
    now.rule = s->rule;
    now.number = ++chosen;
    atomic_store(&now.failed, 0);
    atomic_store(&now.skipped, 0);
    atomic_store(&now.happened, 0);
    atomic_store(&patient, patience());
    did("begin");
    atomic_store(&now.happened, 0);
    s->run(make, arg);
    atomic_store(&now.deadline, 0);
    if (atomic_load(&now.failed)) {
      say_failure();
      failed++;
    } else if (atomic_load(&now.skipped)) {
      printf("ok %d - %s # SKIP %s\n", now.number, now.name, now.why);
    } else {
      printf("ok %d - %s\n", now.number, now.name);
    }
    fflush(stdout);
  }
  return failed;
}

/* ISO C cannot convert a function pointer to void *, so a struct holds them. */
typedef struct maker {
  rawwaker_test_waker (*waker)(void *);
  rawwaker_test_future (*future)(void *);
  rawwaker_test_stream (*stream)(void *);
  rawwaker_test_executor (*executor)(void *);
} maker;

static pthread_t start(void *(*f)(void *), void *arg) {
  pthread_t t;
  if (pthread_create(&t, NULL, f, arg) != 0) {
    printf("Bail out! no thread\n");
    exit(3);
  }
  return t;
}

/* ----------------------------------------------------------------------------- the wakers -- */

typedef rawwaker_test_waker subject;

static subject make_waker(void *make, void *arg) {
  did("make w");
  return ((const maker *)make)->waker(arg);
}

/* These call the slots of the given waker's own vtable. */
static rawwaker do_clone(rawwaker w, const char *what) {
  did(what);
  rawwaker c = w.vtable->clone(w.data);
  if (!expect(c.vtable != NULL, "clone to return a vtable")) return rawwaker_noop();
  return c;
}
static void do_wake(rawwaker w, const char *what) {
  did(what);
  w.vtable->wake(w.data);
}
static void do_wake_by_ref(rawwaker w, const char *what) {
  did(what);
  w.vtable->wake_by_ref(w.data);
}
static void do_drop(rawwaker w, const char *what) {
  did(what);
  w.vtable->drop(w.data);
}

static bool live_is(const subject *s, long n, const char *when) {
  if (s->live == NULL) return true;
  long got = s->live(s->arg);
  return expect(got == n, "%ld reference%s %s; there are %ld", n, n == 1 ? "" : "s", when, got);
}

/* Waits, because wakes may be noticed a little later. */
static bool wakes_reach(const subject *s, size_t n, const char *when) {
  for (int64_t end = nanoseconds() + patience();;) {
    size_t got = s->wakes(s->arg);
    if (got >= n) return true;
    if (nanoseconds() > end)
      return expect(false, "at least %zu wakes to be noticed %s; %zu were", n, when, got);
    pause_a_little();
  }
}

static bool wakes_at_most(const subject *s, size_t n, const char *when) {
  size_t got = s->wakes(s->arg);
  return expect(got <= n, "at most %zu wakes to be noticed %s; %zu were", n, when, got);
}

static void done(const subject *s) {
  live_is(s, 0, "at the end, each ended by one wake or drop");
  if (s->free != NULL) s->free(s->arg);
}

static void complete_vtable(void *make, void *arg) {
  subject s = make_waker(make, arg);
  const rawwaker_vtable *v = s.waker.vtable;
  bool slots = v != NULL && v->clone != NULL && v->wake != NULL && v->wake_by_ref != NULL &&
               v->drop != NULL;
  expect(v != NULL, "a vtable");
  expect(slots, "four slots");
  if (!slots) return;
  do_drop(s.waker, "drop w");
  done(&s);
}

static void clone_is_a_reference(void *make, void *arg) {
  subject s = make_waker(make, arg);
  live_is(&s, 1, "of a new waker");
  rawwaker c = do_clone(s.waker, "c = clone w");
  live_is(&s, 2, "after clone");
  do_drop(s.waker, "drop w");
  live_is(&s, 1, "after the original is dropped");
  size_t before = s.wakes(s.arg);
  do_wake_by_ref(c, "wake_by_ref c");
  wakes_reach(&s, before + 1, "after a wake of the clone");
  do_drop(c, "drop c");
  done(&s);
}

static void clone_may_change_data(void *make, void *arg) {
  subject s = make_waker(make, arg);
  rawwaker c1 = do_clone(s.waker, "c1 = clone w"), c2 = do_clone(c1, "c2 = clone c1"),
           c3 = do_clone(c2, "c3 = clone c2");
  live_is(&s, 4, "after three clones");
  do_drop(c2, "drop c2");
  do_drop(s.waker, "drop w");
  live_is(&s, 2, "after two drops");
  size_t before = s.wakes(s.arg);
  do_wake_by_ref(c3, "wake_by_ref c3");
  wakes_reach(&s, before + 1, "after a wake of a clone's clone");
  if (s.poll != NULL) s.poll(s.arg, NULL, NULL);
  before = s.wakes(s.arg);
  do_wake(c1, "wake c1");
  if (s.poll != NULL || s.exact) wakes_reach(&s, before + 1, "after a wake of the clone");
  do_drop(c3, "drop c3");
  done(&s);
}

static void wake_consumes(void *make, void *arg) {
  subject s = make_waker(make, arg);
  rawwaker c = do_clone(s.waker, "c = clone w");
  size_t before = s.wakes(s.arg);
  do_wake(c, "wake c");
  wakes_reach(&s, before + 1, "after wake");
  wakes_at_most(&s, before + 1, "after one wake");
  live_is(&s, 1, "after wake has consumed the clone");
  do_wake(s.waker, "wake w");
  done(&s);
}

static void wake_by_ref_borrows(void *make, void *arg) {
  subject s = make_waker(make, arg);
  size_t before = s.wakes(s.arg);
  do_wake_by_ref(s.waker, "wake_by_ref w");
  wakes_reach(&s, before + 1, "after wake_by_ref");
  live_is(&s, 1, "after wake_by_ref");
  if (s.poll != NULL) s.poll(s.arg, NULL, NULL);
  before = s.wakes(s.arg);
  do_wake_by_ref(s.waker, "wake_by_ref w");
  if (s.poll != NULL || s.exact) wakes_reach(&s, before + 1, "after a second wake_by_ref");
  live_is(&s, 1, "after a second wake_by_ref");
  do_drop(s.waker, "drop w");
  done(&s);
}

static void drop_wakes_nobody(void *make, void *arg) {
  subject s = make_waker(make, arg);
  size_t before = s.wakes(s.arg);
  rawwaker c = do_clone(s.waker, "c = clone w");
  do_drop(c, "drop c");
  do_drop(s.waker, "drop w");
  struct timespec moment = {0, 5000000}; /* a wake, which must not come, may be late */
  nanosleep(&moment, NULL);
  wakes_at_most(&s, before, "after clone and drop");
  done(&s);
}

static void references_balance(void *make, void *arg) {
  subject s = make_waker(make, arg);
  rawwaker all[64] = {s.waker};
  for (int i = 1; i < 64; i++) all[i] = do_clone(all[(i * 7) % i], "clone one of them");
  live_is(&s, 64, "after 63 clones");
  for (int i = 0; i < 64; i++) {
    rawwaker w = all[(i * 29) % 64];
    if (i % 2 == 0)
      do_drop(w, "drop one");
    else
      do_wake(w, "wake one");
    if (!live_is(&s, 63 - i, "after so many drops and wakes")) break;
  }
  done(&s);
}

static void wakes_coalesce(void *make, void *arg) {
  subject s = make_waker(make, arg);
  size_t before = s.wakes(s.arg);
  for (int i = 0; i < 10; i++) do_wake_by_ref(s.waker, "wake_by_ref w");
  wakes_reach(&s, before + (s.exact ? 10 : 1), "after ten wakes");
  wakes_at_most(&s, before + 10, "after ten wakes");
  if (s.poll != NULL) {
    did("poll");
    s.poll(s.arg, NULL, NULL);
    before = s.wakes(s.arg);
    do_wake_by_ref(s.waker, "wake_by_ref w");
    wakes_reach(&s, before + 1, "after a wake that follows the poll");
  }
  do_drop(s.waker, "drop w");
  done(&s);
}

/* Two threads each write a plain word and then wake; the second finds the task woken. The poll
 * reads both words. */
struct publish {
  rawwaker w;
  int *word;
  _Atomic(int) *woken;
};
static void *publisher(void *arg) {
  struct publish *p = arg;
  *p->word = 42;
  do_wake_by_ref(p->w, "a thread writes, then wake_by_ref w");
  /* reports the time, but orders nothing */
  atomic_fetch_add_explicit(p->woken, 1, memory_order_relaxed);
  return NULL;
}
static void read_both(void *arg) {
  const int *words = arg;
  expect(words[0] == 42 && words[1] == 42,
         "the poll to see what was written before each wake; it sees %d and %d", words[0],
         words[1]);
}
static void wakes_publish(void *make, void *arg) {
  for (int round = 0; round < 50 && !atomic_load(&now.failed); round++) {
    subject s = make_waker(make, arg);
    if (s.poll == NULL) {
      skip("no poll");
      do_drop(s.waker, "drop w");
      done(&s);
      return;
    }
    int words[2] = {0, 0};
    _Atomic(int) woken = 0;
    struct publish p[2] = {{s.waker, &words[0], &woken}, {s.waker, &words[1], &woken}};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
      t[i] = start(publisher, &p[i]);
      while (atomic_load_explicit(&woken, memory_order_relaxed) <= i) sched_yield();
    }
    wakes_reach(&s, 1, "after two wakes");
    did("poll reads");
    s.poll(s.arg, read_both, words);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    do_drop(s.waker, "drop w");
    done(&s);
  }
}

static void wake_it(void *arg) {
  do_wake_by_ref(*(rawwaker *)arg, "wake_by_ref w inside the poll");
}

static void wake_before_the_poll(void *make, void *arg) {
  subject s = make_waker(make, arg);
  size_t before = s.wakes(s.arg);
  do_wake_by_ref(s.waker, "wake_by_ref w");
  wakes_reach(&s, before + 1, "before the first poll");
  if (s.poll != NULL) s.poll(s.arg, NULL, NULL);
  do_drop(s.waker, "drop w");
  done(&s);
}

static void wake_during_the_poll(void *make, void *arg) {
  subject s = make_waker(make, arg);
  if (s.poll == NULL) {
    skip("no poll");
  } else {
    for (int i = 0; i < 3; i++) {
      size_t before = s.wakes(s.arg);
      did("poll");
      s.poll(s.arg, wake_it, &s.waker);
      if (!wakes_reach(&s, before + 1, "after a wake inside the poll")) break;
    }
  }
  do_drop(s.waker, "drop w");
  done(&s);
}

static void wake_after_the_poll(void *make, void *arg) {
  subject s = make_waker(make, arg);
  if (s.poll == NULL) {
    skip("no poll");
  } else {
    for (int i = 0; i < 3; i++) {
      did("poll");
      s.poll(s.arg, NULL, NULL);
      size_t before = s.wakes(s.arg);
      do_wake(do_clone(s.waker, "c = clone w"), "wake c");
      if (!wakes_reach(&s, before + 1, "after the poll")) break;
    }
  }
  do_drop(s.waker, "drop w");
  done(&s);
}

static void wake_after_the_end(void *make, void *arg) {
  subject s = make_waker(make, arg);
  if (s.end == NULL) {
    skip("no end");
    do_drop(s.waker, "drop w");
  } else {
    rawwaker c = do_clone(s.waker, "c = clone w");
    did("end");
    s.end(s.arg);
    size_t before = s.wakes(s.arg);
    do_wake_by_ref(s.waker, "wake_by_ref w");
    rawwaker d = do_clone(c, "d = clone c");
    do_wake(c, "wake c");
    do_drop(d, "drop d");
    do_wake(s.waker, "wake w");
    wakes_at_most(&s, before, "after the task's end");
  }
  done(&s);
}

struct inside {
  rawwaker use, got;
  _Atomic(int) times;
};
static void drop_it(void *arg) {
  struct inside *i = arg;
  if (atomic_fetch_add(&i->times, 1) == 0) do_drop(i->use, "drop c inside the wake");
}
static void drop_inside_wake(void *make, void *arg) {
  subject s = make_waker(make, arg);
  if (s.on_wake == NULL) {
    skip("no on_wake");
    do_drop(s.waker, "drop w");
  } else {
    struct inside i = {.use = do_clone(s.waker, "c = clone w")};
    s.on_wake(s.arg, drop_it, &i);
    do_wake(s.waker, "wake w");
    expect(atomic_load(&i.times) >= 1, "the wake to be noticed inside it");
    s.on_wake(s.arg, NULL, NULL);
  }
  done(&s);
}
static void clone_it(void *arg) {
  struct inside *i = arg;
  if (atomic_fetch_add(&i->times, 1) == 0) i->got = do_clone(i->use, "d = clone c inside the wake");
}
static void clone_inside_wake(void *make, void *arg) {
  subject s = make_waker(make, arg);
  if (s.on_wake == NULL) {
    skip("no on_wake");
    do_drop(s.waker, "drop w");
  } else {
    struct inside i = {.use = do_clone(s.waker, "c = clone w")};
    s.on_wake(s.arg, clone_it, &i);
    do_wake(s.waker, "wake w");
    s.on_wake(s.arg, NULL, NULL);
    if (expect(atomic_load(&i.times) >= 1, "the wake to be noticed inside it")) {
      live_is(&s, 2, "after the wake");
      do_drop(i.got, "drop d");
    }
    do_drop(i.use, "drop c");
  }
  done(&s);
}

struct stormer {
  rawwaker w; /* the thread's own */
  unsigned seed;
  size_t made;
  _Atomic(bool) *go;
};
static void *stormer(void *arg) {
  struct stormer *s = arg;
  rawwaker mine = s->w;
  while (!atomic_load(s->go)) sched_yield();
  for (int i = 0; i < ROUNDS; i++) {
    s->seed = s->seed * 1664525 + 1013904223;
    rawwaker c = mine.vtable->clone(mine.data);
    switch (s->seed >> 30) {
    case 0:
      c.vtable->drop(c.data);
      break;
    case 1:
      c.vtable->wake_by_ref(c.data);
      c.vtable->drop(c.data);
      s->made++;
      break;
    case 2:
      c.vtable->wake(c.data);
      s->made++;
      break;
    default: /* the clone replaces its original */
      mine.vtable->wake(mine.data);
      mine = c;
      s->made++;
    }
  }
  mine.vtable->drop(mine.data);
  return NULL;
}
static void storm(void *make, void *arg) {
  for (int round = 0; round < 5 && !atomic_load(&now.failed); round++) {
    subject s = make_waker(make, arg);
    size_t before = s.wakes(s.arg), made = 0;
    struct stormer all[THREADS];
    pthread_t t[THREADS];
    _Atomic(bool) go = false;
    did("4 threads clone, wake and drop 2,000 times each");
    for (int i = 0; i < THREADS; i++) {
      all[i] = (struct stormer){s.waker.vtable->clone(s.waker.data),
                                (unsigned)(i + 1 + 10 * round) * 2654435761u, 0, &go};
      t[i] = start(stormer, &all[i]);
    }
    atomic_store(&go, true);
    for (int i = 0; i < 1000 && s.poll != NULL; i++) s.poll(s.arg, NULL, NULL);
    for (int i = 0; i < THREADS; i++) {
      pthread_join(t[i], NULL);
      made += all[i].made;
    }
    live_is(&s, 1, "after the storm");
    wakes_reach(&s, before + (s.exact ? made : 1), "after the storm");
    wakes_at_most(&s, before + made, "after the storm");
    if (s.poll != NULL) s.poll(s.arg, NULL, NULL);
    before = s.wakes(s.arg);
    do_wake(s.waker, "wake w");
    if (s.poll != NULL || s.exact) wakes_reach(&s, before + 1, "after the storm and one more wake");
    done(&s);
  }
}

static void will_wake(void *make, void *arg) {
  subject a = make_waker(make, arg), b = make_waker(make, arg);
  expect(rawwaker_will_wake(&a.waker, &a.waker), "a waker to equal itself");
  if (rawwaker_will_wake(&a.waker, &b.waker)) {
    size_t before = b.wakes(b.arg);
    do_wake_by_ref(a.waker, "wake_by_ref w, which has the words of another task's waker");
    wakes_reach(&b, before + 1, "by each of two tasks whose wakers are equal");
  }
  rawwaker c = do_clone(a.waker, "c = clone w");
  expect(!rawwaker_will_wake(&c, &b.waker) || rawwaker_will_wake(&a.waker, &b.waker),
         "a clone not to equal another task's waker");
  if (rawwaker_will_wake(&c, &a.waker)) {
    size_t before = a.wakes(a.arg);
    if (a.poll != NULL) a.poll(a.arg, NULL, NULL);
    do_wake_by_ref(c, "wake_by_ref c");
    wakes_reach(&a, before + 1, "after a wake of a clone that is equal");
  }
  do_drop(c, "drop c");
  do_drop(a.waker, "drop w");
  do_drop(b.waker, "drop the other task's");
  done(&a);
  done(&b);
}

static void *stranger(void *arg) {
  rawwaker w = *(rawwaker *)arg;
  rawwaker c = do_clone(w, "on a new thread: c = clone w");
  do_wake_by_ref(c, "on a new thread: wake_by_ref c");
  do_drop(c, "on a new thread: drop c");
  do_wake(w, "on a new thread: wake w");
  return NULL;
}
static void unknown_thread(void *make, void *arg) {
  subject s = make_waker(make, arg);
  size_t before = s.wakes(s.arg);
  pthread_join(start(stranger, &s.waker), NULL);
  wakes_reach(&s, before + 1, "after wakes on a thread that the executor does not know");
  done(&s);
}

struct locked {
  subject *s;
  pthread_mutex_t lock;
  _Atomic(bool) inside;
};
static void take_the_lock(void *arg) {
  struct locked *l = arg;
  atomic_store(&l->inside, true);
  did("the poll waits for the lock");
  pthread_mutex_lock(&l->lock);
  pthread_mutex_unlock(&l->lock);
}
static void *poll_that_locks(void *arg) {
  struct locked *l = arg;
  l->s->poll(l->s->arg, take_the_lock, l);
  return NULL;
}
static void slots_under_a_lock(void *make, void *arg) {
  subject s = make_waker(make, arg);
  if (s.poll == NULL) {
    skip("no poll");
  } else {
    struct locked l = {.s = &s, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_mutex_lock(&l.lock);
    pthread_t t = start(poll_that_locks, &l);
    while (!atomic_load(&l.inside)) sched_yield();
    rawwaker c = do_clone(s.waker, "under the lock: c = clone w"),
             d = do_clone(s.waker, "under the lock: d = clone w");
    do_wake_by_ref(c, "under the lock: wake_by_ref c");
    do_drop(d, "under the lock: drop d");
    do_wake(c, "under the lock: wake c");
    did("unlock");
    pthread_mutex_unlock(&l.lock);
    pthread_join(t, NULL);
  }
  do_drop(s.waker, "drop w");
  done(&s);
}

static const scenario wakers[] = {
    {"complete_vtable", complete_vtable, "a vtable has four slots"},
    {"clone_is_a_reference", clone_is_a_reference,
     "a clone is a reference of its own, and wakes the same task"},
    {"clone_may_change_data", clone_may_change_data,
     "a clone may have other data and another vtable, and is then used through those"},
    {"wake_consumes", wake_consumes,
     "wake wakes the task and releases this reference: drop never follows it"},
    {"wake_by_ref_borrows", wake_by_ref_borrows, "wake_by_ref wakes the task and releases nothing"},
    {"drop_wakes_nobody", drop_wakes_nobody, "drop releases this reference and does not wake"},
    {"references_balance", references_balance,
     "each reference is ended by exactly one wake or drop, in any order"},
    {"wakes_coalesce", wakes_coalesce,
     "several wakes may lead to one poll; a wake after that poll leads to another"},
    {"wakes_publish", wakes_publish,
     "what was written before a wake is visible to the poll that follows, "
     "even if the task was woken already"},
    {"wake_before_the_poll", wake_before_the_poll, "a wake that comes before the poll is not lost"},
    {"wake_during_the_poll", wake_during_the_poll,
     "a wake that comes during the poll leads to another, afterwards"},
    {"wake_after_the_poll", wake_after_the_poll, "each wake after a poll leads to another"},
    {"wake_after_the_end", wake_after_the_end,
     "wakers may outlive their task; their wakes then do nothing"},
    {"drop_inside_wake", drop_inside_wake,
     "code that a wake calls may drop wakers of the same task before the wake returns"},
    {"clone_inside_wake", clone_inside_wake,
     "code that a wake calls may clone wakers of the same task before the wake returns"},
    {"storm", storm, "a waker may be cloned, woken and dropped by many threads at once"},
    {"will_wake", will_wake, "equal words wake the same task"},
    {"unknown_thread", unknown_thread,
     "a waker may be used on a thread that its executor does not know"},
    {"slots_under_a_lock", slots_under_a_lock,
     "slots only notify: they wait for no poll, even if the caller holds a lock that a poll needs"},
    {NULL, NULL, NULL},
};

int rawwaker_test_wakers(const char *name, rawwaker_test_waker (*make)(void *arg), void *arg) {
  maker m = {.waker = make};
  return run_all(name, wakers, &m, arg);
}

/* --------------------------------------------------------------------- the kit's own task -- */

/* A waker of which each reference is a record of its own. The records are kept until the scenario
 * ends, so a second use of a reference is detected. */
typedef struct probe probe;
typedef struct record {
  probe *p;
  struct record *next;
  /* 0 owned, 1 woken, 2 dropped, 3 borrowed by a poll, 4 borrowed by a poll that has returned */
  _Atomic(int) state;
} record;
struct probe {
  _Atomic(size_t) wakes;
  _Atomic(long) live; /* clones */
  _Atomic(record *) records;
  void (*on_clone)(void *), (*on_wake)(void *); /* set before the future may use it */
  void *with;
};

static rawwaker probe_clone(void *data);
static void probe_wake(void *data);
static void probe_wake_by_ref(void *data);
static void probe_drop(void *data);
static const rawwaker_vtable probe_vtable = {probe_clone, probe_wake, probe_wake_by_ref,
                                             probe_drop};

static record *record_new(probe *p, int state) {
  record *r = calloc(1, sizeof *r);
  if (r == NULL) abort();
  r->p = p;
  atomic_init(&r->state, state);
  r->next = atomic_load(&p->records);
  while (!atomic_compare_exchange_weak(&p->records, &r->next, r)) {
  }
  return r;
}
static bool usable(record *r, const char *slot) {
  int state = atomic_load(&r->state);
  return expect(state == 0 || state == 3, "no %s of a waker that is %s", slot,
                state == 1   ? "consumed by wake"
                : state == 2 ? "dropped"
                             : "borrowed of a poll that has returned");
}
static rawwaker probe_clone(void *data) {
  record *r = data;
  did("the waker is cloned");
  usable(r, "clone");
  atomic_fetch_add(&r->p->live, 1);
  if (r->p->on_clone != NULL) r->p->on_clone(r->p->with);
  return (rawwaker){record_new(r->p, 0), &probe_vtable};
}
static void probe_wake_by_ref(void *data) {
  record *r = data;
  did("the waker is woken");
  usable(r, "wake_by_ref");
  atomic_fetch_add(&r->p->wakes, 1);
  if (r->p->on_wake != NULL) r->p->on_wake(r->p->with);
}
static bool consumed(record *r, int by, const char *slot) {
  int there = 0;
  if (atomic_compare_exchange_strong(&r->state, &there, by)) return true;
  if (there >= 3)
    expect(false, "no %s by value of a context's waker: it is borrowed", slot);
  else
    usable(r, slot);
  return false;
}
static void probe_wake(void *data) {
  record *r = data;
  did("the waker is woken by value");
  probe *p = r->p;
  if (!consumed(r, 1, "wake")) return;
  atomic_fetch_add(&p->wakes, 1);
  if (p->on_wake != NULL) p->on_wake(p->with);
  atomic_fetch_sub(&p->live, 1); /* last, because at 0 the scenario may end */
}
static void probe_drop(void *data) {
  record *r = data;
  probe *p = r->p;
  did("a waker is dropped");
  if (consumed(r, 2, "drop")) atomic_fetch_sub(&p->live, 1);
}
static void probe_free(probe *p) {
  for (record *r = atomic_load(&p->records), *next; r != NULL; r = next) {
    next = r->next;
    free(r);
  }
}

/* ---------------------------------------------------------------------------- the futures -- */

static bool streaming; /* The scenario is a stream's, and its first item is the future's result. */

static rawwaker_test_future make_future(void *make, void *arg) {
  did("make f");
  return ((const maker *)make)->future(arg);
}

static rawwaker_poll poll_out(const rawwaker_test_future *f, probe *p, unsigned char *out) {
  record *r = record_new(p, 3);
  rawwaker w = {r, &probe_vtable};
  rawwaker_context cx = {&w};
  did("poll");
  rawwaker_poll got = f->future.vtable->poll(f->future.data, &cx, f->size != 0 ? out : NULL);
  atomic_store(&r->state, 4);
  did(got == RAWWAKER_READY      ? "is READY"
      : got == RAWWAKER_PENDING  ? "is PENDING"
      : got == RAWWAKER_PANICKED ? "is PANICKED"
      : got == RAWWAKER_DONE     ? "is DONE"
                                 : "is an unknown code");
  if (streaming)
    expect(got <= RAWWAKER_DONE, "READY, PENDING, PANICKED or DONE; poll_next returned %d", got);
  else
    expect(got <= RAWWAKER_PANICKED, "READY, PENDING or PANICKED; poll returned %d", got);
  return got;
}
static rawwaker_poll poll_once(const rawwaker_test_future *f, probe *p) {
  _Alignas(16) unsigned char out[OUT];
  return poll_out(f, p, out);
}
static void drop_future(const rawwaker_test_future *f) {
  did("drop f");
  f->future.vtable->drop(f->future.data);
}
static void complete(const rawwaker_test_future *f) {
  if (f->complete == NULL) return;
  did("complete");
  f->complete(f->arg);
}
static bool woken(probe *p, size_t n, const char *when) {
  for (int64_t end = nanoseconds() + patience(); atomic_load(&p->wakes) < n; pause_a_little())
    if (nanoseconds() > end) return expect(false, "a wake %s", when);
  return true;
}
/* Polls after each wake until the future completes. */
static void finish(const rawwaker_test_future *f, probe *p) {
  for (size_t seen = 0;;) {
    seen = atomic_load(&p->wakes);
    if (poll_once(f, p) != RAWWAKER_PENDING ||
        !woken(p, seen + 1, "when it is PENDING and can continue"))
      return;
  }
}
static bool holds_nothing(const rawwaker_test_future *f, const char *when) {
  if (f->live == NULL) return true;
  long got = f->live(f->arg);
  for (int64_t end = nanoseconds() + patience(); f->lingers && got != 0 && nanoseconds() < end;
       got = f->live(f->arg))
    pause_a_little();
  return expect(got == 0, "nothing to be held %s; live is %ld", when, got);
}
/* Waits, because another thread may still be inside a wake, which holds its clone until it
 * returns. */
static void none_is_left(probe *p, const char *whose) {
  long live = atomic_load(&p->live);
  for (int64_t end = nanoseconds() + patience(); live != 0 && nanoseconds() < end;
       live = atomic_load(&p->live))
    pause_a_little();
  expect(live == 0, "each clone of %s to be woken or dropped by the end; %ld %s not", whose, live,
         live == 1 ? "is" : "are");
}
static void future_done(const rawwaker_test_future *f, probe *p) {
  none_is_left(p, "the waker");
  holds_nothing(f, "after its drop");
  if (f->free != NULL) f->free(f->arg);
  probe_free(p);
}

static void complete_future_vtable(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  const rawwaker_future_vtable *v = f.future.vtable;
  bool slots = v != NULL && v->poll != NULL && v->drop != NULL;
  expect(v != NULL, "a vtable");
  expect(slots, "two slots");
  if (!slots) return;
  drop_future(&f);
  future_done(&f, &p);
}
static void pending_keeps_a_waker(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  if (poll_once(&f, &p) == RAWWAKER_PENDING)
    expect(atomic_load(&p.live) > 0 || atomic_load(&p.wakes) > 0,
           "a clone of the waker to be kept after PENDING, or the waker to be woken");
  else
    skip("READY at once");
  drop_future(&f);
  future_done(&f, &p);
}
static void context_is_borrowed(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  if (poll_once(&f, &p) == RAWWAKER_PENDING) {
    complete(&f);
    finish(&f, &p); /* the probe's slots check each use of the waker */
  }
  drop_future(&f);
  future_done(&f, &p);
}
static void wakes_when_it_can_go_on(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  size_t seen = atomic_load(&p.wakes);
  if (poll_once(&f, &p) == RAWWAKER_PENDING) {
    complete(&f);
    if (woken(&p, seen + 1, "when it is PENDING and can continue")) finish(&f, &p);
  }
  drop_future(&f);
  future_done(&f, &p);
}
static void latest_waker_is_woken(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe first = {0}, latest = {0};
  if (f.complete == NULL) {
    skip("no complete");
  } else if (poll_once(&f, &first) == RAWWAKER_PENDING) {
    did("with another waker:");
    size_t seen = atomic_load(&latest.wakes);
    if (poll_once(&f, &latest) == RAWWAKER_PENDING) {
      complete(&f);
      if (woken(&latest, seen + 1, "of the waker of the latest poll")) finish(&f, &latest);
    }
  }
  drop_future(&f);
  none_is_left(&first, "the first poll's waker");
  future_done(&f, &latest);
  probe_free(&first);
}
static void unasked_poll(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  bool pending = true;
  size_t seen = 0;
  for (int i = 0; i < 10 && pending; i++) {
    seen = atomic_load(&p.wakes);
    pending = poll_once(&f, &p) == RAWWAKER_PENDING;
  }
  if (pending) {
    complete(&f);
    if (woken(&p, seen + 1, "after polls without a wake")) finish(&f, &p);
  }
  drop_future(&f);
  future_done(&f, &p);
}
struct elsewhere {
  const rawwaker_test_future *f;
  probe *p;
  rawwaker_poll got;
};
static void *poll_elsewhere(void *arg) {
  struct elsewhere *e = arg;
  e->got = poll_once(e->f, e->p);
  return NULL;
}
static void *drop_elsewhere(void *arg) {
  drop_future(arg);
  return NULL;
}
static void polls_on_any_thread(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  struct elsewhere e = {&f, &p, RAWWAKER_PENDING};
  bool completed = false;
  for (int i = 0; e.got == RAWWAKER_PENDING; i++) {
    size_t seen = atomic_load(&p.wakes);
    pthread_join(start(poll_elsewhere, &e), NULL);
    if (e.got != RAWWAKER_PENDING || i < 2) continue;
    if (!completed) complete(&f);
    completed = true;
    if (!woken(&p, seen + 1, "when it is PENDING and can continue")) break;
  }
  pthread_join(start(drop_elsewhere, &f), NULL);
  future_done(&f, &p);
}
static void drop_before_the_poll(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  drop_future(&f);
  future_done(&f, &p);
}
static void drop_while_pending(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  if (poll_once(&f, &p) != RAWWAKER_PENDING) skip("READY at once");
  drop_future(&f);
  future_done(&f, &p);
}
static void drop_after_ready(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  complete(&f);
  finish(&f, &p);
  drop_future(&f);
  future_done(&f, &p);
}
static void out_only_when_ready(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  probe p = {0};
  _Alignas(16) unsigned char out[OUT];
  memset(out, 0xA5, sizeof out);
  if (f.size == 0 || f.size > OUT || poll_out(&f, &p, out) != RAWWAKER_PENDING) {
    skip("no result, or READY at once");
  } else {
    for (size_t i = 0; i < sizeof out; i++)
      if (!expect(out[i] == 0xA5, "*out untouched by a poll that is PENDING; byte %zu was written",
                  i))
        break;
  }
  drop_future(&f);
  future_done(&f, &p);
}
struct racing {
  rawwaker_test_future *f;
  _Atomic(int) there;
};
static void *complete_elsewhere(void *arg) {
  struct racing *r = arg;
  atomic_store(&r->there, 1);
  while (atomic_load(&r->there) != 2) sched_yield();
  complete(r->f);
  return NULL;
}
static void drop_beside_the_wake(void *make, void *arg) {
  for (int i = 0; i < 200 && !atomic_load(&now.failed) && !atomic_load(&now.skipped); i++) {
    atomic_store(&now.happened, 0);
    rawwaker_test_future f = make_future(make, arg);
    probe p = {0};
    if (f.complete == NULL) {
      skip("no complete");
      drop_future(&f);
    } else {
      poll_once(&f, &p);
      struct racing r = {&f, 0};
      pthread_t t = start(complete_elsewhere, &r);
      while (atomic_load(&r.there) == 0) sched_yield();
      atomic_store(&r.there, 2);
      for (int spin = 0; spin < i * 10; spin++) atomic_signal_fence(memory_order_seq_cst);
      drop_future(&f);
      pthread_join(t, NULL);
    }
    future_done(&f, &p);
  }
}

/* While a slot of the waker runs, another thread uses the future. It must not wait for a lock that
 * the future holds during the slot. */
struct entered {
  rawwaker_test_future *f;
  probe *p;
  void *(*use)(void *);
  _Atomic(int) times, came_back, left;
  pthread_t thread;
  rawwaker_poll got;    /* the result of poll_inside */
  bool of_another_rule; /* another scenario reports a call that waits for the slot */
};
static void *use_and_say(void *arg) {
  struct entered *e = arg;
  e->use(e);
  atomic_store(&e->came_back, 1);
  return NULL;
}
static void enter_the_future(void *arg) {
  struct entered *e = arg;
  if (atomic_fetch_add(&e->times, 1) != 0) return;
  e->thread = start(use_and_say, e);
  int64_t end = nanoseconds() + patience() / 4;
  while (!atomic_load(&e->came_back) && nanoseconds() < end) pause_a_little();
  if (!e->of_another_rule)
    expect(atomic_load(&e->came_back),
           "a call on another thread to return while the slot runs: a lock seems to be held "
           "during the slot");
  else if (!atomic_load(&e->came_back))
    skip("a lock seems to be held during the wake: see wakes_under_no_lock");
  atomic_store(&e->left, 1);
}
/* Waits for the slot, which may run on another thread than the caller's. */
static void leave_the_future(struct entered *e) {
  for (int64_t end = nanoseconds() + patience(); !atomic_load(&e->left);) {
    if (nanoseconds() > end) {
      expect(false, "the slot to return");
      return;
    }
    pause_a_little();
  }
  pthread_join(e->thread, NULL);
}
static void *poll_inside(void *arg) {
  struct entered *e = arg;
  did("another thread polls meanwhile:");
  e->got = poll_once(e->f, e->p);
  return NULL;
}
static void *complete_inside(void *arg) {
  struct entered *e = arg;
  did("another thread completes meanwhile:");
  complete(e->f);
  return NULL;
}
/* Holds the first wake while another thread polls with the waker of other. If that poll returns
 * PENDING, it calls then. */
static void poll_inside_the_wake(void *make, void *arg,
                                 void (*then)(const rawwaker_test_future *f, probe *other)) {
  rawwaker_test_future f = make_future(make, arg);
  probe other = {0};
  struct entered e = {.f = &f,
                      .p = &other,
                      .use = poll_inside,
                      .got = RAWWAKER_READY,
                      .of_another_rule = then != NULL};
  probe p = {.with = &e};
  if (f.complete == NULL) {
    skip("no complete");
  } else if (poll_once(&f, &p) == RAWWAKER_PENDING) {
    /* Wakes inside the poll count too, but no other poll may run there. */
    size_t seen = atomic_load(&p.wakes);
    p.on_wake = enter_the_future;
    complete(&f);
    if (woken(&p, seen + 1, "when it can continue")) {
      leave_the_future(&e);
      if (e.got == RAWWAKER_PENDING && then != NULL && !atomic_load(&now.skipped)) then(&f, &other);
    }
  }
  drop_future(&f);
  none_is_left(&other, "the other poll's waker");
  probe_free(&other);
  future_done(&f, &p);
}
static void wakes_under_no_lock(void *make, void *arg) { poll_inside_the_wake(make, arg, NULL); }
static void wake_follows(const rawwaker_test_future *f, probe *other) {
  if (woken(other, 1,
            "after a poll inside the wake was PENDING: the condition was set after the wake, "
            "which is lost"))
    finish(f, other);
}
static void set_before_wake(void *make, void *arg) {
  poll_inside_the_wake(make, arg, wake_follows);
}
static void clones_under_no_lock(void *make, void *arg) {
  rawwaker_test_future f = make_future(make, arg);
  struct entered e = {.f = &f, .use = complete_inside};
  probe p = {.on_clone = enter_the_future, .with = &e};
  if (f.complete == NULL) {
    skip("no complete");
  } else {
    size_t seen = atomic_load(&p.wakes);
    rawwaker_poll got = poll_once(&f, &p);
    if (atomic_load(&e.times) == 0)
      skip("no clone");
    else
      leave_the_future(&e);
    if (got == RAWWAKER_PENDING && atomic_load(&e.times) != 0 &&
        woken(&p, seen + 1, "after it was completed during its poll"))
      finish(&f, &p);
  }
  drop_future(&f);
  future_done(&f, &p);
}

static const scenario futures[] = {
    {"complete_future_vtable", complete_future_vtable, "a future's vtable has two slots"},
    {"pending_keeps_a_waker", pending_keeps_a_waker,
     "a future that returns PENDING has kept a clone of the waker of that poll"},
    {"context_is_borrowed", context_is_borrowed,
     "the waker of a context is borrowed: clone it to keep it, never wake or drop it by value"},
    {"wakes_when_it_can_go_on", wakes_when_it_can_go_on,
     "a future that returned PENDING wakes when it can continue"},
    {"latest_waker_is_woken", latest_waker_is_woken,
     "of several polls, the waker of the latest is the one to wake"},
    {"unasked_poll", unasked_poll, "a poll without a wake is legal"},
    {"polls_on_any_thread", polls_on_any_thread, "poll and drop may each come from another thread"},
    {"drop_before_the_poll", drop_before_the_poll,
     "drop releases everything, also before the first poll"},
    {"drop_while_pending", drop_while_pending,
     "drop called early cancels: it releases what the future holds, including the waker"},
    {"drop_after_ready", drop_after_ready,
     "drop is called after READY too, and releases everything"},
    {"out_only_when_ready", out_only_when_ready, "*out is written only with READY"},
    {"drop_beside_the_wake", drop_beside_the_wake,
     "drop may overlap a wake on another thread"},
    {"wakes_under_no_lock", wakes_under_no_lock,
     "no slot is called under a lock: wake may call the future again at once"},
    {"set_before_wake", set_before_wake,
     "the completing side sets the condition first and wakes after: "
     "a poll inside the wake finds it, or another wake follows"},
    {"clones_under_no_lock", clones_under_no_lock,
     "no slot is called under a lock, clone included"},
    {NULL, NULL, NULL},
};

int rawwaker_test_futures(const char *name, rawwaker_test_future (*make)(void *arg), void *arg) {
  maker m = {.future = make};
  return run_all(name, futures, &m, arg);
}

/* ---------------------------------------------------------------------------- the streams -- */

typedef rawwaker_test_stream flow;

static flow make_flow(void *make, void *arg) {
  did("make s");
  return ((const maker *)make)->stream(arg);
}

/* The stream as a future of its first item: the slots of both have the same types. */
static rawwaker_test_future first_item(const flow *s) {
  static rawwaker_future_vtable slots; /* of one scenario at a time */
  slots = (rawwaker_future_vtable){s->stream.vtable->poll_next, s->stream.vtable->drop};
  return (rawwaker_test_future){.future = {s->stream.data, &slots},
                                .arg = s->arg,
                                .size = s->size,
                                .complete = s->produce,
                                .live = s->live,
                                .free = s->free,
                                .lingers = s->lingers};
}
struct flow_maker {
  void *make, *arg;
};
static rawwaker_test_future make_first_item(void *arg) {
  struct flow_maker *m = arg;
  flow s = make_flow(m->make, m->arg);
  return first_item(&s);
}
static void as_future(void (*run)(void *make, void *arg), void *make, void *arg) {
  maker m = {.future = make_first_item};
  struct flow_maker of = {make, arg};
  streaming = true;
  run(&m, &of);
  streaming = false;
}
#define OF_FUTURES(name) \
  static void stream_##name(void *make, void *arg) { as_future(name, make, arg); }
OF_FUTURES(pending_keeps_a_waker)
OF_FUTURES(context_is_borrowed)
OF_FUTURES(wakes_when_it_can_go_on)
OF_FUTURES(latest_waker_is_woken)
OF_FUTURES(unasked_poll)
OF_FUTURES(polls_on_any_thread)
OF_FUTURES(drop_before_the_poll)
OF_FUTURES(drop_while_pending)
OF_FUTURES(drop_beside_the_wake)
OF_FUTURES(wakes_under_no_lock)
OF_FUTURES(set_before_wake)
OF_FUTURES(clones_under_no_lock)

static void complete_stream_vtable(void *make, void *arg) {
  flow s = make_flow(make, arg);
  probe p = {0};
  const rawwaker_stream_vtable *v = s.stream.vtable;
  bool slots = v != NULL && v->poll_next != NULL && v->drop != NULL;
  expect(v != NULL, "a vtable");
  expect(slots, "two slots");
  expect(s.size <= OUT && s.count >= 3, "items of at most %d bytes, and at least 3 of them", OUT);
  if (!slots) return;
  rawwaker_test_future f = first_item(&s);
  drop_future(&f);
  future_done(&f, &p);
}

/* A stream that is being received. Its polls take turns with two wakers, and the latest must be the
 * one that is woken. */
typedef struct reception {
  flow s;
  rawwaker_test_future f;
  probe p[2];
  unsigned polls;
  size_t received, produced;
  bool looks; /* at *out after a poll that gave no item */
  _Alignas(16) unsigned char out[OUT];
} reception;

static reception *receive_from(void *make, void *arg) {
  reception *r = calloc(1, sizeof *r);
  if (r == NULL) abort();
  r->s = make_flow(make, arg);
  r->f = first_item(&r->s);
  return r;
}
/* seen: how often this poll's waker had been woken when the poll began. */
static rawwaker_poll receive(reception *r, size_t *seen) {
  probe *p = &r->p[++r->polls % 2];
  *seen = atomic_load(&p->wakes);
  memset(r->out, 0xA5, sizeof r->out);
  streaming = true;
  rawwaker_poll got = poll_out(&r->f, p, r->out);
  streaming = false;
  for (size_t i = 0; i < sizeof r->out && r->looks && got != RAWWAKER_READY; i++)
    if (!expect(r->out[i] == 0xA5, "*out untouched by a poll without an item; byte %zu was written",
                i))
      break;
  return got;
}
static bool woken_again(reception *r, size_t seen, const char *when) {
  return woken(&r->p[r->polls % 2], seen + 1, when);
}
static void produce(reception *r) {
  if (r->s.produce == NULL || r->produced > r->s.count) return;
  did(r->produced < r->s.count ? "produce an item" : "produce the end");
  r->produced++;
  r->s.produce(r->s.arg);
}
static bool item_is_next(reception *r) {
  size_t i = r->received++;
  if (!expect(i < r->s.count, "DONE after %zu items; there is another", r->s.count)) return false;
  return expect(r->s.size == 0 ||
                    memcmp(r->out, (const char *)r->s.items + i * r->s.size, r->s.size) == 0,
                "item %zu of the stream; another one came", i);
}
/* Receives items until there were n, or DONE if n is count + 1. It produces if the stream is
 * pending. */
static bool receive_until(reception *r, size_t n) {
  while (r->received < n) {
    size_t seen;
    rawwaker_poll got = receive(r, &seen);
    if (got == RAWWAKER_PENDING) {
      if (r->produced <= r->received) produce(r);
      if (!woken_again(r, seen, "when it is PENDING and can continue")) return false;
    } else if (got == RAWWAKER_READY) {
      if (!item_is_next(r)) return false;
    } else {
      if (!expect(got == RAWWAKER_DONE && r->received == r->s.count,
                  "%zu items and then DONE; after %zu items poll_next returned %d", r->s.count,
                  r->received, got))
        return false;
      r->received++;
    }
  }
  return true;
}
static void reception_done(reception *r) {
  none_is_left(&r->p[0], "the waker");
  future_done(&r->f, &r->p[1]);
  probe_free(&r->p[0]);
  free(r);
}

static void items_in_order(void *make, void *arg) {
  reception *r = receive_from(make, arg);
  receive_until(r, r->s.count + 1);
  drop_future(&r->f);
  reception_done(r);
}
static void done_is_repeated(void *make, void *arg) {
  reception *r = receive_from(make, arg);
  size_t seen;
  if (receive_until(r, r->s.count + 1))
    for (int i = 0; i < 3; i++) {
      rawwaker_poll got = receive(r, &seen);
      if (!expect(got == RAWWAKER_DONE, "DONE again; poll_next returned %d", got)) break;
    }
  drop_future(&r->f);
  reception_done(r);
}
static size_t may_produce(const reception *r) {
  size_t ahead = r->s.ahead > 1 ? r->s.ahead : 1, left = r->s.count - r->received;
  return ahead < left ? ahead : left;
}
static void one_wake_for_many_items(void *make, void *arg) {
  reception *r = receive_from(make, arg);
  size_t seen;
  if (r->s.produce == NULL || may_produce(r) < 2) {
    skip("no produce, or only one item ahead");
  } else if (receive(r, &seen) == RAWWAKER_PENDING) {
    size_t n = may_produce(r);
    for (size_t i = 0; i < n; i++) produce(r);
    if (woken_again(r, seen, "when it is PENDING and can continue"))
      while (r->received < n) {
        rawwaker_poll got = receive(r, &seen);
        if (got == RAWWAKER_PENDING) {
          if (!woken_again(r, seen, "of a stream that is PENDING although an item is there")) break;
        } else if (!expect(got == RAWWAKER_READY, "an item; poll_next returned %d", got) ||
                   !item_is_next(r)) {
          break;
        }
      }
  }
  drop_future(&r->f);
  reception_done(r);
}
static void item_only_when_ready(void *make, void *arg) {
  reception *r = receive_from(make, arg);
  size_t seen;
  r->looks = true;
  if (receive_until(r, r->s.count + 1)) receive(r, &seen);
  drop_future(&r->f);
  reception_done(r);
}
static void drop_between_items(void *make, void *arg) {
  for (size_t n = 0, count = 1; n <= count && !atomic_load(&now.failed); n++) {
    reception *r = receive_from(make, arg);
    count = r->s.count;
    if (receive_until(r, n) && r->s.produce != NULL)
      for (size_t i = r->produced; i < n + may_produce(r); i++) produce(r);
    pthread_join(start(drop_elsewhere, &r->f), NULL);
    reception_done(r);
  }
}
static void drop_after_done(void *make, void *arg) {
  reception *r = receive_from(make, arg);
  receive_until(r, r->s.count + 1);
  pthread_join(start(drop_elsewhere, &r->f), NULL);
  reception_done(r);
}

/* A thread produces while this one receives, and polls after wakes only. */
struct producing {
  reception *r;
  _Atomic(size_t) received;
  _Atomic(int) stop;
};
static void *produce_all(void *arg) {
  struct producing *p = arg;
  size_t ahead = p->r->s.ahead > 1 ? p->r->s.ahead : 1;
  for (size_t i = 0; i <= p->r->s.count; i++) {
    while (i >= atomic_load(&p->received) + ahead)
      if (atomic_load(&p->stop))
        return NULL;
      else
        sched_yield();
    produce(p->r);
  }
  return NULL;
}
static void items_from_a_thread(void *make, void *arg) {
  for (int round = 0; round < 50 && !atomic_load(&now.failed) && !atomic_load(&now.skipped);
       round++) {
    reception *r = receive_from(make, arg);
    struct producing p = {.r = r};
    pthread_t t;
    atomic_store(&now.happened, 0);
    bool produces = r->s.produce != NULL;
    if (!produces) skip("no produce");
    if (produces) t = start(produce_all, &p);
    while (produces && r->received <= r->s.count) {
      size_t seen;
      rawwaker_poll got = receive(r, &seen);
      if (got == RAWWAKER_READY) {
        if (!item_is_next(r)) break;
      } else if (got == RAWWAKER_PENDING) {
        if (!woken_again(r, seen, "of a stream that is PENDING although an item is there")) break;
      } else if (expect(got == RAWWAKER_DONE && r->received == r->s.count,
                        "%zu items and then DONE; after %zu items poll_next returned %d",
                        r->s.count, r->received, got)) {
        r->received++;
      } else {
        break;
      }
      atomic_store(&p.received, r->received);
    }
    atomic_store(&p.stop, 1);
    if (produces) pthread_join(t, NULL);
    drop_future(&r->f);
    reception_done(r);
  }
}

static const scenario streams[] = {
    {"complete_stream_vtable", complete_stream_vtable, "a stream's vtable has two slots"},
    {"items_in_order", items_in_order,
     "each item is given once, in order, and DONE follows the last one"},
    {"done_is_repeated", done_is_repeated, "after DONE, each later call gives DONE"},
    {"one_wake_for_many_items", one_wake_for_many_items,
     "wakes coalesce: after a wake, polls until PENDING give every item that is there"},
    {"items_from_a_thread", items_from_a_thread,
     "poll_next keeps its waker first and then looks for an item: no wake is lost"},
    {"item_only_when_ready", item_only_when_ready, "*out is written only with READY"},
    {"drop_between_items", drop_between_items,
     "drop called before DONE releases everything, also items that were not received"},
    {"drop_after_done", drop_after_done, "drop is called after DONE too, and releases everything"},
    {"stream_pending_keeps_a_waker", stream_pending_keeps_a_waker,
     "a stream that returns PENDING has kept a clone of the waker of that poll"},
    {"stream_context_is_borrowed", stream_context_is_borrowed,
     "the waker of a context is borrowed: clone it to keep it, never wake or drop it by value"},
    {"stream_wakes_when_it_can_go_on", stream_wakes_when_it_can_go_on,
     "a stream that returned PENDING wakes when it can continue"},
    {"stream_latest_waker_is_woken", stream_latest_waker_is_woken,
     "of several polls, the waker of the latest is the one to wake"},
    {"stream_unasked_poll", stream_unasked_poll, "a poll without a wake is legal"},
    {"stream_polls_on_any_thread", stream_polls_on_any_thread,
     "poll_next and drop may each come from another thread"},
    {"stream_drop_before_the_poll", stream_drop_before_the_poll,
     "drop releases everything, also before the first poll"},
    {"stream_drop_while_pending", stream_drop_while_pending,
     "drop called early cancels: it releases what the stream holds, including the waker"},
    {"stream_drop_beside_the_wake", stream_drop_beside_the_wake,
     "drop may overlap a wake on another thread"},
    {"stream_wakes_under_no_lock", stream_wakes_under_no_lock,
     "no slot is called under a lock: wake may call the stream again at once"},
    {"stream_set_before_wake", stream_set_before_wake,
     "the producing side sets the condition first and wakes after: "
     "a poll inside the wake finds it, or another wake follows"},
    {"stream_clones_under_no_lock", stream_clones_under_no_lock,
     "no slot is called under a lock, clone included"},
    {NULL, NULL, NULL},
};

int rawwaker_test_streams(const char *name, rawwaker_test_stream (*make)(void *arg), void *arg) {
  maker m = {.stream = make};
  return run_all(name, streams, &m, arg);
}

/* ------------------------------------------------------------------------------ executors -- */

/* A future made by the kit, with what is known about it. step is called by each poll. */
typedef struct task {
  rawwaker_poll (*step)(struct task *t, const rawwaker *w, int poll); /* poll counts from 1 */
  void *with;
  _Atomic(int) polls, drops, inside, ended;
  rawwaker kept; /* used by one thread at a time; the steps order their accesses */
  int word;      /* plain */
} task;

static _Thread_local bool waking; /* this thread is inside a wake */

static rawwaker_poll task_poll(void *data, rawwaker_context *cx, void *out) {
  task *t = data;
  (void)out;
  did("poll");
  expect(atomic_exchange(&t->inside, 1) == 0, "one poll of a future at a time");
  expect(!waking, "no poll inside a wake");
  expect(atomic_load(&t->ended) == 0, "no poll after READY");
  expect(atomic_load(&t->drops) == 0, "no poll after drop");
  rawwaker_poll got = t->step(t, cx->waker, atomic_fetch_add(&t->polls, 1) + 1);
  if (got == RAWWAKER_READY) atomic_store(&t->ended, 1);
  atomic_store(&t->inside, 0);
  return got;
}
static void task_drop(void *data) {
  task *t = data;
  did("drop");
  expect(atomic_load(&t->inside) == 0, "no drop during a poll");
  expect(atomic_fetch_add(&t->drops, 1) == 0, "one drop of each future");
}
static const rawwaker_future_vtable task_vtable = {task_poll, task_drop};

typedef rawwaker_test_executor runner;

static runner make_executor(void *make, void *arg) {
  did("make executor");
  return ((const maker *)make)->executor(arg);
}
static void spawn(const runner *x, task *t) {
  did("spawn");
  x->spawn(x->arg, (rawwaker_future){t, &task_vtable});
}
static void run(const runner *x) {
  did("run");
  x->run(x->arg);
  did("run has returned");
}
static void close_executor(const runner *x) {
  if (x->close == NULL) return;
  did("close");
  x->close(x->arg);
}
static void ended(const task *t, int n) {
  for (int i = 0; i < n; i++) {
    expect(atomic_load(&t[i].ended) == 1,
           "every task to be complete when run returns; task %d is not", i);
    int drops = atomic_load(&t[i].drops);
    expect(drops == 1, "one drop of each future; of task %d there were %d", i, drops);
  }
}
static void wake_here(rawwaker w) {
  waking = true;
  do_wake(w, "wake");
  waking = false;
}
static void wake_by_ref_here(const rawwaker *w) {
  waking = true;
  do_wake_by_ref(*w, "wake_by_ref");
  waking = false;
}

static rawwaker_poll ready_at_once(task *t, const rawwaker *w, int poll) {
  (void)t, (void)w, (void)poll;
  return RAWWAKER_READY;
}
static void polls_every_task(void *make, void *arg) {
  runner x = make_executor(make, arg);
  task t[50] = {{0}};
  for (int i = 0; i < 50; i++) t[i].step = ready_at_once, spawn(&x, &t[i]);
  run(&x);
  ended(t, 50);
  close_executor(&x);
}
static rawwaker_poll yields(task *t, const rawwaker *w, int poll) {
  (void)t;
  if (poll > 10) return RAWWAKER_READY;
  wake_by_ref_here(w);
  if (poll % 2 == 0) wake_here(do_clone(*w, "clone"));
  return RAWWAKER_PENDING;
}
static void wake_inside_the_poll(void *make, void *arg) {
  runner x = make_executor(make, arg);
  task t[5] = {{0}};
  for (int i = 0; i < 5; i++) t[i].step = yields, spawn(&x, &t[i]);
  run(&x);
  ended(t, 5);
  close_executor(&x);
}

/* Writes the task's word and then wakes the kept waker. */
static void *wake_kept(void *arg) {
  task *t = arg;
  rawwaker w = t->kept;
  t->word = 42;
  wake_here(w);
  return NULL;
}
static rawwaker_poll waits_for_a_thread(task *t, const rawwaker *w, int poll) {
  if (poll == 1) {
    t->kept = do_clone(*w, "clone");
    pthread_t *thread = t->with;
    *thread = start(wake_kept, t);
    return RAWWAKER_PENDING;
  }
  /* A poll without a wake is legal, so the word may not have been written and must not be read. */
  return RAWWAKER_READY;
}
static void wake_from_another_thread(void *make, void *arg) {
  runner x = make_executor(make, arg);
  task t[20] = {{0}};
  pthread_t threads[20];
  for (int i = 0; i < 20; i++)
    t[i].step = waits_for_a_thread, t[i].with = &threads[i], spawn(&x, &t[i]);
  run(&x);
  ended(t, 20);
  for (int i = 0; i < 20; i++)
    if (t[i].kept.vtable != NULL) pthread_join(threads[i], NULL); /* else it was never polled */
  close_executor(&x);
}

/* A relaxed counter reports that the words were written. It orders nothing; only the wake does. */
struct published {
  task t;
  _Atomic(int) woken;
  int started;
  pthread_t thread[2];
  rawwaker kept[2];
  int words[2];
};
static void *publish_to_task(void *arg) {
  struct publish *p = arg;
  *p->word = 42;
  wake_here(p->w);
  atomic_fetch_add_explicit(p->woken, 1, memory_order_relaxed);
  free(p);
  return NULL;
}
static rawwaker_poll reads_what_was_published(task *t, const rawwaker *w, int poll) {
  struct published *p = t->with;
  if (poll == 1) {
    for (int i = 0; i < 2; i++) {
      struct publish *one = malloc(sizeof *one);
      if (one == NULL) abort();
      *one = (struct publish){do_clone(*w, "clone"), &p->words[i], &p->woken};
      p->thread[p->started++] = start(publish_to_task, one);
      /* Both wakes come during this poll. The second finds the task woken. */
      while (atomic_load_explicit(&p->woken, memory_order_relaxed) <= i) sched_yield();
    }
    return RAWWAKER_PENDING;
  }
  expect(p->words[0] == 42 && p->words[1] == 42,
         "the poll to see what was written before each wake; it sees %d and %d", p->words[0],
         p->words[1]);
  return RAWWAKER_READY;
}
static void poll_sees_what_wakes_publish(void *make, void *arg) {
  for (int round = 0; round < 20 && !atomic_load(&now.failed); round++) {
    runner x = make_executor(make, arg);
    struct published p = {.t = {.step = reads_what_was_published}};
    p.t.with = &p;
    spawn(&x, &p.t);
    run(&x);
    ended(&p.t, 1);
    for (int i = 0; i < p.started; i++) pthread_join(p.thread[i], NULL);
    close_executor(&x);
  }
}

static rawwaker_poll leaves_a_waker(task *t, const rawwaker *w, int poll) {
  if (poll == 1) {
    t->kept = do_clone(*w, "clone");
    wake_by_ref_here(w);
    return RAWWAKER_PENDING;
  }
  return RAWWAKER_READY;
}
static void waker_outlives_its_task(void *make, void *arg) {
  runner x = make_executor(make, arg);
  task t[6] = {{0}};
  for (int i = 0; i < 3; i++) t[i].step = leaves_a_waker, spawn(&x, &t[i]);
  run(&x);
  ended(t, 3);
  for (int i = 3; i < 6; i++) t[i].step = yields, spawn(&x, &t[i]);
  wake_by_ref_here(&t[0].kept);
  wake_here(do_clone(t[0].kept, "clone"));
  wake_here(t[1].kept);
  run(&x);
  ended(t, 6);
  wake_here(t[0].kept);
  close_executor(&x);
  do_drop(t[2].kept, "drop");
}

static rawwaker_poll never(task *t, const rawwaker *w, int poll) {
  if (poll == 1) t->kept = do_clone(*w, "clone");
  return RAWWAKER_PENDING;
}
static void close_drops_the_rest(void *make, void *arg) {
  runner x = make_executor(make, arg);
  if (x.close == NULL) {
    skip("no close");
    return;
  }
  /* It is leaked if a future was not dropped, because the executor may still poll it. */
  task *t = calloc(10, sizeof *t);
  if (t == NULL) abort();
  for (int i = 0; i < 10; i++) t[i].step = i % 2 ? never : ready_at_once, spawn(&x, &t[i]);
  close_executor(&x);
  for (int i = 0; i < 10; i++) {
    int drops = atomic_load(&t[i].drops);
    expect(drops == 1, "close to drop each future that is left; task %d was dropped %d times", i,
           drops);
    if (t[i].kept.vtable == NULL) continue;
    wake_by_ref_here(&t[i].kept);
    do_drop(t[i].kept, "drop");
  }
  if (!atomic_load(&now.failed)) free(t);
}

static rawwaker_poll spawns_another(task *t, const rawwaker *w, int poll) {
  (void)w, (void)poll;
  task *next = t + 1;
  const runner *x = t->with;
  *next = (task){.step = t->word > 1 ? spawns_another : ready_at_once,
                 .with = t->with,
                 .word = t->word - 1};
  spawn(x, next);
  return RAWWAKER_READY;
}
static void spawn_inside_a_poll(void *make, void *arg) {
  runner x = make_executor(make, arg);
  task t[6] = {{0}};
  if (!x.spawn_inside) {
    skip("no spawn_inside");
  } else {
    t[0] = (task){.step = spawns_another, .with = &x, .word = 5};
    spawn(&x, &t[0]);
    run(&x);
    ended(t, 6);
  }
  close_executor(&x);
}

/* THREADS threads wake COUNT tasks at random until each was polled WANTED times because of a
 * wake. */
enum { COUNT = 64, WANTED = 50 };
struct stormed {
  task t[COUNT];
  pthread_mutex_t lock; /* guards kept; no slot is called while it is held */
  rawwaker kept[COUNT];
  _Atomic(int) left;
};
static rawwaker_poll wants_many_wakes(task *t, const rawwaker *w, int poll) {
  struct stormed *s = t->with;
  int i = (int)(t - s->t);
  bool last = poll > WANTED;
  rawwaker fresh = last ? (rawwaker){NULL, NULL} : w->vtable->clone(w->data);
  pthread_mutex_lock(&s->lock);
  rawwaker old = s->kept[i];
  s->kept[i] = fresh;
  pthread_mutex_unlock(&s->lock);
  if (old.vtable != NULL) old.vtable->drop(old.data);
  if (!last) return RAWWAKER_PENDING;
  atomic_fetch_sub(&s->left, 1);
  return RAWWAKER_READY;
}
static void *wake_many(void *arg) {
  struct stormed *s = arg;
  for (unsigned seed = (unsigned)(uintptr_t)&seed; atomic_load(&s->left) > 0;) {
    seed = seed * 1664525 + 1013904223;
    unsigned i = (seed >> 16) % COUNT;
    pthread_mutex_lock(&s->lock);
    rawwaker w = s->kept[i];
    s->kept[i] = (rawwaker){NULL, NULL};
    pthread_mutex_unlock(&s->lock);
    if (w.vtable == NULL) continue;
    waking = true;
    /* the only waker of that poll: if the wake is lost, run never returns */
    w.vtable->wake(w.data);
    waking = false;
  }
  return NULL;
}
static void executor_storm(void *make, void *arg) {
  runner x = make_executor(make, arg);
  struct stormed *s = calloc(1, sizeof *s);
  if (s == NULL) abort();
  pthread_mutex_init(&s->lock, NULL);
  atomic_init(&s->left, COUNT);
  pthread_t t[THREADS];
  for (int i = 0; i < COUNT; i++)
    s->t[i].step = wants_many_wakes, s->t[i].with = s, spawn(&x, &s->t[i]);
  for (int i = 0; i < THREADS; i++) t[i] = start(wake_many, s);
  run(&x);
  ended(s->t, COUNT);
  atomic_store(&s->left, 0); /* also if run has returned too early */
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  close_executor(&x);
  free(s);
}

static const scenario executors[] = {
    {"polls_every_task", polls_every_task,
     "each task is polled, and after READY it is dropped once and polled no more"},
    {"wake_inside_the_poll", wake_inside_the_poll,
     "a wake during the poll leads to another poll, afterwards"},
    {"wake_from_another_thread", wake_from_another_thread,
     "a wake on any thread leads to a poll, and the wake itself never polls"},
    {"poll_sees_what_wakes_publish", poll_sees_what_wakes_publish,
     "what was written before a wake is visible to the poll that follows, "
     "even if the task was woken already"},
    {"waker_outlives_its_task", waker_outlives_its_task,
     "wakers may outlive their task, and their executor"},
    {"close_drops_the_rest", close_drops_the_rest,
     "an executor that ends drops each remaining future once"},
    {"spawn_inside_a_poll", spawn_inside_a_poll, "a task may spawn another"},
    {"executor_storm", executor_storm,
     "no wake is lost, and no two polls of one future overlap, whatever many threads do"},
    {NULL, NULL, NULL},
};

int rawwaker_test_executors(const char *name, rawwaker_test_executor (*make)(void *arg),
                            void *arg) {
  maker m = {.executor = make};
  return run_all(name, executors, &m, arg);
}

/* ------------------------------------------------------------------------------ the names -- */

static bool known(const char *name) {
  static const scenario *const kinds[] = {wakers, futures, streams, executors};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (const scenario *s = kinds[i]; s->name != NULL; s++)
      if (strcmp(s->name, name) == 0) return true;
  return false;
}

static const rawwaker_test_rule *rules(const scenario *all, rawwaker_test_rule *out) {
  size_t i = 0;
  for (; all[i].name != NULL; i++) out[i] = (rawwaker_test_rule){all[i].name, all[i].rule};
  out[i] = (rawwaker_test_rule){NULL, NULL};
  return out;
}
#define RULES(kind)                                                                         \
  const rawwaker_test_rule *rawwaker_test_##kind##_rules(void) {                             \
    static rawwaker_test_rule all[sizeof kind##s / sizeof kind##s[0]];                       \
    return rules(kind##s, all);                                                              \
  }
RULES(waker)
RULES(future)
RULES(stream)
RULES(executor)
