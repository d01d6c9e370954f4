/* audit.c - tests the auditor while threads stop, are cancelled, are interrupted by signals, or
 * fork.
 *
 *   ./audit [rounds]
 *
 *   storm      Threads clone, wake and drop correctly and wrongly. Each finding and each wake is
 *              counted, and nothing is left.
 *   kept       A poll that returns PENDING is found unless a waker that wakes its task is kept.
 *   streams    Correct uses of streams by several threads give no finding; a poll and a drop beside
 *              a poll, and codes that break a rule, give one each.
 *   stopped    Threads stop permanently inside an audited wake, a watcher, and the text of a
 *              finding. Calls of other threads still return.
 *   signals    Handlers wake by reference, correctly and wrongly, inside every slot. errno is kept.
 *   forks      Children wake, correctly and wrongly, while threads are inside the auditor.
 *   findings   Findings that are not taken are counted.
 *   senders    Correct uses of oneshots by several threads give no finding; forgotten senders, uses
 *              in signal handlers and second uses are found. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "rawwaker_audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <sys/auxv.h>
#endif

static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL audit: %s\n", why);
  fflush(stdout);
  _exit(1);
}

/* A waker that counts. */
static atomic_size_t wakes, references;
static rawwaker counting(void);
static rawwaker count_clone(void *data) { (void)data; return counting(); }
static void count_by_ref(void *data) { (void)data; atomic_fetch_add(&wakes, 1); }
static void count_drop(void *data) { (void)data; atomic_fetch_sub(&references, 1); }
static void count_wake(void *data) { count_by_ref(data); count_drop(data); }
static const rawwaker_vtable count_vtable = {count_clone, count_wake, count_by_ref, count_drop};
static rawwaker counting(void) {
  atomic_fetch_add(&references, 1);
  return (rawwaker){NULL, &count_vtable};
}

static size_t taken(const char *rule) { /* takes all findings; returns how many are of this rule */
  size_t n = 0;
  const char *is;
  char *text;
  while (rawwaker_audit_take(&is, &text)) {
    size_t more = 1, kept = 0;
    if (strcmp(is, "findings_omitted") == 0) {
      check(
          sscanf(text,
                 "rawwaker audit: findings_omitted: %zu more findings were not kept, "
                  "because %zu",
                 &more, &kept) == 2 &&
              kept == 512,
          "an omission without its count");
      n += more;
    } else {
      check(strstr(text, is) != NULL && strstr(text, "the rule: ") != NULL,
            "a text without its rule");
      n += strcmp(is, rule) == 0;
    }
    free(text);
  }
  return n;
}

/* ---------------------------------------------------------------------------------- storm -- */

enum { THREADS = 4 };
static rawwaker shared;
static unsigned long rounds = 20000;
static atomic_size_t requested;

static void *storm_run(void *arg) {
  unsigned long me = (unsigned long)(uintptr_t)arg;
  for (unsigned long i = 0; i < rounds; i++) {
    rawwaker c = rawwaker_clone(&shared), d = rawwaker_clone(&c);
    rawwaker_wake_by_ref(&shared);
    rawwaker_wake_by_ref(&d);
    rawwaker_wake(d);
    rawwaker_drop(c);
    atomic_fetch_add(&requested, 3);
    if (i % 16 == me) rawwaker_drop(c); /* misuse: one finding each */
    if (i % 64 == me)
      check(rawwaker_audit_count(&shared) >= 1 && rawwaker_audit_live() >= 1,
            "the shared waker is not counted");
  }
  return NULL;
}

static void storm(void) {
  rawwaker_audit_print(false);
  size_t before = rawwaker_audit_found(), misuses = 0;
  shared = rawwaker_audit(counting());
  pthread_t t[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++)
    check(pthread_create(&t[i], NULL, storm_run, (void *)i) == 0, "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  for (unsigned long me = 0; me < THREADS; me++)
    for (unsigned long i = me; i < rounds; i += 16) misuses++;
  check(atomic_load(&wakes) == atomic_load(&requested), "a wake was lost or made twice");
  check(rawwaker_audit_found() - before == misuses, "the findings are not one for each misuse");
  check(taken("double_drop") == misuses, "findings taken plus omitted are not those made");
  check(rawwaker_audit_live() == 1 && rawwaker_audit_count(&shared) == 1, "a count is wrong");
  check(rawwaker_audit_leaks() == 1, "the shared waker is not reported as a leak");
  rawwaker_drop(shared);
  check(rawwaker_audit_leaks() == 0 && rawwaker_audit_live() == 0 && atomic_load(&references) == 0,
        "something is left");
  check(taken("leak") == 1, "the leak was not reported");
  rawwaker_audit_print(true);
  printf("   storm: %zu wakes, lost 0; %zu misuses, each found once\n", atomic_load(&wakes),
         misuses);
}

/* A drop inside a wake_by_ref of the same reference is found, and performed after that call has
 * returned. */
static rawwaker suicidal;
static bool in_by_ref, dropped_in_by_ref;
static int drops;
static void suicidal_by_ref(void *data) {
  (void)data;
  in_by_ref = true;
  rawwaker_drop(suicidal);
  in_by_ref = false;
}
static void suicidal_drop(void *data) {
  (void)data;
  drops++;
  dropped_in_by_ref = in_by_ref;
}
static rawwaker suicidal_clone(void *data);
static const rawwaker_vtable suicidal_vtable = {suicidal_clone, suicidal_drop, suicidal_by_ref,
                                                suicidal_drop};
static rawwaker suicidal_clone(void *data) { return (rawwaker){data, &suicidal_vtable}; }
static void overlap(void) {
  rawwaker_audit_print(false);
  suicidal = rawwaker_audit((rawwaker){NULL, &suicidal_vtable});
  rawwaker_wake_by_ref(&suicidal);
  check(drops == 1 && !dropped_in_by_ref && rawwaker_audit_live() == 0,
        "a drop inside a call was not performed after it");
  check(taken("use_after_drop") == 1, "a drop inside a call was not found");
  rawwaker_audit_print(true);
}

/* Many wakers, futures and polls at once, so that the quarantine's records are reused. */
static rawwaker_poll keeps_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker *kept = data;
  if (kept->vtable != NULL) {
    rawwaker_drop(*kept);
    kept->vtable = NULL;
    *(uint64_t *)out = 7;
    return RAWWAKER_READY;
  }
  *kept = rawwaker_clone(cx->waker);
  return RAWWAKER_PENDING;
}
static void keeps_drop(void *data) {
  rawwaker *kept = data;
  if (kept->vtable != NULL) rawwaker_drop(*kept);
}
static const rawwaker_future_vtable keeps = {keeps_poll, keeps_drop};

