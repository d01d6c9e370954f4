/* senders.c - tests each sentence of rawwaker.h about oneshots and queues, and prints TAP; then
 * threads race in all of their calls, and each outcome is counted.
 *
 *   ./senders [-no-deaths] [ROUNDS]      ROUNDS oneshots, 1,000,000 unless it is given */
#define _GNU_SOURCE
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* -------------------------------------------------------------------- scripts of one thread -- */

/* What happens is written as letters. Of the operation: s start, c cancel, d destroy, r release.
 * Of the wakers 1 and 2: 1c clone, 1w wake, 1r wake by reference, 1d drop. Of polls: P pending, Y
 * ready with the value that was sent, X(text) panicked. Of the sender: + send returned true, -
 * false, h closed returned true, o false. */
static char events[4096];
static void note(const char *text) {
  size_t n = strlen(events);
  if (n + strlen(text) < sizeof events) memcpy(events + n, text, strlen(text) + 1);
}

/* What a test does, and what it does inside a callback or slot, which happens once:
 *   p q poll with waker 1, 2   n poll with a NULL out   x drop the future
 *   k rawwaker_oneshot_cancel  > send   ! fail   ~ drop the sender   ? closed */
typedef struct script {
  const char *name, *does, *events;
  const char *without; /* callbacks that are NULL, by letter; "*": ops is NULL */
  const char *start, *cancel, *destroy, *clone_1, *clone_2, *wake_1, *drop_1;
} script;

typedef struct value {
  uint64_t words[3];
} value;
static const value sent = {{7, 8, 9}};

static script now; /* what is done inside is taken out of it */
static rawwaker_oneshot *tx;
static rawwaker_future future;
static int wakers[2]; /* references */

static void play(const char *does);
static void inside(const char **does) {
  const char *taken = *does;
  *does = NULL;
  if (taken != NULL) play(taken);
}

static rawwaker waker_of(int *refs);
static int digit_of(const void *data) { return data == &wakers[1] ? 2 : 1; }
static void slot(const void *data, char slot) {
  note((char[]){(char)('0' + digit_of(data)), slot, '\0'});
}
static rawwaker waker_clone(void *data) {
  slot(data, 'c');
  rawwaker w = waker_of(data);
  inside(digit_of(data) == 1 ? &now.clone_1 : &now.clone_2);
  return w;
}
static void waker_wake(void *data) {
  slot(data, 'w');
  --*(int *)data;
  if (digit_of(data) == 1) inside(&now.wake_1);
}
static void waker_by_ref(void *data) { slot(data, 'r'); }
static void waker_drop(void *data) {
  slot(data, 'd');
  --*(int *)data;
  if (digit_of(data) == 1) inside(&now.drop_1);
}
static const rawwaker_vtable waker_vtable = {waker_clone, waker_wake, waker_by_ref, waker_drop};
static rawwaker waker_of(int *refs) {
  ++*refs;
  return (rawwaker){refs, &waker_vtable};
}

static int arg_of_ops;
static void on_start(void *arg) {
  CHECK(arg == &arg_of_ops);
  note("s");
  inside(&now.start);
}
static void on_cancel(void *arg) {
  CHECK(arg == &arg_of_ops);
  note("c");
  inside(&now.cancel);
}
static void on_destroy(void *arg, void *v) {
  CHECK(arg == &arg_of_ops && memcmp(v, &sent, sizeof sent) == 0);
  note("d");
  inside(&now.destroy);
}
static void on_release(void *arg) {
  CHECK(arg == &arg_of_ops);
  note("r");
}

static void poll_it(int *refs, bool no_out) {
  rawwaker w = {refs, &waker_vtable}; /* borrowed */
  rawwaker_context cx = {&w};
  value out = {{1, 2, 3}}, before = out;
  rawwaker_poll got = future.vtable->poll(future.data, &cx, no_out ? NULL : &out);
  if (got == RAWWAKER_READY) {
    note(memcmp(&out, &sent, sizeof out) == 0 ? "Y" : "a wrong value");
    return;
  }
  CHECK(memcmp(&out, &before, sizeof out) == 0);
  if (got == RAWWAKER_PANICKED) {
    note("X(");
    note(rawwaker_last_panic());
  }
  note(got == RAWWAKER_PENDING ? "P" : got == RAWWAKER_PANICKED ? ")" : "no such code");
}

static void play(const char *does) {
  for (; *does != '\0'; does++) switch (*does) {
      case 'p': poll_it(&wakers[0], false); break;
      case 'q': poll_it(&wakers[1], false); break;
      case 'n': poll_it(&wakers[0], true); break;
      case 'x': future.vtable->drop(future.data); break;
      case 'k': rawwaker_oneshot_cancel(future); break;
      case '>': note(rawwaker_oneshot_send(tx, &sent) ? "+" : "-"); break;
      case '!': rawwaker_oneshot_fail(tx, "why", 3); break;
      case '~': rawwaker_oneshot_drop(tx); break;
      case '?': note(rawwaker_oneshot_closed(tx) ? "h" : "o"); break;
      default: CHECK(false);
    }
}

#define AGAIN "X(oneshot: future polled after completion)"
#define DROPPED "X(oneshot: sender dropped)"
#define NO_OUT "X(oneshot: poll: out is NULL, and the value has a size)"

