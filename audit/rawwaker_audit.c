/* rawwaker_audit.c - see rawwaker_audit.h.
 *
 * Nothing here waits for another thread. A record is one word that compare-and-swaps change. The
 * memory of records is never freed, so a stale pointer finds a record. A thread that stops anywhere
 * blocks at most one record, one text and one place in a ring. What wake_by_ref calls is
 * async-signal-safe: no allocation, no stdio, no lock, and errno is kept.
 *
 * SPDX-License-Identifier: MIT
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#elif !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif
#include "rawwaker_audit.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <io.h>
#include <process.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#if defined(__GLIBC__) || defined(__APPLE__)
#include <execinfo.h>
#define STACK 12
#else
#define STACK 1
#endif
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
#include <dlfcn.h>
#if __GLIBC_PREREQ(2, 35)
#include <link.h>
#include <sys/auxv.h>
#include <unwind.h>
#define FINDS_OBJECTS 1
#endif
#endif

/* glibc allocates the thread-local variables of a dlopened library when they are first used, which
 * a signal handler must not do, unless they have this model. They use up a small block that all
 * libraries share: add no array. */
#if defined(__GLIBC__) && defined(__GNUC__)
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define THREAD_LOCAL static _Thread_local
#endif

enum {
  EVENTS = 24,        /* per family */
  QUARANTINE = 65536, /* references that have been consumed */
  FUTURES = 4096,     /* futures that have been dropped */
  SENDERS = 16384,    /* senders that were taken */
  KINDS = 8,          /* kinds of wakers that a future keeps at one time */
  KEPT = 512,         /* findings that wait to be taken */
  TEXTS = KEPT + 32,  /* those, and the ones being written */
  TEXT = 6144,        /* bytes of a finding */
  SMALL = 2048,       /* bytes of a result that fits on the stack */
  SMALL_ALIGN = 64,   /* and the most that its type can be aligned to */
  CANARY = 2048       /* bytes after a result that no poll may write */
};

/* -------------------------------------------------------------------------------- memory -- */

/* A pool holds things of one size. Its memory is never freed; what is returned to it is reused. */
typedef struct node {
  _Atomic(uint32_t) next; /* the index of the next one returned, plus 1; 0 ends the list */
  uint32_t self;
} node;

enum { FIRST = 256, BLOCKS = 24 };
typedef struct pool {
  size_t size;
  _Atomic(char *) blocks[BLOCKS]; /* of FIRST, 2 * FIRST, 4 * FIRST ... */
  _Atomic(uint32_t) made;
  /* the index of the latest one returned, plus 1; above it a number that each change increases */
  _Atomic(uint64_t) back;
} pool;

static _Noreturn void die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

#if defined(__linux__) && defined(__GNUC__)
extern void __lsan_register_root_region(const void *, size_t) __attribute__((weak));
#endif

/* Returns zeroed memory without taking malloc's lock. */
static void *map_zeroed(size_t size) {
#if defined(_WIN32)
  void *p = calloc(1, size);
  if (p == NULL) die("rawwaker_audit", "out of memory");
#else
#if !defined(MAP_ANONYMOUS) && defined(MAP_ANON)
#define MAP_ANONYMOUS MAP_ANON
#endif
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("rawwaker_audit", "out of memory");
#endif
  return p;
}

/* LeakSanitizer then counts what p points to as reachable. */
static void mark_reachable(void *p, size_t size) {
#if defined(__linux__) && defined(__GNUC__)
  if (__lsan_register_root_region != NULL) __lsan_register_root_region(p, size);
#endif
  (void)p;
  (void)size;
}

static void unmap(void *p, size_t size) {
#if defined(_WIN32)
  (void)size;
  free(p);
#else
  munmap(p, size);
#endif
}

/* Returns the thing of that index. If its block does not exist yet, it is allocated (make), or NULL
 * is returned. */
static void *pool_at(pool *p, uint32_t index, bool make) {
  uint32_t k = 0, first = 0;
  while (k < BLOCKS && index - first >= (uint32_t)FIRST << k) first += (uint32_t)FIRST << k++;
  if (k >= BLOCKS) die("rawwaker_audit", "out of memory");
  char *block = atomic_load(&p->blocks[k]);
  if (block == NULL) {
    if (!make) return NULL;
    size_t size = p->size * ((size_t)FIRST << k);
    char *mine = map_zeroed(size);
    if (atomic_compare_exchange_strong(&p->blocks[k], &block, mine))
      mark_reachable(block = mine, size);
    else
      unmap(mine, size);
  }
  return block + p->size * (index - first);
}

static void *pool_get(pool *p) {
  uint64_t head = atomic_load(&p->back);
  while ((uint32_t)head != 0) {
    node *n = pool_at(p, (uint32_t)head - 1, false);
    uint64_t rest = (((head >> 32) + 1) << 32) | atomic_load(&n->next);
    if (atomic_compare_exchange_weak(&p->back, &head, rest)) return n;
  }
  uint32_t index = atomic_fetch_add(&p->made, 1);
  node *n = pool_at(p, index, true);
  n->self = index;
  return n;
}

static void pool_put(pool *p, void *thing) {
  node *n = thing;
  uint64_t head = atomic_load(&p->back), now;
  do {
    atomic_store(&n->next, (uint32_t)head);
    now = (((head >> 32) + 1) << 32) | (n->self + 1);
  } while (!atomic_compare_exchange_weak(&p->back, &head, now));
}

/* ------------------------------------------------------------------------------- records -- */

typedef struct event {
  _Atomic(uintptr_t) stamp; /* its number, plus 1, once it is written */
  _Atomic(const char *) what;
  _Atomic(uintptr_t) reference, other;
  _Atomic(long) thread;
} event;

/* A word with a count in its low half and the version of what it counts in its high half, so that
 * both change together. A count of all ones means more than fits, and stays. */
enum { HALF = sizeof(size_t) * 4 };
#define COUNT ((((size_t)1) << HALF) - 1)

/* How many references exist to wakers with the same two words. If the count is 0, the kind is free;
 * if it is all ones, the kind is being claimed, or its count is more than fits. */
typedef struct kind {
  _Atomic(size_t) word;
  _Atomic(uintptr_t) data, vtable;
} kind;

/* All that descends from one rawwaker_audit, rawwaker_audit_lend, rawwaker_audit_future or
 * rawwaker_audit_stream: references that wake the same task. */
typedef struct family {
  node head;
  uintptr_t number;
  _Atomic(uintptr_t) references, happened, wakes;
  _Atomic(size_t) there;   /* references that are neither consumed nor lent */
  _Atomic(size_t) records; /* references and futures that point here; the last returns it */
  bool of_future;          /* or of a stream */
  /* of a future: how many descend from the reference lent to its latest poll, below its number */
  _Atomic(size_t) latest;
  _Atomic(size_t) crowd;   /* references for which no kind was free */
  kind kinds[KINDS];       /* of what the future keeps */
  event events[EVENTS];    /* the latest, by happened modulo EVENTS */
} family;