static void *futures_run(void *arg) {
  for (unsigned long i = 0; i < rounds / 4; i++) {
    rawwaker kept = {NULL, NULL}, w = counting();
    rawwaker_future f =
        rawwaker_audit_future_sized((rawwaker_future){&kept, &keeps}, sizeof(uint64_t));
    rawwaker_context cx = {&w};
    uint64_t out[2] = {5, 42};
    check(f.vtable->poll(f.data, &cx, out) == RAWWAKER_PENDING && out[0] == 5, "not pending");
    if (i % 2 == 0)
      check(f.vtable->poll(f.data, &cx, out) == RAWWAKER_READY && out[0] == 7 && out[1] == 42,
            "not ready with 7");
    f.vtable->drop(f.data);
    rawwaker_drop(w);
  }
  return arg;
}
/* A poll may write its result with instructions that need the alignment of its type. */
static rawwaker_poll aligned_poll(void *data, rawwaker_context *cx, void *out) {
  (void)cx;
  *(uintptr_t *)data = (uintptr_t)out;
  return RAWWAKER_READY;
}
static void aligned_drop(void *data) { (void)data; }
static const rawwaker_future_vtable aligned = {aligned_poll, aligned_drop};
static void results_are_aligned(void) {
  static const size_t sizes[][2] = {{8, 8}, {64, 64}, {192, 64}, {256, 256}, {8192, 4096}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    static char out[8192];
    uintptr_t at = 1;
    rawwaker w = rawwaker_noop();
    rawwaker_context cx = {&w};
    rawwaker_future f = rawwaker_audit_future_sized((rawwaker_future){&at, &aligned}, sizes[i][0]);
    f.vtable->poll(f.data, &cx, out);
    f.vtable->drop(f.data);
    check(at % sizes[i][1] == 0, "a result is not aligned for each type of its size");
  }
}
static void futures(void) {
  size_t before = rawwaker_audit_found();
  results_are_aligned();
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++)
    check(pthread_create(&t[i], NULL, futures_run, NULL) == 0, "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  check(rawwaker_audit_found() == before, "a finding about correct futures");
  check(rawwaker_audit_live() == 0 && atomic_load(&references) == 0, "futures have left something");
}

/* Wakers with data of their own. A clone of one has the same data, of the other new data. */
static rawwaker same_clone(void *data), fresh_clone(void *data);
static void nothing(void *data) { (void)data; }
static const rawwaker_vtable same = {same_clone, nothing, nothing, nothing};
static const rawwaker_vtable fresh = {fresh_clone, nothing, nothing, nothing};
static char wakers[16];
static rawwaker same_clone(void *data) { return (rawwaker){data, &same}; }
static rawwaker fresh_clone(void *data) { return (rawwaker){(char *)data + 1, &fresh}; }

/* Stays pending. With each poll it does what the next letter says: k keeps a clone, n does nothing,
 * d drops all that it has kept, c drops a clone that it makes. */
typedef struct keeper {
  const char *next;
  size_t n;
  rawwaker kept[16];
} keeper;
static void keeper_drop(void *data) {
  keeper *k = data;
  while (k->n > 0) rawwaker_drop(k->kept[--k->n]);
}
static rawwaker_poll keeper_poll(void *data, rawwaker_context *cx, void *out) {
  keeper *k = data;
  (void)out;
  switch (*k->next++) {
  case 'k': k->kept[k->n++] = rawwaker_clone(cx->waker); break;
  case 'd': keeper_drop(k); break;
  case 'c': rawwaker_drop(rawwaker_clone(cx->waker)); break;
  }
  return RAWWAKER_PENDING;
}
static const rawwaker_future_vtable keeping = {keeper_poll, keeper_drop};

