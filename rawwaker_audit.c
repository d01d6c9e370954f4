/* rawwaker_audit.c - see rawwaker_audit.h.
 *
 * SPDX-License-Identifier: MIT
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "rawwaker_audit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__GLIBC__) || defined(__APPLE__)
#include <execinfo.h>
#define STACK 12
#else
#define STACK 1
#endif

/* One lock guards all that this file keeps. No slot is called under it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum { EVENTS = 24, QUARANTINE = 65536, FUTURES = 4096 };

typedef struct event {
  const char *what;
  uint64_t reference, other;
  long thread;
} event;

/* What came of one rawwaker_audit or rawwaker_audit_future: references that wake the same task. */
typedef struct family {
  struct family *next, *before;
  struct reference *all; /* that are there */
  uint64_t number, references, happened, wakes;
  size_t there;   /* references, neither consumed nor lent */
  size_t records; /* references and futures that point here; the last frees */
  event events[EVENTS]; /* the latest, by happened modulo EVENTS */
} family;

/* consumed: by what, or NULL. calls: borrowing calls under way; while there are some, a consuming call is carried out by
 * the last of them. lent: of a context; returned: and its poll is over. A lent one is never consumed. */
typedef struct reference {
  struct reference *next, *before; /* of the family's; next also in the quarantine */
  family *family;
  rawwaker inner;
  const char *consumed;
  uint64_t number, parent, root; /* root: the wrapped or lent one that it descends from */
  unsigned calls;
  bool lent, returned, clone, used, reported;
  long thread;
  const char *where;
  int depth;
  void *stack[STACK];
} reference;

typedef struct finding {
  struct finding *next;
  const char *rule;
  char *text;
} finding;

static struct {
  uint64_t made;
  family *families;
  size_t live;
  reference *gone, **gone_end;
  size_t quarantined;
  struct audited_future *gone_futures[FUTURES];
  size_t dropped;
  finding *found, **found_end;
  void (*watch)(const rawwaker_audit_event *);
  bool silent;
} audit;

static _Thread_local const char *here;
static _Thread_local int locks;

static long thread_id(void) {
#if defined(__linux__)
  return syscall(SYS_gettid);
#else
  pthread_t self = pthread_self();
  long id = 0;
  memcpy(&id, &self, sizeof self < sizeof id ? sizeof self : sizeof id);
  return id;
#endif
}

static void die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

static void *need(size_t size) {
  void *p = calloc(1, size);
  if (p == NULL) die("rawwaker_audit", "out of memory");
  return p;
}

/* ------------------------------------------------------------------------------------------------- the record - */

/* lock is held. */
static void happen(family *f, const char *what, uint64_t reference, uint64_t other) {
  f->events[f->happened++ % EVENTS] = (event){what, reference, other, thread_id()};
}

/* The same, to the watcher. r may be NULL. */
static void tell(const family *f, const char *what, const reference *r, uint64_t other) {
  if (audit.watch == NULL) return;
  rawwaker_audit_event e = {what, f->number, 0, other, {NULL, NULL}, f->there};
  if (r != NULL) {
    e.reference = r->number;
    if (r->consumed == NULL && !r->returned) e.inner = r->inner;
  }
  audit.watch(&e);
}

/* Both. */
static void happen_to(reference *r, const char *what, uint64_t other) {
  happen(r->family, what, r->number, other);
  tell(r->family, what, r, other);
}

typedef struct text {
  char *at;
  size_t used, room;
} text;

static void say(text *t, const char *format, ...) {
  for (;;) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->at + t->used, t->room - t->used, format, args);
    va_end(args);
    if (n < 0) return;
    if (t->used + (size_t)n < t->room) {
      t->used += (size_t)n;
      return;
    }
    t->room = 2 * t->room + (size_t)n;
    t->at = realloc(t->at, t->room);
    if (t->at == NULL) die("rawwaker_audit", "out of memory");
  }
}

static void say_where(text *t, const char *where, void *const *stack, int depth) {
  if (where != NULL) say(t, "    %s\n", where);
#if STACK > 1
  char **names = backtrace_symbols(stack, depth);
  for (int i = 0; names != NULL && i < depth; i++) say(t, "    %s\n", names[i]);
  free(names);
#else
  (void)stack;
  (void)depth;
#endif
}

static int look(void **stack) {
#if STACK > 1
  return backtrace(stack, STACK);
#else
  (void)stack;
  return 0;
#endif
}

