/* The channel of channel/rawwaker_channel.c: rawwaker_sender_try_send, _drop, _fail and _room,
 * room_poll, room_drop, room_wake, wake_one, wake_all, channel_poll_next, channel_drop, receive,
 * destroy_items and channel_unref. Each sender sends ITEMS items and ends. The receiver polls after
 * wakes only, until the stream has ended. A cell's register, wake and drop are one step each:
 * cell.pml has theirs.
 *   ROOMS  a sender that finds the channel full awaits a room, and may drop it and end instead
 *   FAIL   sender 0 ends by rawwaker_sender_fail; the other waits until the stream has ended
 *   DROP   the receiver may drop the stream before any poll
 *   FILLED the channel is full at the beginning
 *   MANY   rooms alone, of which that of actor 1 is for MANY places: each actor awaits a room and
 *          then takes as many places, in one step each; a receiver frees FREED places, and then the
 *          channel is closed. If nothing more can happen, no room waits for which there are places
 *   ASLEEP each room of MANY waits at the beginning */
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef ITEMS
#define ITEMS 1
#endif
#ifndef CAPACITY
#define CAPACITY 1
#endif
#if CAPACITY == 3
#define PLACES 4
#else
#define PLACES CAPACITY
#endif
#ifndef FREED
#define FREED 3
#endif
#ifdef FILLED
#define FIRST CAPACITY
#else
#define FIRST 0
#endif
#define ALL (FIRST + SENDERS * ITEMS + 1)

#define AWAKE 0
#define WAITING 1
#define GONE 2
#define FREE 0
#define IDLE 1
#define WAITS 2
#define WOKEN 3
#define NONE 255

/* tail: the position of the next item, and whether SHUT is set */
byte tail;
bool shut;
byte head_seen, head;
byte stamp[PLACES];
byte ring[PLACES];    /* the position of the item that is in it */
byte reading[PLACES], writing[PLACES];
byte senders = SENDERS;
byte refs = 2;
byte rx = AWAKE;
bool kept, woken;     /* the receiver's cell, and its task */
byte room[SENDERS];
#ifdef MANY
byte want[SENDERS];   /* how many places it waits for */
#endif
bool room_kept[SENDERS], room_woken[SENDERS];
byte waiters, turn;
bool text, failing;

bool sent[ALL];       /* by position: try_send has returned SENT */
byte received[ALL], destroyed[ALL];
byte freed, done;
bool over;            /* the stream has ended, or was dropped */
byte most = CAPACITY, actors = SENDERS, all = ALL; /* so that all runs have the same statements */

inline touch() { assert(freed == 0) }
inline unref() {
  atomic {
    touch();
    refs--;
    if
    :: refs == 0 -> freed++
    :: else
    fi
  }
}

/* rawwaker_cell_wake of the receiver's cell */
inline cell_wake() {
  atomic {
    touch();
    if
    :: kept -> kept = false; woken = true
    :: else
    fi
  }
}
inline wake_receiver() {
  atomic { touch(); seen = rx }
  if
  :: seen == WAITING ->
    atomic {
      won = (rx == WAITING);
      if
      :: won -> rx = AWAKE
      :: else
      fi
    }
    if
    :: won -> cell_wake()
    :: else
    fi
  :: else
  fi;
  won = false;
  seen = 0
}

/* free_places: head is read first */
inline free_places() {
  atomic { touch(); h = head }
  atomic {
    if
#ifdef TWIN_A_CLOSED_CHANNEL_COUNTS_ITS_PLACES
    :: tail - h < most -> places = most - (tail - h)
#else
    :: shut -> places = NONE
    :: !shut && tail - h < most -> places = most - (tail - h)
#endif
    :: else -> places = 0
    fi;
    h = 0
  }
}

