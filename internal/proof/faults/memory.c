/* memory.c - allocations that fail: ./memory [programs] [seed].
 *
 * Each scenario runs in a child, once for each n, with its n-th allocation failing, and once more
 * with that one and all later ones failing. The expected result is taken from rawwaker.h: ./run
 * writes the words after "fails" of each function into documented.h.
 *
 *   "abort ... out of memory"   "rawwaker: <call>: out of memory" on standard error, and SIGABRT
 *   "NULL" or "false"           that result; errno is ENOMEM if this is promised; nothing is left
 *   "the text is ..."           that text; setting an empty text frees the text
 *   anything else               the function must not allocate
 *
 * The first scenarios call each function of the header; the others are random programs. */
#define _GNU_SOURCE
#include "rawwaker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct documented {
  const char *name, *fails;
} documented[] = {
#include "documented.h"
};
enum { FUNCTIONS = sizeof documented / sizeof *documented };

/* The child's report, in memory that it shares with its parent. */
static struct shared {
  char call[64];       /* in which the first allocation failed */
  unsigned failed;     /* how many failed */
  unsigned allocated;  /* how many were requested */
  bool called[FUNCTIONS];
} *shared;

/* ----------------------------------------------------------------------------- the memory -- */

static unsigned fail_at; /* 0 if none */
static bool all_after, failed_here;
static const char *call = "nothing"; /* the function of the library that was entered last */
static long outstanding;

static bool fails(void) {
  shared->allocated++;
  if (fail_at == 0 || shared->allocated < fail_at || (shared->allocated > fail_at && !all_after))
    return false;
  if (shared->failed++ == 0) snprintf(shared->call, sizeof shared->call, "%s", call);
  failed_here = true;
  errno = ENOMEM;
  return true;
}
static void *got(void *p) {
  outstanding += p != NULL;
  return p;
}

#ifdef EVERYWHERE /* also the C library's own allocations, such as those of fprintf */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void __libc_free(void *p);
static bool watched;
void *malloc(size_t size) {
  return !watched ? __libc_malloc(size) : fails() ? NULL : got(__libc_malloc(size));
}
void *calloc(size_t n, size_t size) {
  return !watched ? __libc_calloc(n, size) : fails() ? NULL : got(__libc_calloc(n, size));
}
void free(void *p) {
  if (watched && p != NULL) outstanding--;
  __libc_free(p);
}
static void watch(bool on) { watched = on; }
#else /* only the allocations of rawwaker.c and of this file */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);
void *__wrap_malloc(size_t size) { return fails() ? NULL : got(__real_malloc(size)); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : got(__real_calloc(n, size)); }
void *__wrap_realloc(void *p, size_t size) {
  return fails() ? NULL : p == NULL ? got(__real_realloc(p, size)) : __real_realloc(p, size);
}
char *__wrap_strdup(const char *s) { return fails() ? NULL : got(__real_strdup(s)); }
void __wrap_free(void *p) {
  outstanding -= p != NULL;
  __real_free(p);
}
static void watch(bool on) { (void)on; }
#endif

/* ------------------------------------------------------------------------------ the child -- */

