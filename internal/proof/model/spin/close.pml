/* How a sink's descriptor and its hook end: use_begin, use_end, sink_rouse, hooks_leave, rawwaker_sink_close and rawwaker_sink_reap of
 * rawwaker.c. Each of the two has a word: a count, a bit CLOSED and a bit GONE. A waking thread counts itself in, writes or calls, and counts
 * itself out; rawwaker_sink_close sets CLOSED. The thread that then counts the last one out tries to set GONE by compare-and-swap; the one
 * that succeeds ends the thing. Without HOOK this is the descriptor: the thread that sets GONE closes it. With HOOK it is the hook, which
 * no wake may drop: a waking thread that sets GONE leaves it to rawwaker_sink_reap.
 *   STOP  one waking thread stops for good between any two of its steps. Nothing is written to a number that may have been
 *         reused, the hook is not called after its argument is freed, and nobody waits. */
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte count;
bool closed;          /* CLOSED */
bool gone;            /* GONE */

bool alive = true;    /* the descriptor is open; the hook's argument is there */
bool dead;            /* the number stands for a descriptor that nobody watches: dup3 */
byte ended;           /* how often it was closed, or the argument freed */
bool handed;          /* hooks_leave: a waking thread has left the hook to others */
bool dropped;         /* rawwaker_sink_close has returned */
byte out;

#ifdef STOP
byte stopped = 255;
bool inside[WAKERS + 1]; /* from the step that counts the process in to the end of its wake */
#define running provided (stopped != _pid)
#define enters inside[_pid] = true
#define leaves inside[_pid] = false
#else
#define running
#define enters skip
#define leaves skip
#endif

/* The write; the call of the hook. */
inline use() {
#ifdef HOOK
  assert(alive); /* the call begins */
#endif
  assert(alive)
}

inline finish() { atomic { assert(alive); alive = false; ended++ } }

/* The compare-and-swap from (CLOSED, 0, no GONE): won says whether it has succeeded. */
inline try_gone() {
#ifdef TWIN_NO_GONE_BIT
  won = true
#else
  atomic {
    won = (count == 0 && closed && !gone);
    if
    :: won -> gone = true
    :: else
    fi
  }
#endif
}

proctype Waker() running {
  byte n = ROUNDS;
  bool shut, last, won;
  do
  :: n > 0 ->
    n--;
    /* use_begin */
#ifdef TWIN_CLOSED_IS_READ_BEFORE_THE_COUNT
    shut = closed;
    atomic { count++; enters }
#else
#ifdef TWIN_COUNTED_ALTHOUGH_IT_IS_CLOSED
    atomic { shut = closed; count++; enters }
#else
    atomic {
      shut = closed;
      if
      :: !shut -> count++; enters
      :: else
      fi
    }
#endif
#endif
    if
    :: shut
    :: else -> use()
    fi;
#if !defined(TWIN_COUNTED_ALTHOUGH_IT_IS_CLOSED) && !defined(TWIN_CLOSED_IS_READ_BEFORE_THE_COUNT)
    if
    :: shut
    :: else ->
#endif
      /* use_end */
      atomic { count--; last = (count == 0 && closed && !gone) }
      if
      :: last ->
        last = false;
        try_gone();
        if
        :: won ->
          won = false;
#if defined(HOOK) && !defined(TWIN_A_WAKE_FREES_THE_HOOK)
          handed = true /* hooks_leave */
#else
#ifdef HOOK
          assert(false); /* user code in a wake, which may be in a signal handler */
#endif
          finish()
#endif
        :: else
        fi
      :: else
      fi
#if !defined(TWIN_COUNTED_ALTHOUGH_IT_IS_CLOSED) && !defined(TWIN_CLOSED_IS_READ_BEFORE_THE_COUNT)
    fi
#endif
    ;
    atomic { leaves; shut = false }
  :: else -> break
  od;
  out++
}

/* rawwaker_sink_close */
proctype Owner() {
  bool won;
#ifdef TWIN_DUP_AFTER_CLOSED
  closed = true;
  if
  :: count != 0 -> assert(alive); dead = true
  :: else
  fi;
#else
#ifndef HOOK
  /* Counted in itself, so that the number is not closed before dup3 has put a dead descriptor there. */
  atomic { closed = true; count++ }
  if
  :: count != 1 -> atomic { assert(alive); dead = true }
  :: else
  fi;
  count--;
#else
  closed = true;
#endif
#endif
#ifdef TWIN_NO_GONE_BIT
  won = (count == 0);
#else
  try_gone();
#endif
  if
  :: won -> finish()
  :: else
  fi;
  dropped = true;
  out++
}

#ifdef HOOK
/* The dispatcher, whose descriptor hooks_leave writes, has rawwaker_sink_reap called. */
proctype Dispatcher() {
  if
  :: handed -> finish()
  :: atomic { out == WAKERS + 1 && !handed -> skip }
  fi
}
#endif

init {
  byte i;
  atomic {
    for (i : 1 .. WAKERS) { run Waker() }
    run Owner();
#ifdef HOOK
    run Dispatcher()
#endif
  }
#ifdef STOP
  stopped = 1;
  timeout;
  assert(dropped);
#ifdef HOOK
  assert(ended == 1 || inside[1])
#else
  assert(ended == 1 || dead && inside[1]) /* one descriptor stays open, and is nobody's */
#endif
#else
  (out == WAKERS + 1 && _nr_pr == 1) ->
  assert(dropped && ended == 1 && count == 0)
#endif
}