/* The word of a reference. */
enum {
  LIVE = 1,       /* not in the pool */
  LENT = 2,       /* borrowed by a context; never consumed */
  RETURNED = 4,   /* and its poll has returned */
  WOKEN = 8,      /* consumed, by wake */
  DROPPED = 16,
  UNWRAPPED = 32,
  USED = 64,      /* a borrowing call came */
  REPORTED = 128, /* as a leak */
  CALL = 256,     /* borrowing calls in progress; the last one carries out a consuming call */
  CALLS = 0xFFF * CALL,
  PIN = CALL << 12, /* threads that read it; it does not return to the pool meanwhile */
  CONSUMED = WOKEN | DROPPED | UNWRAPPED
};
#define PINS (0xFFFu * PIN)

typedef struct reference {
  node head;
  _Atomic(uint32_t) word;
  bool clone;
  struct family *family;
  rawwaker inner;
  kind *kind; /* NULL: counted in crowd, if the family is a future's */
  uintptr_t number, parent, root; /* root: the wrapped or lent one that it descends from */
  long thread;
  const char *where;
  int depth;
  void *stack[STACK];
} reference;

/* The word of a future or stream. The record is kept after the drop, so that a second drop is
 * found. */
enum {
  POLLING = 1,
  COMPLETED = 2, /* it returned PANICKED, or a future READY */
  GONE = 4,
  DONE = 8 /* a stream returned DONE */
};

/* A stream is a future whose poll may return READY many times, and DONE: the slots of both have the
 * same types. */
typedef struct audited_future {
  node head;
  _Atomic(uint32_t) word;
  bool stream;
  rawwaker_future_vtable slots; /* with data: what is inside */
  void *data;
  family *family;
  size_t size;         /* of its result, or UNKNOWN */
  unsigned char *room; /* for a result that does not fit on the stack */
  reference *lent;     /* to the poll in progress */
  /* on this thread: the poll in progress that called this one, and the one that this one called */
  struct audited_future *outside, *inside;
} audited_future;

#define UNKNOWN SIZE_MAX

/* The word of a sender. From its lowest PIN on it counts threads that read the record, which does
 * not return to the pool meanwhile. */
enum {
  MADE = 1,      /* not in the pool */
  TAKEN = 2,     /* by send, fail or drop; the first sets it */
  TOLD = 4,      /* and taken_by and so on are written */
  FORGOTTEN = 8, /* reported as forgotten */
  READER = 16
};

typedef struct place_in_code {
  const char *call; /* "rawwaker_oneshot_new" */
  long thread;
  const char *where;
  int depth;
  void *stack[STACK];
} place_in_code;

/* What users get in place of a sender is its record's address, with bit 0 set, and above it the low
 * bits of how often the record was used: what is kept after the record has got another sender is
 * recognised. */
#if defined(_WIN32)
enum { RECORD = 8 }; /* blocks are from calloc */
#else
enum { RECORD = 64 };
#endif
typedef struct sender {
  _Alignas(RECORD) node head;
  _Atomic(uint32_t) word;
  _Atomic(uintptr_t) times;
  uintptr_t number;
  void *inner;
  place_in_code made, taken;
} sender;

/* The states of a text. */
enum { FREE, WRITING, READY };

typedef struct finding {
  _Atomic(size_t) order;
  const char *rule;
  size_t used;
  char text[TEXT];
} finding;

static struct {
  pool families, references, futures, senders;
  _Atomic(uintptr_t) made;
  _Atomic(size_t) live;
  _Atomic(reference *) gone[QUARANTINE];
  _Atomic(size_t) went;
  _Atomic(audited_future *) gone_futures[FUTURES];
  _Atomic(size_t) futures_went;
  _Atomic(sender *) gone_senders[SENDERS];
  _Atomic(size_t) senders_went;
  _Atomic(uintptr_t) senders_made;
  _Atomic(finding *) findings; /* TEXTS of them */
  _Atomic(unsigned char) states[TEXTS];
  _Atomic(size_t) found, kept, omitted;
  _Atomic(long) process; /* the one that has initialised this; a forked child is another */
  void (*_Atomic watch)(const rawwaker_audit_event *);
  _Atomic(bool) silent;
} audit = {.families = {.size = sizeof(family)},
           .references = {.size = sizeof(reference)},
           .futures = {.size = sizeof(audited_future)},
           .senders = {.size = sizeof(sender)}};

THREAD_LOCAL struct {
  const char *at;
  audited_future *polled; /* the innermost one */
  const void *frame; /* of the latest use of a sender outside signal handlers */
  int locks;
} here;

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

static long process_id(void) {
#if defined(_WIN32)
  return (long)_getpid();
#else
  return (long)getpid();
#endif
}

/* One write, which is not a cancellation point. */
static void write_stderr(const char *text, size_t n) {
#if defined(__linux__)
  if (syscall(SYS_write, 2, text, n) < 0) return;
#elif defined(_WIN32)
  if (_write(2, text, (unsigned)n) < 0) return;
#else
  int old;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
  if (write(2, text, n) < 0) n = 0;
  pthread_setcancelstate(old, &old);
#endif
}

/* Allocates what a signal handler must not be the first to allocate. */
static void initialise(void) {
  if (atomic_load(&audit.findings) != NULL) return;
  size_t size = TEXTS * sizeof(finding);
  finding *mine = map_zeroed(size), *none = NULL;
  if (atomic_compare_exchange_strong(&audit.findings, &none, mine))
    mark_reachable(mine, size);
  else
    unmap(mine, size);
  atomic_store(&audit.process, process_id());
}

/* -------------------------------------------------------------------------------- events -- */

static void log_event(family *f, const char *what, uintptr_t reference, uintptr_t other) {
  uintptr_t i = atomic_fetch_add(&f->happened, 1);
  event *e = &f->events[i % EVENTS];
  atomic_store(&e->stamp, 0);
  atomic_store(&e->what, what);
  atomic_store(&e->reference, reference);
  atomic_store(&e->other, other);
  atomic_store(&e->thread, thread_id());
  atomic_store(&e->stamp, i + 1);
}

/* The waker inside, below all wrappings that still exist. */
static rawwaker innermost(rawwaker w) {
  while (rawwaker_is_audited(&w)) {
    reference *r = w.data;
    /* Code outside may have consumed r although another wrapping owns it. */
    if ((atomic_load(&r->word) & (LIVE | CONSUMED)) != LIVE) break;
    w = r->inner;
  }
  return w;
}

/* Calls the watcher. r may be NULL; inner: the waker inside r still exists. */
static void report(family *f, const char *what, const reference *r, bool inner, uintptr_t other) {
  void (*watch)(const rawwaker_audit_event *) = atomic_load(&audit.watch);
  if (watch == NULL) return;
  rawwaker_audit_event e = {
      what, f->number, r == NULL ? 0 : r->number, other, {NULL, NULL}, atomic_load(&f->there)};
  if (r != NULL && inner) e.inner = innermost(r->inner);
  watch(&e);
}