static const script scripts[] = {
    {"the first poll starts; send wakes; the value is taken; release is last", "p>px",
     "s1cP1w+Yr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"without ops the sender may be used at once", ">px", "+Y", "*", 0, 0, 0, 0, 0, 0, 0},
    {"without start the sender may be used at once", ">px", "+Yr", "s", 0, 0, 0, 0, 0, 0, 0},
    {"start may send", "px", "s+Yr", 0, ">", 0, 0, 0, 0, 0, 0},
    {"start may fail", "px", "sX(why)r", 0, "!", 0, 0, 0, 0, 0, 0},
    {"start may drop the sender", "px", "s" DROPPED "r", 0, "~", 0, 0, 0, 0, 0, 0},
    {"fail gives its text", "p!px", "s1cP1wX(why)r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a dropped sender gives a text", "p~px", "s1cP1w" DROPPED "r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a future that is dropped unpolled calls release only", "x", "r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"one without start is cancelled", "x~", "cr", "s", 0, 0, 0, 0, 0, 0, 0},
    {"a drop cancels; a late value is destroyed inside send", "px>", "s1cP1dcdr-", 0, 0, 0, 0, 0, 0,
     0, 0},
    {"a late fail does nothing", "px!", "s1cP1dcr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a late drop of the sender does nothing", "px~", "s1cP1dcr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a value that was sent is destroyed by the drop", "p>x", "s1cP1w+dr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a value that was sent before a poll is destroyed by the drop", ">x", "+dr", "s", 0, 0, 0, 0,
     0, 0, 0},
    {"a failure that was not read needs no destroy", "p!x", "s1cP1wr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"cancel keeps the future, which gives what the operation ends with", "pk>px", "s1cPc1w+Yr", 0,
     0, 0, 0, 0, 0, 0, 0},
    {"cancel is called once, also by two cancels and a drop", "pkkx~", "s1cPc1dr", 0, 0, 0, 0, 0, 0,
     0, 0},
    {"cancel before start does nothing, and a later drop cancels", "kpx~", "s1cP1dcr", 0, 0, 0, 0,
     0, 0, 0, 0},
    {"cancel before start does nothing, and the drop releases", "kx", "r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"cancel after send does nothing", "p>kpx", "s1cP1w+Yr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"cancel after fail does nothing", "p!kx", "s1cP1wr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"cancel after the value was taken does nothing", "p>pkx", "s1cP1w+Yr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"cancel without start", "kpx>", "c1cP1ddr-", "s", 0, 0, 0, 0, 0, 0, 0},
    {"cancel may drop the sender", "px", "s1cP1dcr", 0, 0, "~", 0, 0, 0, 0, 0},
    {"cancel may fail", "px", "s1cP1dcr", 0, 0, "!", 0, 0, 0, 0, 0},
    {"cancel may send", "px", "s1cP1dcd-r", 0, 0, ">", 0, 0, 0, 0, 0},
    {"cancel of a future that stays may drop the sender", "pkpx", "s1cPc1w" DROPPED "r", 0, 0, "~",
     0, 0, 0, 0, 0},
    {"cancel of a future that stays may send", "pkpx", "s1cPc1w+Yr", 0, 0, ">", 0, 0, 0, 0, 0},
    {"cancel may ask whether the future was dropped", "px~", "s1cP1dchr", 0, 0, "?", 0, 0, 0, 0, 0},
    {"closed is true after the drop", "p?x?~", "s1cPo1dchr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"closed is false after a cancel", "pk?x~", "s1cPco1dr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a poll after READY", "p>ppnx", "s1cP1w+Y" AGAIN AGAIN "r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a poll after PANICKED", "p~ppx", "s1cP1w" DROPPED AGAIN "r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a poll with another waker replaces the first", "pq>qx", "s1cP2c1dP2w+Yr", 0, 0, 0, 0, 0, 0, 0,
     0},
    {"polls with the same waker clone it once", "ppp>px", "s1cPPP1w+Yr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"wakers that alternate", "pqpqx~", "s1cP2c1dP1c2dP2c1dP2dcr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a wake inside which the future is polled and dropped", "p>", "s1cP1wYr+", 0, 0, 0, 0, 0, 0,
     "px", 0},
    {"a wake inside which the future is dropped", "p>", "s1cP1wdr+", 0, 0, 0, 0, 0, 0, "x", 0},
    {"a wake by fail inside which the future is dropped", "p!", "s1cP1wr", 0, 0, 0, 0, 0, 0, "x",
     0},
    {"a wake by drop inside which the future is polled and dropped", "p~", "s1cP1w" DROPPED "r", 0,
     0, 0, 0, 0, 0, "px", 0},
    {"a send while a poll clones its waker", "px", "s1c+1dYr", 0, 0, 0, 0, ">", 0, 0, 0},
    {"a fail while a poll clones its waker", "px", "s1c1dX(why)r", 0, 0, 0, 0, "!", 0, 0, 0},
    {"a send while a poll clones another waker", "pqx", "s1cP2c+2d1dYr", 0, 0, 0, 0, 0, ">", 0, 0},
    {"a send while a poll drops the waker that it has replaced", "pqqx", "s1cP2c1d2w+PYr", 0, 0, 0,
     0, 0, 0, 0, ">"},
    {"a late value while destroy asks nothing more", "px>", "s1cP1dcdr-", 0, 0, 0, "", 0, 0, 0, 0},
    {"a NULL out destroys the value", "p>nx", "s1cP1w+d" NO_OUT "r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a NULL out while nothing was sent", "np>px", "s1cPP1w+Yr", 0, 0, 0, 0, 0, 0, 0, 0},
    {"a NULL out after a failure", "p!nx", "s1cP1wX(why)r", 0, 0, 0, 0, 0, 0, 0, 0},
    {"no cancel", "px>", "s1cP1ddr-", "c", 0, 0, 0, 0, 0, 0, 0},
    {"no cancel, by a call", "pkx~", "s1cP1dr", "c", 0, 0, 0, 0, 0, 0, 0},
    {"no destroy", "px>", "s1cP1dcr-", "d", 0, 0, 0, 0, 0, 0, 0},
    {"no destroy, by the drop", "p>x", "s1cP1w+r", "d", 0, 0, 0, 0, 0, 0, 0},
    {"no destroy, by a NULL out", "p>nx", "s1cP1w+" NO_OUT "r", "d", 0, 0, 0, 0, 0, 0, 0},
    {"no release", "px>", "s1cP1dcd-", "r", 0, 0, 0, 0, 0, 0, 0},
    {"no release, of a future that is dropped unpolled", "x", "", "r", 0, 0, 0, 0, 0, 0, 0},
    {"no callback at all", "pk>x", "1cP1w+", "scdr", 0, 0, 0, 0, 0, 0, 0},
};

static const script *playing;
static void play_script(void) {
  now = *playing;
  const char *no = now.without == NULL ? "" : now.without;
  rawwaker_oneshot_ops ops = {
      strchr(no, 's') ? NULL : on_start, strchr(no, 'c') ? NULL : on_cancel,
      strchr(no, 'd') ? NULL : on_destroy, strchr(no, 'r') ? NULL : on_release};
  events[0] = '\0';
  wakers[0] = wakers[1] = 0;
  future = rawwaker_oneshot_new(sizeof(value), _Alignof(value), no[0] == '*' ? NULL : &ops,
                                &arg_of_ops, &tx);
  play(now.does);
  CHECK(strcmp(events, playing->events) == 0);
  if (!passed) printf("# %s, got %s\n", playing->events, events);
  CHECK(wakers[0] == 0 && wakers[1] == 0);
}

/* ------------------------------------------------------------------ values, texts and memory -- */

enum { LARGEST = 5000 };
static unsigned char content[LARGEST];
static size_t align_now, size_now, destroys;
static void check_value(const void *v) {
  CHECK(align_now < 2 || (uintptr_t)v % align_now == 0);
  CHECK(memcmp(v, content, size_now) == 0);
}
static void value_destroy(void *arg, void *v) {
  (void)arg;
  destroys++;
  check_value(v);
}

static void sizes_and_aligns(void) {
  static const size_t aligns[] = {0, 1, 2, 4, 8, 16, 32, 64, 4096, 65536};
  static const size_t sizes[] = {0, 1, 3, 8, 24, 100, LARGEST};
  static const rawwaker_oneshot_ops ops = {NULL, NULL, value_destroy, NULL};
  for (size_t i = 0; i < sizeof content; i++) content[i] = (unsigned char)(i * 7 + 1);
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  destroys = 0;
  size_t dropped = 0;
  for (size_t a = 0; a < sizeof aligns / sizeof *aligns; a++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      align_now = aligns[a];
      size_now = sizes[s];
      rawwaker_oneshot *sender;
      rawwaker_future f = rawwaker_oneshot_new(size_now, align_now, &ops, NULL, &sender);
      unsigned char *out = malloc(size_now + 1), *from = malloc(size_now + 1);
      if (out == NULL || from == NULL) abort();
      out[size_now] = 0xEE;
      memcpy(from, content, size_now);
      CHECK(rawwaker_oneshot_send(sender, from));
      memset(from, 0, size_now); /* the value was copied */
      CHECK(f.vtable->poll(f.data, &cx, out) == RAWWAKER_READY);
      CHECK(memcmp(out, content, size_now) == 0 && out[size_now] == 0xEE);
      f.vtable->drop(f.data);
      f = rawwaker_oneshot_new(size_now, align_now, &ops, NULL, &sender);
      CHECK(rawwaker_oneshot_send(sender, content));
      f.vtable->drop(f.data);
      dropped++;
      free(out);
      free(from);
    }
  CHECK(destroys == dropped);
}

static void no_size_needs_no_value(void) {
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_oneshot *sender;
  rawwaker_future f = rawwaker_oneshot_new(0, 0, NULL, NULL, &sender);
  CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING);
  CHECK(rawwaker_oneshot_send(sender, NULL));
  CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_READY);
  f.vtable->drop(f.data);
}

