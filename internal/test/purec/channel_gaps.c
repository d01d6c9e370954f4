/* channel_gaps.c - interleaves calls on a channel by their atomic steps: one call with two actions
 * of other threads, in every pair of its gaps; two calls that both stop in the middle (with the
 * argument full, one of them twice), alone or beside the receiver; and it stops a thread
 * permanently in each of its gaps.
 *
 * This file includes the channel, whose atomic steps call gap first. rawwaker.c is linked: its cell
 * has tests of its own in gaps.c. ./run builds and runs it. */
#define _GNU_SOURCE
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "gap.h"

static bool keeps; /* a thread stops, and what it has allocated is not freed */
static void *keep_if_stopped(void *p) { return keeps ? keep(p) : p; }
#define malloc(n) keep_if_stopped(malloc(n))
#define calloc(n, size) keep_if_stopped(calloc(n, size))
#ifndef RAWWAKER_CHANNEL_C
#define RAWWAKER_CHANNEL_C "../../../channel/rawwaker_channel.c"
#endif
#include RAWWAKER_CHANNEL_C
#undef malloc
#undef calloc

/* ------------------------------------------------------------------------------- the gaps -- */

enum { ACTORS = 3, ITEMS = 64 };
typedef struct action {
  const char *name;
  void (*run)(int actor);
} action;

static const action *first, *second; /* of actors 1 and 2 */
static const char *setup_name, *call_name;
static bool full; /* the call of actor 0 stops a second time, in each of its gaps */

/* Two calls that both stop: that of actor 0 on the main stack, that of actor 1 on another. Each
 * counts its own gaps, and gives way to the other in those of its stops. */
static struct {
  bool on, ended;         /* ended: of actor 1 */
  int actor;              /* which one runs */
  unsigned long gaps[2], stops[2][2];
  const action *call;     /* of actor 1 */
  const action *third;    /* of actor 2, each time that actor 1 gives way; or NULL */
  ucontext_t main, other;
} two;

static void two_gap(void) {
  int me = two.actor;
  unsigned long at = ++two.gaps[me];
  if (at != two.stops[me][0] && at != two.stops[me][1]) return;
  if (me == 0 && two.ended) return;
  if (me == 1 && two.third != NULL) {
    alone = true;
    two.third->run(2);
    alone = false;
  }
  two.actor = !me;
  if (me == 0)
    swapcontext(&two.main, &two.other);
  else
    swapcontext(&two.other, &two.main);
  two.actor = me;
}

static void look_if_full(void);
static void gap(void) {
  look_if_full();
  if (alone) return;
  if (two.on) {
    two_gap();
  } else {
    alone = true;
    gaps++;
    if (gaps == stop_at) longjmp(stopped, 1);
    if (gaps == first_at && first != NULL) first->run(1);
    if (gaps == second_at && second != NULL) second->run(2);
    alone = false;
  }
  look_if_full();
}

static void check(bool ok, const char *why) {
  if (ok) return;
  printf("FAIL %s: %s", setup_name, call_name);
  if (stop_at != 0) printf(" stops in gap %lu", stop_at);
  if (first != NULL) printf(", %s in gap %lu", first->name, first_at);
  if (second != NULL) printf(", %s in gap %lu", second->name, second_at);
  if (two.call != NULL)
    printf(" (stops in %lu and %lu), beside %s (stops in %lu and %lu)", two.stops[0][0],
           two.stops[0][1], two.call->name, two.stops[1][0], two.stops[1][1]);
  if (two.third != NULL) printf(", and %s at each of these", two.third->name);
  printf(": %s\n", why);
  fflush(stdout);
  _exit(1);
}

/* ----------------------------------------------------------------------------- the channel -- */

enum { NONE, PENDING, RUNNING }; /* a room, or the receiver: to be polled, waiting, in a call */

static struct {
  rawwaker_stream s;
  rawwaker_sender *tx[ACTORS];
  rawwaker_future room[ACTORS];
  int waits[ACTORS + 1], inside[ACTORS + 1]; /* of rooms; the last is the receiver */
  unsigned refs[ACTORS + 1], woken[ACTORS + 1], seen[ACTORS + 1]; /* of their wakers */
  int fate[ACTORS][ITEMS]; /* of each item: SENT, RECEIVED, DESTROYED; or 0 */
  int numbers[ACTORS], received[ACTORS];
  bool gone, failed, halted, extra;
  rawwaker_poll ended;
  int cancels, releases, destroyed;
  rawwaker_sender *clone;
} w;
enum { SENT = 1, RECEIVED = 2, DESTROYED = 4, SENDING = 8 };