inline room_wake(r) {
#ifdef MANY
  if
  :: atomic { room[r] == WAITS && want[r] > 1 -> touch() };
#if defined(TWIN_WAKES_ONE_THAT_DOES_NOT_FIT)
    places = NONE
#else
    free_places()
#endif
  :: else -> places = NONE
  fi;
#define FITS && places >= want[r]
#else
#define FITS
#endif
#ifdef TWIN_ROOM_IS_WOKEN_BY_LOAD_AND_STORE
  won = (room[r] == WAITS FITS);
  if
  :: won -> room[r] = WOKEN
  :: else
  fi;
#else
  atomic {
    won = (room[r] == WAITS FITS);
    if
    :: won -> room[r] = WOKEN
    :: else
    fi
  }
#endif
  if
  :: won ->
    atomic { assert(waiters > 0); waiters-- }
    atomic {
      touch();
      if
      :: room_kept[r] -> room_kept[r] = false; room_woken[r] = true
      :: else
      fi
    }
  :: else
  fi
}
inline wake_one() {
  if
  :: waiters != 0 ->
    i = turn;
    k = 0;
    won = false;
    do
    :: k < actors && !won ->
      room_wake(i);
      i = (i + 1) % actors;
      k++
    :: else -> break
    od;
    if
    :: won -> turn = i
    :: else
    fi
  :: else
  fi;
  atomic { i = 0; k = 0; won = false; places = 0 }
}
inline wake_all() {
  if
  :: waiters != 0 ->
    k = 0;
    do
    :: k < actors -> room_wake(k); k++
    :: else -> break
    od
  :: else
  fi;
  atomic { k = 0; won = false; places = 0 }
}

/* destroy_items: in order, up to the first that is still being sent */
inline destroy_items() {
  atomic { touch(); h = head }
  do
  :: atomic { stamp[h % PLACES] != h + 1 -> break }
  :: atomic { stamp[h % PLACES] == h + 1 -> seen = 1 }
#ifdef TWIN_DESTROY_WITHOUT_COMPARING
    head = h + 1;
    won = true;
#else
    atomic {
      won = (head == h);
      if
      :: won -> head = h + 1
      :: else -> h = head
      fi
    }
#endif
    if
    :: won ->
      atomic {
        touch();
        assert(ring[h % PLACES] == h && writing[h % PLACES] == 0);
        destroyed[h]++;
        assert(destroyed[h] + received[h] == 1)
      }
      h++
    :: else
    fi
  od;
  atomic { h = 0; won = false; seen = 0 }
}

/* rawwaker_sender_try_send; result is 0 SENT, 1 FULL, 2 CLOSED */
inline try_send() {
  atomic { touch(); t = tail; s = shut }
  do
  :: s -> result = 2; break
  :: else ->
    h = head_seen;
    if
    :: t - h < most
    :: else ->
      h = head;
      head_seen = h;
      if
      :: t - h < most
      :: else ->
        atomic { touch(); n = tail; s = shut }
        if
        :: n == t && !s -> result = 1; break
        :: else -> t = n
        fi
      fi
    fi;
    if
    :: s || t - h >= most
    :: else ->
      atomic {
        touch();
        won = (tail == t && !shut);
        if
        :: won -> tail++
        :: else -> t = tail; s = shut
        fi
      }
      if
      :: won -> result = 0; break
      :: else
      fi
    fi
  od;
  won = false;
  if
  :: result == 0 ->
    atomic {
      assert(reading[t % PLACES] == 0 && writing[t % PLACES] == 0);
      writing[t % PLACES]++
    }
    ring[t % PLACES] = t;
    writing[t % PLACES]--;
#ifdef TWIN_RX_READ_BEFORE_THE_STAMP
    seen = rx;
    stamp[t % PLACES] = t + 1;
#else
    atomic { touch(); stamp[t % PLACES] = t + 1; sent[t] = true }
    atomic { touch(); seen = rx }
#endif
    if
    :: seen == WAITING -> wake_receiver()
#ifdef TWIN_SENDER_IGNORES_GONE
    :: seen == GONE
#else
    :: seen == GONE -> destroy_items()
#endif
    :: else
    fi
  :: else
  fi;
  atomic { seen = 0; h = 0; n = 0; s = false; t = 0 }
}