/* The text that the future of a sender that fails gives. */
static void check_text(const char *msg, size_t len, const char *want) {
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_oneshot *sender;
  rawwaker_future f = rawwaker_oneshot_new(0, 0, NULL, NULL, &sender);
  char *copy = len == 0 ? NULL : malloc(len);
  if (len != 0 && copy == NULL) abort();
  if (copy != NULL) memcpy(copy, msg, len);
  rawwaker_oneshot_fail(sender, copy, len);
  free(copy); /* the text was copied */
  CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PANICKED);
  CHECK(strcmp(rawwaker_last_panic(), want) == 0);
  f.vtable->drop(f.data);
  CHECK(strcmp(rawwaker_last_panic(), want) == 0); /* it is the thread's */
  rawwaker_set_panic(NULL, 0);
}
static void texts(void) {
  static char longer[2000], cut[1025];
  memset(longer, 'x', sizeof longer);
  memset(cut, 'x', sizeof cut - 1);
  check_text("why", 3, "why");
  check_text("not all of it", 3, "not");
  check_text(NULL, 0, "");
  check_text(longer, 1023, cut + 1);
  check_text(longer, 1024, cut);
  check_text(longer, 1025, cut);
  check_text(longer, sizeof longer, cut);
}

static void no_memory_for_a_failure(void) {
  rawwaker noop = rawwaker_noop();
  rawwaker_context cx = {&noop};
  rawwaker_oneshot *sender;
  rawwaker_future f = rawwaker_oneshot_new(0, 0, NULL, NULL, &sender);
  out_of_memory_at = 1;
  rawwaker_oneshot_fail(sender, "why", 3);
  CHECK(out_of_memory_at == 0);
  CHECK(f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PANICKED);
  CHECK(strcmp(rawwaker_last_panic(), "oneshot: out of memory") == 0);
  f.vtable->drop(f.data);
  /* a drop of the sender needs no memory */
  f = rawwaker_oneshot_new(0, 0, NULL, NULL, &sender);
  out_of_memory_at = 1;
  rawwaker_oneshot_drop(sender);
  CHECK(out_of_memory_at == 1);
  out_of_memory_at = 0;
  f.vtable->drop(f.data);
  rawwaker_set_panic(NULL, 0);
}

/* block_on drives it, and the sender wakes from another thread. */
static void *sends_later(void *arg) {
  uint64_t v = 42;
  CHECK(rawwaker_oneshot_send(arg, &v));
  return NULL;
}
static void block_on_awaits_it(void) {
  rawwaker_oneshot *sender;
  rawwaker_future f = rawwaker_oneshot_new(8, 8, NULL, NULL, &sender);
  pthread_t t;
  uint64_t got = 0;
  if (pthread_create(&t, NULL, sends_later, sender) != 0) abort();
  CHECK(rawwaker_block_on(f, &got) == RAWWAKER_READY && got == 42);
  pthread_join(t, NULL);
}

