/* channel.c - tests each sentence of rawwaker_channel.h and prints TAP; many threads send, with
 * exact counts at the end: ./channel [-no-deaths] [operations] [seed]. ./run builds and runs it.
 * channel_gaps.c stops threads between their steps. */
#define _GNU_SOURCE
#include "rawwaker_channel.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "tap.h"

/* ------------------------------------------------------------------------------- letters -- */

/* What happened, in order: s start, c cancel, dN destroy of item N, R release; and of a task with
 * the name a: ac clone, aw wake, ad drop. */
static char events[512];
static void note(const char *text) {
  size_t n = strlen(events);
  snprintf(events + n, sizeof events - n, "%s", text);
}
static bool happened(const char *want) {
  bool same = strcmp(events, want) == 0;
  if (!same) printf("# happened: %s, not: %s\n", events, want);
  events[0] = '\0';
  return same;
}

static rawwaker_sender *tx;
static void (*in_start)(void), (*in_destroy)(void), (*in_cancel)(void);
static size_t destroyed_align;
static void on_start(void *arg) {
  note(arg == events ? "s" : "s?");
  if (in_start != NULL) in_start();
}
static void on_cancel(void *arg) {
  note(arg == events ? "c" : "c?");
  if (in_cancel != NULL) in_cancel();
}
static void on_destroy(void *arg, void *item) {
  char text[24];
  if (destroyed_align != 0 && (uintptr_t)item % destroyed_align != 0) note("unaligned");
  snprintf(text, sizeof text, arg == events ? "d%d" : "d?%d", *(int *)item);
  note(text);
  if (in_destroy != NULL) in_destroy();
}
static void on_release(void *arg) { note(arg == events ? "R" : "R?"); }
static const rawwaker_channel_ops all_ops = {on_start, on_cancel, on_destroy, on_release};
/* The sender may be used at once. */
static const rawwaker_channel_ops at_once = {NULL, on_cancel, on_destroy, on_release};

/* A task of which each reference is allocated separately, so that a second use is a use of freed
 * memory. */
typedef struct task {
  const char *name;
  int refs, wakes;
} task;
typedef struct token {
  task *of;
} token;
static rawwaker task_waker(task *t);
static void task_note(const token *k, const char *what) {
  note(k->of->name);
  note(what);
}
static void token_end(token *k) {
  k->of->refs--;
  free(k);
}
static rawwaker task_clone(void *data) {
  task_note(data, "c");
  return task_waker(((token *)data)->of);
}
static void task_wake(void *data) {
  task_note(data, "w");
  ((token *)data)->of->wakes++;
  token_end(data);
}
static void task_wake_by_ref(void *data) {
  task_note(data, "r");
  ((token *)data)->of->wakes++;
}
static void task_drop(void *data) {
  task_note(data, "d");
  token_end(data);
}
static const rawwaker_vtable task_vtable = {task_clone, task_wake, task_wake_by_ref, task_drop};
static rawwaker task_waker(task *t) {
  token *k = __real_malloc(sizeof *k);
  if (k == NULL) abort();
  k->of = t;
  t->refs++;
  return (rawwaker){k, &task_vtable};
}

static rawwaker_poll poll_for(task *t, rawwaker_stream s, void *out) {
  token borrowed = {t};
  rawwaker w = {&borrowed, &task_vtable};
  return s.vtable->poll_next(s.data, &(rawwaker_context){&w}, out);
}
static rawwaker_poll poll_quietly(rawwaker_stream s, void *out) {
  rawwaker w = rawwaker_noop();
  return s.vtable->poll_next(s.data, &(rawwaker_context){&w}, out);
}
static void drop_stream(rawwaker_stream s) { s.vtable->drop(s.data); }
static rawwaker_poll poll_room(task *t, rawwaker_future room) {
  token borrowed = {t};
  rawwaker w = {&borrowed, &task_vtable};
  return room.vtable->poll(room.data, &(rawwaker_context){&w}, NULL);
}
static void drop_room(rawwaker_future room) { room.vtable->drop(room.data); }

static rawwaker_stream ints(size_t capacity, const rawwaker_channel_ops *ops) {
  events[0] = '\0';
  in_start = in_destroy = in_cancel = NULL;
  destroyed_align = 0;
  return rawwaker_channel_new(sizeof(int), _Alignof(int), capacity, ops, events, &tx);
}
static int send_int(int n) { return rawwaker_sender_try_send(tx, &n); }
/* Receives one item; -1: PENDING, -2: DONE, -3: PANICKED, -4: another code, or *out was written
 * without READY. */
static int receive(rawwaker_stream s) {
  int n = -77;
  rawwaker_poll got = poll_quietly(s, &n);
  if (got == RAWWAKER_READY) return n;
  if (n != -77) return -4;
  return got == RAWWAKER_PENDING ? -1 : got == RAWWAKER_DONE ? -2
         : got == RAWWAKER_PANICKED                          ? -3
                                                             : -4;
}
static bool panic_is(const char *text) {
  bool same = strcmp(rawwaker_last_panic(), text) == 0;
  if (!same) printf("# panic: %s\n", rawwaker_last_panic());
  return same;
}

/* ---------------------------------------------------------------------- sending, receiving -- */

static void items_in_order(void) {
  static const size_t capacities[] = {1, 2, 3, 4, 5, 7, 128};
  for (size_t k = 0; k < sizeof capacities / sizeof *capacities; k++) {
    int cap = (int)capacities[k], sent = 0, got = 0;
    rawwaker_stream s = ints(capacities[k], &at_once);
    for (int round = 0; round < 5; round++) {
      while (sent - got < cap) CHECK(send_int(sent++) == RAWWAKER_SENT);
      CHECK(send_int(12345) == RAWWAKER_FULL);
      for (int i = 0; i <= round && i < cap; i++) CHECK(receive(s) == got++);
    }
    rawwaker_sender_drop(tx);
    while (got < sent) CHECK(receive(s) == got++);
    CHECK(receive(s) == -2);
    CHECK(happened(""));
    drop_stream(s);
    CHECK(happened("R"));
  }
}

static void full_and_closed_copy_nothing(void) {
  rawwaker_stream s = ints(1, &at_once);
  rawwaker_sender *other = rawwaker_sender_clone(tx);
  CHECK(send_int(1) == RAWWAKER_SENT);
  CHECK(send_int(2) == RAWWAKER_FULL);
  CHECK(rawwaker_sender_try_send(other, NULL) == RAWWAKER_FULL); /* is not read */
  CHECK(happened(""));
  drop_stream(s);
  CHECK(happened("d1c"));
  CHECK(send_int(3) == RAWWAKER_CLOSED);
  CHECK(rawwaker_sender_try_send(other, NULL) == RAWWAKER_CLOSED);
  rawwaker_sender_drop(other);
  CHECK(happened(""));
  rawwaker_sender_drop(tx);
  CHECK(happened("R"));
}

