/* The sink's flag, its list and its descriptor: C threads that wake (box_push, sink_unpark), the
 * owner that drains and sleeps (dispatch, drain, rawwaker_sink_sleep), and a BlockOn that spins on
 * its own box (BlockOn, Parker.spin, enterLoop, looped). It stays in LOOP during the poll after a
 * spin that was woken, which takes two wakes of its task. A box is one bit here: box.pml has the
 * rest of it, and close.pml how a descriptor and a hook end. Waker i wakes box i, of task i. Each
 * of the first SPINNERS tasks is a BlockOn; any other is polled by the thread that wakes it.
 *   CPOLL  a BlockOn polls a C future, under the same box (rawwaker_box_poll; poll.pml has its
 *          loop).
 *   HOOKS  the owner waits for the call of a hook, not for the descriptor. A newer hook is set
 *          meanwhile.
 *   STOP   one thread stops permanently between any two of its steps: a waker, or a BlockOn that
 *          spins. Every wake of another task must be delivered; a wake that coalesces with one
 *          under way may wait for that one. */
#ifndef SPINNERS
#define SPINNERS 1
#endif
#ifndef ROUNDS
#define ROUNDS 2 /* wakes of task 0; task 1 has ONCE */
#endif
#ifndef ONCE
#define ONCE 1
#endif
#ifndef TRIES
#define TRIES 1  /* spinTries */
#endif

#define EMPTY 0
#define NOTIFIED 1
#define PARKED 2

#define IDLE 0
#define WOKEN 1
#define LOOP 3

byte queued[2];
byte head;            /* the list, a bit for each box */
byte sleeping;        /* the number of the sleep; 0: awake */
byte sleeps;          /* the owner's counter */
bool readable;        /* the descriptor */
byte hook;            /* the newest; 0: none */
bool hookalive[3];
bool called;          /* a hook has been called */

bool looped[2];       /* a parker, whose loop is not nil, or a C poll is in LOOP with the box */
bool closed[2];

byte word[2];
byte token[2];        /* the parkers' channels */
byte events[2];       /* what the wakers make true, before they wake */
byte seen[2];         /* events, as the last poll has seen them */
byte total[2];
bool fresh[2];        /* a wake's exchange came since the box was drained or the spinner took it */
byte out;             /* wakers that have ended */
byte finished;

#ifdef STOP
byte stopped = 255;   /* the process that has stopped: */
#define WAKER0 1
#define WAKER1 2
#define SLEEPER0 3
#define SLEEPER1 4
bool inside[2];       /* waker x is between a wake's first step and its last */
#define running provided (stopped != _pid)
#define enters(i) inside[i] = true
#define leaves(i) inside[i] = false
#else
#define running
#define enters(i) skip
#define leaves(i) skip
#endif

#if SPINNERS
/* Core.WakeAt and Parker.Schedule, by the drainer */
inline wake_core(c) {
  atomic { was = word[c]; word[c] = NOTIFIED }
  if
  :: was == PARKED -> atomic { assert(token[c] == 0); token[c]++ }
  :: else
  fi;
  was = 0
}
#endif
/* box_idle in one step; got: it was woken, and is not closed */
inline take_out(c) {
  atomic {
    assert(queued[c] == WOKEN && !looped[c]);
    list = list - (1 << c);
    got = !closed[c];
    if
    :: got -> assert(fresh[c]); queued[c] = IDLE; fresh[c] = false
    :: else
    fi
  }
}

/* drain: rawwaker_sink_take and rawwaker_box_read until nothing is left */
inline drain() {
  do
  :: atomic { head != 0 -> list = head; head = 0 }
    do
    :: list & 1 -> take_out(0);
#if SPINNERS > 0
      if
      :: got -> wake_core(0)
      :: else
      fi
#else
      seen[0] = events[0]
#endif
    :: list & 2 -> take_out(1);
#if SPINNERS > 1
      if
      :: got -> wake_core(1)
      :: else
      fi
#else
      seen[1] = events[1]
#endif
    :: list == 0 -> break
    od;
    got = false
  :: atomic { head == 0 -> break }
  od
}

/* What a waking thread does after it has seen the flag set: sink_unpark. */
inline kick() { readable = true }
inline call_hook() {
  h = hook;
  if
  :: h != 0 -> atomic { assert(hookalive[h]); h = 0; called = true }
  :: else
  fi
}
inline clear_flag() {
#ifdef TWIN_FLAG_CLEARED_BY_A_STORE
  sleeping = 0;
#else
  atomic {
    if
    :: sleeping == e -> sleeping = 0
    :: else
    fi
  }
#endif
}