/* Polls with these wakers in turn. Returns how many polls have kept no waker. */
static size_t keep(const char *letters, const rawwaker *w, size_t n) {
  keeper k = {letters, 0, {{NULL, NULL}}};
  rawwaker_future f = rawwaker_audit_future((rawwaker_future){&k, &keeping});
  for (size_t i = 0; i < strlen(letters); i++) {
    rawwaker_context cx = {&w[i % n]};
    check(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING, "not pending");
  }
  f.vtable->drop(f.data);
  return taken("pending_without_waker");
}
static void kept_wakers(void) {
  taken("");
  rawwaker many[14]; /* more than the auditor tells apart */
  for (size_t i = 0; i < 14; i++) many[i] = (rawwaker){wakers + i, &same};
  rawwaker one = {wakers, &same}, two[] = {one, {wakers + 4, &same}}, other = {wakers, &fresh};
  check(keep("kn", &one, 1) == 0, "a waker that was kept earlier wakes the same task");
  check(keep("kn", two, 2) == 1, "a waker that was kept earlier wakes another task");
  check(keep("kdn", &one, 1) == 2, "a waker was dropped");
  check(keep("k", &other, 1) == 0, "the clone is kept, though it has other data");
  check(keep("c", &other, 1) == 1, "the clone, which had other data, was dropped");
  check(keep("kkkkkkkkkkkkdn", many, 14) == 2, "twelve wakers were dropped");
  rawwaker audited = rawwaker_audit(one);
  check(keep("kn", &audited, 1) == 0, "a waker that was kept earlier wakes the same audited one");
  rawwaker_drop(audited);
  check(rawwaker_audit_live() == 0, "kept wakers have left something");
}

static void unwrapping(void) {
  rawwaker w = rawwaker_audit((rawwaker){wakers, &same}), audited = w;
  check(rawwaker_audit_unwrap(&w) && w.data == wakers && w.vtable == &same,
        "unwrap does not give the waker");
  check(rawwaker_audit_live() == 0, "what was unwrapped is counted");
  check(!rawwaker_audit_unwrap(&w) && taken("double_drop") == 0, "a waker was unwrapped twice");
  check(!rawwaker_audit_unwrap(&audited) && taken("double_drop") == 1,
        "a second unwrap was not found");
  w = rawwaker_audit((rawwaker){wakers, &same});
  rawwaker_audit_abandoned(&w);
  check(taken("leak") == 1, "a waker that was abandoned is no leak");
  rawwaker_audit_abandoned(&w);
  check(taken("leak") == 0, "a leak was found twice");
  rawwaker clone = rawwaker_clone(&w);
  check(rawwaker_audit_leaks() == 1 && taken("forgotten") == 1,
        "a clone that was never used is not forgotten");
  rawwaker_drop(clone);
  rawwaker_drop(w);
}

/* Counts the events of one kind, and keeps the number of the last one's waker. */
static const char *noted = "";
static size_t notes;
static uint64_t number;
static void note(const rawwaker_audit_event *e) {
  if (strcmp(e->what, noted) != 0) return;
  notes++;
  number = e->waker;
}
static rawwaker_poll coded_poll(void *data, rawwaker_context *cx, void *out) {
  (void)cx;
  (void)out;
  return *(rawwaker_poll *)data;
}
static const rawwaker_stream_vtable coded = {coded_poll, nothing};
static void codes_are_reported(void) {
  static struct {
    rawwaker_poll code;
    const char *event;
  } all[] = {{RAWWAKER_READY, "is READY"},
             {RAWWAKER_PENDING, "is PENDING"},
             {RAWWAKER_DONE, "is DONE"},
             {RAWWAKER_PANICKED, "is PANICKED"}};
  rawwaker w = rawwaker_noop();
  rawwaker_context cx = {&w};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    rawwaker_stream s = rawwaker_audit_stream((rawwaker_stream){&all[i].code, &coded});
    noted = all[i].event;
    notes = 0;
    rawwaker_audit_watch(note);
    s.vtable->poll_next(s.data, &cx, NULL);
    rawwaker_audit_watch(NULL);
    s.vtable->drop(s.data);
    check(notes == 1, "a watcher is given another code than the stream's");
  }
  taken("");
}

/* What a finding says of a poll that keeps no waker. */
static bool pending_text(const char *letter, const char *part) {
  keeper k = {letter, 0, {{NULL, NULL}}};
  rawwaker w = {wakers, &same};
  rawwaker_context cx = {&w};
  const char *rule;
  char *text;
  rawwaker_future f = rawwaker_audit_future((rawwaker_future){&k, &keeping});
  f.vtable->poll(f.data, &cx, NULL);
  f.vtable->drop(f.data);
  check(rawwaker_audit_take(&rule, &text), "a poll that keeps no waker was not found");
  bool is = strstr(text, part) != NULL;
  free(text);
  return is;
}
static void pending_texts(void) {
  check(pending_text("n", "PENDING and kept no waker,"), "no clone was made, but one is reported");
  check(pending_text("c", "PENDING and kept no clone of its own waker,"),
        "a clone was made, but none is reported");
}

/* So many references that the record of a future's poll is used again. */
static void future_keeps_its_number(void) {
  keeper k = {"kn", 0, {{NULL, NULL}}};
  rawwaker w = {wakers, &same};
  rawwaker_context cx = {&w};
  rawwaker_future f = rawwaker_audit_future((rawwaker_future){&k, &keeping});
  noted = "is PENDING";
  rawwaker_audit_watch(note);
  f.vtable->poll(f.data, &cx, NULL);
  keeper_drop(&k);
  uint64_t first = number;
  for (int i = 0; i < 70000; i++) rawwaker_drop(rawwaker_audit(w));
  f.vtable->poll(f.data, &cx, NULL);
  rawwaker_audit_watch(NULL);
  check(first == number, "a future has another's number");
  f.vtable->drop(f.data);
  taken("");
}