static void items_without_a_size(void) {
  events[0] = '\0';
  rawwaker_stream s = rawwaker_channel_new(0, 0, 2, NULL, NULL, &tx);
  CHECK(rawwaker_sender_try_send(tx, NULL) == RAWWAKER_SENT);
  CHECK(rawwaker_sender_try_send(tx, NULL) == RAWWAKER_SENT);
  CHECK(rawwaker_sender_try_send(tx, NULL) == RAWWAKER_FULL);
  CHECK(poll_quietly(s, NULL) == RAWWAKER_READY);
  CHECK(rawwaker_sender_try_send(tx, NULL) == RAWWAKER_SENT);
  rawwaker_sender_drop(tx);
  CHECK(poll_quietly(s, NULL) == RAWWAKER_READY);
  CHECK(poll_quietly(s, NULL) == RAWWAKER_READY);
  CHECK(poll_quietly(s, NULL) == RAWWAKER_DONE);
  drop_stream(s);
}

static void items_are_aligned(void) {
  static const size_t aligns[] = {0, 1, 2, 8, 16, 64, 256, 4096};
  static const size_t sizes[] = {4, 5, 64, 1000};
  static unsigned char item[1000], out[1000];
  for (size_t a = 0; a < sizeof aligns / sizeof *aligns; a++)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
      events[0] = '\0';
      in_destroy = in_cancel = NULL;
      destroyed_align = aligns[a] < sizeof(int) ? sizeof(int) : aligns[a];
      rawwaker_stream s =
          rawwaker_channel_new(sizes[k], aligns[a], 3, &at_once, events, &tx);
      for (int n = 0; n < 8; n++) {
        memset(item, n, sizeof item);
        memset(out, 99, sizeof out);
        CHECK(rawwaker_sender_try_send(tx, item) == RAWWAKER_SENT);
        CHECK(poll_quietly(s, out) == RAWWAKER_READY);
        CHECK(memcmp(out, item, sizes[k]) == 0);
        CHECK(sizes[k] == sizeof out || out[sizes[k]] == 99);
      }
      memset(item, 0, sizeof item);
      for (int n = 1; n <= 3; n++) {
        memcpy(item, &n, sizeof n);
        CHECK(rawwaker_sender_try_send(tx, item) == RAWWAKER_SENT);
      }
      rawwaker_sender_drop(tx);
      drop_stream(s);
      CHECK(happened("d1d2d3R"));
    }
}

static void a_null_out_panics(void) {
  rawwaker_stream s = ints(2, &at_once);
  CHECK(send_int(1) == RAWWAKER_SENT);
  CHECK(poll_quietly(s, NULL) == RAWWAKER_PANICKED);
  CHECK(panic_is("channel: poll_next: out is NULL, and the item has a size"));
  CHECK(receive(s) == -3);
  CHECK(panic_is("channel: stream polled after it has panicked"));
  CHECK(happened(""));
  /* A sender exists, and none has failed. */
  drop_stream(s);
  CHECK(happened("d1c"));
  rawwaker_sender_drop(tx);
  CHECK(happened("R"));
}

/* ---------------------------------------------------------------- start, cancel, release -- */

static void start_at_the_first_poll(void) {
  rawwaker_stream s = ints(2, &all_ops);
  CHECK(happened(""));
  CHECK(receive(s) == -1);
  CHECK(happened("s"));
  CHECK(receive(s) == -1);
  CHECK(send_int(7) == RAWWAKER_SENT);
  CHECK(receive(s) == 7);
  rawwaker_sender_drop(tx);
  CHECK(receive(s) == -2);
  drop_stream(s);
  CHECK(happened("R"));
}

static void send_all_and_drop(void) {
  CHECK(send_int(1) == RAWWAKER_SENT && send_int(2) == RAWWAKER_SENT);
  CHECK(send_int(3) == RAWWAKER_FULL);
  rawwaker_sender_drop(tx);
}
static void send_one_and_fail(void) {
  CHECK(send_int(1) == RAWWAKER_SENT);
  rawwaker_sender_fail(tx, "no engine", 9);
}
static void start_may_send_fail_and_drop(void) {
  rawwaker_stream s = ints(2, &all_ops);
  in_start = send_all_and_drop;
  CHECK(receive(s) == 1 && receive(s) == 2 && receive(s) == -2);
  drop_stream(s);
  CHECK(happened("sR"));
  s = ints(2, &all_ops);
  in_start = send_one_and_fail;
  CHECK(receive(s) == 1 && receive(s) == -3 && panic_is("no engine"));
  drop_stream(s);
  CHECK(happened("sR"));
}

static void never_started(void) {
  rawwaker_stream s = ints(2, &all_ops);
  drop_stream(s);
  CHECK(happened("R"));
  /* Without start the sender exists, so cancel is called, and its items are destroyed. */
  s = ints(2, &at_once);
  send_int(4);
  drop_stream(s);
  CHECK(happened("d4c"));
  rawwaker_sender_drop(tx);
  CHECK(happened("R"));
}

static void no_callbacks(void) {
  static const rawwaker_channel_ops none = {NULL, NULL, NULL, NULL};
  for (int with = 0; with < 2; with++) {
    rawwaker_stream s = ints(2, with ? &none : NULL);
    send_int(1);
    CHECK(receive(s) == 1);
    send_int(2);
    drop_stream(s);
    CHECK(send_int(3) == RAWWAKER_CLOSED);
    rawwaker_sender_drop(tx);
    CHECK(happened(""));
  }
}

static void when_cancel_is_called(void) {
  /* a sender exists */
  rawwaker_stream s = ints(2, &all_ops);
  receive(s);
  rawwaker_sender *other = rawwaker_sender_clone(tx);
  rawwaker_sender_drop(tx);
  CHECK(happened("s"));
  drop_stream(s);
  CHECK(happened("c"));
  rawwaker_sender_drop(other);
  CHECK(happened("R"));
  /* none exists: the end was not received yet, or was */
  for (int received = 0; received < 2; received++) {
    s = ints(2, &all_ops);
    receive(s);
    rawwaker_sender_drop(tx);
    if (received) CHECK(receive(s) == -2);
    drop_stream(s);
    CHECK(happened("sR"));
  }
  /* one has failed, and another exists */
  for (int received = 0; received < 2; received++) {
    s = ints(2, &all_ops);
    receive(s);
    other = rawwaker_sender_clone(tx);
    rawwaker_sender_fail(tx, "x", 1);
    if (received) CHECK(receive(s) == -3);
    drop_stream(s);
    CHECK(happened("s"));
    rawwaker_sender_drop(other);
    CHECK(happened("R"));
  }
}

/* cancel may end the sender, and so may destroy; release comes after both. */
static void drop_tx(void) {
  rawwaker_sender_drop(tx);
  in_destroy = NULL;
}
static void a_callback_may_end_the_sender(void) {
  rawwaker_stream s = ints(2, &at_once);
  in_cancel = drop_tx;
  send_int(1);
  drop_stream(s);
  CHECK(happened("d1cR"));
  s = ints(2, &at_once);
  in_destroy = drop_tx;
  send_int(1);
  send_int(2);
  drop_stream(s);
  CHECK(happened("d1d2R"));
}