/* ---------------------------------------------------------------------- watchers of senders -- */

static void *watched_as, *watched;
static char asked[512];
static void ask(const char *what, const char *call) {
  size_t n = strlen(asked);
  snprintf(asked + n, sizeof asked - n, "%s %s;", what, call + strlen("rawwaker_"));
}
static void *watch_made(void *sender, const char *call) {
  ask("made", call);
  watched = sender;
  return watched_as;
}
static void *watch_used(void *given, const char *call, bool takes) {
  CHECK(given == watched_as);
  ask(takes ? "taken" : "used", call);
  return watched;
}
static const rawwaker_watcher watching = {watch_made, watch_used};
static rawwaker_oneshot *watched_new(bool starts, rawwaker_future *f) {
  static const rawwaker_oneshot_ops ops = {on_start, NULL, NULL, NULL};
  rawwaker_oneshot *sender;
  asked[0] = '\0';
  *f = rawwaker_oneshot_new(sizeof sent, 8, starts ? &ops : NULL, &arg_of_ops, &sender);
  return sender;
}
/* The last test of one thread: a watcher stays. */
static void a_watcher_is_asked(void) {
  static const char mark[2];
  rawwaker_future f;
  rawwaker_watch(&watching);
  watched_as = NULL; /* it does not want to be asked */
  rawwaker_oneshot_drop(watched_new(false, &f));
  f.vtable->drop(f.data);
  CHECK(strcmp(asked, "made oneshot_new;") == 0);
  watched_as = (void *)((uintptr_t)mark | 1);
  rawwaker_oneshot *sender = watched_new(false, &f);
  CHECK(sender == watched_as && !rawwaker_oneshot_closed(sender));
  CHECK(rawwaker_oneshot_send(sender, &sent));
  f.vtable->drop(f.data);
  CHECK(strcmp(asked, "made oneshot_new;used oneshot_closed;taken oneshot_send;") == 0);
  sender = watched_new(false, &f);
  rawwaker_oneshot_fail(sender, "why", 3);
  f.vtable->drop(f.data);
  CHECK(strcmp(asked, "made oneshot_new;taken oneshot_fail;") == 0);
  sender = watched_new(false, &f);
  f.vtable->drop(f.data);
  rawwaker_oneshot_drop(sender);
  CHECK(strcmp(asked, "made oneshot_new;taken oneshot_drop;") == 0);
  /* A future that was never started ends its sender itself. */
  sender = watched_new(true, &f);
  f.vtable->drop(f.data);
  CHECK(strcmp(asked, "made oneshot_new;taken oneshot_drop;") == 0);
  watched_as = NULL;
}

/* ------------------------------------------------------------------------------- the queue -- */

typedef struct work {
  rawwaker_queue_node node; /* first, so that a node is its work */
  unsigned from;
  unsigned long number;
} work;

static bool readable(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}
/* Returns how often the descriptor was written to since it was last read, and reads it. */
static uint64_t writes(int fd) {
  unsigned char bytes[8];
  uint64_t count = 0;
  ssize_t n = read(fd, bytes, sizeof bytes);
#if defined(__linux__)
  if (n == 8) memcpy(&count, bytes, 8);
#else
  if (n > 0) count = (uint64_t)n;
#endif
  return count;
}
static void check_list(const rawwaker_queue_node *n, const work *first, int many) {
  for (int i = 0; i < many; i++) {
    CHECK(n == &first[i].node);
    if (n == NULL) return;
    n = rawwaker_queue_next((rawwaker_queue_node *)(uintptr_t)n);
  }
  CHECK(n == NULL);
}
static void queue_order_and_close(void) {
  work w[6];
  rawwaker_queue *q = rawwaker_queue_new();
  int fd = rawwaker_queue_fd(q);
  CHECK(!readable(fd) && rawwaker_queue_take(q) == NULL && !readable(fd));
  for (int i = 0; i < 3; i++) CHECK(rawwaker_queue_push(q, &w[i].node));
  CHECK(readable(fd));
  check_list(rawwaker_queue_take(q), w, 3);
  CHECK(rawwaker_queue_take(q) == NULL && !readable(fd));
  for (int i = 0; i < 2; i++) CHECK(rawwaker_queue_push(q, &w[i].node));
  CHECK(readable(fd));
  check_list(rawwaker_queue_close(q), w, 2);
  for (int i = 0; i < 2; i++) CHECK(!rawwaker_queue_push(q, &w[i].node));
  CHECK(rawwaker_queue_close(q) == NULL && rawwaker_queue_take(q) == NULL);
  CHECK(!rawwaker_queue_push(q, &w[0].node) && !readable(fd));
  rawwaker_queue_drop(q);
  q = rawwaker_queue_new();
  CHECK(rawwaker_queue_push(q, &w[0].node));
  rawwaker_queue_drop(q); /* what is left in it is lost */
}
static void queue_writes(void) {
  work w[8];
  rawwaker_queue *q = rawwaker_queue_new();
  int fd = rawwaker_queue_fd(q);
  /* A new queue is asleep; only the first push writes. */
  for (int i = 0; i < 3; i++) rawwaker_queue_push(q, &w[i].node);
  CHECK(writes(fd) == 1);
  /* It is awake until a take has returned NULL. */
  check_list(rawwaker_queue_take(q), w, 3);
  rawwaker_queue_push(q, &w[3].node);
  CHECK(writes(fd) == 0);
  check_list(rawwaker_queue_take(q), w + 3, 1);
  CHECK(rawwaker_queue_take(q) == NULL);
  for (int i = 4; i < 6; i++) rawwaker_queue_push(q, &w[i].node);
  CHECK(writes(fd) == 1);
  check_list(rawwaker_queue_take(q), w + 4, 2);
  /* Each take that returns NULL falls asleep again, however many there are. */
  for (int i = 0; i < 3; i++) CHECK(rawwaker_queue_take(q) == NULL);
  rawwaker_queue_push(q, &w[6].node);
  CHECK(writes(fd) == 1);
  CHECK(rawwaker_queue_close(q) == &w[6].node && rawwaker_queue_take(q) == NULL);
  rawwaker_queue_push(q, &w[7].node);
  CHECK(writes(fd) == 0);
  rawwaker_queue_drop(q);
}
/* A take that returns NULL has read what earlier pushes wrote. */
static void queue_take_reads(void) {
  work w;
  rawwaker_queue *q = rawwaker_queue_new();
  rawwaker_queue_push(q, &w.node);
  CHECK(readable(rawwaker_queue_fd(q)) && rawwaker_queue_take(q) == &w.node);
  CHECK(readable(rawwaker_queue_fd(q)));
  CHECK(rawwaker_queue_take(q) == NULL && !readable(rawwaker_queue_fd(q)));
  rawwaker_queue_drop(q);
}
static void no_memory_for_a_queue(void) {
  out_of_memory_at = 1;
  CHECK(rawwaker_queue_new() == NULL && out_of_memory_at == 0);
}

