/* rawwaker_channel.c - see rawwaker_channel.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rawwaker_channel.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every memory order, by the step it belongs to. docs/CONCURRENCY.md has what each pairs with. */
#define ORD_REF memory_order_relaxed     /* a cloner holds a reference already */
#define ORD_UNREF memory_order_acq_rel   /* the last one sees what the others did */
#define ORD_CLAIM memory_order_acq_rel   /* a place in the ring, against the close */
#define ORD_SENT memory_order_seq_cst    /* the item is there, then rx is read */
#define ORD_RECEIVE memory_order_seq_cst /* rx says WAITING or GONE, then the ring is read */
#define ORD_SHUT memory_order_seq_cst    /* no more items, then rx is read */
#define ORD_TAKEN memory_order_seq_cst   /* a place is free, then waiting rooms are counted */
#define ORD_WAIT memory_order_seq_cst    /* a room waits, then free places are counted */
#define ORD_SEEN memory_order_release    /* head_seen hands on what an acquire of head gave */
#define ORD_LOOK memory_order_acquire    /* the other half */
#define ORD_LIST memory_order_acq_rel    /* a room's fields, to the threads that walk the list */

enum { TEXT_MAX = 1024, LINE = 64 };

/* rx, the receiver's word.
 *   AWAKE    It will look at the ring before it waits.
 *   WAITING  Its waker is in the cell. The thread that turns it into AWAKE wakes the cell.
 *   GONE     The stream was dropped. A sender that finds it after it has sent destroys items. */
enum { AWAKE = 0, WAITING = 1, GONE = 2 };

/* A room's word.
 *   FREE    No future has it.
 *   IDLE    A future has it, which was not polled, or has ended.
 *   WAITS   Its waker is in its cell, and it is counted in waiters.
 *   WOKEN   A free place was reported to it. It was counted out by the thread that set this. */
enum { FREE = 0, IDLE = 1, WAITS = 2, WOKEN = 3 };

/* Rooms are never taken off their list, so walking it needs no protection. */
typedef struct room {
  _Atomic(uint32_t) state;
  rawwaker_cell cell;
  _Atomic(size_t) places; /* that it waits for; written before it waits */
  rawwaker_sender *channel;
  struct room *next;
} room;

/* Positions count items and are compared modulo half the range of a size_t. tail has twice the
 * position of the next item to be sent, and SHUT: no later item is sent. The stamp of a place is
 * the position of the item that was sent there last, plus 1. Item p is there if its place has the
 * stamp p + 1 and head is not beyond it. A sender owns a place from its step of tail until it
 * writes the stamp; after that the receiver owns it until its step of head. Once rx is GONE, the
 * thread whose compare-and-swap moves head owns the item. tail is never more than capacity beyond
 * head, and nothing is sent after SHUT. */
enum { SHUT = 1, STEP = 2 };
#define POSITIONS (SIZE_MAX >> 1)

typedef struct place {
  _Atomic(size_t) stamp;
} place;

/* The channel; every sender is a pointer to it. */
struct rawwaker_sender {
  /* of all, written at the end and by the first and last of each */
  const rawwaker_channel_ops *ops;
  void *arg, *memory, *given;
  size_t size, capacity, mask, stride, offset;
  char *ring;
  _Atomic(size_t) refs;    /* the stream, all senders together, each room's future */
  _Atomic(size_t) senders;
  _Atomic(char *) text;    /* of the first failure; NULL: none */
  _Atomic(room *) rooms;   /* all that there ever were, the newest first */
  _Atomic(room *) turn;    /* where the next search for a waiting one begins; NULL: at rooms */
  _Atomic(room *) spare;   /* where the next search for a free one begins */
  bool started;            /* of the stream, as the next one; or there is no start */
  rawwaker_poll ended;     /* 0, or with what: DONE or PANICKED */
  /* of senders */
  _Alignas(LINE) _Atomic(size_t) tail;
  _Atomic(size_t) head_seen; /* a head that some sender has read */
  /* of the receiver */
  _Alignas(LINE) _Atomic(size_t) head;
  _Atomic(size_t) waiters;
  /* of both, written when the receiver falls asleep */
  _Alignas(LINE) _Atomic(uint32_t) rx;
  rawwaker_cell cell;
};