/* lock is held. r may be NULL. */
static void find(const char *rule, const char *contract, family *f, const reference *r, const char *format, ...) {
  text t = {need(512), 0, 512};
  char what[256];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  say(&t, "rawwaker audit: %s: %s\n  the rule: %s\n  on thread %ld, from\n", rule, what, contract, thread_id());
  void *stack[STACK];
  say_where(&t, here, stack, look(stack));
  if (r != NULL) {
    if (r->clone)
      say(&t, "  reference %" PRIu64 " was cloned from %" PRIu64 " on thread %ld, from\n", r->number, r->parent, r->thread);
    else
      say(&t, "  reference %" PRIu64 " was %s on thread %ld, from\n", r->number, r->lent ? "lent" : "wrapped", r->thread);
    say_where(&t, r->where, r->stack, r->depth);
  }
  say(&t, "  waker %" PRIu64 ", in order:", f->number);
  uint64_t first = f->happened > EVENTS ? f->happened - EVENTS : 0;
  if (first > 0) say(&t, " ... ");
  for (uint64_t i = first; i < f->happened; i++) {
    const event *e = &f->events[i % EVENTS];
    say(&t, "%s ", i > first ? ";" : "");
    if (e->reference != 0) say(&t, "%" PRIu64 " ", e->reference);
    say(&t, "%s", e->what);
    if (e->other != 0) say(&t, " %" PRIu64, e->other);
    say(&t, " (%ld)", e->thread);
  }
  say(&t, "\n");
  if (!audit.silent) fputs(t.at, stderr);
  finding *n = need(sizeof *n);
  *n = (finding){NULL, rule, t.at};
  if (audit.found == NULL) audit.found_end = &audit.found;
  *audit.found_end = n;
  audit.found_end = &n->next;
}

static void family_leave(family *f) {
  if (--f->records > 0) return;
  if (f->next != NULL) f->next->before = f->before;
  if (f->before != NULL)
    f->before->next = f->next;
  else
    audit.families = f->next;
  free(f);
}

static family *family_new(void) {
  family *f = need(sizeof *f);
  f->number = ++audit.made;
  f->next = audit.families;
  if (f->next != NULL) f->next->before = f;
  audit.families = f;
  return f;
}

static void unlink_reference(reference *r) {
  if (r->next != NULL) r->next->before = r->before;
  if (r->before != NULL)
    r->before->next = r->next;
  else
    r->family->all = r->next;
  r->next = r->before = NULL;
}

/* What is over stays a while, so that a second use finds it. */
static void quarantine(reference *r) {
  unlink_reference(r);
  if (!r->lent) {
    audit.live--;
    r->family->there--;
  }
  if (audit.gone == NULL) audit.gone_end = &audit.gone;
  *audit.gone_end = r;
  audit.gone_end = &r->next;
  if (++audit.quarantined > QUARANTINE) {
    reference *oldest = audit.gone;
    audit.gone = oldest->next;
    audit.quarantined--;
    family_leave(oldest->family);
    free(oldest);
  }
}

static reference *reference_new(family *f, rawwaker inner, const reference *parent, bool lent) {
  reference *r = need(sizeof *r);
  r->family = f;
  r->inner = inner;
  r->number = ++f->references;
  r->clone = parent != NULL;
  r->parent = parent != NULL ? parent->number : 0;
  r->root = parent != NULL ? parent->root : r->number;
  r->lent = lent;
  r->thread = thread_id();
  r->where = here;
  r->depth = look(r->stack);
  f->records++;
  r->next = f->all;
  if (f->all != NULL) f->all->before = r;
  f->all = r;
  if (!lent) {
    audit.live++;
    f->there++;
  }
  return r;
}

/* -------------------------------------------------------------------------------------------------- the slots - */

static rawwaker audit_clone(void *data);
static void audit_wake(void *data);
static void audit_wake_by_ref(void *data);
static void audit_drop(void *data);
static const rawwaker_vtable audit_vtable = {audit_clone, audit_wake, audit_wake_by_ref, audit_drop};

static void check_lock(reference *r, const char *slot) {
  if (locks > 0)
    find("slot_under_lock", "call no slot while you hold a lock", r->family, r, "%s of reference %" PRIu64 " under a lock", slot,
         r->number);
}