/* box_wake_by_ref, box_push, sink_unpark */
proctype Waker(byte x; byte n) running {
  byte h, e;
  bool push;
  do
  :: n > 0 ->
    atomic { events[x]++; n--; enters(x) }
    atomic { push = (queued[x] == IDLE); queued[x] = WOKEN; fresh[x] = true }
#ifdef TWIN_FLAG_READ_BEFORE_THE_PUSH
    e = sleeping;
#endif
    if
    :: push ->
      atomic { push = false; assert(!(head & (1 << x)) && !looped[x]); head = head | (1 << x) }
#ifndef TWIN_FLAG_READ_BEFORE_THE_PUSH
      e = sleeping;
#endif
#ifdef TWIN_FLAG_CLEARED_BEFORE_THE_WRITE
      atomic { e = sleeping; sleeping = 0 }
      if
      :: e != 0 -> kick(); call_hook()
      :: else
      fi
#else
      if
      :: e != 0 ->
        kick();
#ifdef TWIN_FLAG_CLEARED_BEFORE_THE_HOOK
        clear_flag();
        call_hook()
#else
        call_hook();
        clear_flag()
#endif
      :: else
      fi
#endif
    :: else
    fi;
    atomic { e = 0; leaves(x) }
  :: else -> break
  od;
  out++
}

#ifdef HOOKS
/* rawwaker_sink_on_wake, twice: the older one stays */
proctype Setter() {
  byte older = 1;
  do
  :: older < 2 ->
    atomic { hookalive[older + 1] = true }
    atomic { hook = older + 1 } /* one setter: the compare-and-swap never fails */
#ifdef TWIN_THE_OLDER_HOOK_IS_FREED
    atomic { hookalive[older] = false }
#endif
    older++
  :: else -> break
  od
}
#endif

/* rawwaker_sink_sleep: a number that is new for each sleep */
inline set_flag() {
#ifdef TWIN_FLAG_CLEARED_BY_A_CAS_OF_A_CONSTANT
  sleeping = 1
#else
  atomic { sleeps++; sleeping = sleeps }
#endif
}

/* dispatch */
proctype Dispatcher() {
  byte list, was;
  bool got;
  do
  :: drain();
    set_flag();
    if
#ifndef TWIN_SLEEPER_DOES_NOT_LOOK_AGAIN
    :: atomic { head != 0 -> skip }
      sleeping = 0
    :: atomic { head == 0 -> skip }
#else
    :: true ->
#endif
#ifdef HOOKS
end:  atomic { called -> called = false }
#else
end:  atomic { readable -> readable = false }
#endif
    fi
  od
}

#if SPINNERS
/* Parker.enterLoop */
inline enter_loop(c) {
  atomic {
#ifdef TWIN_LOOP_IS_ENTERED_FROM_ANY
    loop = true;
#else
    loop = (queued[c] == IDLE);
#endif
    if
    :: loop -> assert(!looped[c] && !(head & (1 << c))); looped[c] = true; queued[c] = LOOP
    :: else
    fi
  }
}

/* Parker.looped; its result is woken */
inline looped_to(c, next) {
#ifdef TWIN_SPINNER_LEAVES_WITHOUT_A_LOOK
  atomic {
    looped[c] = (next == LOOP);
    loop = looped[c];
    woken = loop;
    queued[c] = next;
    fresh[c] = false
  }
#else
  atomic {
    assert(looped[c] && (queued[c] == LOOP || queued[c] == WOKEN && fresh[c]));
    woken = (queued[c] == WOKEN);
    queued[c] = next;
    fresh[c] = false;
    loop = (next == LOOP);
    looped[c] = loop
  }
#endif
}

#ifdef CPOLL
/* Core.PollRaw, whose loop ends after one poll. It does not change the word of a box that is in
 * LOOP already, or listed. */
inline poll_raw(c) {
  atomic {
    slept = (queued[c] == IDLE);
    if
    :: slept -> assert(!looped[c] && !loop); looped[c] = true; queued[c] = LOOP
    :: else
    fi
  }
  seen[c] = events[c];
#ifdef TWIN_POLL_LEAVES_LOOP_FOR_THE_SPINNER
  if
  :: loop -> slept = true
  :: else
  fi;
#endif
  if
  :: slept ->
    atomic {
      slept = (queued[c] == WOKEN);
      queued[c] = IDLE;
      fresh[c] = false;
      looped[c] = false
    }
    if
    :: slept -> word[c] = NOTIFIED; slept = false /* Core.Wake */
    :: else
    fi
  :: else
  fi
}
#endif