static const rawwaker_channel_ops no_ops = {NULL, NULL, NULL, NULL};
static char out_of_memory[] = "channel: out of memory";

static _Noreturn void die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

static rawwaker_sender *channel_of(rawwaker_sender *tx, const char *call, bool takes) {
  return ((uintptr_t)tx & 1) == 0 ? tx : rawwaker_watch_used(tx, call, takes);
}

static place *place_of(const rawwaker_sender *c, size_t position) {
  return (place *)(void *)(c->ring + (position & c->mask) * c->stride);
}
static void *item_of(const rawwaker_sender *c, place *p) { return (char *)p + c->offset; }

static void channel_free(rawwaker_sender *c) {
  void (*release)(void *arg) = c->ops->release;
  void *arg = c->arg;
  char *text = atomic_load_explicit(&c->text, memory_order_relaxed);
  if (text != out_of_memory) free(text);
  room *r = atomic_load_explicit(&c->rooms, memory_order_relaxed);
  for (room *next; r != NULL; r = next) {
    next = r->next;
    free(r);
  }
  free(c->memory);
  if (release != NULL) release(arg);
}

static void channel_unref(rawwaker_sender *c) {
  if (atomic_fetch_sub_explicit(&c->refs, 1, ORD_UNREF) == 1) channel_free(c);
}

/* --------------------------------------------------------------------------------- rooms -- */

/* How many places are free; head is read first, so it may be fewer than there are, never more. A
 * closed channel has room for every sender, which finds out by its try_send. */
static size_t free_places(rawwaker_sender *c) {
  size_t head = atomic_load_explicit(&c->head, ORD_WAIT);
  size_t tail = atomic_load_explicit(&c->tail, ORD_WAIT);
  if ((tail & SHUT) != 0) return SIZE_MAX;
  size_t used = (tail / STEP - head) & POSITIONS;
  return used < c->capacity ? c->capacity - used : 0;
}

static size_t room_places(room *r) {
  return atomic_load_explicit(&r->places, memory_order_relaxed);
}

static bool room_wake(rawwaker_sender *c, room *r) {
  uint32_t waits = WAITS;
  if (atomic_load_explicit(&r->state, ORD_WAIT) != WAITS ||
      (room_places(r) > 1 && free_places(c) < room_places(r)) ||
      !atomic_compare_exchange_strong_explicit(&r->state, &waits, WOKEN, ORD_WAIT,
                                               memory_order_relaxed))
    return false;
  atomic_fetch_sub_explicit(&c->waiters, 1, ORD_WAIT);
  rawwaker_cell_wake(&r->cell);
  return true;
}

/* Wakes one waiting room, if there is one that fits: they take turns. */
static void wake_one(rawwaker_sender *c) {
  if (atomic_load_explicit(&c->waiters, ORD_TAKEN) == 0) return;
  room *turn = atomic_load_explicit(&c->turn, ORD_LOOK);
  for (room *r = turn; r != NULL; r = r->next)
    if (room_wake(c, r)) {
      atomic_store_explicit(&c->turn, r->next, ORD_SEEN);
      return;
    }
  for (room *r = atomic_load_explicit(&c->rooms, ORD_LOOK); r != turn; r = r->next)
    if (room_wake(c, r)) {
      atomic_store_explicit(&c->turn, r->next, ORD_SEEN);
      return;
    }
}

static void wake_all(rawwaker_sender *c) {
  if (atomic_load_explicit(&c->waiters, ORD_SHUT) == 0) return;
  for (room *r = atomic_load_explicit(&c->rooms, ORD_LOOK); r != NULL; r = r->next)
    room_wake(c, r);
}

/* Stops waiting, with `to` as the room's next state. Returns whether it had been woken. */
static bool room_end(room *r, uint32_t to) {
  uint32_t was = atomic_exchange_explicit(&r->state, to, ORD_WAIT);
  if (was == WAITS) atomic_fetch_sub_explicit(&r->channel->waiters, 1, ORD_WAIT);
  return was == WOKEN;
}

static bool room_ready(room *r) {
  size_t places = free_places(r->channel);
  if (places < room_places(r)) return false;
  bool woken = room_end(r, IDLE);
  /* A wake that came meanwhile may be for a place that is not in the count. */
  if (places > 1 || (woken && free_places(r->channel) > 1)) wake_one(r->channel);
  return true;
}

