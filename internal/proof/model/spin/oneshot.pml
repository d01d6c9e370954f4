/* The word of a oneshot: rawwaker_oneshot_send, _fail, _drop and _cancel, and the future's slots, of
 * rawwaker.c. The sender is used once. The future is polled with two wakers, cancelled and dropped,
 * in any order; if it waits, it waits for a wake of its latest poll's waker.
 *   STOP  a process stops permanently between any two of its steps. The other one must end. */
#ifndef POLLS
#define POLLS 3 /* that the future makes without a wake, at most */
#endif

#define LISTENING 1
#define SETTLED 2
#define HUNG_UP 4
#define SIDE 8
#define NONE 255

byte word = 2 * SIDE;
byte slot = NONE;       /* the waker, plain memory */
bool writing;           /* a poll is writing it */
bool there;             /* the value or the text, plain memory */
bool sent;              /* it is a value */
bool settled_first;     /* SETTLED was set before HUNG_UP */
bool freed;             /* and release was called */
byte refs[2];           /* references to the two wakers that the oneshot holds */
bool woken[2];
byte taken, destroyed, failed, cancels, callbacks;
bool sender_ends, future_ends;

#ifdef STOP
byte stopped = 255;
#define running provided (stopped != _pid)
#else
#define running
#endif

inline touch() { assert(!freed) }
inline unref(w) { atomic { assert(refs[w] > 0); refs[w]-- } }

/* oneshot_free, which calls release */
inline release() { atomic { assert(!freed && callbacks == 0); freed = true } }

inline destroy() {
  atomic { touch(); assert(there && sent); callbacks++ }
  destroyed++;
  callbacks--
}

/* oneshot_leave */
inline leave() {
  atomic { touch(); last = (word / SIDE == 1); word = word - SIDE }
  if
  :: last -> release()
  :: else
  fi
}

proctype Sender() running {
  byte seen;
  bool last, won;
  atomic {
    touch();
    there = true;
    if
    :: sent = true
    :: sent = false
    fi
  }
  /* oneshot_settle */
  atomic { touch(); seen = word }
  if
#ifdef TWIN_FAST_PATH_OVERLOOKS_LISTENING
  :: !(seen & HUNG_UP) ->
#else
#ifdef TWIN_FAST_PATH_OVERLOOKS_HUNG_UP
  :: !(seen & LISTENING) ->
#else
  :: !(seen & (LISTENING | HUNG_UP)) ->
#endif
#endif
    atomic {
      touch();
      won = (word == seen);
      if
      :: won ->
        settled_first = !(word & HUNG_UP);
        word = (word | SETTLED) - SIDE;
        assert(word >= SIDE) /* the future's side is still there */
      :: else
      fi
    }
  :: else
  fi;
  if
  :: won
  :: else ->
#ifdef TWIN_SETTLES_BY_LOAD_AND_STORE
    atomic { touch(); seen = word; settled_first = !(word & HUNG_UP) }
    word = seen | SETTLED;
#else
    atomic { touch(); seen = word; settled_first = !(word & HUNG_UP); word = word | SETTLED }
#endif
    if
#ifndef TWIN_HUNG_UP_IS_NOT_LOOKED_AT
    :: seen & HUNG_UP ->
      if
      :: sent -> destroy()
      :: else
      fi;
      leave()
#endif
    :: else ->
#ifdef TWIN_LEAVES_BEFORE_THE_WAKE
      leave();
#endif
      if
      :: seen & LISTENING ->
        atomic { touch(); assert(!writing && slot != NONE); seen = slot }
#ifndef TWIN_SETTLES_WITHOUT_A_WAKE
        woken[seen] = true;
#endif
        unref(seen)
      :: else
      fi;
#ifndef TWIN_LEAVES_BEFORE_THE_WAKE
      leave()
#else
      skip
#endif
    fi
  fi;
  sender_ends = true
}