static bool broken;
#define CHECK(what)                                                                     \
  do {                                                                                  \
    if (!(what)) {                                                                      \
      watch(false);                                                                     \
      printf("# %s:%d: in %s: failed: %s\n", __FILE__, __LINE__, call, #what);          \
      watch(true);                                                                      \
      broken = true;                                                                    \
    }                                                                                   \
  } while (0)

static void enter(const char *name) {
  call = name;
  failed_here = false;
  for (int i = 0; i < FUNCTIONS; i++)
    if (strcmp(documented[i].name, name) == 0) shared->called[i] = true;
}
#define CALL(function, ...) (enter(#function), function(__VA_ARGS__))

static int descriptors(void) {
  int n = 0;
  for (int fd = 0; fd < 64; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

static unsigned woken, ended;
static void fn_wake(void *arg) { *(unsigned *)arg += 1; }
static void fn_end(void *arg) {
  (void)arg;
  ended++;
}

static rawwaker_sink *sink_new(uint32_t flags) {
  errno = 0;
  rawwaker_sink *s = CALL(rawwaker_sink_new, flags);
  CHECK((s == NULL) == failed_here);
  if (s == NULL) CHECK(errno == ENOMEM);
  return s;
}
static rawwaker_box *box_new(rawwaker_sink *s, uint64_t id, uint32_t flags) {
  rawwaker_box *b = CALL(rawwaker_box_new, s, id, flags);
  CHECK((b == NULL) == failed_here);
  return b;
}
static void on_wake(rawwaker_sink *s) {
  rawwaker w = CALL(rawwaker_from_fn, fn_wake, &woken, fn_end);
  bool taken = CALL(rawwaker_sink_on_wake, s, w);
  CHECK(taken != failed_here);
  if (!taken) CALL(rawwaker_drop, w); /* the caller still owns it */
}

/* Wakes itself `left` times, and is then ready. If `keeps` is set it keeps a waker; if `nested` is
 * set its poll calls block_on. */
typedef struct future {
  int left;
  rawwaker_poll last;
  bool nested, keeps;
  rawwaker kept;
  unsigned dropped;
} future;
static const rawwaker_future_vtable future_vtable;
static bool textless; /* the allocation of the last text failed */
static rawwaker_poll future_poll(void *data, rawwaker_context *cx, void *out) {
  future *f = data;
  const char *outer = call;
  if (f->keeps) CALL(rawwaker_clone_from, &f->kept, cx->waker);
  if (f->nested) {
    future inner = {.left = 1};
    CHECK(CALL(rawwaker_block_on, (rawwaker_future){&inner, &future_vtable}, NULL) ==
          RAWWAKER_READY);
    CHECK(inner.dropped == 1);
  }
  if (f->left > 0) {
    f->left--;
    CALL(rawwaker_wake_by_ref, cx->waker);
    call = outer;
    return RAWWAKER_PENDING;
  }
  if (f->last == RAWWAKER_READY && out != NULL) *(int *)out = 42;
  if (f->last == RAWWAKER_PANICKED) {
    CALL(rawwaker_set_panic, "why", 3);
    textless = failed_here;
  }
  call = outer;
  return f->last;
}
static void future_drop(void *data) { ((future *)data)->dropped++; }
static const rawwaker_future_vtable future_vtable = {future_poll, future_drop};

/* ------------------------------------------------------------------------- every function -- */

static void functions(void) {
  CALL(rawwaker_set_panic, "why", 3);
  textless = failed_here;
  CHECK(strcmp(CALL(rawwaker_last_panic), textless ? "" : "why") == 0);
  CHECK(CALL(rawwaker_abi_version) == RAWWAKER_ABI_VERSION);
  rawwaker none = CALL(rawwaker_noop), w = CALL(rawwaker_from_fn, fn_wake, &woken, fn_end),
           c = CALL(rawwaker_clone, &w), d;
  CALL(rawwaker_clone_into, &c, &d);
  CHECK(CALL(rawwaker_will_wake, &w, &d) && CALL(rawwaker_is_box, &w));
  CHECK(CALL(rawwaker_from_boxed, w.data).vtable == w.vtable);
  const rawwaker_boxed *b = w.data;
  CHECK(b->vtable->clone(b) == b);
  b->vtable->wake(b);
  rawwaker other = CALL(rawwaker_from_fn, fn_wake, &woken, NULL);
  CALL(rawwaker_clone_from, &d, &other);
  CALL(rawwaker_wake_by_ref, &w);
  CALL(rawwaker_wake, w);
  CALL(rawwaker_drop, c);
  CALL(rawwaker_wake, d);
  CALL(rawwaker_drop, other);
  CALL(rawwaker_drop, none);
  CHECK(woken == 4 && ended == 1);
  CHECK(CALL(rawwaker_live) == 0);
}

static void cells(void) {
  rawwaker_cell c;
  CALL(rawwaker_cell_init, &c);
  rawwaker w = CALL(rawwaker_from_fn, fn_wake, &woken, fn_end),
           x = CALL(rawwaker_from_fn, fn_wake, &woken, fn_end), out;
  CALL(rawwaker_cell_register, &c, &w);
  CALL(rawwaker_cell_register, &c, &x);
  CALL(rawwaker_cell_wake, &c);
  CHECK(!CALL(rawwaker_cell_take, &c, &out));
  CALL(rawwaker_cell_register, &c, &w);
  CHECK(CALL(rawwaker_cell_take, &c, &out));
  CALL(rawwaker_drop, out);
  CALL(rawwaker_cell_register, &c, &w);
  CALL(rawwaker_cell_drop, &c);
  CALL(rawwaker_drop, w);
  CALL(rawwaker_drop, x);
  CHECK(woken == 1 && ended == 2);
}

static void block_ons(void) {
  int out = 0;
  future ready = {.left = 3, .keeps = true}, nested = {.left = 1, .nested = true},
         panics = {.last = RAWWAKER_PANICKED};
  CHECK(CALL(rawwaker_block_on, (rawwaker_future){&ready, &future_vtable}, &out) ==
            RAWWAKER_READY &&
        out == 42);
  CHECK(CALL(rawwaker_block_on, (rawwaker_future){&nested, &future_vtable}, NULL) ==
        RAWWAKER_READY);
  CHECK(CALL(rawwaker_block_on, (rawwaker_future){&panics, &future_vtable}, NULL) ==
        RAWWAKER_PANICKED);
  CHECK(strcmp(CALL(rawwaker_last_panic), textless ? "" : "why") == 0);
  CALL(rawwaker_wake, ready.kept);
  CHECK(ready.dropped == 1 && nested.dropped == 1 && panics.dropped == 1);
}

static rawwaker_sink *permanent;
static void sinks(void) {
  int before = descriptors();
  permanent = sink_new(RAWWAKER_SINK_FOREVER);
  if (permanent != NULL) { /* it is never freed, so it is not counted */
    outstanding--;
    CALL(rawwaker_sink_drop, permanent);
    int fd = CALL(rawwaker_sink_fd, permanent);
    CHECK(fcntl(fd, F_GETFD) >= 0);
    void **word = CALL(rawwaker_sink_reaper, permanent);
    CHECK(*word == NULL);
    close(fd);
  }
  CHECK(descriptors() == before);
  rawwaker_sink *s = sink_new(0);
  if (s == NULL) return;
  void *head;
  uint32_t *sleeping;
  CALL(rawwaker_sink_words, s, (void **)&head, &sleeping);
  CHECK(*sleeping == 0 && *(void **)head == NULL);
  on_wake(s);
  on_wake(s);
  CHECK(CALL(rawwaker_sink_sleep, s));
  CALL(rawwaker_sink_kick, s);
  CALL(rawwaker_sink_ack, s);
  CHECK(CALL(rawwaker_sink_take, s) == NULL);
  CALL(rawwaker_sink_close, s);
  CHECK(ended == 2);
  CALL(rawwaker_sink_reap);
  CALL(rawwaker_sink_drop, s);
  CHECK(ended == 2 && descriptors() == before);
}

static size_t drain(rawwaker_sink *s, rawwaker_notice *out, size_t n) {
  rawwaker_box *list = CALL(rawwaker_sink_take, s);
  return CALL(rawwaker_box_read, &list, out, n);
}

static void boxes(void) {
  rawwaker_notice n[4];
  rawwaker_sink *s = sink_new(0);
  if (s == NULL) return;
  on_wake(s);
  rawwaker_box *b = box_new(s, 7, 0), *t = box_new(s, 8, RAWWAKER_BOX_TELL);
  if (b != NULL) {
    rawwaker w = CALL(rawwaker_box_ref, b), lent = CALL(rawwaker_box_lend, b);
    CHECK(w.vtable == CALL(rawwaker_box_vtable) && CALL(rawwaker_box_id, &lent) == 7 &&
          CALL(rawwaker_box_lent, b));
    rawwaker_box_field f[8];
    CHECK(CALL(rawwaker_box_look, b, f, 8) == 8);
    CALL(rawwaker_sink_sleep, s);
    CALL(rawwaker_wake, w);
    CHECK(drain(s, n, 4) == 1 && n[0].id == 7 && n[0].woken);
    CALL(rawwaker_box_close, b);
  }
  if (t != NULL) {
    rawwaker w = CALL(rawwaker_box_ref, t);
    CALL(rawwaker_drop, w);
    CHECK(drain(s, n, 4) == 1 && n[0].id == 8 && n[0].last);
    CHECK(CALL(rawwaker_box_retire, t));
  }
  CALL(rawwaker_sink_drop, s);
}

/* A poll that does not return, as a callback into another language may do. */
static jmp_buf out_of_the_poll;
static rawwaker_poll unwinds(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)out;
  CALL(rawwaker_wake_by_ref, cx->waker);
  longjmp(out_of_the_poll, 1);
}

static void polls(void) {
  bool self_woken;
  int out = 0;
  rawwaker_sink *s = sink_new(0);
  if (s == NULL) return;
  rawwaker_box *none = NULL, *kept = NULL, *b = box_new(s, 9, 0);
  future ready = {.left = 0}, keeps = {.left = 1, .keeps = true}, again = {.left = 2};
  CHECK(CALL(rawwaker_box_poll, s, &none, (rawwaker_future){&ready, &future_vtable}, &out,
             &self_woken) == RAWWAKER_READY);
  CHECK(none == NULL && out == 42);
  CALL(rawwaker_box_poll, s, &kept, (rawwaker_future){&keeps, &future_vtable}, &out, &self_woken);
  CHECK(kept != NULL && self_woken);
  CALL(rawwaker_box_adopt, kept, 10);
  CALL(rawwaker_wake, keeps.kept);
  CALL(rawwaker_box_close, kept);
  if (b != NULL) {
    CALL(rawwaker_box_poll, s, &b, (rawwaker_future){&again, &future_vtable}, &out, &self_woken);
    CHECK(self_woken);
    CALL(rawwaker_box_close, b);
  }
  static const rawwaker_future_vtable unwinding = {unwinds, future_drop};
  static uintptr_t note; /* these three outlive the jump */
  static bool left_woken;
  static rawwaker_box *left;
  left = NULL;
  if (setjmp(out_of_the_poll) == 0)
    CALL(rawwaker_box_poll_noted, s, &left, (rawwaker_future){NULL, &unwinding}, &out, &self_woken,
         &note);
  left = CALL(rawwaker_box_poll_left, note, &left_woken);
  CHECK(left == NULL && left_woken && CALL(rawwaker_box_word) != 0);
  rawwaker_notice n[2];
  drain(s, n, 2);
  CALL(rawwaker_sink_drop, s);
}

static rawwaker_poll poll_once(rawwaker_future f, void *out) {
  rawwaker w = rawwaker_noop();
  rawwaker_context cx = {&w};
  return f.vtable->poll(f.data, &cx, out);
}
/* After a poll that has panicked; its text may have found no memory either. */
static bool panicked_with(const char *text) {
  const char *got = rawwaker_last_panic();
  return strcmp(got, text) == 0 || (shared->failed > 0 && got[0] == '\0');
}

static void oneshots(void) {
  int value = 42, out = 0;
  rawwaker_oneshot *tx;
  rawwaker_future f = CALL(rawwaker_oneshot_new, sizeof value, sizeof value, NULL, NULL, &tx);
  CHECK(!CALL(rawwaker_oneshot_closed, tx) && CALL(rawwaker_oneshot_send, tx, &value));
  CHECK(poll_once(f, &out) == RAWWAKER_READY && out == 42);
  f.vtable->drop(f.data);
  f = CALL(rawwaker_oneshot_new, sizeof value, 64, NULL, NULL, &tx);
  CALL(rawwaker_oneshot_fail, tx, "why", 3);
  const char *text = failed_here ? "oneshot: out of memory" : "why";
  CHECK(poll_once(f, &out) == RAWWAKER_PANICKED && panicked_with(text));
  f.vtable->drop(f.data);
  f = CALL(rawwaker_oneshot_new, 0, 0, NULL, NULL, &tx);
  CALL(rawwaker_oneshot_cancel, f);
  CALL(rawwaker_oneshot_drop, tx);
  f.vtable->drop(f.data);
  CALL(rawwaker_watch, NULL);
  CHECK(CALL(rawwaker_watch_made, tx, "") == NULL);
  CHECK(CALL(rawwaker_watch_used, &value, "", false) == (void *)&value);
}

static void job_submit(void *engine, rawwaker_job *j) {
  const int *how = CALL(rawwaker_job_data, j);
  if (engine == NULL || *how == 0)
    CALL(rawwaker_job_send, j, how);
  else
    CALL(rawwaker_job_fail, j, "why", 3);
}
static rawwaker_future job_new(rawwaker_queue *q, int how) {
  static const rawwaker_job_ops ops = {job_submit, NULL, NULL, NULL};
  rawwaker_job *j;
  rawwaker_future f = CALL(rawwaker_job_new, q, &ops, sizeof(int), sizeof(int), sizeof(int), &j);
  *(int *)CALL(rawwaker_job_data, j) = how;
  return f;
}
static void node_free(void *arg, rawwaker_queue_node *n) { *(rawwaker_queue_node **)arg = n; }
static void queues(void) {
  errno = 0;
  rawwaker_queue *q = CALL(rawwaker_queue_new);
  CHECK((q == NULL) == failed_here);
  if (q == NULL) {
    CHECK(errno == ENOMEM);
    return;
  }
  rawwaker_queue_node one, two, *seen = NULL;
  CHECK(CALL(rawwaker_queue_fd, q) >= 0 && CALL(rawwaker_queue_push, q, &one));
  CHECK(CALL(rawwaker_queue_take, q) == &one && CALL(rawwaker_queue_next, &one) == NULL);
  CALL(rawwaker_queue_push, q, &two);
  CALL(rawwaker_queue_each, q, node_free, &seen);
  CHECK(seen == &two);
  rawwaker_future sends = job_new(q, 0), fails = job_new(q, 1), late = job_new(q, 1);
  int out = 1;
  poll_once(sends, &out);
  poll_once(fails, &out);
  CHECK(CALL(rawwaker_queue_run, q, &out));
  CHECK(poll_once(sends, &out) == RAWWAKER_READY && out == 0);
  CHECK(poll_once(fails, &out) == RAWWAKER_PANICKED);
  CALL(rawwaker_queue_stop, q);
  CHECK(!CALL(rawwaker_queue_run, q, &out));
  CALL(rawwaker_queue_end, q);
  CHECK(poll_once(late, &out) == RAWWAKER_READY && out == 1);
  CHECK(CALL(rawwaker_queue_close, q) == NULL && !CALL(rawwaker_queue_push, q, &one));
  CALL(rawwaker_queue_drop, CALL(rawwaker_queue_clone, q));
  sends.vtable->drop(sends.data);
  fails.vtable->drop(fails.data);
  late.vtable->drop(late.data);
  CALL(rawwaker_queue_drop, q);
}

/* ------------------------------------------------------------------------ random programs -- */

static uint64_t seed;
static unsigned chance(unsigned below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 11) % below);
}