static rawwaker_poll room_poll(void *data, rawwaker_context *cx, void *out) {
  room *r = data;
  (void)out;
  if (room_ready(r)) return RAWWAKER_READY;
  rawwaker_cell_register(&r->cell, cx->waker);
  /* Counted first: a thread that frees a place and finds it counted, but not waiting yet, is seen
   * by the check below. */
  atomic_fetch_add_explicit(&r->channel->waiters, 1, ORD_WAIT);
  uint32_t was = atomic_exchange_explicit(&r->state, WAITS, ORD_WAIT);
  if (was == WAITS) atomic_fetch_sub_explicit(&r->channel->waiters, 1, ORD_WAIT);
  if (room_ready(r)) return RAWWAKER_READY;
  /* It was woken for several places, and some are left that are too few for it. */
  if (was == WOKEN && free_places(r->channel) != 0) wake_one(r->channel);
  return RAWWAKER_PENDING;
}

static void room_drop(void *data) {
  room *r = data;
  rawwaker_sender *c = r->channel;
  rawwaker_cell_drop(&r->cell);
  if (room_end(r, FREE) && free_places(c) != 0) wake_one(c);
  channel_unref(c);
}

static const rawwaker_future_vtable room_vtable = {room_poll, room_drop};

/* Returns a room that was dropped, or NULL. A search looks at so many, and the next one continues
 * there. So a new room is made only if few are free, and there are hardly more rooms than were ever
 * used at once. */
enum { SEARCH = 64 };
static room *room_reuse(rawwaker_sender *c) {
  room *r = atomic_load_explicit(&c->spare, ORD_LOOK);
  for (int i = 0; i < SEARCH; i++) {
    if (r == NULL) r = atomic_load_explicit(&c->rooms, ORD_LOOK);
    if (r == NULL) return NULL;
    uint32_t state = FREE;
    if (atomic_load_explicit(&r->state, memory_order_relaxed) == FREE &&
        atomic_compare_exchange_strong_explicit(&r->state, &state, IDLE, ORD_LIST,
                                                memory_order_relaxed)) {
      atomic_store_explicit(&c->spare, r, ORD_SEEN);
      return r;
    }
    r = r->next;
  }
  atomic_store_explicit(&c->spare, r, ORD_SEEN);
  return NULL;
}

static rawwaker_future room_new(rawwaker_sender *c, size_t places, const char *call) {
  room *r = room_reuse(c);
  if (r == NULL) {
    r = calloc(1, sizeof *r);
    if (r == NULL) die(call, "out of memory");
    r->channel = c;
    atomic_init(&r->state, IDLE);
    r->next = atomic_load_explicit(&c->rooms, ORD_LOOK);
    while (!atomic_compare_exchange_weak_explicit(&c->rooms, &r->next, r, ORD_LIST, ORD_LOOK)) {
    }
  }
  if (places == 0) places = 1;
  if (places > c->capacity) places = c->capacity;
  atomic_store_explicit(&r->places, places, memory_order_relaxed);
  atomic_fetch_add_explicit(&c->refs, 1, ORD_REF);
  return (rawwaker_future){r, &room_vtable};
}

rawwaker_future rawwaker_sender_room(rawwaker_sender *tx) {
  return room_new(channel_of(tx, __func__, false), 1, __func__);
}

rawwaker_future rawwaker_sender_room_for(rawwaker_sender *tx, size_t n) {
  return room_new(channel_of(tx, __func__, false), n, __func__);
}

/* ------------------------------------------------------------------------------- sending -- */

static void wake_receiver(rawwaker_sender *c) {
  uint32_t waiting = WAITING;
  if (atomic_load_explicit(&c->rx, ORD_SENT) == WAITING &&
      atomic_compare_exchange_strong_explicit(&c->rx, &waiting, AWAKE, ORD_SENT,
                                              memory_order_relaxed))
    rawwaker_cell_wake(&c->cell);
}

/* Destroys what is in the ring, in order, up to the first item that is still being sent; its sender
 * will do the same. */
static void destroy_items(rawwaker_sender *c) {
  size_t head = atomic_load_explicit(&c->head, ORD_LOOK);
  for (;;) {
    place *p = place_of(c, head);
    size_t next = (head + 1) & POSITIONS;
    if (atomic_load_explicit(&p->stamp, ORD_RECEIVE) != head + 1) return;
    if (!atomic_compare_exchange_weak_explicit(&c->head, &head, next, ORD_CLAIM, ORD_LOOK))
      continue;
    if (c->ops->destroy != NULL) c->ops->destroy(c->arg, item_of(c, p));
    head = next;
  }
}