/* push and take are no cancellation points, although write and read are. */
typedef struct pushing {
  rawwaker_queue *q;
  work w;
  bool returned;
} pushing;
static void *pushes_cancelled(void *arg) {
  pushing *p = arg;
  int state;
  pthread_cancel(pthread_self());
  rawwaker_queue_push(p->q, &p->w.node);
  (void)rawwaker_queue_take(p->q);
  (void)rawwaker_queue_take(p->q);
  p->returned = true;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
  CHECK(state == PTHREAD_CANCEL_ENABLE);
  pthread_testcancel();
  return NULL;
}
static void queue_is_not_cancelled(void) {
  pushing p = {.q = rawwaker_queue_new()};
  pthread_t t;
  void *result;
  if (pthread_create(&t, NULL, pushes_cancelled, &p) != 0) abort();
  pthread_join(t, &result);
  CHECK(result == PTHREAD_CANCELED && p.returned);
  rawwaker_queue_drop(p.q);
}
static void queue_keeps_errno(void) {
  work w;
  rawwaker_queue *q = rawwaker_queue_new();
  errno = EDOM;
  rawwaker_queue_push(q, &w.node);
  CHECK(errno == EDOM);
  (void)rawwaker_queue_take(q);
  (void)rawwaker_queue_take(q);
  CHECK(errno == EDOM);
  rawwaker_queue_drop(q);
  CHECK(errno == EDOM);
}

/* --------------------------------------------------------------------------------- deaths -- */

static rawwaker_oneshot *some;
static void die_sender(void) { rawwaker_oneshot_new(8, 8, NULL, NULL, NULL); }
static void die_align(void) { rawwaker_oneshot_new(8, 3, NULL, NULL, &some); }
static void die_align_6(void) { rawwaker_oneshot_new(8, 6, NULL, NULL, &some); }
static void die_memory(void) {
  out_of_memory_at = 1;
  rawwaker_oneshot_new(8, 8, NULL, NULL, &some);
}
static void die_size(void) { rawwaker_oneshot_new(SIZE_MAX, 8, NULL, NULL, &some); }
static void die_size_and_align(void) {
  rawwaker_oneshot_new(SIZE_MAX / 2 - 64, SIZE_MAX / 2 + 1, NULL, NULL, &some);
}
static void die_cancel(void) {
  static const rawwaker_future_vtable other = {NULL, NULL};
  rawwaker_oneshot_cancel((rawwaker_future){NULL, &other});
}
static rawwaker clones_to_nothing(void *data) { return (rawwaker){data, NULL}; }
static rawwaker clones_to_gap(void *data);
static const rawwaker_vtable to_nothing = {clones_to_nothing, NULL, NULL, NULL};
static const rawwaker_vtable to_gap = {clones_to_gap, NULL, NULL, NULL};
static rawwaker clones_to_gap(void *data) { return (rawwaker){data, &to_gap}; }
static rawwaker_future polled_with(const rawwaker_vtable *vtable) {
  rawwaker_future f = rawwaker_oneshot_new(0, 0, NULL, NULL, &some);
  rawwaker w = {NULL, vtable};
  rawwaker_context cx = {&w};
  f.vtable->poll(f.data, &cx, NULL);
  return f;
}
static void die_poll(void) { polled_with(&to_nothing); }
static void die_send(void) {
  polled_with(&to_gap);
  rawwaker_oneshot_send(some, NULL);
}
static void die_fail(void) {
  polled_with(&to_gap);
  rawwaker_oneshot_fail(some, "why", 3);
}
static void die_drop(void) {
  polled_with(&to_gap);
  rawwaker_oneshot_drop(some);
}
static void die_drop_future(void) {
  rawwaker_future f = polled_with(&to_gap);
  f.vtable->drop(f.data);
}
static void deaths(void) {
  death("rawwaker_oneshot_new: NULL sender", die_sender);
  death("rawwaker_oneshot_new: align is not a power of two", die_align);
  death("rawwaker_oneshot_new: align is not a power of two", die_align_6);
  death("rawwaker_oneshot_new: out of memory", die_memory);
  death("rawwaker_oneshot_new: out of memory", die_size);
  death("rawwaker_oneshot_new: out of memory", die_size_and_align);
  death("rawwaker_oneshot_cancel: not a future of rawwaker_oneshot_new", die_cancel);
  death("rawwaker_oneshot_new: slot clone gave a NULL vtable", die_poll);
  death("rawwaker_oneshot_send: empty slot wake", die_send);
  death("rawwaker_oneshot_fail: empty slot wake", die_fail);
  death("rawwaker_oneshot_drop: empty slot wake", die_drop);
  death("rawwaker_oneshot_new: empty slot drop", die_drop_future);
}

/* ---------------------------------------------------------------------------------- storm -- */

/* THREADS threads act on PLACES places. A place holds a future and a sender, of the same operation
 * or of two; a thread takes one out, uses it and puts it back. Each operation counts what becomes
 * of it, and its release checks the counts. */
enum { THREADS = 8, PLACES = 64, BATCH = 1000 };

static void must(bool ok, const char *why) {
  if (ok) return;
  printf("not ok - storm: %s\n", why);
  fflush(stdout);
  _exit(1);
}