/* A poll that a jump leaves: in the future itself, or in one that it polls. */
static jmp_buf out_of_poll;
typedef struct leaver {
  bool leaves;
  rawwaker_future inner;
} leaver;
static rawwaker_poll leaver_poll(void *data, rawwaker_context *cx, void *out) {
  leaver *l = data;
  if (l->inner.vtable != NULL) return l->inner.vtable->poll(l->inner.data, cx, out);
  if (l->leaves) longjmp(out_of_poll, 1);
  return RAWWAKER_READY;
}
static void leaver_drop(void *data) {
  leaver *l = data;
  if (l->inner.vtable != NULL) l->inner.vtable->drop(l->inner.data);
}
static const rawwaker_future_vtable leaving = {leaver_poll, leaver_drop};
static const rawwaker_stream_vtable leaving_stream = {leaver_poll, leaver_drop};
static void unwinding(void) {
  static leaver inner, outer;
  static rawwaker_future f;
  static rawwaker_stream s;
  static rawwaker w;
  static rawwaker_context cx = {&w};
  static size_t before;
  w = rawwaker_noop();
  before = rawwaker_audit_found();
  inner = (leaver){.leaves = true};
  outer.inner = rawwaker_audit_future((rawwaker_future){&inner, &leaving});
  f = rawwaker_audit_future((rawwaker_future){&outer, &leaving});
  if (setjmp(out_of_poll) == 0) f.vtable->poll(f.data, &cx, NULL);
  rawwaker_audit_unwound(&f);
  inner.leaves = false;
  check(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_READY && rawwaker_audit_found() == before,
        "a poll that was left is still in progress");
  f.vtable->drop(f.data);
  inner.leaves = true;
  s = rawwaker_audit_stream((rawwaker_stream){&inner, &leaving_stream});
  if (setjmp(out_of_poll) == 0) s.vtable->poll_next(s.data, &cx, NULL);
  rawwaker_audit_stream_unwound(&s);
  inner.leaves = false;
  check(s.vtable->poll_next(s.data, &cx, NULL) == RAWWAKER_READY &&
            rawwaker_audit_found() == before,
        "a poll of a stream that was left is still in progress");
  s.vtable->drop(s.data);
  check(rawwaker_audit_live() == 0, "polls that were left have left something");
}
/* So many references that the record of the first is free again. */
static void used_long_after(void) {
  enum { many = 65536 };
  rawwaker *all = malloc(many * sizeof *all), w = rawwaker_audit((rawwaker){wakers, &same});
  check(all != NULL, "no memory");
  for (size_t i = 0; i < many; i++) all[i] = rawwaker_audit((rawwaker){wakers, &same});
  rawwaker_drop(w);
  for (size_t i = 0; i < many; i++) rawwaker_drop(all[i]);
  free(all);
  taken("");
  rawwaker_wake_by_ref(&w);
  check(taken("use_after_drop") == 1, "a use long after the drop was not found");
  rawwaker_drop(w);
  check(taken("use_after_drop") == 1, "a drop long after the drop was not found");
}
static void null_out(void) {
  rawwaker kept = {NULL, NULL}, w = rawwaker_noop();
  rawwaker_future f =
      rawwaker_audit_future_sized((rawwaker_future){&kept, &keeps}, sizeof(uint64_t));
  rawwaker_context cx = {&w};
  uint64_t out;
  check(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PANICKED && taken("null_out") == 1,
        "a NULL out was not found");
  check(f.vtable->poll(f.data, &cx, &out) == RAWWAKER_PANICKED && taken("poll_after_ready") == 1,
        "a poll after PANICKED was not found");
  f.vtable->drop(f.data);
}

/* -------------------------------------------------------------------------------- streams -- */

/* Gives PENDING, two items, DONE, and then the code after. If stops is set, its first poll waits
 * for go_on. */
typedef struct two {
  rawwaker kept;
  int polls, drops;
  rawwaker_poll after;
  bool stops;
  sem_t stopped, go_on;
} two;
static void two_forget(two *s) {
  if (s->kept.vtable != NULL) rawwaker_drop(s->kept);
  s->kept.vtable = NULL;
}
static rawwaker_poll two_poll_next(void *data, rawwaker_context *cx, void *out) {
  two *s = data;
  if (s->stops && s->polls == 0) {
    sem_post(&s->stopped);
    sem_wait(&s->go_on);
  }
  two_forget(s);
  s->kept = rawwaker_clone(cx->waker);
  int poll = ++s->polls;
  if (poll == 2 || poll == 3) *(uint64_t *)out = (uint64_t)poll;
  return poll == 1 ? RAWWAKER_PENDING
         : poll < 4 ? RAWWAKER_READY
         : poll == 4 ? RAWWAKER_DONE : s->after;
}
static void two_drop(void *data) {
  two_forget(data);
  ((two *)data)->drops++;
}
static const rawwaker_stream_vtable two_vtable = {two_poll_next, two_drop};
static rawwaker_stream of_two(two *s) {
  return rawwaker_audit_stream_sized((rawwaker_stream){s, &two_vtable}, sizeof(uint64_t));
}

static void *streams_run(void *arg) {
  for (unsigned long i = 0; i < rounds / 8; i++) {
    two inner = {.after = RAWWAKER_DONE};
    rawwaker_stream s = of_two(&inner);
    rawwaker w = counting();
    rawwaker_context cx = {&w};
    uint64_t out[2] = {0, 42};
    static const rawwaker_poll codes[] = {RAWWAKER_PENDING, RAWWAKER_READY, RAWWAKER_READY,
                                          RAWWAKER_DONE, RAWWAKER_DONE};
    for (size_t n = 0; n < 5 - i % 3; n++) {
      check(s.vtable->poll_next(s.data, &cx, out) == codes[n], "another code than the stream's");
      check((n == 0 || out[0] == (n == 1 ? 2 : 3)) && out[1] == 42, "another item");
    }
    s.vtable->drop(s.data);
    check(inner.drops == 1, "a stream was not dropped once");
    rawwaker_drop(w);
  }
  return arg;
}