static rawwaker waker_clone(void *data);
static void waker_by_ref(void *data) { w.woken[(unsigned *)data - w.refs]++; }
static void waker_drop(void *data) {
  check(*(unsigned *)data > 0, "a waker was ended twice");
  --*(unsigned *)data;
}
static void waker_wake(void *data) {
  gap();
  waker_by_ref(data);
  waker_drop(data);
}
static const rawwaker_vtable waker_vtable = {waker_clone, waker_wake, waker_by_ref, waker_drop};
static rawwaker waker_clone(void *data) {
  ++*(unsigned *)data;
  gap();
  return (rawwaker){data, &waker_vtable};
}

static void on_cancel(void *arg) {
  (void)arg;
  check(++w.cancels == 1, "cancel was called twice");
  check(w.releases == 0, "cancel was called after release");
  gap();
}
static void on_destroy(void *arg, void *item) {
  int n = *(int *)item, *fate = &w.fate[n / ITEMS][n % ITEMS];
  (void)arg;
  check(*fate == SENT || *fate == SENDING, "an item was destroyed that was not in the channel");
  *fate |= DESTROYED;
  w.destroyed++;
  check(w.releases == 0, "destroy was called after release");
  gap();
}
static void on_release(void *arg) {
  (void)arg;
  check(++w.releases == 1, "release was called twice");
}
static const rawwaker_channel_ops ops = {NULL, on_cancel, on_destroy, on_release};

/* How many calls send, and in how many of their gaps no place was free. */
static unsigned sending;
static unsigned long full_gaps;
static size_t used(const rawwaker_sender *c) { return (c->tail / STEP - c->head) & POSITIONS; }
static void look_if_full(void) {
  const rawwaker_sender *c = w.s.data;
  if (sending != 0 && used(c) >= c->capacity) full_gaps++;
}

/* ----------------------------------------------------------------------------- the actions -- */

static void send_item(int a) {
  if (w.tx[a] == NULL) return;
  int n = w.numbers[a]++, item = a * ITEMS + n;
  check(n < ITEMS, "too many items");
  w.fate[a][n] = SENDING;
  unsigned long full_before = full_gaps;
  sending++;
  int got = rawwaker_sender_try_send(w.tx[a], &item);
  sending--;
  int fate = w.fate[a][n];
  w.fate[a][n] = (fate & ~SENDING) | (got == RAWWAKER_SENT ? SENT : 0);
  check(got == RAWWAKER_SENT || fate == SENDING, "an item that was not sent has arrived");
  check(got != RAWWAKER_FULL || full_gaps != full_before, "FULL, and it was never full meanwhile");
  check(got != RAWWAKER_CLOSED || w.gone || w.failed, "CLOSED, and the channel is open");
}
static void drop_sender(int a) {
  rawwaker_sender *tx = w.tx[a];
  w.tx[a] = NULL;
  if (tx != NULL) rawwaker_sender_drop(tx);
}
static void fail_sender(int a) {
  rawwaker_sender *tx = w.tx[a];
  w.tx[a] = NULL;
  if (tx == NULL) return;
  w.failed = true;
  rawwaker_sender_fail(tx, "failed", 6);
}
static void clone_and_send(int a) {
  if (w.tx[a] == NULL) return;
  rawwaker_sender *mine = w.tx[a];
  w.tx[a] = rawwaker_sender_clone(mine);
  rawwaker_sender_drop(mine);
  send_item(a);
}
static bool all_senders_gone(void) { return !w.tx[0] && !w.tx[1] && !w.tx[2] && !w.extra; }