typedef struct operation operation;
typedef struct place {
  _Atomic(operation *) future, sender;
} place;
static place places[PLACES];

struct operation {
  rawwaker_future f;
  rawwaker_oneshot *tx;
  place *at;
  rawwaker own; /* of the thread that holds the future, as the next four */
  bool started, polled, ended, pending;
  unsigned seen;     /* woken, when the latest poll began */
  atomic_uint woken;
  unsigned how;      /* random: what start and cancel do */
  uint64_t number;
  /* what has become of it */
  atomic_uint taken, destroyed, panicked, sends, failures, cancels;
};

static struct {
  atomic_ulong made, taken, destroyed, failed, unstarted, cancelled, refused, panicked, released;
} count;

static uint64_t next(uint64_t *s) {
  *s ^= *s << 13;
  *s ^= *s >> 7;
  *s ^= *s << 17;
  return *s;
}

/* Uses the sender. After that o may be gone. */
static void use_sender(operation *o, uint64_t how) {
  rawwaker_oneshot *sender = o->tx;
  if (how % 4 == 0) (void)rawwaker_oneshot_closed(sender);
  if (how % 3 == 0) {
    o->failures++;
    if (how % 2 == 0)
      rawwaker_oneshot_fail(sender, "storm", 5);
    else
      rawwaker_oneshot_drop(sender);
  } else {
    value v = {{o->number, ~o->number, o->number * 3}};
    o->sends++;
    if (!rawwaker_oneshot_send(sender, &v)) atomic_fetch_add(&count.refused, 1);
  }
}
static void put_sender(operation *o) {
  o = atomic_exchange(&o->at->sender, o);
  if (o != NULL) use_sender(o, o->number);
}
static void storm_start(void *arg) {
  operation *o = arg;
  must(!o->started, "start was called twice");
  o->started = true;
  if (o->how % 8 == 0)
    use_sender(o, o->how / 8);
  else
    put_sender(o);
}
static void storm_cancel(void *arg) {
  operation *o = arg;
  must(o->started && !o->ended, "cancel before start, or after the end was seen");
  must(o->cancels++ == 0, "cancel was called twice");
  operation *mine = o;
  if (o->how / 16 % 2 == 0 && atomic_compare_exchange_strong(&o->at->sender, &mine, NULL))
    use_sender(o, o->how / 32);
}
static void storm_destroy(void *arg, void *v) {
  operation *o = arg;
  const value *is = v;
  must(is->words[0] == o->number && is->words[1] == ~o->number, "destroy has a wrong value");
  o->destroyed++;
}
static void storm_release(void *arg) {
  operation *o = arg;
  unsigned sends = o->sends, failures = o->failures;
  must(o->cancels <= 1 && sends + failures <= 1, "an operation ended twice");
  if (sends == 1)
    must(o->taken + o->destroyed == 1, "a value was not taken or destroyed exactly once");
  else
    must(o->taken + o->destroyed == 0, "a value that was not sent");
  if (failures == 1) must(o->panicked <= 1, "a failure was given twice");
  if (sends + failures == 0)
    must(!o->started && !o->polled && o->cancels + o->panicked == 0, "a sender was forgotten");
  atomic_fetch_add(&count.taken, o->taken);
  atomic_fetch_add(&count.destroyed, o->destroyed);
  atomic_fetch_add(&count.failed, failures);
  atomic_fetch_add(&count.panicked, o->panicked);
  atomic_fetch_add(&count.unstarted, sends + failures == 0);
  atomic_fetch_add(&count.cancelled, o->cancels);
  atomic_fetch_add(&count.released, 1);
  free(o); /* so any later call is a use after free */
}

static void storm_woken(void *arg) { ((operation *)arg)->woken++; }

static operation *operation_new(place *at, uint64_t r) {
  static const rawwaker_oneshot_ops with = {storm_start, storm_cancel, storm_destroy,
                                            storm_release};
  static const rawwaker_oneshot_ops without = {NULL, storm_cancel, storm_destroy, storm_release};
  operation *o = malloc(sizeof *o);
  must(o != NULL, "out of memory");
  *o = (operation){.at = at, .how = (unsigned)(r >> 32)};
  o->number = atomic_fetch_add(&count.made, 1);
  o->own = rawwaker_from_fn(storm_woken, o, NULL);
  bool starts = r % 4 != 0;
  o->started = !starts;
  o->f = rawwaker_oneshot_new(sizeof(value), 8, starts ? &with : &without, o, &o->tx);
  if (!starts) put_sender(o);
  return o;
}

static void poll_operation(operation *o, uint64_t r) {
  rawwaker w = r % 3 == 0 ? rawwaker_from_fn(storm_woken, o, NULL) : rawwaker_clone(&o->own);
  rawwaker_context cx = {&w};
  value v = {{0, 0, 0}};
  o->polled = true;
  o->seen = o->woken;
  rawwaker_poll got = o->f.vtable->poll(o->f.data, &cx, r % 64 == 0 ? NULL : &v);
  o->pending = got == RAWWAKER_PENDING;
  o->ended = !o->pending;
  if (got == RAWWAKER_READY) {
    must(v.words[0] == o->number && v.words[1] == ~o->number && v.words[2] == o->number * 3,
         "a wrong value was taken");
    o->taken++;
  } else if (got == RAWWAKER_PANICKED) {
    o->panicked++;
  }
  rawwaker_drop(w);
}
static void drop_operation(operation *o) {
  rawwaker own = o->own;
  o->f.vtable->drop(o->f.data);
  rawwaker_drop(own);
}
static void put_future(operation *o) {
  o = atomic_exchange(&o->at->future, o);
  if (o != NULL) drop_operation(o);
}