static void *poll_in_thread(void *arg) {
  rawwaker w = counting();
  rawwaker_context cx = {&w};
  rawwaker_stream *s = arg;
  uint64_t out;
  check(s->vtable->poll_next(s->data, &cx, &out) == RAWWAKER_PENDING, "not pending");
  rawwaker_drop(w);
  return NULL;
}

static void streams(void) {
  size_t before = rawwaker_audit_found();
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++)
    check(pthread_create(&t[i], NULL, streams_run, NULL) == 0, "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  check(rawwaker_audit_found() == before, "a finding about correct streams");

  rawwaker_audit_print(false);
  rawwaker w = counting();
  rawwaker_context cx = {&w};
  uint64_t out;
  two inner = {.stops = true};
  sem_init(&inner.stopped, 0, 0);
  sem_init(&inner.go_on, 0, 0);
  rawwaker_stream s = of_two(&inner);
  check(pthread_create(&t[0], NULL, poll_in_thread, &s) == 0, "no thread");
  sem_wait(&inner.stopped);
  check(s.vtable->poll_next(s.data, &cx, &out) == RAWWAKER_PANICKED && inner.polls == 0,
        "a poll beside a poll was passed on");
  check(taken("slots_overlap") == 1, "a poll beside a poll was not found");
  s.vtable->drop(s.data);
  check(taken("slots_overlap") == 1 && inner.drops == 0, "a drop beside a poll was not found");
  sem_post(&inner.go_on);
  pthread_join(t[0], NULL);
  check(inner.drops == 1, "a drop beside a poll was not carried out after it");
  check(s.vtable->poll_next(s.data, &cx, &out) == RAWWAKER_PANICKED, "polled after its drop");
  check(taken("poll_after_ready") == 1, "a poll after the drop was not found");
  s.vtable->drop(s.data);
  check(taken("future_double_drop") == 1 && inner.drops == 1, "a second drop was not found");
  sem_destroy(&inner.stopped);
  sem_destroy(&inner.go_on);

  static const struct {
    rawwaker_poll after;
    const char *rule; /* of the poll after DONE */
    const char *then; /* of the next one */
  } codes[] = {{RAWWAKER_DONE, NULL, NULL},
               {RAWWAKER_PENDING, "done_is_repeated", "done_is_repeated"},
               {RAWWAKER_READY, "done_is_repeated", "done_is_repeated"},
               {RAWWAKER_PANICKED, "done_is_repeated", "poll_after_ready"}};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    two each = {.after = codes[i].after};
    s = of_two(&each);
    before = rawwaker_audit_found();
    for (int n = 0; n < 4; n++) s.vtable->poll_next(s.data, &cx, &out);
    check(rawwaker_audit_found() == before, "a finding before DONE");
    const char *rules[] = {codes[i].rule, codes[i].then};
    for (int n = 0; n < 2; n++) {
      s.vtable->poll_next(s.data, &cx, &out);
      check(rules[n] == NULL ? rawwaker_audit_found() == before : taken(rules[n]) == 1,
            "a poll after DONE gave another finding");
    }
    s.vtable->drop(s.data);
    check(rawwaker_audit_found() == before + (codes[i].rule != NULL ? 2 : 0), "a finding more");
  }
  /* DONE is no code of a future. */
  two flat = {.polls = 3};
  rawwaker_future_vtable slots = {two_poll_next, two_drop};
  rawwaker_future f = rawwaker_audit_future((rawwaker_future){&flat, &slots});
  check(f.vtable->poll(f.data, &cx, &out) == RAWWAKER_DONE && taken("no_such_code") == 1,
        "DONE of a future was not found");
  f.vtable->drop(f.data);
  rawwaker_audit_print(true);
  rawwaker_drop(w);
  check(rawwaker_audit_live() == 0 && atomic_load(&references) == 0, "streams have left something");
  printf("   streams: %lu used correctly, without a finding; a poll and a drop beside a poll and "
         "wrong codes are found\n",
         rounds / 8 * THREADS);
}

/* -------------------------------------------------------------------------------- stopped -- */