static void poll_stream(int a) {
  (void)a;
  if (w.gone || w.inside[ACTORS] || w.ended == RAWWAKER_PANICKED) return;
  int item = -1;
  rawwaker waker = {&w.refs[ACTORS], &waker_vtable};
  w.inside[ACTORS] = 1;
  w.seen[ACTORS] = w.woken[ACTORS];
  rawwaker_poll got = w.s.vtable->poll_next(w.s.data, &(rawwaker_context){&waker}, &item);
  w.inside[ACTORS] = 0;
  w.waits[ACTORS] = got == RAWWAKER_PENDING ? PENDING : NONE;
  check(got == RAWWAKER_READY || item == -1, "*out was written without READY");
  check(w.ended == 0 || w.ended == got, "the end is not repeated");
  if (got == RAWWAKER_READY) {
    int from = item / ITEMS, n = item % ITEMS;
    check(item >= 0 && from < ACTORS, "an item that was not sent");
    int fate = w.fate[from][n];
    check(fate == SENT || fate == SENDING, "an item was received that was not in the channel");
    w.fate[from][n] |= RECEIVED;
    check(n >= w.received[from], "a sender's items are out of order");
    w.received[from] = n + 1;
  } else if (got != RAWWAKER_PENDING) {
    w.ended = got;
    check(got == (w.failed ? RAWWAKER_PANICKED : RAWWAKER_DONE), "another end");
    check(w.failed || all_senders_gone(), "DONE, and a sender exists");
    check(!w.failed || strcmp(rawwaker_last_panic(), "failed") == 0, "another text");
    for (int f = 0; f < ACTORS; f++)
      for (int n = 0; n < w.numbers[f]; n++)
        check(w.fate[f][n] != SENT, "the stream has ended before an item that was sent");
  }
}
static void drop_stream(int a) {
  (void)a;
  if (w.gone || w.inside[ACTORS]) return;
  w.gone = true;
  w.inside[ACTORS] = 1;
  w.s.vtable->drop(w.s.data);
  w.inside[ACTORS] = 0;
}

static size_t room_of(int a) { return a == 2 ? 2 : 1; } /* how many places it waits for */
static void drop_room(int a) {
  if (w.room[a].vtable == NULL || w.inside[a]) return;
  rawwaker_future room = w.room[a];
  w.room[a].vtable = NULL;
  w.inside[a] = 1;
  room.vtable->drop(room.data);
  w.inside[a] = 0;
  w.waits[a] = NONE;
}
/* Polls this actor's room, and if it is ready, sends, so that the place is used. Actor 2 waits for
 * two places, if there are so many. */
static void await_room(int a) {
  if (w.tx[a] == NULL || w.inside[a]) return;
  w.inside[a] = 1;
  if (w.room[a].vtable == NULL) w.room[a] = rawwaker_sender_room_for(w.tx[a], room_of(a));
  rawwaker waker = {&w.refs[a], &waker_vtable};
  w.seen[a] = w.woken[a];
  rawwaker_poll got = w.room[a].vtable->poll(w.room[a].data, &(rawwaker_context){&waker}, NULL);
  w.inside[a] = 0;
  w.waits[a] = got == RAWWAKER_PENDING ? PENDING : NONE;
  if (got == RAWWAKER_PENDING) return;
  check(got == RAWWAKER_READY, "a room gives another code");
  drop_room(a);
  send_item(a);
}

/* Those of senders come first. */
static const action actions[] = {
    {"try_send", send_item},       {"the drop of a sender", drop_sender},
    {"fail", fail_sender},         {"clone and try_send", clone_and_send},
    {"a poll of a room", await_room},
    {"the drop of a room", drop_room},
    {"poll_next", poll_stream},    {"the drop of the stream", drop_stream},
};
enum { ACTIONS = sizeof actions / sizeof *actions, SENDER_ACTIONS = ACTIONS - 2 };

/* ------------------------------------------------------------------------------ the setups -- */

/* extra: another sender exists. woken: one item is received after the rooms have waited. */
typedef struct setup {
  const char *name;
  size_t capacity;
  int items, rooms; /* rooms: of so many actors, from the last one */
  bool asleep, woken, extra;
  bool three;  /* a third action while two calls are in the middle */
  int without; /* so many actors have no sender: 1 is actor 0, 2 is actors 0 and 2 */
} setup;
static const setup setups[] = {
    {"empty, two senders", 1, 0, 0, false, false, false, false, 1},
    {"empty, one sender", 1, 0, 0, false, false, false, false, 2},
    {"one item, one sender", 2, 1, 0, false, false, false, false, 2},
    {"empty", 1, 0, 0, false, false, false, false, 0},
    {"empty, the receiver sleeps", 1, 0, 0, true, false, false, false, 0},
    {"empty, the receiver sleeps, another sender", 2, 0, 0, true, false, true, true, 0},
    {"full", 1, 1, 0, false, false, false, false, 0},
    {"full, one room", 1, 1, 1, false, false, true, false, 0},
    {"full, two rooms", 1, 1, 2, false, false, false, false, 0},
    {"full, three rooms", 2, 2, 3, false, false, true, false, 0},
    {"three rooms, one is woken", 2, 2, 3, false, true, true, false, 0},
    {"three rooms, one is woken, one place", 1, 1, 3, false, true, true, false, 0},
    {"three places, two items", 3, 2, 0, false, false, false, false, 0},
};
static rawwaker_sender *extra;