static void log_and_report(reference *r, const char *what, bool inner, uintptr_t other) {
  log_event(r->family, what, r->number, other);
  report(r->family, what, r, inner, other);
}

static const char *consumed(uint32_t word) {
  return word & WOKEN ? "wake" : word & DROPPED ? "drop" : "unwrap";
}

/* --------------------------------------------------------------------------------- texts -- */

/* Where a finding is made. In a slot that a signal handler may call, no names are looked up. */
typedef enum place { ANYWHERE, SIGNALS_TOO } place;

typedef struct text {
  char *at;
  size_t used, room;
} text;

static void add(text *t, const char *s, size_t n) {
  if (n > t->room - t->used) n = t->room - t->used;
  if (n > 0) memcpy(t->at + t->used, s, n);
  t->used += n;
}
static void add_text(text *t, const char *s) { add(t, s, strlen(s)); }
static void add_number(text *t, uint64_t n, unsigned base) {
  char digits[24];
  size_t i = sizeof digits;
  do digits[--i] = "0123456789abcdef"[n % base];
  while ((n /= base) != 0);
  add(t, digits + i, sizeof digits - i);
}

/* vsprintf for signal handlers: %s is a text, %n a uintptr_t. */
static void vaddf(text *t, const char *format, va_list args) {
  for (const char *c = format; *c != '\0'; c++) {
    if (*c != '%') {
      add(t, c, 1);
      continue;
    }
    if (*++c == 's')
      add_text(t, va_arg(args, const char *));
    else
      add_number(t, va_arg(args, uintptr_t), 10);
  }
}
static void addf(text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vaddf(t, format, args);
  va_end(args);
}

static void add_address(text *t, void *at) {
#ifdef FINDS_OBJECTS
  struct dl_find_object o;
  if (_dl_find_object(at, &o) == 0) { /* takes no lock */
    const char *name = o.dlfo_link_map->l_name;
    add_text(t, name[0] != '\0' ? name : "program");
    add_text(t, "(+0x");
    add_number(t, (uintptr_t)at - (uintptr_t)o.dlfo_link_map->l_addr, 16);
    add_text(t, ") ");
  }
#endif
  add_text(t, "[0x");
  add_number(t, (uintptr_t)at, 16);
  add_text(t, "]");
}

/* names: functions may be looked up, which takes locks and allocates. */
static void add_stack(text *t, const char *where, void *const *stack, int depth, bool names) {
  if (where != NULL) addf(t, "    %s\n", where);
#if STACK > 1
  char **found = names ? backtrace_symbols(stack, depth) : NULL;
  for (int i = 0; i < depth; i++) {
    add_text(t, "    ");
    if (found != NULL)
      add_text(t, found[i]);
    else
      add_address(t, stack[i]);
    add_text(t, "\n");
  }
  free(found);
#else
  (void)stack;
  (void)depth;
  (void)names;
  (void)add_address;
#endif
}

/* Whether backtrace takes no lock. glibc's takes none since 2.35, if glibc has loaded the program;
 * macOS follows frame pointers. */
static bool unwinder_takes_no_lock(void) {
#if defined(FINDS_OBJECTS)
  return getauxval(AT_BASE) != 0;
#elif defined(__APPLE__)
  return true;
#else
  return false;
#endif
}

/* Captures the caller's stack, unless that might wait for another thread. Returns its depth. */
static int capture_stack(void **stack, place where) {
#if STACK > 1
  static _Atomic(bool) capturing;
  if (unwinder_takes_no_lock()) return backtrace(stack, STACK);
  if (where == SIGNALS_TOO || process_id() != atomic_load(&audit.process)) return 0;
  if (atomic_exchange(&capturing, true)) return 0;
  int n = backtrace(stack, STACK);
  atomic_store(&capturing, false);
  return n;
#else
  (void)where;
  (void)unwinder_takes_no_lock;
  (void)stack;
  return 0;
#endif
}

static void add_events(text *t, family *f) {
  addf(t, "  waker %n, in order:", f->number);
  uintptr_t end = atomic_load(&f->happened), first = end > EVENTS ? end - EVENTS : 0;
  if (first > 0) addf(t, " ... ");
  for (uintptr_t i = first; i < end; i++) {
    event *e = &f->events[i % EVENTS];
    if (atomic_load(&e->stamp) != i + 1) continue; /* being written */
    uintptr_t reference = atomic_load(&e->reference), other = atomic_load(&e->other);
    const char *what = atomic_load(&e->what);
    long thread = atomic_load(&e->thread);
    if (atomic_load(&e->stamp) != i + 1) continue;
    addf(t, "%s ", i > first ? ";" : "");
    if (reference != 0) addf(t, "%n ", reference);
    addf(t, "%s", what);
    if (other != 0) addf(t, " %n", other);
    addf(t, " (%n)", (uintptr_t)thread);
  }
  addf(t, "\n");
}

/* Claims a free text. Returns its index, or -1 if there is none. */
static int claim(void) {
  for (int i = 0; i < TEXTS; i++) {
    unsigned char is = FREE;
    if (atomic_load(&audit.states[i]) == FREE &&
        atomic_compare_exchange_strong(&audit.states[i], &is, WRITING))
      return i;
  }
  return -1;
}

static void add_place(text *t, const place_in_code *p, bool names) {
  addf(t, "%s on thread %n, from\n", p->call, (uintptr_t)p->thread);
  add_stack(t, p->where, p->stack, p->depth, names);
}

/* Makes a finding. f, r and s may be NULL. Of r and s it reads only what does not change while they
 * are pinned, or a call on r is in progress. */
static void vfind(const char *rule, const char *contract, family *f, const reference *r, sender *s,
                  place where, const char *format, va_list args) {
  initialise();
  size_t order = atomic_fetch_add(&audit.found, 1);
  bool silent = atomic_load(&audit.silent);
  int i = silent && atomic_load(&audit.kept) >= KEPT ? -1 : claim();
  if (i < 0) {
    atomic_fetch_add(&audit.omitted, 1);
    if (silent) return;
    char line[256];
    text t = {line, 0, sizeof line};
    addf(&t, "rawwaker audit: %s: no memory for the text (take the earlier findings)\n", rule);
    write_stderr(line, t.used);
    return;
  }
  finding *n = &atomic_load(&audit.findings)[i];
  bool names = where == ANYWHERE && process_id() == atomic_load(&audit.process);
  text t = {n->text, 0, sizeof n->text - 1};
  addf(&t, "rawwaker audit: %s: ", rule);
  vaddf(&t, format, args);
  addf(&t, "\n  the rule: %s\n  on thread %n, from\n", contract, (uintptr_t)thread_id());
  void *stack[STACK];
  add_stack(&t, here.at, stack, capture_stack(stack, where), names);
  if (r != NULL) {
    if (r->clone)
      addf(&t, "  reference %n was cloned from %n on thread %n, from\n", r->number, r->parent,
           (uintptr_t)r->thread);
    else
      addf(&t, "  reference %n was %s on thread %n, from\n", r->number,
           atomic_load(&((reference *)(uintptr_t)r)->word) & LENT ? "lent" : "wrapped",
           (uintptr_t)r->thread);
    add_stack(&t, r->where, r->stack, r->depth, names);
  }
  if (s != NULL) {
    addf(&t, "  sender %n was made by ", s->number);
    add_place(&t, &s->made, names);
    if (atomic_load(&s->word) & TOLD) {
      addf(&t, "  and taken by ");
      add_place(&t, &s->taken, names);
    }
  }
  if (f != NULL) add_events(&t, f);
  if (t.used == t.room) memcpy(t.at + t.used - 4, "...\n", 4);
  t.at[t.used] = '\0';
  if (!silent) write_stderr(t.at, t.used);
  n->rule = rule;
  n->used = t.used;
  atomic_store(&n->order, order);
  if (atomic_fetch_add(&audit.kept, 1) < KEPT) {
    atomic_store(&audit.states[i], READY);
    return;
  }
  atomic_fetch_sub(&audit.kept, 1);
  atomic_fetch_add(&audit.omitted, 1);
  atomic_store(&audit.states[i], FREE);
}