int rawwaker_sender_try_send(rawwaker_sender *tx, const void *item) {
  rawwaker_sender *c = channel_of(tx, __func__, false);
  size_t tail = atomic_load_explicit(&c->tail, ORD_LOOK);
  for (;;) {
    if ((tail & SHUT) != 0) return RAWWAKER_CLOSED;
    size_t head = atomic_load_explicit(&c->head_seen, ORD_LOOK);
    if (((tail / STEP - head) & POSITIONS) >= c->capacity) {
      head = atomic_load_explicit(&c->head, ORD_LOOK);
      atomic_store_explicit(&c->head_seen, head, ORD_SEEN);
      if (((tail / STEP - head) & POSITIONS) >= c->capacity) {
        size_t now = atomic_load_explicit(&c->tail, ORD_LOOK);
        if (now == tail) return RAWWAKER_FULL;
        tail = now;
        continue;
      }
    }
    if (atomic_compare_exchange_weak_explicit(&c->tail, &tail, tail + STEP, ORD_CLAIM, ORD_LOOK))
      break;
  }
  place *p = place_of(c, tail / STEP);
  if (c->size != 0) memcpy(item_of(c, p), item, c->size);
  atomic_exchange_explicit(&p->stamp, tail / STEP + 1, ORD_SENT);
  uint32_t rx = atomic_load_explicit(&c->rx, ORD_SENT);
  if (rx == WAITING)
    wake_receiver(c);
  else if (rx == GONE)
    destroy_items(c);
  return RAWWAKER_SENT;
}

rawwaker_sender *rawwaker_sender_clone(rawwaker_sender *tx) {
  rawwaker_sender *c = channel_of(tx, __func__, false);
  if (atomic_fetch_add_explicit(&c->senders, 1, ORD_REF) > SIZE_MAX / 2)
    die(__func__, "sender count overflow (drop each clone)");
  void *given = rawwaker_watch_made(c, __func__);
  return given != NULL ? given : c;
}

static void sender_end(rawwaker_sender *c) {
  if (atomic_fetch_sub_explicit(&c->senders, 1, ORD_SHUT) != 1) return;
  wake_receiver(c);
  channel_unref(c);
}

void rawwaker_sender_drop(rawwaker_sender *tx) { sender_end(channel_of(tx, __func__, true)); }

void rawwaker_sender_fail(rawwaker_sender *tx, const char *msg, size_t len) {
  rawwaker_sender *c = channel_of(tx, __func__, true);
  if (len > TEXT_MAX) len = TEXT_MAX;
  char *text = malloc(len + 1), *none = NULL;
  if (text != NULL) {
    if (len != 0) memcpy(text, msg, len);
    text[len] = '\0';
  } else {
    text = out_of_memory;
  }
  if (!atomic_compare_exchange_strong_explicit(&c->text, &none, text, ORD_SHUT,
                                               memory_order_relaxed) &&
      text != out_of_memory)
    free(text);
  atomic_fetch_or_explicit(&c->tail, SHUT, ORD_SHUT);
  wake_receiver(c);
  wake_all(c);
  sender_end(c);
}

/* ----------------------------------------------------------------------------- receiving -- */

/* Ends the stream; the text is for PANICKED. */
static rawwaker_poll end(rawwaker_sender *c, rawwaker_poll how, const char *text) {
  c->ended = how;
  rawwaker_cell_drop(&c->cell);
  if (how == RAWWAKER_PANICKED) rawwaker_set_panic(text, strlen(text));
  return how;
}

static bool receive(rawwaker_sender *c, void *out) {
  size_t head = atomic_load_explicit(&c->head, memory_order_relaxed);
  place *p = place_of(c, head);
  if (atomic_load_explicit(&p->stamp, ORD_RECEIVE) != head + 1) return false;
  if (c->size != 0) memcpy(out, item_of(c, p), c->size);
  atomic_store_explicit(&c->head, (head + 1) & POSITIONS, ORD_TAKEN);
  wake_one(c);
  return true;
}