enum { WAKERS = 6, BOXES = 4 };
static rawwaker wakers[WAKERS];
static rawwaker_cell cell;
static rawwaker_sink *sink;
static struct slot {
  rawwaker_box *box;
  uint64_t id;
} slots[BOXES];
static uint64_t last_id;

static void end_box(struct slot *b) {
  CALL(rawwaker_box_close, b->box);
  b->box = NULL;
}
static void drain_by_chance(void) {
  rawwaker_notice n;
  rawwaker_box *list = CALL(rawwaker_sink_take, sink);
  while (CALL(rawwaker_box_read, &list, &n, 1) != 0)
    for (struct slot *b = slots; n.last && b < slots + BOXES; b++)
      if (b->box != NULL && b->id == n.id && CALL(rawwaker_box_retire, b->box)) b->box = NULL;
}
static void end_sink(void) {
  for (struct slot *b = slots; b < slots + BOXES; b++)
    if (b->box != NULL) end_box(b);
  CALL(rawwaker_sink_drop, sink);
  sink = NULL;
}
static void step(void) {
  rawwaker *w = &wakers[chance(WAKERS)], *v = &wakers[chance(WAKERS)];
  struct slot *b = &slots[chance(BOXES)];
  bool self_woken;
  switch (chance(13)) {
    case 0:
      if (w->vtable == NULL) *w = CALL(rawwaker_from_fn, fn_wake, &woken, fn_end);
      break;
    case 1:
      if (w->vtable == NULL && v->vtable != NULL) *w = CALL(rawwaker_clone, v);
      break;
    case 2:
      if (w->vtable != NULL) {
        rawwaker x = *w;
        w->vtable = NULL;
        chance(2) == 0 ? CALL(rawwaker_wake, x) : CALL(rawwaker_drop, x);
      }
      break;
    case 3:
      if (v->vtable != NULL) CALL(rawwaker_clone_from, w, v);
      break;
    case 4:
      if (w->vtable != NULL) CALL(rawwaker_cell_register, &cell, w);
      break;
    case 5: CALL(rawwaker_cell_wake, &cell); break;
    case 6:
      if (sink == NULL) sink = sink_new(0);
      break;
    case 7:
      if (sink != NULL && chance(4) == 0) end_sink();
      break;
    case 8:
      if (sink != NULL && b->box == NULL) {
        b->id = ++last_id;
        b->box = box_new(sink, b->id, chance(2) == 0 ? RAWWAKER_BOX_TELL : 0);
      }
      break;
    case 9:
      if (b->box != NULL && w->vtable == NULL) *w = CALL(rawwaker_box_ref, b->box);
      break;
    case 10:
      if (sink != NULL) chance(2) == 0 ? drain_by_chance() : (void)CALL(rawwaker_sink_sleep, sink);
      break;
    case 11:
      if (sink != NULL) {
        future f = {.left = (int)chance(3), .keeps = w->vtable == NULL};
        bool mine = b->box == NULL;
        CALL(rawwaker_box_poll, sink, &b->box, (rawwaker_future){&f, &future_vtable}, NULL,
             &self_woken);
        if (mine && b->box != NULL) {
          b->id = ++last_id;
          CALL(rawwaker_box_adopt, b->box, b->id);
        }
        if (f.keeps) *w = f.kept;
        if (chance(3) == 0) on_wake(sink);
      }
      break;
    default: {
      future f = {.left = (int)chance(3), .nested = chance(4) == 0, .keeps = w->vtable == NULL};
      CALL(rawwaker_block_on, (rawwaker_future){&f, &future_vtable}, NULL);
      CHECK(f.dropped == 1);
      if (f.keeps) *w = f.kept;
    }
  }
}
static void by_chance(void) {
  for (int i = 0; i < 60; i++) step();
  for (int i = 0; i < WAKERS; i++)
    if (wakers[i].vtable != NULL) CALL(rawwaker_drop, wakers[i]);
  CALL(rawwaker_cell_drop, &cell);
  if (sink != NULL) end_sink();
}