static void find(const char *rule, const char *contract, family *f, const reference *r, place where,
                 const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfind(rule, contract, f, r, NULL, where, format, args);
  va_end(args);
}

static void find_sender(const char *rule, const char *contract, sender *s, place where,
                        const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfind(rule, contract, NULL, NULL, s, where, format, args);
  va_end(args);
}

/* --------------------------------------------------------------- families and references -- */

static family *family_new(bool of_future) {
  family *f = pool_get(&audit.families);
  memset((char *)f + sizeof f->head, 0, sizeof *f - sizeof f->head);
  f->number = atomic_fetch_add(&audit.made, 1) + 1;
  f->of_future = of_future;
  return f;
}

static void family_leave(family *f) {
  if (atomic_fetch_sub(&f->records, 1) == 1) pool_put(&audit.families, f);
}

static kind *kind_of(family *f, rawwaker w) {
  uintptr_t data = (uintptr_t)w.data, vtable = (uintptr_t)w.vtable;
  for (kind *k = f->kinds; k < f->kinds + KINDS; k++) {
    size_t word = atomic_load(&k->word);
    while ((word & COUNT) != 0 && (word & COUNT) < COUNT - 1 && atomic_load(&k->data) == data &&
           atomic_load(&k->vtable) == vtable)
      if (atomic_compare_exchange_weak(&k->word, &word, word + 1)) return k;
  }
  for (kind *k = f->kinds; k < f->kinds + KINDS; k++) {
    size_t word = atomic_load(&k->word), next = (word & ~COUNT) + COUNT + 1;
    if ((word & COUNT) != 0 || !atomic_compare_exchange_strong(&k->word, &word, next | COUNT))
      continue;
    atomic_store(&k->data, data);
    atomic_store(&k->vtable, vtable);
    atomic_store(&k->word, next | 1);
    return k;
  }
  return NULL;
}

static size_t of_kind(family *f, rawwaker w) {
  size_t n = 0;
  for (kind *k = f->kinds; k < f->kinds + KINDS; k++) {
    size_t count = atomic_load(&k->word) & COUNT;
    if (count != COUNT && atomic_load(&k->data) == (uintptr_t)w.data &&
        atomic_load(&k->vtable) == (uintptr_t)w.vtable)
      n += count;
  }
  return n;
}

/* Counts the references that descend from root, if that was lent to the latest poll. */
static void descend(family *f, uintptr_t root, bool added) {
  size_t word = atomic_load(&f->latest), next;
  do {
    if (word >> HALF != (root & COUNT) || (word & COUNT) == COUNT) return;
    next = added ? word + 1 : word - 1;
  } while (!atomic_compare_exchange_weak(&f->latest, &word, next));
}

static reference *reference_new(family *f, rawwaker inner, const reference *parent, bool lent) {
  reference *r = pool_get(&audit.references);
  r->family = f;
  r->inner = inner;
  r->number = atomic_fetch_add(&f->references, 1) + 1;
  r->clone = parent != NULL;
  r->parent = parent != NULL ? parent->number : 0;
  r->root = parent != NULL ? parent->root : r->number;
  r->thread = thread_id();
  r->where = here.at;
  r->depth = capture_stack(r->stack, ANYWHERE);
  r->kind = NULL;
  atomic_fetch_add(&f->records, 1);
  if (!lent) {
    atomic_fetch_add(&audit.live, 1);
    atomic_fetch_add(&f->there, 1);
    if (f->of_future) {
      descend(f, r->root, true);
      r->kind = kind_of(f, innermost(inner));
      if (r->kind == NULL) atomic_fetch_add(&f->crowd, 1);
    }
  }
  atomic_fetch_add(&r->word, lent ? LIVE | LENT : LIVE);
  return r;
}

/* Keeps the record of a consumed reference for some time, so that a second use finds it. */
static void quarantine(reference *r) {
  for (;;) {
    reference *old = atomic_exchange(&audit.gone[atomic_fetch_add(&audit.went, 1) % QUARANTINE], r);
    if (old == NULL) return;
    uint32_t word = atomic_load(&old->word);
    if ((word & (CALLS | PINS)) == 0 && atomic_compare_exchange_strong(&old->word, &word, 0)) {
      family_leave(old->family);
      pool_put(&audit.references, old);
      return;
    }
    r = old; /* a thread reads it: keep it for another round */
  }
}

/* r is consumed, and no longer counted. If it is given away, the waker lives on where it cannot be
 * observed, so it still counts as kept by the future. */
static void uncount(const reference *r, bool given_away) {
  family *f = r->family;
  atomic_fetch_sub(&audit.live, 1);
  atomic_fetch_sub(&f->there, 1);
  if (!f->of_future || given_away) return;
  descend(f, r->root, false);
  if (r->kind == NULL)
    atomic_fetch_sub(&f->crowd, 1);
  else
    atomic_fetch_sub(&r->kind->word, 1);
}

/* Keeps a record, which may be consumed already, from being reused. Returns its word. */
static uint32_t pin(reference *r) { return atomic_fetch_add(&r->word, PIN); }
static void unpin(reference *r) { atomic_fetch_sub(&r->word, PIN); }

/* --------------------------------------------------------------------------------- slots -- */

static rawwaker audit_clone(void *data);
static void audit_wake(void *data);
static void audit_wake_by_ref(void *data);
static void audit_drop(void *data);
static const rawwaker_vtable audit_vtable = {audit_clone, audit_wake, audit_wake_by_ref,
                                             audit_drop};

/* The record may belong to another waker by now, so the finding describes neither. */
static void find_recycled(const char *slot, place where) {
  find("use_after_drop", "a reference is not used after the wake or drop that ended it", NULL, NULL,
       where, "%s of a reference that was consumed long ago", slot);
}

static void check_lock(reference *r, const char *slot, place where) {
  if (here.locks > 0)
    find("slot_under_lock", "call no slot while you hold a lock", r->family, r, where,
         "%s of reference %n under a lock", slot, r->number);
}