static rawwaker_poll channel_poll_next(void *data, rawwaker_context *cx, void *out) {
  rawwaker_sender *c = data;
  if (!c->started) {
    c->started = true;
    c->ops->start(c->arg);
  }
  if (c->ended != 0) return end(c, c->ended, "channel: stream polled after it has panicked");
  if (c->size != 0 && out == NULL)
    return end(c, RAWWAKER_PANICKED, "channel: poll_next: out is NULL, and the item has a size");
  if (receive(c, out)) return RAWWAKER_READY;
  rawwaker_cell_register(&c->cell, cx->waker);
  atomic_store_explicit(&c->rx, WAITING, ORD_RECEIVE);
  /* In this order: the last sender may fail, and items are sent before either. */
  bool alone = atomic_load_explicit(&c->senders, ORD_RECEIVE) == 0;
  size_t tail = atomic_load_explicit(&c->tail, ORD_RECEIVE);
  if (receive(c, out)) {
    atomic_store_explicit(&c->rx, AWAKE, ORD_RECEIVE);
    return RAWWAKER_READY;
  }
  if ((tail & SHUT) == 0) return alone ? end(c, RAWWAKER_DONE, NULL) : RAWWAKER_PENDING;
  /* A sender has failed; one that came before it may still be sending. */
  if (tail / STEP != atomic_load_explicit(&c->head, memory_order_relaxed)) return RAWWAKER_PENDING;
  return end(c, RAWWAKER_PANICKED, atomic_load_explicit(&c->text, ORD_LOOK));
}

static void channel_drop(void *data) {
  rawwaker_sender *c = data;
  if (!c->started) { /* start has not given the sender out */
    if (c->given != NULL) rawwaker_watch_used(c->given, "rawwaker_sender_drop", true);
    channel_free(c);
    return;
  }
  atomic_fetch_or_explicit(&c->tail, SHUT, ORD_SHUT);
  atomic_exchange_explicit(&c->rx, GONE, ORD_RECEIVE);
  /* Before the callbacks: one that blocks delays no waiting room. */
  wake_all(c);
  rawwaker_cell_drop(&c->cell);
  destroy_items(c);
  if (c->ops->cancel != NULL &&
      atomic_load_explicit(&c->senders, memory_order_acquire) != 0 &&
      atomic_load_explicit(&c->text, memory_order_acquire) == NULL)
    c->ops->cancel(c->arg);
  channel_unref(c);
}

static const rawwaker_stream_vtable channel_vtable = {channel_poll_next, channel_drop};

static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

rawwaker_stream rawwaker_channel_new(size_t size, size_t align, size_t capacity,
                                     const rawwaker_channel_ops *ops, void *arg,
                                     rawwaker_sender **tx) {
  if (tx == NULL) die(__func__, "NULL tx");
  if (capacity == 0) die(__func__, "capacity 0");
  if ((align & (align - 1)) != 0 && align != 0) die(__func__, "align is not a power of two");
  size_t places = 1, limit = SIZE_MAX / 16;
  while (places < capacity && places <= limit) places *= 2;
  if (align < _Alignof(place)) align = _Alignof(place);
  if (size > limit || align > limit || places > limit) die(__func__, "out of memory");
  size_t offset = round_up(sizeof(place), align), stride = round_up(offset + size, align);
  size_t most = align > LINE ? align : LINE, head = round_up(sizeof(rawwaker_sender), most);
  if (stride > limit / places) die(__func__, "out of memory");
  size_t all = head + most + places * stride;
  char *memory = calloc(1, all); /* not memset: the system gives a large ring page by page */
  if (memory == NULL) die(__func__, "out of memory");
  rawwaker_sender *c = (rawwaker_sender *)(void *)(memory + (-(uintptr_t)memory & (most - 1)));
  c->ops = ops != NULL ? ops : &no_ops;
  c->arg = arg;
  c->memory = memory;
  c->size = size;
  c->capacity = capacity;
  c->mask = places - 1;
  c->stride = stride;
  c->offset = offset;
  c->ring = (char *)c + head;
  c->started = c->ops->start == NULL;
  atomic_init(&c->refs, 2);
  atomic_init(&c->senders, 1);
  c->given = rawwaker_watch_made(c, __func__);
  *tx = c->given != NULL ? c->given : c;
  return (rawwaker_stream){c, &channel_vtable};
}