static void release_is_last(void) {
  /* the stream, the sender and a room: whichever comes last */
  for (int last = 0; last < 3; last++) {
    rawwaker_stream s = ints(1, &at_once);
    rawwaker_future room = rawwaker_sender_room(tx);
    for (int i = 1; i <= 3; i++) {
      CHECK(strchr(events, 'R') == NULL);
      switch ((last + i) % 3) {
      case 0: drop_stream(s); break;
      case 1: rawwaker_sender_drop(tx); break;
      default: drop_room(room); break;
      }
    }
    CHECK(strlen(events) >= 1 && events[strlen(events) - 1] == 'R');
    CHECK(strchr(events, 'R') == strrchr(events, 'R'));
  }
}

/* ----------------------------------------------------------------------- done and panicked -- */

static void done_is_repeated(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(2, &at_once);
  int out = 0;
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  send_int(1);
  send_int(2);
  rawwaker_sender_drop(tx);
  CHECK(happened("acaw"));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_READY && out == 1);
  CHECK(poll_for(&a, s, &out) == RAWWAKER_READY && out == 2);
  CHECK(happened(""));
  for (int i = 0; i < 3; i++) CHECK(poll_for(&a, s, &out) == RAWWAKER_DONE && out == 2);
  CHECK(a.refs == 0); /* before the drop */
  events[0] = '\0';
  drop_stream(s);
  CHECK(happened("R") && a.refs == 0);
}

static void the_last_sender_ends_the_stream(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(2, &at_once);
  rawwaker_sender *two = rawwaker_sender_clone(tx), *three = rawwaker_sender_clone(two);
  int out;
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  rawwaker_sender_drop(tx);
  rawwaker_sender_drop(three);
  CHECK(happened("ac"));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  events[0] = '\0';
  rawwaker_sender_drop(two);
  CHECK(a.wakes == 1);
  CHECK(poll_for(&a, s, &out) == RAWWAKER_DONE);
  drop_stream(s);
  CHECK(a.refs == 0);
}

static void items_first_and_then_the_failure(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(2, &at_once);
  rawwaker_sender *other = rawwaker_sender_clone(tx), *third = rawwaker_sender_clone(tx);
  int out;
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  send_int(1);
  send_int(2);
  rawwaker_sender_fail(tx, "the firstX", 9);
  CHECK(a.wakes == 1);
  CHECK(rawwaker_sender_try_send(other, &out) == RAWWAKER_CLOSED);
  rawwaker_sender_fail(third, "the second", 10);
  events[0] = '\0';
  CHECK(receive(s) == 1 && receive(s) == 2);
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PANICKED && panic_is("the first"));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PANICKED);
  CHECK(panic_is("channel: stream polled after it has panicked"));
  CHECK(a.refs == 0);
  CHECK(rawwaker_sender_try_send(other, &out) == RAWWAKER_CLOSED);
  rawwaker_sender_drop(other);
  CHECK(happened("acad"));
  drop_stream(s);
  CHECK(happened("R"));
}

static void a_failure_wakes_the_receiver(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(2, &at_once);
  rawwaker_sender *other = rawwaker_sender_clone(tx);
  int out;
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  rawwaker_sender_fail(other, "gone", 4);
  CHECK(happened("acaw"));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PANICKED && panic_is("gone"));
  drop_stream(s);
  rawwaker_sender_drop(tx);
  CHECK(a.refs == 0);
}

static void texts(void) {
  char text[1100], kept[1025];
  memset(text, 'x', sizeof text);
  memset(kept, 'x', 1024);
  kept[1024] = '\0';
  rawwaker_stream s = ints(1, NULL);
  rawwaker_sender_fail(tx, text, sizeof text);
  CHECK(receive(s) == -3 && panic_is(kept));
  drop_stream(s);
  s = ints(1, NULL);
  rawwaker_sender_fail(tx, NULL, 0);
  CHECK(receive(s) == -3 && panic_is(""));
  drop_stream(s);
  for (int first = 0; first < 2; first++) { /* no memory for the first, or for the second */
    s = ints(1, NULL);
    rawwaker_sender *other = rawwaker_sender_clone(tx);
    if (first == 0) out_of_memory_at = 1;
    rawwaker_sender_fail(tx, "text", 4);
    if (first == 1) out_of_memory_at = 1;
    rawwaker_sender_fail(other, "other", 5);
    CHECK(out_of_memory_at == 0);
    CHECK(receive(s) == -3 && panic_is(first == 0 ? "channel: out of memory" : "text"));
    drop_stream(s);
  }
}

/* ------------------------------------------------------------------- the receiver's waker -- */

static void wakes_of_the_receiver(void) {
  task a = {.name = "a"}, b = {.name = "b"};
  rawwaker_stream s = ints(3, &at_once);
  int out;
  send_int(1); /* the receiver never slept */
  CHECK(happened(""));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_READY);
  CHECK(happened(""));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  CHECK(poll_for(&b, s, &out) == RAWWAKER_PENDING); /* of several polls, the latest */
  CHECK(happened("acbcad"));
  send_int(2);
  CHECK(happened("bw"));
  send_int(3); /* it is awake, and will look */
  CHECK(happened(""));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_READY && out == 2);
  CHECK(poll_for(&a, s, &out) == RAWWAKER_READY && out == 3);
  CHECK(happened(""));
  CHECK(poll_for(&a, s, &out) == RAWWAKER_PENDING);
  CHECK(happened("ac"));
  drop_stream(s);
  CHECK(happened("adc") && a.refs == 0 && b.refs == 0);
  CHECK(send_int(4) == RAWWAKER_CLOSED);
  rawwaker_sender_drop(tx);
}

/* ----------------------------------------------------------------------------------- rooms -- */

static void room_is_ready(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(1, &at_once);
  rawwaker_future room = rawwaker_sender_room(tx);
  CHECK(poll_room(&a, room) == RAWWAKER_READY);
  CHECK(happened("") && a.refs == 0);
  drop_room(room);
  CHECK(send_int(1) == RAWWAKER_SENT);
  room = rawwaker_sender_room(tx);
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING);
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING); /* a poll without a wake */
  CHECK(a.wakes == 0);
  events[0] = '\0';
  CHECK(receive(s) == 1);
  CHECK(happened("aw"));
  CHECK(poll_room(&a, room) == RAWWAKER_READY);
  drop_room(room);
  CHECK(happened("") && a.refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
}

static void room_reserves_nothing(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(1, &at_once);
  send_int(1);
  rawwaker_future room = rawwaker_sender_room(tx);
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING);
  CHECK(receive(s) == 1);
  CHECK(a.wakes == 1);
  CHECK(send_int(2) == RAWWAKER_SENT); /* comes first */
  CHECK(send_int(3) == RAWWAKER_FULL);
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING);
  CHECK(receive(s) == 2);
  CHECK(a.wakes == 2);
  CHECK(poll_room(&a, room) == RAWWAKER_READY);
  drop_room(room);
  CHECK(a.refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
}