static void begin(const setup *s) {
  alone = true;
  setup_name = s->name;
  memset(&w, 0, sizeof w);
  sending = 0;
  w.s = rawwaker_channel_new(sizeof(int), _Alignof(int), s->capacity, &ops, NULL, &w.tx[0]);
  for (int a = 1; a < ACTORS; a++) w.tx[a] = rawwaker_sender_clone(w.tx[0]);
  extra = s->extra ? rawwaker_sender_clone(w.tx[0]) : NULL;
  w.extra = s->extra;
  /* once around the ring, so that its stamps are not those of new memory */
  for (size_t i = 0; i < s->capacity; i++) {
    send_item(0);
    poll_stream(0);
  }
  for (int i = 0; i < s->items; i++) send_item(i % ACTORS);
  for (int a = ACTORS - s->rooms; a < ACTORS; a++) await_room(a);
  if (s->asleep || s->woken) poll_stream(0);
  if (s->without > 0) drop_sender(0);
  if (s->without > 1) drop_sender(2);
  gaps = 0;
}

static bool is_woken(int a) { return w.waits[a] == PENDING && w.woken[a] != w.seen[a]; }
static void poll_woken_room(int a) {
  if (w.tx[a] != NULL)
    await_room(a);
  else
    drop_room(a); /* it can send nothing, so it passes on */
}

/* Polls the rooms that were woken, while the receiver does nothing. Then no room waits for which
 * there are places. */
static void pause_receiver(void) {
  const rawwaker_sender *c = w.s.data;
  for (bool more = true; more;) {
    more = false;
    for (int a = 0; a < ACTORS; a++)
      if (is_woken(a)) {
        more = true;
        poll_woken_room(a);
      }
  }
  for (int a = 0; a < ACTORS; a++) {
    if (w.waits[a] != PENDING) continue;
    size_t needs = room_of(a) < c->capacity ? room_of(a) : c->capacity;
    check((c->tail & SHUT) == 0 && c->capacity - used(c) < needs,
          "a room waits, and there are places for it");
  }
}

/* Lets each task that is to be polled be polled, until none is. A task that waits and was not woken
 * is polled too, and must have nothing to do. */
static void settle(void) {
  for (bool more = true; more;) {
    more = false;
    if (!w.gone && w.ended == 0) {
      bool asleep = w.waits[ACTORS] == PENDING && w.woken[ACTORS] == w.seen[ACTORS];
      poll_stream(0);
      bool pending = w.waits[ACTORS] == PENDING;
      check(!asleep || pending, "a wake of the receiver was lost");
      more |= !pending && w.ended == 0;
    }
    for (int a = 0; a < ACTORS; a++) {
      if (!is_woken(a)) continue;
      more = true;
      poll_woken_room(a);
    }
  }
  for (int a = 0; a < ACTORS && w.ended == 0; a++)
    check(w.waits[a] != PENDING, "a wake of a room was lost");
}

static void finish(void) {
  pause_receiver();
  settle();
  for (int a = 0; a < ACTORS; a++) drop_room(a);
  const rawwaker_sender *c = w.s.data;
  check(w.releases != 0 || c->waiters == 0, "a room is counted that does not wait");
  for (int a = 0; a < ACTORS; a++) drop_sender(a);
  if (extra != NULL) rawwaker_sender_drop(extra);
  w.extra = false;
  settle();
  check(w.gone || w.ended != 0, "the stream does not end");
  check(w.gone == (w.releases == 1), "release was called early, or not at all");
  drop_stream(0);
  check(w.releases == 1, "release was not called exactly once");
  check(w.ended == 0 || w.destroyed == 0, "the stream had ended, and an item was left");
  for (int f = 0; f < ACTORS; f++)
    for (int n = 0; n < w.numbers[f]; n++) {
      int fate = w.fate[f][n];
      check(fate == 0 || fate == (SENT | RECEIVED) || fate == (SENT | DESTROYED),
            "an item that was sent was not received or destroyed exactly once");
    }
  for (int a = 0; a <= ACTORS; a++) check(w.refs[a] == 0, "a waker is left");
  rawwaker_set_panic(NULL, 0);
}