/* oneshot_poll and oneshot_listen, with waker w; at its end ended, or it is pending */
inline poll(w) {
  last_waker = w;
  woken[w] = false;
  atomic { touch(); seen = word }
  if
  :: seen & SETTLED -> ended = true
  :: !(seen & SETTLED) && (seen & LISTENING) && slot == w /* will_wake */
  :: else ->
    old = NONE;
    if
    :: seen & LISTENING ->
#ifdef TWIN_REPLACES_WITHOUT_CLEARING
      old = slot
#else
      atomic { touch(); seen = word; word = word & ~LISTENING }
      if
      :: seen & SETTLED -> ended = true /* the old waker was the sender's */
      :: else -> old = slot
      fi
#endif
    :: else
    fi;
    if
    :: ended
    :: else ->
      refs[w]++; /* clone */
      writing = true;
      slot = w;
      writing = false;
#ifdef TWIN_LISTENS_AFTER_THE_CHECK
      atomic { touch(); word = word | LISTENING }
#else
      atomic { touch(); seen = word; word = word | LISTENING }
      if
      :: seen & SETTLED -> ended = true; unref(w)
      :: else
      fi;
#endif
      if
      :: old != NONE -> unref(old)
      :: else
      fi
    fi
  fi;
  if
  :: ended ->
    atomic {
      assert(there);
      if
      :: sent -> taken++
      :: else -> failed++
      fi
    }
  :: else
  fi
}

/* oneshot_cancel, by a word that was read */
inline cancel(w) {
  if
  :: !(w & SETTLED) && !cancelled ->
    atomic { cancelled = true; assert(!ended); callbacks++; cancels++ }
    callbacks--
  :: else
  fi
}

proctype Future() running {
  byte seen, old, last_waker = NONE, spare = POLLS;
  bool ended, cancelled, last, must;
  do
  :: break
  :: !ended && spare > 0 -> spare--; poll(0); assert(ended || !must)
  :: !ended && spare > 0 -> spare--; poll(1); assert(ended || !must)
#ifndef STOP
  :: !ended && last_waker != NONE && !must -> /* it waits */
    woken[last_waker];
    must = true; /* the next poll is ready */
    spare = 1
#endif
  :: !ended && !cancelled -> /* rawwaker_oneshot_cancel */
    atomic { touch(); seen = word }
    cancel(seen)
  od;
  /* oneshot_drop */
  atomic { touch(); seen = word }
  if
  :: !(seen & SETTLED) ->
#ifdef TWIN_CANCEL_GOES_BY_AN_OLD_WORD
    atomic { touch(); word = word | HUNG_UP }
#else
#ifdef TWIN_HANGS_UP_BY_LOAD_AND_STORE
    word = seen | HUNG_UP;
#else
    atomic { touch(); seen = word; word = word | HUNG_UP }
#endif
#endif
  :: else
  fi;
  if
#ifdef TWIN_DROPS_A_WAKER_THAT_THE_SENDER_WAKES
  :: seen & LISTENING -> unref(slot)
#else
  :: (seen & LISTENING) && !(seen & SETTLED) -> unref(slot)
#endif
  :: else
  fi;
  assert(!(!(seen & SETTLED) && settled_first && !cancelled));
  cancel(seen);
  if
#ifdef TWIN_DESTROYS_WHAT_WAS_TAKEN
  :: (seen & SETTLED) && sent -> destroy()
#else
  :: (seen & SETTLED) && !ended && sent -> destroy()
#endif
  :: else
  fi;
  if
#ifdef TWIN_FREES_WHAT_THE_SENDER_STILL_USES
  :: seen & SETTLED -> release()
#else
  :: seen / SIDE == 1 -> release()
#endif
  :: else -> leave()
  fi;
  future_ends = true
}

init {
  atomic { run Sender(); run Future() }
#ifdef STOP
  if
  :: stopped = 1
  :: stopped = 2
  :: true
  fi;
  timeout;
  assert((stopped == 1 || sender_ends) && (stopped == 2 || future_ends));
  assert(cancels <= 1 && taken + destroyed <= 1)
#else
  (sender_ends && future_ends) ->
  assert(freed && refs[0] == 0 && refs[1] == 0);
  assert(cancels <= 1 && taken + destroyed == sent && failed <= !sent)
#endif
}