static void act_on_future(place *at, uint64_t r) {
  operation *o = atomic_exchange(&at->future, NULL);
  if (o == NULL) {
    put_future(operation_new(at, r));
    return;
  }
  if (o->ended || r % 5 == 0) {
    drop_operation(o);
    return;
  }
  if (r % 5 == 1)
    rawwaker_oneshot_cancel(o->f);
  else
    poll_operation(o, r >> 8);
  put_future(o);
}
static void act_on_sender(place *at, uint64_t r) {
  operation *o = atomic_exchange(&at->sender, NULL);
  if (o == NULL) return;
  if (r % 4 == 0) {
    (void)rawwaker_oneshot_closed(o->tx);
    put_sender(o);
  } else {
    use_sender(o, r >> 8);
  }
}

static unsigned long made_until; /* of this batch */
static void *storm_run(void *arg) {
  uint64_t s = (uint64_t)(uintptr_t)arg * 0x9E3779B97F4A7C15u + count.made + 1;
  while (atomic_load(&count.made) < made_until) {
    uint64_t r = next(&s);
    place *at = &places[(r >> 40) % PLACES];
    if (r % 3 == 0)
      act_on_sender(at, r / 3);
    else
      act_on_future(at, r / 3);
  }
  return NULL;
}

static void all_threads(void *(*run_thread)(void *), unsigned many) {
  pthread_t t[THREADS];
  for (uintptr_t i = 0; i < many; i++)
    must(pthread_create(&t[i], NULL, run_thread, (void *)(i + 1)) == 0, "no thread");
  for (unsigned i = 0; i < many; i++) pthread_join(t[i], NULL);
}

static void storm(unsigned long rounds) {
  unsigned long quiet = 0;
  for (made_until = 0; made_until < rounds;) {
    made_until = made_until + BATCH < rounds ? made_until + BATCH : rounds;
    all_threads(storm_run, THREADS);
    /* Now every sender is used, and what waits for one of them must be woken. */
    for (place *at = places; at < places + PLACES; at++) {
      operation *o = atomic_exchange(&at->sender, NULL);
      if (o != NULL) use_sender(o, o->number);
    }
    for (place *at = places; at < places + PLACES; at++) {
      operation *o = atomic_exchange(&at->future, NULL);
      if (o == NULL) continue;
      if (o->pending) {
        quiet++;
        must(o->woken > o->seen, "a wake was lost");
        poll_operation(o, 1);
        must(o->ended, "a sender was used, and the future is pending");
      }
      drop_operation(o);
    }
    must(count.released == count.made && rawwaker_live() == 0, "something is left");
  }
  must(count.made == count.taken + count.destroyed + count.failed + count.unstarted,
       "the outcomes are not one for each operation");
  printf("# storm: %lu oneshots = %lu taken + %lu destroyed + %lu failed + %lu never started; "
         "%lu cancelled; %lu of %lu futures found waiting were woken\n",
         count.made, count.taken, count.destroyed, count.failed, count.unstarted, count.cancelled,
         quiet, quiet);
}

/* ------------------------------------------------------------ tasks, and engines with queues -- */

/* Half of the threads block on oneshots; the others are engines, each with a queue. A wake that is
 * lost, of the task or the engine, makes the program hang. */
enum { ENGINES = THREADS / 2 };
static rawwaker_queue *engines[ENGINES];
static unsigned long blocks;
static atomic_ulong blocked, answered, broken;
static atomic_uint releases;

typedef struct request {
  rawwaker_queue_node node;
  rawwaker_oneshot *tx; /* NULL: stop */
  rawwaker_queue *to;
  uint64_t number;
} request;

static void request_start(void *arg) {
  request *r = arg;
  must(rawwaker_queue_push(r->to, &r->node), "a queue that is open has refused a push");
}
static void request_release(void *arg) {
  free(arg);
  atomic_fetch_add(&releases, 1);
}
static void *task_run(void *arg) {
  static const rawwaker_oneshot_ops ops = {request_start, NULL, NULL, request_release};
  uint64_t s = (uint64_t)(uintptr_t)arg * 0x9E3779B97F4A7C15u;
  for (unsigned long i = 0; i < blocks; i++) {
    request *r = malloc(sizeof *r);
    must(r != NULL, "out of memory");
    uint64_t number = next(&s), got = 0;
    *r = (request){.to = engines[number % ENGINES], .number = number};
    rawwaker_future f = rawwaker_oneshot_new(8, 8, &ops, r, &r->tx);
    rawwaker_poll code = rawwaker_block_on(f, &got);
    must(code == (number % 8 == 0 ? RAWWAKER_PANICKED : RAWWAKER_READY), "a wrong code");
    must(code != RAWWAKER_READY || got == ~number, "a wrong value");
    atomic_fetch_add(&blocked, 1);
  }
  rawwaker_set_panic(NULL, 0);
  return NULL;
}
static void *engine_run(void *arg) {
  rawwaker_queue *q = engines[(uintptr_t)arg - 1];
  for (;;) {
    struct pollfd p = {.fd = rawwaker_queue_fd(q), .events = POLLIN};
    poll(&p, 1, -1);
    for (rawwaker_queue_node *n; (n = rawwaker_queue_take(q)) != NULL;)
      for (rawwaker_queue_node *after; n != NULL; n = after) {
        request *r = (request *)n;
        after = rawwaker_queue_next(n);
        if (r->tx == NULL) return NULL;
        uint64_t v = ~r->number;
        if (r->number % 8 == 0) {
          atomic_fetch_add(&broken, 1);
          rawwaker_oneshot_drop(r->tx);
        } else {
          atomic_fetch_add(&answered, 1);
          must(rawwaker_oneshot_send(r->tx, &v), "a future that is awaited was dropped");
        }
      }
  }
}
static void tasks_and_engines(unsigned long many) {
  pthread_t t[ENGINES];
  request stop[ENGINES];
  blocks = many / ENGINES;
  for (uintptr_t i = 0; i < ENGINES; i++) {
    engines[i] = rawwaker_queue_new();
    must(engines[i] != NULL && pthread_create(&t[i], NULL, engine_run, (void *)(i + 1)) == 0,
         "no queue or no thread");
  }
  all_threads(task_run, THREADS - ENGINES);
  for (int i = 0; i < ENGINES; i++) {
    stop[i].tx = NULL;
    must(rawwaker_queue_push(engines[i], &stop[i].node), "a queue has refused a push");
    pthread_join(t[i], NULL);
    must(rawwaker_queue_close(engines[i]) == NULL, "a queue is not empty");
    rawwaker_queue_drop(engines[i]);
  }
  must(blocked == blocks * (THREADS - ENGINES) && blocked == answered + broken &&
           releases == blocked && rawwaker_live() == 0,
       "the counts of tasks and engines differ");
  printf("# tasks and engines: %lu awaited = %lu sent + %lu dropped\n", blocked, answered, broken);
}