static void play(const setup *s, const action *call, unsigned long one, unsigned long two) {
  begin(s);
  call_name = call->name;
  first_at = one;
  second_at = two;
  alone = false;
  call->run(0);
  alone = true;
  interleavings++;
  finish();
}

static void every_pair(const setup *s, const action *call) {
  unsigned long most = 1;
  for (unsigned long one = 1; one <= most + 1; one++)
    for (unsigned long two = one; two <= most + 1; two++) {
      play(s, call, one, two);
      if (gaps > most) most = gaps;
      check(gaps < 1000, "it does not end");
    }
}

/* ------------------------------------------------------------- two calls that both stop -- */

static void other_main(void) {
  two.actor = 1;
  two.call->run(1);
  two.ended = true;
  two.actor = 0;
  setcontext(&two.main);
}

/* Actor 0 runs to its gap i, then actor 1 to its gap j, then actor 0 to its gap k, then actor 1 to
 * its gap l, if that is not 0, or its end, and then actor 0. */
static void run_two(const action *call, unsigned long i, unsigned long j, unsigned long k,
                    unsigned long l) {
  static char stack[256 * 1024];
  call_name = call->name;
  two.gaps[0] = two.gaps[1] = 0;
  two.stops[0][0] = i;
  two.stops[0][1] = k;
  two.stops[1][0] = j;
  two.stops[1][1] = l;
  two.ended = false;
  getcontext(&two.other);
  two.other.uc_stack.ss_sp = stack;
  two.other.uc_stack.ss_size = sizeof stack;
  two.other.uc_link = NULL;
  makecontext(&two.other, other_main, 0);
  two.on = true;
  two.actor = 0;
  alone = false;
  call->run(0);
  two.actor = 1;
  while (two.gaps[0] >= i && !two.ended) swapcontext(&two.main, &two.other);
  alone = true;
  two.on = false;
  interleavings++;
  finish();
}

static void most_gaps(unsigned long most[2]) {
  for (int a = 0; a < 2; a++)
    if (two.gaps[a] > most[a]) most[a] = two.gaps[a];
  check(most[0] < 1000 && most[1] < 1000, "it does not end");
}
static void every_two(const setup *s, const action *call, bool twice) {
  const action *third = two.third;
  unsigned long most[2] = {1, 1};
  two.third = NULL; /* it may leave so few that the search would end at once */
  begin(s);
  run_two(call, 1, 0, 0, 0);
  most_gaps(most);
  two.third = third;
  for (unsigned long i = 1; i <= most[0]; i++)
    for (unsigned long j = 1; j <= most[1]; j++)
      for (unsigned long k = twice ? i + 1 : most[0] + 1; k <= most[0] + 1; k++) {
        begin(s);
        run_two(call, i, j, k, 0);
        most_gaps(most);
      }
}

/* Calls of two senders, and an action of the receiver while both are in the middle of theirs.
 * Rooms take too long if not full. */
static int senders_actions(void) { return full ? SENDER_ACTIONS : 3; }
static void every_three(const setup *s, const action *call) {
  for (two.call = actions; two.call < actions + senders_actions(); two.call++)
    for (two.third = actions + SENDER_ACTIONS; two.third < actions + ACTIONS; two.third++)
      every_two(s, call, true);
  two.call = two.third = NULL;
}

/* Two rooms are polled in a full channel of two places. Each stops twice, and an item is received
 * after either pair of stops. */
static void every_two_rooms(void) {
  static const setup s = {"full, two rooms", 2, 2, 0, false, false, true, false, 0};
  static const action poll_room = {"a poll of a room", await_room};
  static const action poll = {"poll_next", poll_stream};
  unsigned long most[2] = {2, 2};
  two.call = &poll_room;
  two.third = &poll;
  for (unsigned long i = 1; i < most[0]; i++)
    for (unsigned long j = 1; j < most[1]; j++)
      for (unsigned long k = i + 1; k <= most[0]; k++)
        for (unsigned long l = j + 1; l <= most[1]; l++) {
          begin(&s);
          for (int a = 1; a >= 0; a--) /* the newest is woken first */
            w.room[a] = rawwaker_sender_room_for(w.tx[a], room_of(a));
          run_two(two.call, i, j, k, l);
          most_gaps(most);
        }
  two.call = two.third = NULL;
}