static void room_for_many(void) {
  task a = {.name = "a"}, b = {.name = "b"};
  rawwaker_stream s = ints(4, &at_once);
  for (int i = 1; i <= 4; i++) CHECK(send_int(i) == RAWWAKER_SENT);
  rawwaker_future room = rawwaker_sender_room_for(tx, 3);
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING);
  CHECK(receive(s) == 1 && receive(s) == 2);
  CHECK(a.wakes == 0);
  CHECK(receive(s) == 3);
  CHECK(a.wakes == 1);
  CHECK(send_int(5) == RAWWAKER_SENT); /* comes first */
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING);
  CHECK(receive(s) == 4);
  CHECK(a.wakes == 2);
  CHECK(poll_room(&a, room) == RAWWAKER_READY);
  drop_room(room);
  /* more than the capacity is the capacity, and 0 is 1 */
  rawwaker_future all = rawwaker_sender_room_for(tx, SIZE_MAX);
  CHECK(poll_room(&a, all) == RAWWAKER_PENDING);
  for (int i = 6; i <= 8; i++) CHECK(send_int(i) == RAWWAKER_SENT);
  room = rawwaker_sender_room_for(tx, 0);
  CHECK(poll_room(&b, room) == RAWWAKER_PENDING);
  CHECK(receive(s) == 5);
  CHECK(a.wakes == 2 && b.wakes == 1); /* the one for which there is room */
  CHECK(poll_room(&b, room) == RAWWAKER_READY);
  CHECK(receive(s) == 6 && receive(s) == 7);
  CHECK(a.wakes == 2);
  CHECK(receive(s) == 8);
  CHECK(a.wakes == 3);
  CHECK(poll_room(&a, all) == RAWWAKER_READY);
  drop_room(all);
  drop_room(room);
  /* a closed channel has room for all */
  for (int i = 1; i <= 4; i++) CHECK(send_int(i) == RAWWAKER_SENT);
  all = rawwaker_sender_room_for(tx, 2);
  CHECK(poll_room(&a, all) == RAWWAKER_PENDING);
  room = rawwaker_sender_room(tx);
  CHECK(poll_room(&b, room) == RAWWAKER_PENDING);
  CHECK(receive(s) == 1);
  CHECK(a.wakes == 3 && b.wakes == 2);
  CHECK(poll_room(&b, room) == RAWWAKER_READY);
  rawwaker_sender_fail(rawwaker_sender_clone(tx), "x", 1);
  CHECK(a.wakes == 4);
  CHECK(poll_room(&a, all) == RAWWAKER_READY);
  drop_room(all);
  drop_room(room);
  CHECK(a.refs == 0 && b.refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
  events[0] = '\0';
}