/* Parker.spin; its result is woken */
inline spin(c) {
#ifdef TWIN_SPINNER_TAKES_FLAG_AND_LIST
  if
  :: atomic { sleeping != 0 -> slept = true; sleeping = 0 }
  :: atomic { sleeping == 0 -> slept = false }
  fi;
  atomic { tries = 0; woken = false }
  do
  :: tries < TRIES ->
    if
    :: atomic { word[c] == NOTIFIED -> woken = true; break }
    :: atomic { word[c] != NOTIFIED -> tries++ }
    fi;
    if
    :: head != 0 -> drain()
    :: head == 0
    fi
  :: tries == TRIES -> break
  od;
  if
  :: slept ->
    set_flag();
    do
    :: atomic { head != 0 -> skip }
      sleeping = 0;
      drain();
      set_flag()
    :: atomic { head == 0 -> break }
    od
  :: else
  fi;
  if
  :: atomic { woken || word[c] == NOTIFIED -> woken = true }
  :: atomic { else -> skip }
  fi;
  atomic { tries = 0; slept = false }
#else
  if
  :: atomic { loop && queued[c] == WOKEN -> skip }
    looped_to(c, LOOP)
  :: atomic { !loop || queued[c] != WOKEN -> skip }
    if
    :: true -> /* another BlockOn spins */
    :: true ->
      if
      :: !loop -> enter_loop(c)
      :: else
      fi;
      do
      :: tries < TRIES ->
        if
        :: atomic { word[c] == NOTIFIED -> woken = true; break }
        :: atomic { word[c] != NOTIFIED -> tries++ }
        fi;
        if
        :: atomic { loop && queued[c] == WOKEN -> woken = true; break }
        :: atomic { !loop || queued[c] != WOKEN -> skip }
        fi
      :: tries == TRIES -> break
      od;
      tries = 0
    fi;
    if
    :: !loop
#ifndef TWIN_SPINNER_SLEEPS_IN_LOOP
    :: loop && !woken -> looped_to(c, IDLE)
#else
    :: loop && !woken
#endif
    :: loop && woken ->
      if
      :: atomic { queued[c] == WOKEN -> skip }
        looped_to(c, LOOP)
      :: atomic { queued[c] != WOKEN -> skip }
      fi
    fi
  fi
#endif
}

/* BlockOn's loop over Parker.Park, whose wakes come from C */
proctype Sleeper(byte c) running {
  byte list, was, tries;
  bool slept, woken, loop, got;
  do
  :: /* the poll */
#ifdef CPOLL
    poll_raw(c);
#else
    seen[c] = events[c];
#endif
    if
    :: seen[c] == total[c] -> break
    :: else
    fi;
    if
    :: atomic { word[c] == NOTIFIED -> woken = true }
    :: atomic { word[c] != NOTIFIED -> skip }
      spin(c)
    fi;
    if
    :: woken -> skip
    :: else ->
      if
      :: atomic { word[c] == EMPTY -> word[c] = PARKED; assert(token[c] == 0) }
        atomic { token[c] > 0 -> token[c]-- }
      :: atomic { word[c] != EMPTY -> skip }
      fi
    fi;
    atomic { word[c] = EMPTY; woken = false } /* an exchange: for wakes of the box and the word */
  od;
  /* Core.End, rawwaker_box_close */
  atomic { closed[c] = true; queued[c] = WOKEN; looped[c] = false }
  finished++
}

#endif

init {
  atomic {
    total[0] = ROUNDS;
    total[1] = ONCE;
    run Waker(0, ROUNDS);
    run Waker(1, ONCE);
#if SPINNERS
    run Sleeper(0);
#endif
#if SPINNERS == 2
    run Sleeper(1);
#endif
#ifdef HOOKS
    hook = 1;
    hookalive[1] = true;
    run Setter();
#endif
    run Dispatcher()
  }
#ifdef STOP
  if
  :: stopped = WAKER0
  :: stopped = WAKER1
#if SPINNERS
  :: stopped = SLEEPER0
#endif
  fi;
  timeout;
  assert((stopped == WAKER0 && inside[0]) || stopped == SLEEPER0 || seen[0] == events[0]);
  assert((stopped == WAKER1 && inside[1]) || stopped == SLEEPER1 || seen[1] == events[1])
#else
  (finished == SPINNERS && out == 2 && seen[0] == total[0] && seen[1] == total[1]) ->
  assert(token[0] == 0 && token[1] == 0);
  assert((SPINNERS < 1 || queued[0] == WOKEN) && (SPINNERS < 2 || queued[1] == WOKEN))
#endif
}

#ifdef LIVE
ltl ends { <> (seen[0] == ROUNDS && seen[1] == ONCE) }
#endif