/* Refuses a borrowing call on a pinned record. */
static void refuse(reference *r, uint32_t word, const char *slot, place where) {
  log_and_report(r, slot, false, 0);
  check_lock(r, slot, where);
  if (word & RETURNED)
    find("use_after_poll", "a context's waker is borrowed: clone it to keep it", r->family, r,
         where, "%s of reference %n, which was lent to a poll that has returned", slot, r->number);
  else
    find("use_after_drop", "a reference is not used after the wake or drop that ended it",
         r->family, r, where, "%s of reference %n after %s", slot, r->number, consumed(word));
}

/* Begins a borrowing call. If it returns false, the call must not be made. */
static bool enter(reference *r, const char *slot, place where) {
  uint32_t word = atomic_load(&r->word);
  for (;;) {
    if (!(word & LIVE) || (word & (CONSUMED | RETURNED))) {
      word = pin(r);
      if (word & LIVE)
        refuse(r, word, slot, where);
      else
        find_recycled(slot, where);
      unpin(r);
      return false;
    }
    if ((word & CALLS) == CALLS)
      die("rawwaker_audit", "4,095 calls of one reference at a time (clone it for each thread)");
    if (atomic_compare_exchange_weak(&r->word, &word, (word + CALL) | USED)) break;
  }
  check_lock(r, slot, where);
  return true;
}

/* Carries out a consuming call. Called by the last call in progress on r. */
static void finish(reference *r, uint32_t word) {
  rawwaker inner = r->inner;
  quarantine(r);
  if (word & WOKEN)
    rawwaker_wake(inner);
  else
    rawwaker_drop(inner);
}

static void leave(reference *r) {
  uint32_t word = atomic_fetch_sub(&r->word, CALL);
  if ((word & CALLS) == CALL && (word & (WOKEN | DROPPED))) finish(r, word);
}

static rawwaker audit_clone(void *data) {
  int saved = errno;
  reference *r = data;
  if (!enter(r, "clone", ANYWHERE)) {
    errno = saved;
    return rawwaker_audit(rawwaker_noop());
  }
  rawwaker inner = {NULL, NULL};
  bool empty = r->inner.vtable->clone == NULL;
  if (!empty) inner = r->inner.vtable->clone(r->inner.data);
  if (inner.vtable == NULL) {
    find("empty_clone", "a clone gives a new reference that wakes the same task", r->family, r,
         ANYWHERE, "%s of reference %n returned no vtable",
         empty ? "the empty slot clone" : "clone", r->number);
    inner = rawwaker_noop();
  }
  reference *c = reference_new(r->family, inner, r, false);
  log_and_report(r, "is cloned as", true, c->number);
  leave(r);
  errno = saved;
  return (rawwaker){c, &audit_vtable};
}

static void audit_wake_by_ref(void *data) {
  int saved = errno;
  reference *r = data;
  if (enter(r, "wake_by_ref", SIGNALS_TOO)) {
    log_and_report(r, "wake_by_ref", true, 0);
    atomic_fetch_add(&r->family->wakes, 1);
    rawwaker_wake_by_ref(&r->inner);
    leave(r);
  }
  errno = saved;
}

static void consume(reference *r, uint32_t flag, const char *slot) {
  int saved = errno;
  uint32_t word = atomic_load(&r->word);
  while ((word & LIVE) && !(word & (LENT | CONSUMED)) &&
         !atomic_compare_exchange_weak(&r->word, &word, word | flag)) {
  }
  if (!(word & LIVE) || (word & (LENT | CONSUMED))) {
    word = pin(r);
    if (!(word & LIVE)) {
      find_recycled(slot, ANYWHERE);
    } else {
      log_and_report(r, slot, false, 0);
      check_lock(r, slot, ANYWHERE);
      if (word & LENT)
        find("borrowed_consumed", "a context's waker is borrowed: never wake or drop it by value",
             r->family, r, ANYWHERE, "%s of reference %n, which is borrowed", slot, r->number);
      else
        find("double_drop", "each reference is ended by exactly one wake or drop", r->family, r,
             ANYWHERE, "%s of reference %n after %s", slot, r->number, consumed(word));
    }
    unpin(r);
    errno = saved;
    return;
  }
  /* The record is ours now. The waker inside exists until the last call in progress leaves, or
   * until finish if there is none. */
  bool last = (word & CALLS) == 0;
  if (!last) pin(r);
  log_and_report(r, slot, last, 0);
  check_lock(r, slot, ANYWHERE);
  if (flag & WOKEN) atomic_fetch_add(&r->family->wakes, 1);
  uncount(r, false);
  if (last) {
    finish(r, flag);
  } else {
    find("use_after_drop", "a reference is not used after the wake or drop that ended it",
         r->family, r, ANYWHERE, "%s of reference %n while another call on it is in progress", slot,
         r->number);
    unpin(r);
  }
  errno = saved;
}

static void audit_wake(void *data) { consume(data, WOKEN, "wake"); }
static void audit_drop(void *data) { consume(data, DROPPED, "drop"); }

static rawwaker wrap(rawwaker w, bool lent, const char *call) {
  if (w.vtable == NULL) die(call, "NULL vtable");
  initialise();
  reference *r = reference_new(family_new(false), w, NULL, lent);
  log_and_report(r, lent ? "is lent" : "is wrapped", true, 0);
  return (rawwaker){r, &audit_vtable};
}

rawwaker rawwaker_audit(rawwaker w) { return wrap(w, false, __func__); }

rawwaker rawwaker_audit_lend(const rawwaker *w) { return wrap(*w, true, __func__); }

void rawwaker_audit_return(const rawwaker *w) {
  if (!rawwaker_is_audited(w)) {
    find("double_return", "each loan is returned once", NULL, NULL, ANYWHERE,
         "return of a waker that is not audited");
    return;
  }
  reference *r = w->data;
  uint32_t word = atomic_load(&r->word);
  while ((word & LIVE) && (word & LENT) && !(word & RETURNED))
    if (atomic_compare_exchange_weak(&r->word, &word, word | RETURNED)) {
      log_and_report(r, "is returned", false, 0);
      quarantine(r);
      return;
    }
  word = pin(r);
  if (!(word & LIVE))
    find("double_return", "each loan is returned once", NULL, NULL, ANYWHERE,
         "return of a reference that was returned or consumed long ago");
  else
    find("double_return", "each loan is returned once", r->family, r, ANYWHERE,
         "return of reference %n, which %s", r->number,
         word & LENT ? "was returned before" : "is not a loan");
  unpin(r);
}

bool rawwaker_is_audited(const rawwaker *w) { return w->vtable == &audit_vtable; }

const char *rawwaker_audit_at(const char *where) {
  const char *before = here.at;
  here.at = where;
  return before;
}

rawwaker rawwaker_audit_inner(const rawwaker *w) {
  return rawwaker_is_audited(w) ? ((reference *)w->data)->inner : *w;
}