static sem_t inside, go;
static void stop_here(void *arg) {
  (void)arg;
  sem_post(&inside);
  while (sem_wait(&go) != 0 || true) pause(); /* never returns */
}
static _Atomic(const char *) stops_at; /* the event whose next watcher stops */
static void stopping_watch(const rawwaker_audit_event *e) {
  const char *at = atomic_load(&stops_at);
  if (at != NULL && strcmp(e->what, at) == 0 &&
      atomic_compare_exchange_strong(&stops_at, &at, NULL))
    stop_here(NULL);
}
static void *call_run(void *arg) { /* 0: wake_by_ref; 1: clone; 2: drop */
  switch ((int)(uintptr_t)arg) {
    case 0: rawwaker_wake_by_ref(&shared); break;
    case 1: (void)rawwaker_clone(&shared); break;
    default: rawwaker_drop(rawwaker_clone(&shared));
  }
  return NULL;
}
static void stopped(void) {
  sem_init(&inside, 0, 0);
  sem_init(&go, 0, 0);
  rawwaker_audit_print(false);
  shared = rawwaker_audit(counting());
  pthread_t t;
  rawwaker_audit_watch(stopping_watch);
  for (uintptr_t slot = 0; slot < 3; slot++) {
    static const char *const at[] = {"wake_by_ref", "is cloned as", "drop"};
    atomic_store(&stops_at, at[slot]);
    check(pthread_create(&t, NULL, call_run, (void *)slot) == 0, "no thread");
    pthread_detach(t);
    while (sem_wait(&inside) != 0) {
    }
  }
  /* And inside the audited waker, whose slot the auditor calls. */
  rawwaker stuck = rawwaker_audit(rawwaker_from_fn(stop_here, NULL, NULL));
  rawwaker other = shared;
  shared = stuck;
  check(pthread_create(&t, NULL, call_run, NULL) == 0, "no thread");
  pthread_detach(t);
  while (sem_wait(&inside) != 0) {
  }
  shared = other;
  /* Other threads use every part of the auditor. */
  size_t before = atomic_load(&wakes), found = rawwaker_audit_found();
  for (int i = 0; i < 1000; i++) {
    rawwaker c = rawwaker_clone(&shared);
    rawwaker_wake_by_ref(&c);
    rawwaker_wake(c);
    rawwaker_drop(c); /* misuse */
  }
  check(atomic_load(&wakes) == before + 2000 && rawwaker_audit_found() == found + 1000,
        "a stopped thread held back other wakes");
  check(taken("double_drop") == 1000 && rawwaker_audit_live() > 0,
        "a stopped thread held back other findings");
  rawwaker_audit_watch(NULL);
  rawwaker_audit_print(true);
  printf("   stopped: 4 threads inside the auditor; others made 2,000 wakes and 1,000 findings\n");
}

/* -------------------------------------------------------------------------------- signals -- */

static rawwaker gone;
static volatile sig_atomic_t signals, errno_changed, in_handler;
static void on_signal(int sig) {
  (void)sig;
  int saved = errno;
  errno = EDOM;
  in_handler = 1;
  rawwaker_wake_by_ref(&shared);
  if (signals % 8 == 0) rawwaker_wake_by_ref(&gone); /* misuse: a finding in a handler */
  in_handler = 0;
  if (errno != EDOM) errno_changed = 1;
  errno = saved;
  signals++;
}
static atomic_size_t allocations_in_handlers;
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n) {
  if (in_handler) atomic_fetch_add(&allocations_in_handlers, 1);
  return __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size) {
  if (in_handler) atomic_fetch_add(&allocations_in_handlers, 1);
  return __real_calloc(n, size);
}

static void signals_run(unsigned many) {
  int full = open("/dev/full", O_WRONLY), standard = dup(2);
  /* a finding is printed in a handler, and its write fails */
  check(full >= 0 && dup2(full, 2) == 2, "no /dev/full");
  shared = rawwaker_audit(counting());
  gone = rawwaker_clone(&shared);
  rawwaker_drop(gone);
  size_t before = atomic_load(&wakes), found = rawwaker_audit_found();
  size_t mine = 0, misuses = 0;
  struct sigaction a;
  memset(&a, 0, sizeof a);
  a.sa_handler = on_signal;
  sigaction(SIGALRM, &a, NULL);
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 200}, {0, 200}}, NULL);
  while ((unsigned)signals < many) {
    rawwaker c = rawwaker_clone(&shared);
    rawwaker_wake_by_ref(&c);
    rawwaker_wake(c);
    mine += 2;
    if (mine % 64 == 0) rawwaker_drop(c), misuses++;
  }
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
  signal(SIGALRM, SIG_IGN);
  size_t n = (size_t)signals;
  check(!errno_changed, "errno changed in a handler");
  check(atomic_load(&allocations_in_handlers) == 0, "a handler has allocated");
  check(atomic_load(&wakes) - before == mine + n, "a wake in a handler was lost");
  check(rawwaker_audit_found() - found >= misuses + (n + 7) / 8,
        "a misuse in a handler was not found");
  (void)taken("");
  rawwaker_drop(shared);
  dup2(standard, 2);
  close(standard);
  close(full);
  printf("   signals: %zu wakes in handlers, lost 0; errno kept, nothing allocated\n", n);
}

/* ---------------------------------------------------------------------------------- forks -- */

static atomic_bool stop;
static void *fork_run(void *arg) {
  while (!atomic_load(&stop)) {
    rawwaker c = rawwaker_clone(&shared);
    rawwaker_wake_by_ref(&shared);
    rawwaker_drop(c);
    rawwaker_drop(c); /* misuse */
  }
  return arg;
}
static void forks(int many) {
  rawwaker_audit_print(false);
  shared = rawwaker_audit(counting());
  pthread_t t[2];
  for (int i = 0; i < 2; i++) check(pthread_create(&t[i], NULL, fork_run, NULL) == 0, "no thread");
  for (int i = 0; i < many; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60); /* after that it hangs, even on a slow machine */
      rawwaker_wake_by_ref(&shared);
      rawwaker c = rawwaker_clone(&shared);
      rawwaker_wake(c);
      rawwaker_wake_by_ref(&c); /* misuse */
      rawwaker_drop(c);         /* misuse */
      _exit(0);
    }
    int status;
    check(child > 0 && waitpid(child, &status, 0) == child && status == 0,
          "a child hung in the auditor, or crashed");
  }
  atomic_store(&stop, true);
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  (void)taken("");
  rawwaker_drop(shared);
  rawwaker_audit_print(true);
  printf("   forks: %d children woke and exited\n", many);
}

/* ------------------------------------------------------------------------------- findings -- */