/* Returns in won whether it had been woken. */
inline room_end(to) {
  atomic { touch(); was = room[me]; room[me] = to }
  if
  :: was == WAITS -> atomic { assert(waiters > 0); waiters-- }
  :: else
  fi
}
inline room_ready() {
  free_places();
  if
#ifdef MANY
  :: places >= want[me] ->
#else
  :: places != 0 ->
#endif
    room_end(IDLE);
#ifndef TWIN_WOKEN_ROOM_DOES_NOT_COUNT_AGAIN
    if
    :: places <= 1 && was == WOKEN -> free_places()
    :: else
    fi;
#endif
    if
    :: places > 1 -> wake_one()
    :: else
    fi;
    ready = true
  :: else
  fi;
  atomic { places = 0; was = 0 }
}
inline room_poll() {
  ready = false;
  room_ready();
  if
  :: ready
  :: else ->
    room_kept[me] = true; /* register */
#ifdef TWIN_COUNTED_AFTER_WAITS
    atomic { was = room[me]; passes = (was == WOKEN); room[me] = WAITS }
    if
    :: was != WAITS -> waiters++
    :: else
    fi;
#else
    atomic { touch(); waiters++ }
    atomic { was = room[me]; passes = (was == WOKEN); room[me] = WAITS }
    if
    :: was == WAITS -> atomic { assert(waiters > 0); waiters-- }
    :: else
    fi;
#endif
    was = 0;
#ifndef TWIN_ROOM_DOES_NOT_LOOK_AGAIN
    room_ready();
#endif
#if !defined(TWIN_ROOM_THAT_DOES_NOT_FIT_PASSES_NOTHING_ON) && \
    !defined(TWIN_WAKES_ONE_THAT_DOES_NOT_FIT)
    if
    :: passes && !ready -> /* it was woken for several places */
      free_places();
      if
      :: places != 0 -> wake_one()
      :: else
      fi
    :: else
    fi;
#endif
    passes = false
  fi
}
inline room_drop() {
  atomic { touch(); room_kept[me] = false }
  room_end(FREE);
#ifndef TWIN_WOKEN_ROOM_PASSES_NOTHING_ON
  if
  :: was == WOKEN ->
    free_places();
    if
    :: places != 0 -> wake_one()
    :: else
    fi
  :: else
  fi;
#endif
  atomic { places = 0; was = 0; ready = false; room_woken[me] = false }
  unref()
}

/* Makes a room, and polls it after wakes only, until it is ready, or it gives up. */
inline await_room() {
#ifdef ASLEEP
  room_woken[me] -> skip;
#else
  atomic { touch(); assert(room[me] == FREE); room[me] = IDLE; refs++ }
#endif
  do
  :: room_woken[me] = false;
    room_poll();
    if
    :: ready -> break
    :: !ready && room_woken[me] -> skip
#ifndef MANY
    :: !ready -> gave_up = true; break /* woken or not */
#endif
    :: !ready ->
      room_woken[me] -> skip
    fi
  od;
  room_drop()
}

proctype Sender(byte me) {
  byte t, h, n, seen, result, items, places, was, i, k;
  bool s, won, ready, passes, gave_up;
  do
  :: items < ITEMS ->
    try_send();
    if
    :: result == 0 -> items++
    :: result == 2 -> break
    :: result == 1 ->
#ifdef ROOMS
      await_room();
      if
      :: gave_up -> break
      :: else
      fi
#else
      break
#endif
    fi
  :: else -> break
  od;
#ifdef FAIL
  if
  :: me == 0 ->
    failing = true;
    text = true;
#ifdef TWIN_FAIL_WAKES_FIRST
    wake_receiver();
    atomic { touch(); shut = true }
#else
    atomic { touch(); shut = true }
    wake_receiver();
#endif
    wake_all()
  :: me == 1 -> over
  :: else
  fi;
#endif
  /* sender_end */
#ifdef TWIN_LAST_SENDER_WAKES_FIRST
  wake_receiver();
  atomic { senders--; result = (senders == 0) }
  if
  :: result -> unref()
  :: else
  fi;
#else
  atomic { touch(); senders--; result = (senders == 0) }
  if
  :: result ->
    wake_receiver();
    unref()
  :: else
  fi;
#endif
  done++
}

/* Whether an item was received, in won. */
inline receive() {
  atomic { touch(); won = (stamp[head % PLACES] == head + 1) }
  if
  :: won ->
#ifdef TWIN_HEAD_MOVES_BEFORE_THE_COPY
    h = head;
    head++;
    atomic { assert(writing[h % PLACES] == 0 && ring[h % PLACES] == h); received[h]++ }
#else
    reading[head % PLACES]++;
    atomic {
      assert(writing[head % PLACES] == 0 && ring[head % PLACES] == head);
      reading[head % PLACES]--;
      received[head]++
    }
    atomic { touch(); head++ }
#endif
    wake_one();
    won = true
  :: else
  fi;
  h = 0
}
inline has_ended() {
  atomic {
    for (i : 0 .. all - 1) { assert(!sent[i] || received[i] == 1) }
    i = 0;
    ended = true;
    over = true;
    kept = false
  }
}