static void a_woken_room_passes_on_to_one_that_fits(void) {
  task t = {.name = "t"}, many = {.name = "m"}, other = {.name = "o"};
  rawwaker_stream s = ints(2, &at_once);
  CHECK(send_int(1) == RAWWAKER_SENT && send_int(2) == RAWWAKER_SENT);
  rawwaker_future both = rawwaker_sender_room_for(tx, 2);
  rawwaker_future one = rawwaker_sender_room(tx), two = rawwaker_sender_room(tx);
  CHECK(poll_room(&many, both) == RAWWAKER_PENDING);
  CHECK(poll_room(&t, one) == RAWWAKER_PENDING && poll_room(&other, two) == RAWWAKER_PENDING);
  CHECK(receive(s) == 1);
  CHECK(many.wakes == 0 && t.wakes + other.wakes == 1);
  CHECK(receive(s) == 2);
  CHECK(many.wakes + t.wakes + other.wakes == 2);
  drop_room(one);
  drop_room(two);
  CHECK(many.wakes == 1);
  CHECK(poll_room(&many, both) == RAWWAKER_READY);
  drop_room(both);
  CHECK(t.refs == 0 && many.refs == 0 && other.refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
  events[0] = '\0';
}

/* A room for two places is woken, and a sender whose room was ready before uses one of them. */
static void a_woken_room_that_does_not_fit_passes_on(void) {
  task one = {.name = "o"}, many = {.name = "m"}, other = {.name = "t"};
  rawwaker_stream s = ints(2, &at_once);
  CHECK(send_int(1) == RAWWAKER_SENT && send_int(2) == RAWWAKER_SENT);
  rawwaker_future last = rawwaker_sender_room(tx), both = rawwaker_sender_room_for(tx, 2),
                  first = rawwaker_sender_room(tx);
  CHECK(poll_room(&other, last) == RAWWAKER_PENDING && poll_room(&many, both) == RAWWAKER_PENDING);
  CHECK(poll_room(&one, first) == RAWWAKER_PENDING);
  CHECK(receive(s) == 1 && one.wakes == 1);
  CHECK(poll_room(&one, first) == RAWWAKER_READY);
  CHECK(receive(s) == 2 && many.wakes == 1);
  CHECK(send_int(3) == RAWWAKER_SENT);
  CHECK(other.wakes == 0);
  CHECK(poll_room(&many, both) == RAWWAKER_PENDING);
  CHECK(other.wakes == 1);
  CHECK(poll_room(&other, last) == RAWWAKER_READY);
  drop_room(first);
  drop_room(both);
  drop_room(last);
  CHECK(one.refs == 0 && many.refs == 0 && other.refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
  events[0] = '\0';
}

/* Makes a full channel with three rooms, which wait in this order. */
static rawwaker_stream three_rooms(size_t capacity, task t[3], rawwaker_future room[3]) {
  static const char *const names[] = {"a", "b", "e"};
  rawwaker_stream s = ints(capacity, &at_once);
  while (send_int(1) == RAWWAKER_SENT) {
  }
  for (int i = 0; i < 3; i++) {
    t[i] = (task){.name = names[i]};
    room[i] = rawwaker_sender_room(tx);
    CHECK(poll_room(&t[i], room[i]) == RAWWAKER_PENDING);
  }
  events[0] = '\0';
  return s;
}
static int woken(const task t[3]) { return t[0].wakes + t[1].wakes + t[2].wakes; }
static int woken_one(const task t[3]) { return t[0].wakes ? 0 : t[1].wakes ? 1 : 2; }

static void end_three(rawwaker_stream s, task t[3], rawwaker_future room[3], int dropped) {
  for (int i = 0; i < 3; i++)
    if ((dropped & 1 << i) == 0) drop_room(room[i]);
  CHECK(t[0].refs == 0 && t[1].refs == 0 && t[2].refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
}

static void one_place_wakes_one_room(void) {
  task t[3];
  rawwaker_future room[3];
  rawwaker_stream s = three_rooms(2, t, room);
  CHECK(receive(s) == 1);
  CHECK(woken(t) == 1);
  int first = woken_one(t);
  CHECK(receive(s) == 1);
  CHECK(woken(t) == 2 && t[first].wakes == 1); /* they take turns */
  CHECK(receive(s) == -1);
  CHECK(woken(t) == 2);
  end_three(s, t, room, 0);
  /* in turns, also if each waits again: none is passed over */
  s = three_rooms(1, t, room);
  for (int round = 1; round <= 12; round++) {
    CHECK(receive(s) == 1);
    CHECK(woken(t) == round);
    for (int i = 0; i < 3; i++) CHECK(t[i].wakes == round / 3 || t[i].wakes == (round + 2) / 3);
    CHECK(send_int(1) == RAWWAKER_SENT);
    for (int i = 0; i < 3; i++) CHECK(poll_room(&t[i], room[i]) == RAWWAKER_PENDING);
  }
  end_three(s, t, room, 0);
}

static void a_woken_room_that_is_dropped_passes_on(void) {
  task t[3];
  rawwaker_future room[3];
  rawwaker_stream s = three_rooms(2, t, room);
  CHECK(receive(s) == 1);
  int first = woken_one(t), dropped = 1 << first;
  drop_room(room[first]);
  CHECK(woken(t) == 2 && t[first].wakes == 1);
  /* a room that was not woken passes nothing on */
  for (int i = 0; i < 3; i++)
    if (t[i].wakes == 0) {
      drop_room(room[i]);
      dropped |= 1 << i;
    }
  CHECK(woken(t) == 2);
  /* a place that was taken meanwhile is not passed on */
  CHECK(send_int(1) == RAWWAKER_SENT);
  task last = {.name = "l"};
  rawwaker_future waits = rawwaker_sender_room(tx);
  CHECK(poll_room(&last, waits) == RAWWAKER_PENDING);
  for (int i = 0; i < 3; i++)
    if ((dropped & 1 << i) == 0) drop_room(room[i]);
  CHECK(last.wakes == 0);
  drop_room(waits);
  CHECK(last.refs == 0);
  end_three(s, t, room, 7);
}

/* Nor does one whose memory was a woken room's. */
static void a_room_that_never_waited_passes_nothing_on(void) {
  task t[3];
  rawwaker_future room[3];
  rawwaker_stream s = three_rooms(1, t, room);
  drop_room(rawwaker_sender_room(tx));
  CHECK(receive(s) == 1);
  CHECK(woken(t) == 1);
  for (int i = 0; i < 3; i++) drop_room(rawwaker_sender_room(tx));
  CHECK(woken(t) == 1);
  end_three(s, t, room, 0);
}

static void a_ready_room_with_more_space_passes_on(void) {
  task t[3];
  rawwaker_future room[3];
  rawwaker_stream s = three_rooms(3, t, room);
  CHECK(receive(s) == 1 && receive(s) == 1);
  CHECK(woken(t) == 2); /* by the receiver */
  int first = woken_one(t);
  CHECK(poll_room(&t[first], room[first]) == RAWWAKER_READY);
  CHECK(woken(t) == 3); /* two places are free */
  end_three(s, t, room, 0);
  s = three_rooms(3, t, room);
  CHECK(receive(s) == 1);
  first = woken_one(t);
  CHECK(poll_room(&t[first], room[first]) == RAWWAKER_READY);
  CHECK(woken(t) == 1); /* only one place is free */
  /* a room that never waited passes on too */
  CHECK(receive(s) == 1);
  rawwaker_future fresh = rawwaker_sender_room(tx);
  CHECK(woken(t) == 2);
  CHECK(poll_room(&t[0], fresh) == RAWWAKER_READY);
  CHECK(woken(t) == 3);
  drop_room(fresh);
  end_three(s, t, room, 0);
  /* one that has given READY has used its wake, and its drop passes nothing on */
  s = three_rooms(1, t, room);
  CHECK(receive(s) == 1);
  first = woken_one(t);
  CHECK(poll_room(&t[first], room[first]) == RAWWAKER_READY);
  drop_room(room[first]);
  CHECK(woken(t) == 1);
  end_three(s, t, room, 1 << first);
}

static void a_closed_channel_has_room(void) {
  task t[3];
  rawwaker_future room[3];
  for (int how = 0; how < 2; how++) {
    rawwaker_stream s = three_rooms(1, t, room);
    rawwaker_sender *other = rawwaker_sender_clone(tx);
    if (how == 0)
      rawwaker_sender_fail(other, "x", 1);
    else
      drop_stream(s);
    CHECK(woken(t) == 3);
    for (int i = 0; i < 3; i++) CHECK(poll_room(&t[i], room[i]) == RAWWAKER_READY);
    for (int i = 0; i < 3; i++) drop_room(room[i]);
    rawwaker_future late = rawwaker_sender_room(tx);
    CHECK(poll_room(&t[0], late) == RAWWAKER_READY);
    drop_room(late);
    CHECK(send_int(1) == RAWWAKER_CLOSED);
    CHECK(t[0].refs == 0 && t[1].refs == 0 && t[2].refs == 0);
    rawwaker_sender_drop(tx);
    if (how == 0)
      drop_stream(s);
    else
      rawwaker_sender_drop(other);
    CHECK(strchr(events, 'R') != NULL);
  }
}

static void rooms_are_woken_before_the_callbacks(void) {
  task t[3];
  rawwaker_future room[3];
  rawwaker_stream s = three_rooms(1, t, room);
  drop_stream(s);
  CHECK(happened("ewbwawd1c")); /* the newest room first */
  for (int i = 0; i < 3; i++) drop_room(room[i]);
  rawwaker_sender_drop(tx);
  CHECK(happened("R"));
}

static void a_room_outlives_both_ends(void) {
  task a = {.name = "a"};
  rawwaker_stream s = ints(1, &at_once);
  send_int(1);
  rawwaker_future room = rawwaker_sender_room(tx);
  CHECK(poll_room(&a, room) == RAWWAKER_PENDING);
  rawwaker_sender_drop(tx);
  CHECK(a.wakes == 0);
  CHECK(receive(s) == 1);
  CHECK(receive(s) == -2); /* the room does not keep the stream open */
  CHECK(a.wakes == 1);
  drop_stream(s);
  CHECK(strchr(events, 'R') == NULL);
  CHECK(poll_room(&a, room) == RAWWAKER_READY);
  drop_room(room);
  CHECK(events[strlen(events) - 1] == 'R' && a.refs == 0);
  /* nor does its drop end it */
  s = ints(1, &at_once);
  drop_room(rawwaker_sender_room(tx));
  CHECK(receive(s) == -1);
  rawwaker_sender_drop(tx);
  drop_stream(s);
}

static void memory_of_rooms_is_reused(void) {
  enum { MOST = 1000, MANY = 100 };
  rawwaker_future room[MANY];
  task a = {.name = ""};
  rawwaker_stream s = ints(1, &at_once);
  send_int(1);
  drop_room(rawwaker_sender_room(tx));
  out_of_memory_at = MOST;
  for (int i = 0; i < 100; i++) {
    rawwaker_future one = rawwaker_sender_room(tx);
    if (i % 2 == 0) poll_room(&a, one);
    drop_room(one);
    events[0] = '\0';
  }
  CHECK(out_of_memory_at == MOST);
  /* hardly more than were ever used at once */
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < MANY; i++) {
      room[i] = rawwaker_sender_room(tx);
      poll_room(&a, room[i]);
      events[0] = '\0';
    }
    for (int i = 0; i < MANY; i++) drop_room(room[(i * 37 + round) % MANY]);
    events[0] = '\0';
  }
  CHECK(out_of_memory_at >= MOST - MANY - MANY / 10);
  out_of_memory_at = 0;
  CHECK(a.refs == 0);
  rawwaker_sender_drop(tx);
  drop_stream(s);
}

/* Many rooms stay in use behind the one where the search begins, and the free one is before it. */
static void memory_of_rooms_is_found(void) {
  enum { MOST = 1000, HELD = 200 };
  rawwaker_future room[HELD];
  rawwaker_stream s = ints(1, &at_once);
  for (int i = 0; i < HELD; i++) room[i] = rawwaker_sender_room(tx);
  drop_room(room[HELD - 10]);
  room[HELD - 10] = rawwaker_sender_room(tx);
  drop_room(room[HELD - 5]);
  out_of_memory_at = MOST;
  for (int i = 0; i < 100; i++) drop_room(rawwaker_sender_room(tx));
  CHECK(out_of_memory_at >= MOST - 5);
  out_of_memory_at = 0;
  for (int i = 0; i < HELD; i++)
    if (i != HELD - 5) drop_room(room[i]);
  rawwaker_sender_drop(tx);
  drop_stream(s);
}

/* ------------------------------------------------------------------------ watched senders -- */

/* Gives out a sender's address with bit 0 set, and writes down each use. */
static bool watched;
static void *watch_made(void *sender, const char *call) {
  if (!watched) return NULL; /* a watcher stays */
  note(call);
  note("+ ");
  return (char *)sender + 1;
}
static void *watch_used(void *given, const char *call, bool takes) {
  note(call);
  note(takes ? "- " : "= ");
  return (char *)given - 1;
}
static void a_watcher_is_asked(void) {
  static const rawwaker_watcher watcher = {watch_made, watch_used};
  rawwaker_watch(&watcher);
  watched = true;
  rawwaker_stream s = ints(1, &all_ops);
  CHECK(happened("rawwaker_channel_new+ "));
  drop_stream(s);
  CHECK(happened("rawwaker_sender_drop- R"));
  s = ints(1, &at_once);
  events[0] = '\0';
  CHECK(send_int(1) == RAWWAKER_SENT);
  rawwaker_sender *other = rawwaker_sender_clone(tx);
  drop_room(rawwaker_sender_room(other));
  rawwaker_sender_fail(other, "x", 1);
  rawwaker_sender_drop(tx);
  CHECK(receive(s) == 1 && receive(s) == -3);
  CHECK(happened("rawwaker_sender_try_send= rawwaker_sender_clone= rawwaker_sender_clone+ "
                 "rawwaker_sender_room= rawwaker_sender_fail- rawwaker_sender_drop- "));
  watched = false;
  drop_stream(s);
  CHECK(happened("R"));
}

/* The memory of this process that is in use, in pages, and 0 if the system does not report it. */
static long resident(void) {
  long all, used = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL) return 0;
  if (fscanf(f, "%ld %ld", &all, &used) != 2) used = 0;
  fclose(f);
  return used;
}
static void places_that_are_not_used_cost_nothing(void) {
  enum { ITEM = 4096, ITEMS = 1 << 15 }; /* 128 MiB */
  static char item[ITEM];
  long before = resident();
  rawwaker_stream s = rawwaker_channel_new(ITEM, 1, ITEMS, NULL, NULL, &tx);
  CHECK(rawwaker_sender_try_send(tx, item) == RAWWAKER_SENT);
  CHECK(resident() - before < 1024);
  rawwaker_sender_drop(tx);
  s.vtable->drop(s.data);
}