/* ----------------------------------------------------------------------------- the parent -- */

static unsigned long faults, aborts, survived, runs;
static int failures;

static const char *fails_how(const char *name) {
  for (int i = 0; i < FUNCTIONS; i++)
    if (strcmp(documented[i].name, name) == 0) return documented[i].fails;
  return "";
}

/* Returns whether an allocation failed, so that there may be a further one. */
static bool attempt(const char *name, void (*scenario)(void), unsigned n, bool and_after) {
  int ends[2], status;
  char got_line[512] = "", want[128] = "";
  size_t have = 0;
  ssize_t more;
  memset(shared->call, 0, sizeof shared->call);
  shared->failed = shared->allocated = 0;
  if (pipe(ends) != 0) abort();
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    int before = descriptors();
    fail_at = n;
    all_after = and_after;
    watch(true);
    scenario();
    rawwaker_set_panic("", 0);
    watch(false);
    fail_at = 0;
    CHECK(rawwaker_live() == 0);
    CHECK(outstanding == 0);
    CHECK(descriptors() == before);
    watch(false);
    exit(broken);
  }
  close(ends[1]);
  while ((more = read(ends[0], got_line + have, sizeof got_line - 1 - have)) > 0)
    have += (size_t)more;
  close(ends[0]);
  if (child < 0 || waitpid(child, &status, 0) != child) abort();
  runs++;
  const char *how = fails_how(shared->call);
  bool ok, dies = shared->failed > 0 && strstr(how, "abort") != NULL &&
                  strstr(how, "out of memory") != NULL;
  bool may = shared->failed == 0 || strncmp(how, "NULL", 4) == 0 || strncmp(how, "false", 5) == 0 ||
             strncmp(how, "the text is ", 12) == 0;
  /* If all later allocations fail too, a later call may be the one that aborts. */
  const char *line = got_line;
  if (dies)
    snprintf(want, sizeof want, "rawwaker: %s: out of memory\n", shared->call);
  else if (and_after && WIFSIGNALED(status)) {
    char by[64] = "";
    if (sscanf(got_line, "rawwaker: %63[a-z_]: ", by) == 1 &&
        strstr(fails_how(by), "out of memory") != NULL && strstr(fails_how(by), "abort") != NULL) {
      snprintf(want, sizeof want, "rawwaker: %s: out of memory\n", by);
      dies = may;
    }
  }
  if (dies)
    ok = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strcmp(line, want) == 0;
  else
    ok = may && WIFEXITED(status) && WEXITSTATUS(status) == 0 && line[0] == '\0';
  faults += shared->failed;
  aborts += dies;
  survived += shared->failed > 0 && !dies;
  if (!ok) {
    failures++;
    printf(
        "FAIL %s, allocation %u%s, in %s, for which rawwaker.h has \"fails: %s\": "
        "status %#x, standard error: %s\n",
        name, n, and_after ? " and all after" : "", shared->call, how, (unsigned)status, line);
  }
  return shared->failed > 0;
}