/* -------------------------------------------------------------------------- storm of pushes -- */

/* In each round THREADS threads push MOST nodes each, or until the queue refuses one. Another
 * takes, and closes the queue after some time. The thread that is finished last drops it. */
enum { MOST = 200 };
typedef struct pushed {
  unsigned long next[THREADS]; /* the number that must come next from each */
  unsigned long taken;
} pushed;
static rawwaker_queue *queue_now;
static atomic_ulong accepted, pushers_left;
static pthread_barrier_t round_begins, round_ends;
static unsigned long queue_rounds;

static void accept(pushed *p, rawwaker_queue_node *n) {
  for (rawwaker_queue_node *after; n != NULL; n = after) {
    work *w = (work *)n;
    after = rawwaker_queue_next(n);
    must(w->number == p->next[w->from], "a push was lost, came twice or overtook another");
    p->next[w->from]++;
    p->taken++;
    free(w);
  }
}
static void *pusher_run(void *arg) {
  unsigned me = (unsigned)(uintptr_t)arg - 1;
  for (unsigned long i = 0; i < queue_rounds; i++) {
    pthread_barrier_wait(&round_begins);
    rawwaker_queue *q = queue_now;
    for (unsigned long number = 0; number < MOST; number++) {
      work *w = malloc(sizeof *w);
      must(w != NULL, "out of memory");
      *w = (work){.from = me, .number = number};
      if (!rawwaker_queue_push(q, &w->node)) {
        free(w); /* it stays the pusher's */
        break;
      }
      atomic_fetch_add(&accepted, 1);
    }
    if (atomic_fetch_sub(&pushers_left, 1) == 1) rawwaker_queue_drop(q);
    pthread_barrier_wait(&round_ends);
  }
  return NULL;
}
static void pushes(unsigned long rounds) {
  unsigned long all = 0, sleeps = 0;
  pthread_t t[THREADS];
  queue_rounds = rounds;
  pthread_barrier_init(&round_begins, NULL, THREADS + 1);
  pthread_barrier_init(&round_ends, NULL, THREADS + 1);
  for (uintptr_t i = 0; i < THREADS; i++)
    must(pthread_create(&t[i], NULL, pusher_run, (void *)(i + 1)) == 0, "no thread");
  for (unsigned long i = 0; i < rounds; i++) {
    rawwaker_queue *q = queue_now = rawwaker_queue_new();
    must(q != NULL, "no queue");
    pushed p;
    memset(&p, 0, sizeof p);
    atomic_store(&accepted, 0);
    atomic_store(&pushers_left, THREADS + 1);
    pthread_barrier_wait(&round_begins);
    while (p.taken < i * 37 % (THREADS * MOST + 1)) {
      rawwaker_queue_node *n = rawwaker_queue_take(q);
      accept(&p, n);
      if (n != NULL) continue;
      sleeps++;
      struct pollfd fd = {.fd = rawwaker_queue_fd(q), .events = POLLIN};
      poll(&fd, 1, -1);
    }
    accept(&p, rawwaker_queue_close(q));
    must(rawwaker_queue_take(q) == NULL && rawwaker_queue_close(q) == NULL,
         "a queue that was closed gives something");
    if (atomic_fetch_sub(&pushers_left, 1) == 1) rawwaker_queue_drop(q);
    pthread_barrier_wait(&round_ends);
    must(p.taken == atomic_load(&accepted), "what was pushed is not what was taken");
    all += p.taken;
  }
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  pthread_barrier_destroy(&round_begins);
  pthread_barrier_destroy(&round_ends);
  printf("# pushes: %lu by %d threads to %lu queues, all taken in order; %lu sleeps\n", all,
         (int)THREADS, rounds, sleeps);
}

static unsigned long rounds = 1000000;
static void run_storm(void) { storm(rounds); }
static void run_tasks(void) { tasks_and_engines(rounds / 10); }
static void run_pushes(void) { pushes(rounds / 1000 + 5); }

int main(int argc, char **argv) {
  bool with_deaths = true;
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "-no-deaths") == 0)
      with_deaths = false;
    else
      rounds = strtoul(argv[i], NULL, 10);
  for (playing = scripts; playing < scripts + sizeof scripts / sizeof *scripts; playing++)
    run(playing->name, play_script);
  rawwaker_set_panic(NULL, 0);
  run("a value of each size and alignment is copied, and destroyed if it is not taken",
      sizes_and_aligns);
  run("a size of 0 needs neither value nor out", no_size_needs_no_value);
  run("a failure's text is copied and cut at 1 KiB", texts);
  run("without memory fail gives a fixed text", no_memory_for_a_failure);
  run("block_on awaits a oneshot", block_on_awaits_it);
  run("a queue gives what was pushed, oldest first; a closed one refuses", queue_order_and_close);
  run("a push writes the descriptor only if the engine sleeps", queue_writes);
  run("a take that returns NULL leaves the descriptor unreadable", queue_take_reads);
  run("without memory there is no queue", no_memory_for_a_queue);
  run("push and take are no cancellation points", queue_is_not_cancelled);
  run("a queue's calls keep errno", queue_keeps_errno);
  if (with_deaths)
    deaths();
  else
    printf("# SKIP the deaths: the tool would add its report to the line\n");
  run("storm: send, fail, drop, cancel, poll and the future's drop, by 8 threads", run_storm);
  run("storm: tasks that block, and engines with queues", run_tasks);
  run("storm: pushes by 8 threads, take and close", run_pushes);
  run("a watcher is asked for each sender it has given out", a_watcher_is_asked);
  printf("1..%d\n", tests);
  return failures != 0;
}