/* Begins a borrowing call; false: it must not be made. */
static bool enter(reference *r, const char *slot) {
  bool ok = true;
  pthread_mutex_lock(&lock);
  check_lock(r, slot);
  if (strcmp(slot, "clone") != 0 || r->consumed != NULL || r->returned) happen_to(r, slot, 0);
  if (r->consumed != NULL) {
    find("use_after_drop", "each reference is ended by exactly one wake or drop, and not used after it", r->family, r,
         "%s of reference %" PRIu64 " after %s", slot, r->number, r->consumed);
    ok = false;
  } else if (r->returned) {
    find("use_after_poll", "the waker of a context is borrowed: clone it to keep it", r->family, r,
         "%s of reference %" PRIu64 ", which was lent for a poll that has returned", slot, r->number);
    ok = false;
  } else {
    r->calls++;
    r->used = true;
  }
  pthread_mutex_unlock(&lock);
  return ok;
}

static void finish(const reference *r) {
  rawwaker inner = r->inner;
  bool woken = strcmp(r->consumed, "wake") == 0;
  if (woken)
    rawwaker_wake(inner);
  else
    rawwaker_drop(inner);
}

static void leave(reference *r) {
  pthread_mutex_lock(&lock);
  bool last = --r->calls == 0 && r->consumed != NULL;
  if (last) {
    reference copy = *r;
    quarantine(r);
    pthread_mutex_unlock(&lock);
    finish(&copy);
    return;
  }
  pthread_mutex_unlock(&lock);
}

static rawwaker audit_clone(void *data) {
  reference *r = data;
  if (!enter(r, "clone")) return rawwaker_audit(rawwaker_noop());
  rawwaker inner = {NULL, NULL};
  bool empty = r->inner.vtable->clone == NULL;
  if (!empty) inner = r->inner.vtable->clone(r->inner.data);
  pthread_mutex_lock(&lock);
  if (inner.vtable == NULL) {
    find("empty_clone", "a clone gives a new reference that wakes the same task", r->family, r,
         "%s of reference %" PRIu64 " gave no vtable", empty ? "the empty slot clone" : "clone", r->number);
    inner = rawwaker_noop();
  }
  reference *c = reference_new(r->family, inner, r, false);
  happen_to(r, "is cloned as", c->number);
  pthread_mutex_unlock(&lock);
  leave(r);
  return (rawwaker){c, &audit_vtable};
}

static void audit_wake_by_ref(void *data) {
  reference *r = data;
  if (!enter(r, "wake_by_ref")) return;
  pthread_mutex_lock(&lock);
  r->family->wakes++;
  pthread_mutex_unlock(&lock);
  rawwaker_wake_by_ref(&r->inner);
  leave(r);
}

static void consume(reference *r, const char *slot) {
  pthread_mutex_lock(&lock);
  check_lock(r, slot);
  happen_to(r, slot, 0);
  if (r->lent) {
    find("borrowed_consumed", "the waker of a context is borrowed: never wake or drop it by value", r->family, r,
         "%s of reference %" PRIu64 ", which is lent", slot, r->number);
  } else if (r->consumed != NULL) {
    find("double_drop", "each reference is ended by exactly one wake or drop", r->family, r, "%s of reference %" PRIu64 " after %s", slot,
         r->number, r->consumed);
  } else {
    if (r->calls > 0)
      find("use_after_drop", "each reference is ended by exactly one wake or drop, and not used after it", r->family, r,
           "%s of reference %" PRIu64 " while another call on it is under way", slot, r->number);
    r->consumed = slot;
    if (strcmp(slot, "wake") == 0) r->family->wakes++;
    if (r->calls == 0) {
      reference copy = *r;
      quarantine(r);
      pthread_mutex_unlock(&lock);
      finish(&copy);
      return;
    }
  }
  pthread_mutex_unlock(&lock);
}

static void audit_wake(void *data) { consume(data, "wake"); }
static void audit_drop(void *data) { consume(data, "drop"); }

static rawwaker wrap(rawwaker w, bool lent, const char *call) {
  if (w.vtable == NULL) die(call, "NULL vtable");
  pthread_mutex_lock(&lock);
  reference *r = reference_new(family_new(), w, NULL, lent);
  happen_to(r, lent ? "is lent" : "is wrapped", 0);
  pthread_mutex_unlock(&lock);
  return (rawwaker){r, &audit_vtable};
}