/* ---------------------------------------------------------------------------------- deaths -- */

static void die_null_tx(void) { rawwaker_channel_new(4, 4, 1, NULL, NULL, NULL); }
static void die_no_capacity(void) { rawwaker_channel_new(4, 4, 0, NULL, NULL, &tx); }
static void die_align(void) { rawwaker_channel_new(4, 3, 1, NULL, NULL, &tx); }
static void die_memory(void) {
  out_of_memory_at = 1;
  rawwaker_channel_new(4, 4, 1, NULL, NULL, &tx);
}
static void die_size(void) { rawwaker_channel_new(SIZE_MAX, 1, 1, NULL, NULL, &tx); }
static void die_size_16(void) { rawwaker_channel_new(SIZE_MAX / 16, 1, 16, NULL, NULL, &tx); }
static void die_capacity(void) { rawwaker_channel_new(1, 1, SIZE_MAX, NULL, NULL, &tx); }
static void die_big_align(void) {
  rawwaker_channel_new(1, SIZE_MAX / 2 + 1, 1, NULL, NULL, &tx);
}
static void die_both(void) {
  rawwaker_channel_new(SIZE_MAX / 64, 1, SIZE_MAX / 64, NULL, NULL, &tx);
}
static void die_room(void) {
  ints(1, NULL);
  out_of_memory_at = 1;
  rawwaker_sender_room(tx);
}

static void deaths(void) {
  death("rawwaker_channel_new: NULL tx", die_null_tx);
  death("rawwaker_channel_new: capacity 0", die_no_capacity);
  death("rawwaker_channel_new: align is not a power of two", die_align);
  death("rawwaker_channel_new: out of memory", die_memory);
  death("rawwaker_channel_new: out of memory", die_size);
  death("rawwaker_channel_new: out of memory", die_size_16);
  death("rawwaker_channel_new: out of memory", die_capacity);
  death("rawwaker_channel_new: out of memory", die_big_align);
  death("rawwaker_channel_new: out of memory", die_both);
  death("rawwaker_sender_room: out of memory", die_room);
}

/* ------------------------------------------------------------------------------- the storm -- */

/* SENDERS threads send, clone, drop, fail, and poll and drop rooms, through one channel after the
 * other, while the main thread receives. At the end of each channel every item that was sent has
 * been received or destroyed, and each sender's items came in order. A thread that waits sleeps in
 * rawwaker_block_on, so a lost wake stops the storm, and the watchdog reports that no operation
 * came in its minutes. */
enum { SENDERS = 8, TX_MOST = 4, WATCHDOG_MINUTES = 3 };

typedef struct parcel {
  uint32_t from, number; /* the sender's number: 1, 2, … in each channel */
  uint64_t check;
} parcel;
static uint64_t check_of(uint32_t from, uint32_t number) {
  return ((uint64_t)from << 32 | number) * 0x9e3779b97f4a7c15u;
}