/* ---------------------------------------------------------------------- threads that stop -- */

/* Actor 0 stops permanently in a call. No other call waits for it: each returns, and what was sent
 * before its place is received. Only items after the place of a stopped try_send are held back, and
 * the wake of the receiver only if the stopped thread has taken it. */
static bool stop(const setup *s, const action *call, unsigned long at) {
  keeps = true;
  begin(s);
  call_name = call->name;
  first = second = NULL;
  rawwaker_sender *c = w.tx[1];
  size_t before = c->tail / STEP, head = c->head;
  gaps = 0;
  stop_at = at;
  bool left = false;
  if (setjmp(stopped) == 0) {
    alone = false;
    call->run(0);
  } else {
    left = true;
  }
  alone = true;
  stops += left;
  bool receives = w.inside[ACTORS] != 0;
  /* The hole is a place that was taken, and whose item is not there. */
  size_t now = c->tail / STEP, hole = SIZE_MAX;
  if (now != before && place_of(c, before)->stamp != before + 1) hole = before;
  bool asleep = c->rx == WAITING, full = now - head >= s->capacity;
  unsigned woken = w.woken[ACTORS];
  send_item(1);
  send_item(2);
  if (asleep && !full && (c->tail & SHUT) == 0)
    check(w.woken[ACTORS] == woken + 1, "a send does not wake the receiver");
  await_room(1);
  await_room(2);
  if (!receives && !w.gone) {
    size_t all = c->tail / STEP, reach = hole != SIZE_MAX ? hole : all;
    for (size_t i = c->head; i != reach; i++) {
      poll_stream(0);
      check(w.ended == 0 && w.waits[ACTORS] == NONE, "an item before the hole is held back");
    }
    if (hole != SIZE_MAX || !w.failed) {
      poll_stream(0);
      check(w.ended == 0 && (w.waits[ACTORS] == PENDING || hole == SIZE_MAX),
            "more than one item was in a place, or the stream has ended");
    }
  }
  for (int a = 1; a < ACTORS; a++) {
    if (w.waits[a] == PENDING && w.woken[a] > w.seen[a]) await_room(a);
    drop_room(a);
  }
  fail_sender(1);
  if (!receives && !w.gone) {
    poll_stream(0);
    check(w.ended == 0 || hole == SIZE_MAX, "the stream has ended before an item");
    drop_stream(0);
    for (int f = 1; f < ACTORS; f++)
      for (int n = 0; n < w.numbers[f]; n++)
        check(hole != SIZE_MAX || w.fate[f][n] != SENT, "an item is left");
  }
  drop_sender(2);
  if (extra != NULL) rawwaker_sender_drop(extra);
  stop_at = 0;
  keeps = false;
  rawwaker_set_panic(NULL, 0);
  return left;
}

int main(int argc, char **argv) {
  full = argc > 1 && strcmp(argv[1], "full") == 0;
  int n = sizeof setups / sizeof *setups;
  alarm(600); /* a call that waits for a stopped thread never returns */
  for (const setup *s = setups; s < setups + n; s++)
    for (const action *call = actions; call < actions + ACTIONS; call++) {
      for (first = actions; first < actions + ACTIONS; first++)
        for (second = actions; second < actions + ACTIONS; second++) every_pair(s, call);
      first = second = NULL;
      for (two.call = actions; two.call < actions + ACTIONS; two.call++) every_two(s, call, full);
      two.call = NULL;
      if ((full || s->three) && call < actions + senders_actions()) every_three(s, call);
      for (unsigned long at = 1; stop(s, call, at); at++) check(at < 1000, "it does not end");
    }
  every_two_rooms();
  printf("ok: %d calls in %d channels, with every two actions of others in every pair of their "
         "gaps, and beside each other: %lu interleavings; and a thread that stops permanently, "
         "%lu times: 0 items or wakes lost\n",
         ACTIONS, n, interleavings, stops);
  return 0;
}