static void every(const char *name, void (*scenario)(void)) {
  for (int after = 0; after < 2; after++) {
    unsigned n = 1;
    while (failures < 10 && attempt(name, scenario, n, after == 1)) n++;
    if (after == 0 && strcmp(name, "random") != 0)
      printf("  %-10s %2u allocations\n", name, n - 1);
  }
}

int main(int argc, char **argv) {
  unsigned long programs = argc > 1 ? strtoul(argv[1], NULL, 10) : 100,
                first = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) abort();
  every("functions", functions);
  every("cells", cells);
  every("block_on", block_ons);
  every("sinks", sinks);
  every("boxes", boxes);
  every("polls", polls);
  every("oneshots", oneshots);
  every("queues", queues);
  int called = 0;
  for (int i = 0; i < FUNCTIONS; i++) {
    called += shared->called[i];
    if (shared->called[i]) continue;
    printf("FAIL no scenario calls %s\n", documented[i].name);
    failures++;
  }
  unsigned long scenarios = 8;
  for (unsigned long i = 0; i < programs && failures < 10; i++, scenarios++) {
    seed = (first + i) * 0x9e3779b97f4a7c15u | 1;
    every("random", by_chance);
    if (failures != 0) {
      printf("  the program was %lu\n", first + i);
      break;
    }
  }
  printf(
      "%s memory: %lu scenarios over %d of %d functions, %lu runs, faults %lu: "
      "%lu aborts with their line, %lu runs that continued\n",
      failures == 0 ? "ok" : "FAIL", scenarios, called, FUNCTIONS, runs, faults, aborts, survived);
  return failures != 0 || aborts == 0 || survived == 0;
}