static unsigned long operations = 1000000, seed = 1;
static uint64_t next(uint64_t *s) {
  *s ^= *s << 13;
  *s ^= *s >> 7;
  *s ^= *s << 17;
  return *s;
}
static uint64_t random_of(unsigned long thread) {
  return (seed * 1000003 + thread) * 0x9e3779b97f4a7c15u | 1;
}
static void must(bool ok, const char *why) {
  if (ok) return;
  printf("not ok - the storm, seed %lu: %s\n", seed, why);
  fflush(stdout);
  exit(1);
}

static _Atomic(unsigned long) progress, sent, sent_sum, destroyed, destroyed_sum, released;
static _Atomic(unsigned long) fulls, rooms_awaited, rooms_dropped, room_wakes;
static _Atomic(bool) calm;

static void parcel_destroy(void *arg, void *item) {
  const parcel *p = item;
  (void)arg;
  must(p->check == check_of(p->from, p->number), "a destroyed item is not one that was sent");
  atomic_fetch_add_explicit(&destroyed, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&destroyed_sum, p->check, memory_order_relaxed);
}
/* Plain, because release comes after every other call on the channel: TSan would report another. */
static unsigned long plain_word;
static void parcel_release(void *arg) {
  *(unsigned long *)arg += 1;
  atomic_fetch_add_explicit(&released, 1, memory_order_release);
}
static void parcel_cancel(void *arg) { (void)arg; }
static const rawwaker_channel_ops parcels = {NULL, parcel_cancel, parcel_destroy, parcel_release};

typedef struct source {
  pthread_t id;
  uint32_t number; /* from 0 */
  uint64_t random;
  rawwaker_sender *tx; /* set before each channel */
  unsigned long todo;
  bool may_fail;
} source;

/* All threads meet here before and after each channel. */
static pthread_mutex_t meeting = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t met = PTHREAD_COND_INITIALIZER;
static int there, expected = SENDERS + 1;
static unsigned long meetings;
static bool ended_all;
static void meet(void) {
  pthread_mutex_lock(&meeting);
  unsigned long now = meetings;
  if (++there == expected) {
    there = 0;
    meetings++;
    pthread_cond_broadcast(&met);
  }
  while (meetings == now) pthread_cond_wait(&met, &meeting);
  pthread_mutex_unlock(&meeting);
}

static void count_wake(void *arg) {
  atomic_fetch_add_explicit((_Atomic(unsigned long) *)arg, 1, memory_order_relaxed);
}

static int send_next(source *s, rawwaker_sender *through, uint32_t *number) {
  parcel p = {s->number, *number + 1, check_of(s->number, *number + 1)};
  int got = rawwaker_sender_try_send(through, &p);
  if (got == RAWWAKER_SENT) {
    ++*number;
    atomic_fetch_add_explicit(&sent, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sent_sum, p.check, memory_order_relaxed);
  } else if (got == RAWWAKER_FULL) {
    atomic_fetch_add_explicit(&fulls, 1, memory_order_relaxed);
  } else {
    must(got == RAWWAKER_CLOSED, "try_send has returned another code");
  }
  return got;
}

/* Runs the operations of one channel and ends every sender. Its rule: a thread whose room gave
 * READY tries to send, so that a place that was reported to it is used. */
static void send_some(source *s) {
  rawwaker_sender *own[TX_MOST] = {s->tx};
  int n = 1;
  uint32_t number = 0;
  rawwaker_future held = {NULL, NULL}; /* a room that was polled, and is pending */
  rawwaker counting = rawwaker_from_fn(count_wake, &room_wakes, NULL);
  rawwaker_context cx = {&counting};
  for (unsigned long i = 0; i < s->todo; i++) {
    atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
    int k = (int)(next(&s->random) % (unsigned)n);
    switch (next(&s->random) % 12) {
    case 0:
      if (n < TX_MOST) own[n++] = rawwaker_sender_clone(own[k]);
      break;
    case 1:
      if (n > 1) {
        rawwaker_sender_drop(own[k]);
        own[k] = own[--n];
      }
      break;
    case 2:
      if (held.vtable == NULL)
        held = rawwaker_sender_room_for(own[k], next(&s->random) % 4);
      if (held.vtable->poll(held.data, &cx, NULL) == RAWWAKER_READY) {
        held.vtable->drop(held.data);
        held.vtable = NULL;
        send_next(s, own[k], &number);
      }
      break;
    case 3:
      if (held.vtable != NULL) {
        held.vtable->drop(held.data);
        held.vtable = NULL;
        atomic_fetch_add_explicit(&rooms_dropped, 1, memory_order_relaxed);
      }
      break;
    case 4:
      if (s->may_fail && n > 1 && next(&s->random) % 16 == 0) {
        rawwaker_sender_fail(own[k], "storm", 5);
        own[k] = own[--n];
      }
      break;
    default:
      if (send_next(s, own[k], &number) != RAWWAKER_FULL || next(&s->random) % 2 == 0) break;
      if (held.vtable != NULL && next(&s->random) % 2 == 0) {
        sched_yield();
        break;
      }
      /* A thread that sleeps holds no other room: a place may be reported to it. */
      if (held.vtable != NULL) held.vtable->drop(held.data);
      held.vtable = NULL;
      do {
        atomic_fetch_add_explicit(&rooms_awaited, 1, memory_order_relaxed);
        rawwaker_block_on(rawwaker_sender_room_for(own[k], next(&s->random) % 4), NULL);
      } while (send_next(s, own[k], &number) == RAWWAKER_FULL);
    }
  }
  if (held.vtable != NULL) held.vtable->drop(held.data);
  while (n > 0) rawwaker_sender_drop(own[--n]);
  rawwaker_drop(counting);
}
static void *source_main(void *arg) {
  for (;;) {
    meet();
    if (ended_all) return NULL;
    send_some(arg);
    meet();
  }
}

/* The next item as a future: *out is the item, and code what poll_next gave. */
typedef struct receiving {
  rawwaker_stream s;
  rawwaker_poll code;
} receiving;
static rawwaker_poll receiving_poll(void *data, rawwaker_context *cx, void *out) {
  receiving *r = data;
  r->code = r->s.vtable->poll_next(r->s.data, cx, out);
  return r->code == RAWWAKER_PENDING ? RAWWAKER_PENDING : RAWWAKER_READY;
}
static void receiving_drop(void *data) { (void)data; }
static const rawwaker_future_vtable receiving_vtable = {receiving_poll, receiving_drop};

static void *watchdog(void *arg) {
  (void)arg;
  unsigned long before = 0;
  for (int naps = 0; !atomic_load(&calm); naps++) {
    struct timespec tenth = {0, 100000000};
    nanosleep(&tenth, NULL);
    unsigned long now = atomic_load_explicit(&progress, memory_order_relaxed);
    if (now != before) naps = 0;
    before = now;
    must(naps < 600 * WATCHDOG_MINUTES, "no progress: a wake was lost");
  }
  return NULL;
}