bool rawwaker_audit_unwrap(rawwaker *w) {
  if (!rawwaker_is_audited(w)) return false;
  reference *r = w->data;
  uint32_t word = atomic_load(&r->word);
  while ((word & LIVE) && !(word & (LENT | CONSUMED | CALLS)))
    if (atomic_compare_exchange_weak(&r->word, &word, word | UNWRAPPED)) {
      log_and_report(r, "is unwrapped", true, 0);
      uncount(r, true);
      *w = r->inner;
      quarantine(r);
      return true;
    }
  word = pin(r);
  if (!(word & LIVE)) {
    find_recycled("unwrap", ANYWHERE);
  } else {
    log_and_report(r, "is unwrapped", false, 0);
    find(word & LENT ? "borrowed_consumed" : "double_drop",
         "each reference is ended by exactly one wake or drop", r->family, r, ANYWHERE,
         "unwrap of reference %n %s%s", r->number, word & CONSUMED ? "after " : "",
         word & CONSUMED ? consumed(word) : "while it is borrowed or another call is in progress");
  }
  unpin(r);
  return false;
}

void rawwaker_audit_abandoned(const rawwaker *w) {
  if (!rawwaker_is_audited(w)) return;
  reference *r = w->data;
  uint32_t word = pin(r);
  if ((word & LIVE) && !(atomic_fetch_or(&r->word, REPORTED) & REPORTED))
    find("leak", "each reference is ended by exactly one wake or drop", r->family, r, ANYWHERE,
         "reference %n was lost by its owner", r->number);
  unpin(r);
}

size_t rawwaker_audit_count(const rawwaker *w) {
  return rawwaker_is_audited(w) ? atomic_load(&((reference *)w->data)->family->there) : 0;
}

int rawwaker_audit_lock(int change) { return here.locks += change; }

/* ------------------------------------------------------------------------------- futures -- */

static const char *noun(const audited_future *f) { return f->stream ? "stream" : "future"; }

static void overlap(const audited_future *f, const char *slot) {
  find("slots_overlap", "slots of a future or stream never run two at once", f->family, NULL,
       ANYWHERE, "%s of a %s while a poll of it is in progress", slot, noun(f));
}

/* Whether a waker is kept that wakes what the latest poll's waker wakes. */
static bool kept(family *f, const reference *lent) {
  size_t latest = atomic_load(&f->latest);
  if (latest >> HALF == (lent->number & COUNT) && (latest & COUNT) != 0) return true;
  return of_kind(f, innermost(lent->inner)) != 0 || atomic_load(&f->crowd) != 0;
}

/* Drops the future inside f. The record of f is kept for some time, as those of references are. */
static void future_end(audited_future *f) {
  void (*drop)(void *data) = f->slots.drop, *data = f->data;
  free(f->room);
  f->room = NULL;
  size_t at = atomic_fetch_add(&audit.futures_went, 1) % FUTURES;
  audited_future *old = atomic_exchange(&audit.gone_futures[at], f);
  if (old != NULL) {
    family_leave(old->family);
    pool_put(&audit.futures, old);
  }
  drop(data);
}

/* Ends a poll, and carries out a drop that came meanwhile. */
static void poll_end(audited_future *f, uint32_t flags) {
  reference *r = f->lent;
  f->lent = NULL;
  here.polled = f->outside;
  if (f->outside != NULL) f->outside->inside = NULL;
  atomic_fetch_or(&r->word, RETURNED);
  quarantine(r);
  if (flags != 0) atomic_fetch_or(&f->word, flags);
  if (atomic_fetch_and(&f->word, ~(uint32_t)POLLING) & GONE) future_end(f);
}

/* Returns where poll writes its result: memory with a canary behind it, aligned for any type of the
 * size (up to a page), because a type's alignment divides its size. */
static unsigned char *room_for(audited_future *f, void *out, unsigned char *small) {
  unsigned char *room = small;
  size_t align = f->size & -f->size;
  if (f->size > SMALL || align > SMALL_ALIGN) {
    if (align > 4096) align = 4096;
    if (f->room == NULL) f->room = malloc(f->size + CANARY + align);
    if (f->room == NULL) return NULL;
    room = f->room + (-(uintptr_t)f->room & (align - 1));
  }
  memcpy(room, out, f->size);
  for (size_t i = 0; i < CANARY; i++) room[f->size + i] = (unsigned char)(0xA5 ^ i);
  return room;
}

/* How many bytes were written behind the result, at least. */
static size_t overrun(const unsigned char *room, size_t size) {
  size_t n = CANARY;
  while (n > 0 && room[size + n - 1] == (unsigned char)(0xA5 ^ (n - 1))) n--;
  return n;
}

static rawwaker_poll refused(const char *why) {
  rawwaker_set_panic(why, strlen(why));
  return RAWWAKER_PANICKED;
}

static rawwaker_poll audit_poll(void *data, rawwaker_context *cx, void *out) {
  audited_future *f = data;
  log_event(f->family, "poll", 0, 0);
  uint32_t word = atomic_load(&f->word) & DONE, done = word;
  if (!atomic_compare_exchange_strong(&f->word, &word, word | POLLING)) {
    if (word & (COMPLETED | GONE))
      find("poll_after_ready",
           f->stream ? "a stream is not polled after PANICKED, nor after drop"
                     : "a future is not polled after READY or PANICKED, nor after drop",
           f->family, NULL, ANYWHERE, "poll of a %s that %s", noun(f),
           word & GONE ? "was dropped" : f->stream ? "has panicked" : "has completed");
    else
      overlap(f, "poll");
    return refused("polled against the contract (see the auditor's finding)");
  }
  bool sized = f->size != UNKNOWN && f->size != 0;
  if (sized && out == NULL) {
    find("null_out", "out is sized and aligned for the type agreed on", f->family, NULL, ANYWHERE,
         "poll with a NULL out for a result of %n bytes", (uintptr_t)f->size);
    atomic_fetch_or(&f->word, COMPLETED);
    if (atomic_fetch_and(&f->word, ~(uint32_t)POLLING) & GONE) future_end(f);
    return refused("polled with a NULL out (see the auditor's finding)");
  }
  uintptr_t before = atomic_load(&f->family->wakes), made = atomic_load(&f->family->references);
  reference *r = reference_new(f->family, *cx->waker, NULL, true);
  atomic_store(&f->family->latest, (r->number & COUNT) << HALF);
  f->lent = r;
  f->outside = here.polled;
  f->inside = NULL;
  if (f->outside != NULL) f->outside->inside = f;
  here.polled = f;
  report(f->family, "poll", r, true, 0);
  rawwaker lent = {r, &audit_vtable};
  rawwaker_context mine = {&lent};
  _Alignas(SMALL_ALIGN) unsigned char small[SMALL + CANARY];
  unsigned char *room = sized ? room_for(f, out, small) : NULL;
  rawwaker_poll got = f->slots.poll(f->data, &mine, room != NULL ? room : out);
  bool ended = got == RAWWAKER_DONE && f->stream;
  const char *code = got == RAWWAKER_READY     ? "is READY"
                     : got == RAWWAKER_PENDING ? "is PENDING"
                     : ended                   ? "is DONE"
                                               : "is PANICKED";
  report(f->family, code, r, true, 0);
  log_event(f->family, code, 0, 0);
  if (room != NULL) {
    size_t more = overrun(room, f->size);
    memcpy(out, room, f->size);
    if (more != 0)
      find("result_too_large", "out is sized and aligned for the type agreed on", f->family, NULL,
           ANYWHERE, "poll wrote %n bytes or more to out, which has %n",
           (uintptr_t)(f->size + more), (uintptr_t)f->size);
  }
  if (done && !ended)
    find("done_is_repeated", "after DONE, each later call gives DONE", f->family, NULL, ANYWHERE,
         "poll of a stream returned %n after DONE", (uintptr_t)got);
  if (got == RAWWAKER_PENDING) {
    /* A wake by value is counted before its reference is gone, so look in the other order. */
    if (!kept(f->family, r) && atomic_load(&f->family->wakes) == before)
      find("pending_without_waker", "what returns PENDING has kept a clone of its poll's waker",
           f->family, r, ANYWHERE,
           atomic_load(&f->family->references) == made + 1
               ? "poll returned PENDING and kept no waker, and no wake came"
               : "poll returned PENDING and kept no clone of its own waker, and no wake came");
  } else if (got != RAWWAKER_READY && got != RAWWAKER_PANICKED && !ended) {
    find("no_such_code",
         f->stream ? "poll_next returns one of the four codes"
                   : "poll returns one of the three codes",
         f->family, NULL, ANYWHERE, "poll of a %s returned %n", noun(f), (uintptr_t)got);
  }
  bool goes_on = got == RAWWAKER_PENDING || (got == RAWWAKER_READY && f->stream);
  poll_end(f, ended ? DONE : goes_on ? 0 : COMPLETED);
  return got;
}