rawwaker rawwaker_audit(rawwaker w) { return wrap(w, false, __func__); }

rawwaker rawwaker_audit_lend(const rawwaker *w) { return wrap(*w, true, __func__); }

void rawwaker_audit_return(const rawwaker *w) {
  reference *r = w->data;
  pthread_mutex_lock(&lock);
  happen_to(r, "is returned", 0);
  r->returned = true;
  quarantine(r);
  pthread_mutex_unlock(&lock);
}

bool rawwaker_is_audited(const rawwaker *w) { return w->vtable == &audit_vtable; }

const char *rawwaker_audit_at(const char *where) {
  const char *before = here;
  here = where;
  return before;
}

rawwaker rawwaker_audit_inner(const rawwaker *w) { return rawwaker_is_audited(w) ? ((reference *)w->data)->inner : *w; }

bool rawwaker_audit_unwrap(rawwaker *w) {
  if (!rawwaker_is_audited(w)) return false;
  reference *r = w->data;
  pthread_mutex_lock(&lock);
  happen_to(r, "is unwrapped", 0);
  bool ok = r->consumed == NULL && !r->lent && r->calls == 0;
  if (ok) {
    r->consumed = "unwrap";
    *w = r->inner;
    quarantine(r);
  } else {
    find(r->lent ? "borrowed_consumed" : "double_drop", "each reference is ended by exactly one wake or drop", r->family, r,
         "reference %" PRIu64 " is given away after %s", r->number, r->consumed != NULL ? r->consumed : "a loan, or during another call");
  }
  pthread_mutex_unlock(&lock);
  return ok;
}

void rawwaker_audit_abandoned(const rawwaker *w) {
  if (!rawwaker_is_audited(w)) return;
  reference *r = w->data;
  pthread_mutex_lock(&lock);
  if (!r->reported) {
    r->reported = true;
    find("leak", "each reference is ended by exactly one wake or drop", r->family, r, "reference %" PRIu64 " was lost by its owner", r->number);
  }
  pthread_mutex_unlock(&lock);
}

size_t rawwaker_audit_count(const rawwaker *w) {
  if (!rawwaker_is_audited(w)) return 0;
  size_t n = 0;
  pthread_mutex_lock(&lock);
  for (const reference *r = ((reference *)w->data)->family->all; r != NULL; r = r->next) n += !r->lent && r->consumed == NULL;
  pthread_mutex_unlock(&lock);
  return n;
}

int rawwaker_audit_lock(int change) { return locks += change; }

/* ------------------------------------------------------------------------------------------------- the future - */

/* over: READY or PANICKED was given. Kept after its drop, so that a second one is seen. */
typedef struct audited_future {
  rawwaker_future inner;
  family *family;
  bool polling, over, dropped;
} audited_future;

static void overlap(const audited_future *f, const char *slot) {
  find("slots_overlap", "calls of a future never come two at once", f->family, NULL, "%s of a future while a poll of it is under way", slot);
}

/* Whether somebody keeps a waker that wakes what lent wakes. */
static bool kept(const reference *lent) {
  for (const reference *r = lent->family->all; r != NULL; r = r->next)
    if (!r->lent && r->consumed == NULL && (r->root == lent->number || rawwaker_will_wake(&r->inner, &lent->inner))) return true;
  return false;
}