static void storm(void) {
  static source all[SENDERS];
  pthread_t dog;
  uint64_t r = random_of(99);
  unsigned long received = 0, received_sum = 0, channels = 0, done = 0, panicked = 0, dropped = 0;
  must(pthread_create(&dog, NULL, watchdog, NULL) == 0, "no thread");
  for (uint32_t i = 0; i < SENDERS; i++) {
    all[i] = (source){.number = i, .random = random_of(i)};
    must(pthread_create(&all[i].id, NULL, source_main, &all[i]) == 0, "no thread");
  }
  while (atomic_load_explicit(&progress, memory_order_relaxed) < operations) {
    static const size_t capacities[] = {1, 2, 3, 5, 8, 64};
    size_t capacity = capacities[next(&r) % 6];
    rawwaker_stream s = rawwaker_channel_new(sizeof(parcel), _Alignof(parcel), capacity, &parcels,
                                             &plain_word, &all[0].tx);
    bool may_fail = next(&r) % 4 == 0;
    unsigned long most = next(&r) % 3 == 0 ? next(&r) % 200 : ULONG_MAX, got = 0;
    for (int i = 0; i < SENDERS; i++) {
      if (i > 0) all[i].tx = rawwaker_sender_clone(all[0].tx);
      all[i].may_fail = may_fail;
      all[i].todo = 1 + next(&r) % 64;
    }
    uint32_t last[SENDERS] = {0};
    receiving next_item = {s, RAWWAKER_PENDING};
    meet();
    for (; got < most; got++) {
      parcel p;
      rawwaker_block_on((rawwaker_future){&next_item, &receiving_vtable}, &p);
      atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
      if (next_item.code != RAWWAKER_READY) break;
      must(p.from < SENDERS && p.check == check_of(p.from, p.number), "an item that was not sent");
      must(p.number == last[p.from] + 1, "a sender's items are out of order, or one is missing");
      last[p.from] = p.number;
      received_sum += p.check;
    }
    received += got;
    done += next_item.code == RAWWAKER_DONE;
    panicked += next_item.code == RAWWAKER_PANICKED;
    if (next_item.code == RAWWAKER_PANICKED) must(panic_is("storm"), "another text");
    if (got == most) dropped++;
    bool early = got == most || next(&r) % 2 == 0;
    if (early) drop_stream(s);
    meet();
    channels++;
    /* Each sender and room has ended. */
    if (!early) {
      must(atomic_load(&released) == channels - 1, "release was called before the stream's drop");
      drop_stream(s);
    }
    must(atomic_load(&released) == channels && plain_word == channels, "not one release");
    unsigned long in = atomic_load(&sent), out = received + atomic_load(&destroyed);
    must(in == out, "items sent differ from items received and destroyed");
    must(atomic_load(&sent_sum) == received_sum + atomic_load(&destroyed_sum), "other items");
  }
  ended_all = true;
  meet();
  for (int i = 0; i < SENDERS; i++) pthread_join(all[i].id, NULL);
  atomic_store(&calm, true);
  pthread_join(dog, NULL);
  rawwaker_set_panic(NULL, 0);
  if (operations >= 20000) CHECK(done > 0 && panicked > 0 && dropped > 0 && destroyed > 0);
  printf("# %lu operations, %lu channels (%lu done, %lu failed, %lu dropped early); %lu sent = %lu "
         "received + %lu destroyed; %lu times full, %lu rooms awaited, %lu dropped, %lu woken\n",
         progress, channels, done, panicked, dropped, sent, received, destroyed, fulls,
         rooms_awaited, rooms_dropped, room_wakes);
}

int main(int argc, char **argv) {
  bool mortal = true;
  if (argc > 1 && strcmp(argv[1], "-no-deaths") == 0) mortal = false, argc--, argv++;
  if (argc > 1) operations = strtoul(argv[1], NULL, 10);
  if (argc > 2) seed = strtoul(argv[2], NULL, 10);
  run("items arrive in order; the capacity is exact, also if it is no power of two",
      items_in_order);
  run("FULL and CLOSED copy nothing and destroy nothing", full_and_closed_copy_nothing);
  run("items may have no size", items_without_a_size);
  run("items are aligned as asked, and no other byte of out is written", items_are_aligned);
  run("a NULL out panics, and the stream's drop still cancels", a_null_out_panics);
  run("start is called by the first poll, and by no other", start_at_the_first_poll);
  run("start may send, fail and drop", start_may_send_fail_and_drop);
  run("a stream that is dropped unpolled calls release only", never_started);
  run("every callback may be NULL", no_callbacks);
  run("cancel is called if a sender exists and none has failed", when_cancel_is_called);
  run("cancel and destroy may end the sender", a_callback_may_end_the_sender);
  run("release is last, and comes once, whichever end is the last", release_is_last);
  run("DONE comes after the items and is repeated, and keeps no waker", done_is_repeated);
  run("only the last sender's drop ends the stream", the_last_sender_ends_the_stream);
  run("a failure comes after the items, and the first one counts",
      items_first_and_then_the_failure);
  run("a failure wakes the receiver and closes the channel for others",
      a_failure_wakes_the_receiver);
  run("a failure's text is cut at 1 KiB, may be empty, and needs no memory", texts);
  run("the receiver is woken once for each sleep, by the waker of its latest poll",
      wakes_of_the_receiver);
  run("a room is ready if there is room, and is woken if there was none", room_is_ready);
  run("a room reserves nothing", room_reserves_nothing);
  run("a room for many items waits for that many places", room_for_many);
  run("a woken room passes on to one that fits", a_woken_room_passes_on_to_one_that_fits);
  run("a woken room that does not fit any more passes on",
      a_woken_room_that_does_not_fit_passes_on);
  run("a place that becomes free wakes one room, and they take turns", one_place_wakes_one_room);
  run("a woken room that is dropped passes its place on", a_woken_room_that_is_dropped_passes_on);
  run("a room that never waited passes nothing on", a_room_that_never_waited_passes_nothing_on);
  run("a ready room passes on what it leaves", a_ready_room_with_more_space_passes_on);
  run("a closed channel has room for every room", a_closed_channel_has_room);
  run("a stream's drop wakes the rooms before it calls destroy and cancel",
      rooms_are_woken_before_the_callbacks);
  run("a room outlives both ends, and neither ends nor keeps the stream",
      a_room_outlives_both_ends);
  run("the memory of rooms is reused", memory_of_rooms_is_reused);
  run("a free room is found beyond many in use", memory_of_rooms_is_found);
  run("the storm", storm);
  run("a watcher is asked for each use of a sender", a_watcher_is_asked);
  if (mortal) {
    run("places that were never used take no memory of the system",
        places_that_are_not_used_cost_nothing);
    deaths();
  } else {
    printf("# SKIP the deaths: the tool would add its report to the line\n");
  }
  printf("1..%d\n", tests);
  return failures != 0;
}