proctype Receiver() {
  byte seen, h, i, k, t, places;
  bool won, alone, s, ended;
  do
  :: ended -> break
#ifdef DROP
  :: !ended -> break
#endif
  :: !ended ->
    woken = false; /* channel_poll_next */
    receive();
    if
    :: won -> skip
    :: else ->
      kept = true; /* register */
#ifndef TWIN_WAITS_AFTER_IT_LOOKED
      rx = WAITING;
#endif
#ifdef TWIN_ALONE_READ_AFTER_TAIL
      atomic { touch(); t = tail; s = shut }
      atomic { touch(); alone = (senders == 0) }
#else
      atomic { touch(); alone = (senders == 0) }
      atomic { touch(); t = tail; s = shut }
#endif
      receive();
#ifdef TWIN_ALONE_READ_AFTER_THE_RING
      alone = (senders == 0);
#endif
      if
      :: won -> rx = AWAKE
      :: !won && !s && alone ->
        assert(!failing); /* DONE */
        has_ended()
      :: !won && !s && !alone
#ifdef TWIN_FAILS_BEFORE_AN_ITEM_ON_ITS_WAY
      :: !won && s ->
#else
      :: !won && s && t != head
      :: !won && s && t == head ->
#endif
        assert(text); /* PANICKED */
        has_ended()
      fi;
#ifdef TWIN_WAITS_AFTER_IT_LOOKED
      if
      :: !won && !ended -> rx = WAITING
      :: else
      fi;
#endif
      if
      :: won || ended
      :: else -> woken
      fi
    fi;
    atomic { won = false; alone = false; t = 0; s = false }
  od;
  over = true;
  /* channel_drop */
#ifdef TWIN_DROP_SHUTS_AFTER_GONE
  atomic { touch(); rx = GONE }
  wake_all();
  kept = false;
  destroy_items();
  shut = true;
#else
  atomic { touch(); shut = true }
  atomic { touch(); rx = GONE }
  wake_all();
  kept = false;
  destroy_items();
#endif
  unref();
  done++
}

#ifdef MANY
proctype Waiter(byte me) {
  byte h, places, was, i, k;
  bool won, ready, passes;
  await_room();
  do
  :: was < want[me] ->
    atomic {
      if
      :: !shut && tail - head < most -> tail++
      :: else
      fi;
      was++
    }
  :: else -> break
  od;
  done++
}

/* Nothing more can happen: no room waits for which there are places. */
inline quiet() {
  timeout ->
  atomic {
    for (i : 0 .. actors - 1) {
      assert(room[i] != WAITS || most - (tail - head) < want[i])
    }
    i = 0
  }
}
proctype Freer() {
  byte h, i, k, n, places;
  bool won;
  do
  :: n < FREED && tail != head ->
    if
    :: quiet()
    :: skip
    fi;
    atomic { touch(); head++ } /* receive */
    wake_one();
    n++
  :: n == FREED || tail == head -> break
  od;
  quiet();
  atomic { touch(); shut = true } /* rawwaker_sender_fail */
  wake_all();
  unref();
  unref();
  done++
}
#endif

init {
  byte i;
#ifdef MANY
  atomic {
    tail = FIRST;
    run Freer();
    for (i : 0 .. SENDERS - 1) { want[i] = (i == 1 -> MANY : 1) }
    for (i : 0 .. SENDERS - 1) {
#ifdef ASLEEP
      room[i] = WAITS;
      room_kept[i] = true;
      waiters++;
      refs++;
#endif
      run Waiter(i)
    }
  }
  (done == SENDERS + 1) -> assert(freed == 1 && refs == 0 && waiters == 0)
#else
  atomic {
#ifdef FILLED
    for (i : 1 .. FIRST) {
      ring[tail % PLACES] = tail;
      stamp[tail % PLACES] = tail + 1;
      sent[tail] = true;
      tail++
    }
#endif
    run Receiver();
    for (i : 0 .. SENDERS - 1) { run Sender(i) }
  }
  (done == SENDERS + 1) ->
  assert(freed == 1 && refs == 0 && waiters == 0);
  for (i : 0 .. all - 1) { assert(received[i] + destroyed[i] == sent[i]) }
#endif
}