static void audit_future_drop(void *data) {
  audited_future *f = data;
  log_event(f->family, "drop", 0, 0);
  report(f->family, "drop", NULL, false, 0);
  uint32_t word = atomic_fetch_or(&f->word, GONE);
  if (word & GONE)
    find("future_double_drop", "a future or stream is dropped exactly once", f->family, NULL,
         ANYWHERE, "drop of a %s that was dropped before", noun(f));
  else if (word & POLLING)
    overlap(f, "drop"); /* the end of the poll carries it out; f may be dropped by now */
  else
    future_end(f);
}

static const rawwaker_future_vtable audit_future_vtable = {audit_poll, audit_future_drop};
static const rawwaker_stream_vtable audit_stream_vtable = {audit_poll, audit_future_drop};

static audited_future *wrap_slots(rawwaker_future_vtable slots, void *data, size_t size,
                                  bool stream) {
  initialise();
  audited_future *a = pool_get(&audit.futures);
  family *mine = family_new(true);
  a->stream = stream;
  a->slots = slots;
  a->data = data;
  a->family = mine;
  a->size = size;
  a->room = NULL;
  a->lent = NULL;
  a->outside = a->inside = NULL;
  atomic_store(&a->word, 0);
  atomic_fetch_add(&mine->records, 1);
  log_event(mine, "is wrapped", 0, 0);
  report(mine, "is wrapped", NULL, false, 0);
  return a;
}

static rawwaker_future wrap_future(rawwaker_future f, size_t size, const char *call) {
  if (f.vtable == NULL) die(call, "NULL vtable");
  return (rawwaker_future){wrap_slots(*f.vtable, f.data, size, false), &audit_future_vtable};
}

static rawwaker_stream wrap_stream(rawwaker_stream s, size_t size, const char *call) {
  if (s.vtable == NULL) die(call, "NULL vtable");
  rawwaker_future_vtable slots = {s.vtable->poll_next, s.vtable->drop};
  return (rawwaker_stream){wrap_slots(slots, s.data, size, true), &audit_stream_vtable};
}

rawwaker_future rawwaker_audit_future(rawwaker_future f) {
  return wrap_future(f, UNKNOWN, __func__);
}

rawwaker_future rawwaker_audit_future_sized(rawwaker_future f, size_t size) {
  return wrap_future(f, size, __func__);
}

rawwaker_stream rawwaker_audit_stream(rawwaker_stream s) {
  return wrap_stream(s, UNKNOWN, __func__);
}

rawwaker_stream rawwaker_audit_stream_sized(rawwaker_stream s, size_t size) {
  return wrap_stream(s, size, __func__);
}

static void unwound(audited_future *f) {
  audited_future *innermost_one = f;
  if (innermost_one->lent == NULL) return;
  while (innermost_one->inside != NULL) innermost_one = innermost_one->inside;
  for (audited_future *a = innermost_one, *outside;; a = outside) {
    outside = a->outside;
    bool last = a == f;
    log_event(a->family, "is unwound", 0, 0);
    report(a->family, "is unwound", a->lent, true, 0);
    poll_end(a, 0);
    if (last) return;
  }
}

void rawwaker_audit_unwound(const rawwaker_future *f) {
  if (f->vtable == &audit_future_vtable) unwound(f->data);
}

void rawwaker_audit_stream_unwound(const rawwaker_stream *s) {
  if (s->vtable == &audit_stream_vtable) unwound(s->data);
}

/* ------------------------------------------------------------------------------- senders -- */

static void record_place(place_in_code *p, const char *call, place where) {
  p->call = call;
  p->thread = thread_id();
  p->where = here.at;
  p->depth = capture_stack(p->stack, where);
}

#if defined(FINDS_OBJECTS)
static _Unwind_Reason_Code find_signal_frame(struct _Unwind_Context *context, void *arg) {
  int is = 0;
  if (_Unwind_GetIPInfo(context, &is) == 0 || !is) return _URC_NO_REASON;
  *(bool *)arg = true;
  return _URC_END_OF_STACK; /* any code but NO_REASON ends it; ARM's ABI has no NORMAL_STOP */
}
#endif

/* Whether a signal handler is on this thread's stack. False if it cannot be found out without a
 * lock. An unwind takes microseconds, and a use that takes nothing may be made for each item of a
 * stream; so it is not repeated at the same depth of the stack. */
static bool in_signal_handler(bool takes) {
  bool is = false;
#if defined(FINDS_OBJECTS)
  const void *frame = __builtin_frame_address(0);
  if ((!takes && here.frame == frame) || !unwinder_takes_no_lock()) return false;
  _Unwind_Backtrace(find_signal_frame, &is);
  if (!is) here.frame = frame;
#else
  (void)takes;
#endif
  return is;
}

static void *sender_made(void *inner, const char *call) {
  int saved = errno;
  sender *s = pool_get(&audit.senders);
  s->inner = inner;
  s->number = atomic_fetch_add(&audit.senders_made, 1) + 1;
  record_place(&s->made, call, ANYWHERE);
  uintptr_t times = atomic_fetch_add(&s->times, 1) + 1;
  atomic_fetch_add(&s->word, MADE);
  errno = saved;
  return (void *)((uintptr_t)s | times * 2 % RECORD | 1);
}