static void findings(void) {
  rawwaker_audit_print(false);
  rawwaker w = rawwaker_audit(counting());
  rawwaker_drop(w);
  for (int i = 0; i < 100000; i++) rawwaker_drop(w);
  check(taken("double_drop") == 100000, "findings that were not taken are not counted");
  check(taken("") == 0, "a finding was taken twice");
  /* A second return of one loan, a return of another's record, and of a waker that is no loan are
   * reported, and do no harm. */
  w = rawwaker_audit(counting());
  rawwaker lent = rawwaker_audit_lend(&w);
  rawwaker_audit_return(&lent);
  /* more than the quarantine holds: a record that is listed twice would be reused twice */
  for (int i = 0; i < 70000; i++) {
    if (i == 0) rawwaker_audit_return(&lent);
    rawwaker_drop(rawwaker_audit(counting()));
  }
  rawwaker plain = rawwaker_noop();
  rawwaker_audit_return(&plain);
  rawwaker_audit_return(&w);
  rawwaker many[4];
  for (int i = 0; i < 4; i++) many[i] = rawwaker_audit(counting());
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < i; j++) check(many[i].data != many[j].data, "one record is two references");
  for (int i = 0; i < 4; i++) rawwaker_drop(many[i]);
  rawwaker_drop(w);
  check(taken("double_return") == 3 && rawwaker_audit_live() == 0 && atomic_load(&references) == 0,
        "a wrong return did harm");
  rawwaker_audit_print(true);
  printf("   findings: 100,000 that were not taken are counted\n");
}

/* -------------------------------------------------------------------------------- senders -- */

static rawwaker_future oneshot(rawwaker_oneshot **tx) {
  return rawwaker_oneshot_new(0, 0, NULL, NULL, tx);
}
static void end_future(rawwaker_future f) { f.vtable->drop(f.data); }
static void never_started(void *arg) { (void)arg; }

static void *senders_run(void *arg) {
  static const rawwaker_oneshot_ops ops = {never_started, NULL, NULL, NULL};
  for (unsigned long i = 0; i < rounds; i++) {
    rawwaker_oneshot *tx;
    rawwaker_future f = oneshot(&tx);
    /* twice at the same depth of the stack */
    for (int n = 0; n < 2; n++) check(!rawwaker_oneshot_closed(tx), "closed");
    if (i % 2 == 0) end_future(f);
    switch (i % 3) {
      case 0: check(rawwaker_oneshot_send(tx, NULL) == (i % 2 != 0), "sent"); break;
      case 1: rawwaker_oneshot_fail(tx, "why", 3); break;
      default: rawwaker_oneshot_drop(tx);
    }
    if (i % 2 != 0) end_future(f);
    end_future(rawwaker_oneshot_new(0, 0, &ops, NULL, &tx)); /* ends its sender itself */
  }
  return arg;
}

/* What a child prints that uses a sender a second time; it must abort. */
static char printed[16384];
static void use_much_later(rawwaker_oneshot *tx), use_job(rawwaker_oneshot *tx);
static void second_use(const char *what, void (*use)(rawwaker_oneshot *tx), const char *line) {
  int ends[2], status;
  size_t n = 0;
  ssize_t more;
  check(pipe(ends) == 0, "no pipe");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    rawwaker_oneshot *tx;
    dup2(ends[1], 2);
    signal(SIGABRT, SIG_DFL);
    rawwaker_future f = oneshot(&tx);
    rawwaker_oneshot_drop(tx);
    end_future(f);
    use(tx);
    _exit(0);
  }
  close(ends[1]);
  while ((more = read(ends[0], printed + n, sizeof printed - 1 - n)) > 0) n += (size_t)more;
  printed[n] = '\0';
  close(ends[0]);
  waitpid(child, &status, 0);
  check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, what);
  size_t length = strlen(line);
  check(n >= length && strcmp(printed + n - length, line) == 0, what);
  if (use == use_much_later) return;
  bool job = use == use_job;
  check(strstr(printed, "rawwaker audit: sender_use_after: ") == printed &&
            strstr(printed, job ? "was made by rawwaker_job_new on thread "
                                : "was made by rawwaker_oneshot_new on thread ") != NULL &&
            strstr(printed, job ? "and taken by rawwaker_job_send on thread "
                                : "and taken by rawwaker_oneshot_drop on thread ") != NULL,
        "a second use without the first");
}
static void use_send(rawwaker_oneshot *tx) { rawwaker_oneshot_send(tx, NULL); }
static void use_fail(rawwaker_oneshot *tx) { rawwaker_oneshot_fail(tx, "why", 3); }
static void use_drop(rawwaker_oneshot *tx) { rawwaker_oneshot_drop(tx); }
static void use_closed(rawwaker_oneshot *tx) { (void)rawwaker_oneshot_closed(tx); }
static void use_much_later(rawwaker_oneshot *tx) {
  for (int i = 0; i < 20000; i++) { /* more than the records that are kept */
    rawwaker_oneshot *other;
    rawwaker_future f = oneshot(&other);
    rawwaker_oneshot_drop(other);
    end_future(f);
  }
  rawwaker_oneshot_drop(tx);
}

