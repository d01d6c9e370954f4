/* The park/wake word: parker in rawwaker.c, with its count and its memory. sink.pml has the
 * spinner.
 *   GO  Parker in internal/wake/parker.go, whose sleeper can be cancelled. Then it parks once more,
 *       to meet whatever a cancel leaves. */
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

#define EMPTY 0
#define NOTIFIED 1
#define PARKED 2

byte word = EMPTY;
byte token;           /* in the semaphore, or in the channel */
byte refs = WAKERS + 1;
bool alive = true;
byte freed;
bool cancel;          /* done is closed */

byte events;          /* what the wakers make true, before they wake */
bool fresh;           /* a wake's exchange came since the sleeper's last exchange to EMPTY */
bool finished;

/* parker_drop */
inline drop() {
  skip;
#ifndef GO
  atomic { assert(alive); refs--; last = (refs == 0) }
  if
  :: last -> atomic { assert(alive); alive = false; freed++; last = false }
  :: else
  fi
#endif
}

/* parker_wake_by_ref; Core.Notify and Parker.Schedule */
inline wake_by_ref() {
#ifdef TWIN_WAKE_IS_LOAD_AND_STORE
  atomic { assert(alive); was = word }
  atomic { word = NOTIFIED; fresh = true }
#else
  atomic { assert(alive); was = word; word = NOTIFIED; fresh = true }
#endif
  if
  :: was == PARKED ->
    atomic { /* semaphore_post; p.ch <- */
      assert(alive);
      assert(token == 0 && word != PARKED);
      token++
    }
  :: else
  fi;
  was = 0
}

proctype Waker() {
  byte i, was;
  bool last;
  do
  :: i < ROUNDS ->
    atomic { events++; i++ }
#ifdef TWIN_DROP_BEFORE_WAKE
    if
    :: i == ROUNDS -> drop()
    :: else
    fi;
    wake_by_ref()
#else
    wake_by_ref(); /* the last one is parker_wake */
    if
    :: i == ROUNDS -> drop()
    :: else
    fi
#endif
  :: else -> break
  od
}

/* The last step of parker_park, and of Parker.Park. */
inline consume() {
  atomic { assert(alive); assert(fresh); word = EMPTY; fresh = false }
}

/* The compare-and-swap from EMPTY. */
inline go_to_sleep() {
#ifdef TWIN_SLEEPER_DOES_NOT_LOOK_AGAIN
  atomic { assert(alive); assert(token == 0); word = PARKED; parked = true }
#else
  atomic {
    assert(alive);
    if
    :: word == EMPTY -> assert(token == 0); word = PARKED; parked = true
    :: else -> parked = false
    fi
  }
#endif
}

#ifndef GO
/* rawwaker_block_on, parker_park */
proctype Sleeper() {
  byte seen;
  bool parked, last;
  do
  :: seen = events; /* the poll */
#ifdef TWIN_CLEARED_AFTER_THE_POLL
    atomic { word = EMPTY; fresh = false }
#endif
    if
    :: seen == WAKERS * ROUNDS -> break
    :: else
    fi;
    go_to_sleep();
    if
    :: parked -> atomic { token > 0 -> token--; assert(alive) }
    :: else
    fi;
    consume()
  od;
  drop();
  finished = true
}
#else
proctype Canceller() { cancel = true }

/* Await's loop, Parker.Park(done) */
proctype Sleeper() {
  byte seen;
  bool parked, cancelled;
  do
  :: seen = events; /* the poll */
#ifdef TWIN_CLEARED_AFTER_THE_POLL
    atomic { word = EMPTY; fresh = false }
#endif
    if
    :: seen == WAKERS * ROUNDS -> break
    :: else
    fi;
    if
    :: atomic { word == NOTIFIED -> skip }
      consume();
    :: atomic { word != NOTIFIED -> skip }
      go_to_sleep();
      if
      :: !parked -> consume()
      :: else ->
        if
        :: atomic { token > 0 -> token-- }
          consume()
        :: atomic { cancel && !cancelled -> cancelled = true }
          if
          :: atomic { word == PARKED -> word = EMPTY }
          :: atomic { word != PARKED -> skip }
#ifdef TWIN_CANCEL_LEAVES_THE_TOKEN
            word = EMPTY; fresh = false
#else
            atomic { token > 0 -> token-- }
            consume()
#endif
          fi
        fi
      fi
    fi
  od;
  assert(token == 0);
  finished = true
}
#endif

init {
  atomic {
    byte n;
    for (n : 1 .. WAKERS) { run Waker() }
    run Sleeper();
#ifdef GO
    run Canceller()
#endif
  }
  (_nr_pr == 1) ->
  assert(finished && token == 0);
#ifndef GO
  assert(!alive && freed == 1 && refs == 0)
#endif
}

#ifdef LIVE
ltl ends { <> finished }
#endif