/* Keeps the record of a sender that was taken for some time, so that a second use finds it. */
static void quarantine_sender(sender *s) {
  for (;;) {
    size_t at = atomic_fetch_add(&audit.senders_went, 1) % SENDERS;
    sender *old = atomic_exchange(&audit.gone_senders[at], s);
    if (old == NULL) return;
    uint32_t word = atomic_load(&old->word);
    if (word < READER && atomic_compare_exchange_strong(&old->word, &word, 0)) {
      pool_put(&audit.senders, old);
      return;
    }
    s = old; /* a thread reads it: keep it for another round */
  }
}

/* The sender behind it is gone, so the call cannot be left out: its caller goes on with memory that
 * is freed. */
static _Noreturn void sender_used_again(sender *s, bool another, const char *call, place where) {
  uint32_t word = atomic_fetch_add(&s->word, READER);
  if (another) word = 0;
  char line[256];
  text t = {line, 0, sizeof line};
  addf(&t, "rawwaker: %s: this sender was taken ", call);
  if (!(word & MADE))
    addf(&t, "long ago");
  else if (word & TOLD)
    addf(&t, "before, by %s", s->taken.call);
  else
    addf(&t, "before");
  addf(&t, " (use it once)\n");
  if (word & MADE)
    find_sender("sender_use_after", "the first send, fail or drop of a sender takes it", s, where,
                "%s of sender %n, which was taken before", call, s->number);
  else
    find_sender("sender_use_after", "the first send, fail or drop of a sender takes it", NULL,
                where, "%s of a sender that was taken long ago", call);
  write_stderr(line, t.used);
  abort();
}

static void *sender_used(void *given, const char *call, bool takes) {
  int saved = errno;
  sender *s = (sender *)((uintptr_t)given & ~(uintptr_t)(RECORD - 1));
  bool another = (uintptr_t)given % RECORD != (atomic_load(&s->times) * 2 % RECORD | 1);
  bool handler = in_signal_handler(takes);
  place where = handler ? SIGNALS_TOO : ANYWHERE;
  uint32_t word = atomic_load(&s->word);
  while (!another && (word & MADE) && !(word & TAKEN) && takes)
    if (atomic_compare_exchange_weak(&s->word, &word, word | TAKEN)) break;
  if (another || !(word & MADE) || (word & TAKEN)) sender_used_again(s, another, call, where);
  void *inner = s->inner;
  if (takes) {
    record_place(&s->taken, call, where);
    atomic_fetch_or(&s->word, TOLD);
  }
  if (handler)
    find_sender("sender_in_signal", "a sender is not used in a signal handler", s, where,
                "%s in a signal handler", call);
  if (takes) quarantine_sender(s);
  errno = saved;
  return inner;
}

void rawwaker_audit_senders(void) {
  static const rawwaker_watcher senders = {sender_made, sender_used};
  initialise();
  void *stack[STACK];
  (void)capture_stack(stack, ANYWHERE); /* the first one may allocate: not in a signal handler */
  rawwaker_watch(&senders);
}

static size_t senders_forgotten(void) {
  size_t forgotten = 0;
  uint32_t many = atomic_load(&audit.senders.made);
  for (uint32_t i = 0; i < many; i++) {
    sender *s = pool_at(&audit.senders, i, false);
    if (s == NULL) continue;
    uint32_t word = atomic_fetch_add(&s->word, READER);
    if ((word & MADE) && !(word & TAKEN) &&
        !(atomic_fetch_or(&s->word, FORGOTTEN) & (FORGOTTEN | TAKEN))) {
      forgotten++;
      find_sender("sender_forgotten", "each sender is ended by exactly one send, fail or drop", s,
                  ANYWHERE, "sender %n was never sent, failed or dropped", s->number);
    }
    atomic_fetch_sub(&s->word, READER);
  }
  return forgotten;
}

/* ------------------------------------------------------------------------------ findings -- */

size_t rawwaker_audit_leaks(void) {
  size_t leaks = 0;
  initialise();
  uint32_t many = atomic_load(&audit.references.made);
  for (uint32_t i = 0; i < many; i++) {
    reference *r = pool_at(&audit.references, i, false);
    if (r == NULL) continue;
    uint32_t word = atomic_load(&r->word);
    if (!(word & LIVE) || (word & (LENT | REPORTED | CONSUMED))) continue;
    word = pin(r);
    if ((word & LIVE) && !(word & (LENT | CONSUMED)) &&
        !(atomic_fetch_or(&r->word, REPORTED) & REPORTED)) {
      leaks++;
      if (r->clone && !(word & USED))
        find("forgotten", "each reference is ended by exactly one wake or drop", r->family, r,
             ANYWHERE, "reference %n was never woken and never dropped", r->number);
      else
        find("leak", "each reference is ended by exactly one wake or drop", r->family, r, ANYWHERE,
             "reference %n still exists", r->number);
    }
    unpin(r);
  }
  return leaks + senders_forgotten();
}

size_t rawwaker_audit_live(void) { return atomic_load(&audit.live); }

void rawwaker_audit_print(bool on) { atomic_store(&audit.silent, !on); }

void rawwaker_audit_watch(void (*watch)(const rawwaker_audit_event *event)) {
  initialise();
  atomic_store(&audit.watch, watch);
}

size_t rawwaker_audit_found(void) { return atomic_load(&audit.found); }

static char *copied(const char *text, size_t n) {
  char *copy = malloc(n + 1);
  if (copy == NULL) die("rawwaker_audit_take", "out of memory");
  memcpy(copy, text, n);
  copy[n] = '\0';
  return copy;
}

bool rawwaker_audit_take(const char **rule, char **out) {
  initialise();
  finding *all = atomic_load(&audit.findings);
  for (;;) {
    int oldest = -1;
    for (int i = 0; i < TEXTS; i++)
      if (atomic_load(&audit.states[i]) == READY &&
          (oldest < 0 || atomic_load(&all[i].order) < atomic_load(&all[oldest].order)))
        oldest = i;
    if (oldest < 0) break;
    unsigned char is = READY;
    /* Another thread may have taken it. */
    if (!atomic_compare_exchange_strong(&audit.states[oldest], &is, WRITING)) continue;
    *rule = all[oldest].rule;
    *out = copied(all[oldest].text, all[oldest].used);
    atomic_store(&audit.states[oldest], FREE);
    atomic_fetch_sub(&audit.kept, 1);
    return true;
  }
  size_t omitted = atomic_exchange(&audit.omitted, 0);
  if (omitted == 0) return false;
  char line[256];
  text t = {line, 0, sizeof line};
  addf(&t,
       "rawwaker audit: findings_omitted: %n more findings were not kept, because %n were waiting "
       "to be taken\n",
       (uintptr_t)omitted, (uintptr_t)KEPT);
  *rule = "findings_omitted";
  *out = copied(line, t.used);
  return true;
}