static rawwaker_poll audit_poll(void *data, rawwaker_context *cx, void *out) {
  audited_future *f = data;
  pthread_mutex_lock(&lock);
  happen(f->family, "poll", 0, 0);
  bool refuse = f->over || f->dropped || f->polling;
  if (f->over || f->dropped)
    find("poll_after_ready", "a future is not polled again after READY or PANICKED, nor after drop", f->family, NULL, "poll of a future %s",
         f->dropped ? "that was dropped" : "that has ended");
  else if (f->polling)
    overlap(f, "poll");
  if (!refuse) f->polling = true;
  uint64_t before = f->family->wakes, made = f->family->references;
  reference *r = refuse ? NULL : reference_new(f->family, *cx->waker, NULL, true);
  tell(f->family, "poll", r, 0);
  pthread_mutex_unlock(&lock);
  if (refuse) {
    static const char why[] = "polled against the contract: see the audit";
    rawwaker_set_panic(why, sizeof why - 1);
    return RAWWAKER_PANICKED;
  }
  rawwaker lent = {r, &audit_vtable};
  rawwaker_context mine = {&lent};
  rawwaker_poll got = f->inner.vtable->poll(f->inner.data, &mine, out);
  const char *code = got == RAWWAKER_READY ? "is READY" : got == RAWWAKER_PENDING ? "is PENDING" : "is PANICKED";
  pthread_mutex_lock(&lock);
  tell(f->family, code, r, 0);
  r->returned = true;
  happen(f->family, code, 0, 0);
  if (got == RAWWAKER_PENDING) {
    if (f->family->wakes == before && !kept(r))
      find("pending_without_waker", "a future that returns PENDING has kept a clone of the waker of that poll", f->family, r,
           f->family->references == made + 1 ? "poll gave PENDING and kept no waker, and no wake came"
                                             : "poll gave PENDING and kept no clone of this poll's waker, and no wake came");
  } else if (got != RAWWAKER_READY && got != RAWWAKER_PANICKED) {
    find("no_such_code", "poll returns one of the three codes", f->family, NULL, "poll gave %u", (unsigned)got);
  }
  quarantine(r);
  f->polling = false;
  f->over = got != RAWWAKER_PENDING;
  pthread_mutex_unlock(&lock);
  return got;
}

static void audit_future_drop(void *data) {
  audited_future *f = data;
  pthread_mutex_lock(&lock);
  happen(f->family, "drop", 0, 0);
  tell(f->family, "drop", NULL, 0);
  bool again = f->dropped;
  if (again)
    find("future_double_drop", "a future is dropped exactly once", f->family, NULL, "drop of a future that was dropped");
  else if (f->polling)
    overlap(f, "drop");
  f->dropped = true;
  if (!again) { /* kept a while, as references are */
    audited_future **place = &audit.gone_futures[audit.dropped++ % FUTURES];
    if (*place != NULL) {
      family_leave((*place)->family);
      free(*place);
    }
    *place = f;
  }
  rawwaker_future inner = f->inner;
  pthread_mutex_unlock(&lock);
  if (!again) inner.vtable->drop(inner.data);
}

static const rawwaker_future_vtable audit_future_vtable = {audit_poll, audit_future_drop};

rawwaker_future rawwaker_audit_future(rawwaker_future f) {
  if (f.vtable == NULL) die(__func__, "NULL vtable");
  audited_future *a = need(sizeof *a);
  pthread_mutex_lock(&lock);
  *a = (audited_future){f, family_new(), false, false, false};
  a->family->records++;
  happen(a->family, "is wrapped", 0, 0);
  tell(a->family, "is wrapped", NULL, 0);
  pthread_mutex_unlock(&lock);
  return (rawwaker_future){a, &audit_future_vtable};
}

/* ----------------------------------------------------------------------------------------------- the findings - */

size_t rawwaker_audit_leaks(void) {
  size_t leaks = 0;
  pthread_mutex_lock(&lock);
  for (family *f = audit.families; f != NULL; f = f->next)
    for (reference *r = f->all; r != NULL; r = r->next) {
      if (r->lent || r->reported || r->consumed != NULL) continue;
      r->reported = true;
      leaks++;
      if (r->clone && !r->used)
        find("forgotten", "each reference is ended by exactly one wake or drop", f, r,
             "reference %" PRIu64 " was never woken and never dropped", r->number);
      else
        find("leak", "each reference is ended by exactly one wake or drop", f, r, "reference %" PRIu64 " is still there", r->number);
    }
  pthread_mutex_unlock(&lock);
  return leaks;
}

size_t rawwaker_audit_live(void) {
  pthread_mutex_lock(&lock);
  size_t n = audit.live;
  pthread_mutex_unlock(&lock);
  return n;
}

void rawwaker_audit_print(bool on) {
  pthread_mutex_lock(&lock);
  audit.silent = !on;
  pthread_mutex_unlock(&lock);
}

void rawwaker_audit_watch(void (*watch)(const rawwaker_audit_event *event)) {
  pthread_mutex_lock(&lock);
  audit.watch = watch;
  pthread_mutex_unlock(&lock);
}

bool rawwaker_audit_take(const char **rule, char **out) {
  pthread_mutex_lock(&lock);
  finding *f = audit.found;
  if (f != NULL) audit.found = f->next;
  pthread_mutex_unlock(&lock);
  if (f == NULL) return false;
  *rule = f->rule;
  *out = f->text;
  free(f);
  return true;
}