static rawwaker_future future_of_job;
static void submitted(void *engine, rawwaker_job *j) {
  (void)engine;
  rawwaker_job_send(j, NULL);
  end_future(future_of_job); /* the last: its memory is gone */
  rawwaker_job_send(j, NULL);
}
static void use_job(rawwaker_oneshot *tx) {
  static const rawwaker_job_ops ops = {submitted, NULL, NULL, NULL};
  rawwaker_queue *q = rawwaker_queue_new();
  rawwaker w = rawwaker_noop();
  rawwaker_context cx = {&w};
  rawwaker_job *j;
  rawwaker_future f = future_of_job = rawwaker_job_new(q, &ops, 0, 0, 0, &j);
  (void)tx;
  check(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING, "a job that has ended");
  rawwaker_job_data(j);
  rawwaker_queue_run(q, q);
}

/* Whether a signal handler can be recognised here. ThreadSanitizer calls most handlers later, when
 * the signal's frame is gone. */
static bool handlers_are_found(void) {
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
#if __GLIBC_PREREQ(2, 35)
  return getauxval(AT_BASE) != 0; /* not static */
#endif
#endif
  return false;
}
enum { IN_HANDLERS = 100 };
static rawwaker_oneshot *for_handlers[IN_HANDLERS];
static volatile sig_atomic_t handled;
static void on_send(int sig) {
  (void)sig;
  int i = handled;
  if (i >= IN_HANDLERS) return;
  int saved = errno;
  errno = EDOM;
  in_handler = 1;
  rawwaker_oneshot_closed(for_handlers[i]); /* a use that takes nothing is found too */
  rawwaker_oneshot_send(for_handlers[i], NULL);
  in_handler = 0;
  if (errno != EDOM) errno_changed = 1;
  errno = saved;
  handled = i + 1;
}
static void senders_in_handlers(void) {
  rawwaker_future f[IN_HANDLERS];
  struct sigaction a;
  memset(&a, 0, sizeof a);
  a.sa_handler = on_send;
  for (int i = 0; i < IN_HANDLERS; i++) f[i] = oneshot(&for_handlers[i]);
  sigaction(SIGALRM, &a, NULL);
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 300}, {0, 300}}, NULL);
  while (handled < IN_HANDLERS) { /* they interrupt every part of the auditor, and malloc */
    rawwaker_oneshot *tx;
    rawwaker_future mine = oneshot(&tx);
    rawwaker_oneshot_send(tx, NULL);
    end_future(mine);
  }
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
  signal(SIGALRM, SIG_IGN);
  for (int i = 0; i < IN_HANDLERS; i++) end_future(f[i]);
  check(atomic_load(&allocations_in_handlers) == 0 && !errno_changed,
        "a send in a handler has allocated, or changed errno");
  size_t n = taken("sender_in_signal");
#if defined(__SANITIZE_THREAD__)
  n = 0;
#endif
  check(n == (handlers_are_found() ? 2 * IN_HANDLERS : 0),
        "the uses of senders in handlers are not found, each once");
}

static void senders(void) {
  rawwaker_oneshot *before, *tx;
  rawwaker_future unwatched = oneshot(&before), f;
  rawwaker_audit_print(false);
  rawwaker_audit_senders();
  rawwaker_audit_senders();
  rawwaker_oneshot_drop(before); /* made before, so it is not watched */
  end_future(unwatched);
  size_t found = rawwaker_audit_found();
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++)
    check(pthread_create(&t[i], NULL, senders_run, NULL) == 0, "no thread");
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  check(rawwaker_audit_leaks() == 0 && rawwaker_audit_found() == found,
        "a finding about correct uses of senders");
  f = oneshot(&tx);
  check(rawwaker_audit_leaks() == 1 && rawwaker_audit_leaks() == 0, "a forgotten sender");
  const char *rule;
  char *text;
  check(rawwaker_audit_take(&rule, &text) && strcmp(rule, "sender_forgotten") == 0 &&
            strstr(text, "was made by rawwaker_oneshot_new on thread ") != NULL &&
            strstr(text, "and taken by") == NULL,
        "a forgotten sender without its maker");
  free(text);
  rawwaker_oneshot_drop(tx); /* it may still be used */
  end_future(f);
  senders_in_handlers();
  rawwaker_audit_print(true);
#define AGAIN(call, of) \
  "rawwaker: rawwaker_oneshot_" call ": this sender was taken " of " (use it once)\n"
  second_use("a second send", use_send, AGAIN("send", "before, by rawwaker_oneshot_drop"));
  second_use("a second fail", use_fail, AGAIN("fail", "before, by rawwaker_oneshot_drop"));
  second_use("a second drop", use_drop, AGAIN("drop", "before, by rawwaker_oneshot_drop"));
  second_use("closed after it", use_closed, AGAIN("closed", "before, by rawwaker_oneshot_drop"));
  second_use("a job's second send", use_job,
             "rawwaker: rawwaker_job_send: this sender was taken before, by rawwaker_job_send (use "
             "it once)\n");
  second_use("a second use much later", use_much_later, AGAIN("drop", "long ago"));
#undef AGAIN
  printf("   senders: %lu used correctly, without a finding; forgotten ones, uses in handlers and "
         "second uses are found\n",
         2 * rounds * THREADS);
}

int main(int argc, char **argv) {
  if (argc > 1) rounds = strtoul(argv[1], NULL, 10);
  storm();
  futures();
  kept_wakers();
  unwrapping();
  codes_are_reported();
  pending_texts();
  future_keeps_its_number();
  unwinding();
  used_long_after();
  null_out();
  streams();
  overlap();
  findings();
  signals_run((unsigned)(rounds / 20 + 20));
  forks((int)(rounds / 200 + 5));
  senders();
  stopped(); /* last, because its threads stay */
  printf("audit: ok\n");
  fflush(stdout);
  _exit(0);
}
