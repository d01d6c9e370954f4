/* How a sink's descriptor and its hooks end: use_begin, use_end, sink_use, sink_unpark,
 * hooks_defer, rawwaker_sink_on_wake, rawwaker_sink_close and rawwaker_sink_reap of rawwaker.c.
 * Each of the two has a word: a count, a bit CLOSED and a bit GONE. A thread counts itself in,
 * writes or calls, and counts itself out. So does rawwaker_sink_close, which sets CLOSED meanwhile.
 * A thread that finds CLOSED is refused and not counted. The thread that counts the last one out
 * under CLOSED sets GONE by compare-and-swap, and ends the object: it closes the descriptor.
 *   HOOK     the object is the hooks, which no wake may drop: a wake leaves them to
 *            rawwaker_sink_reap.
 *   STOP     one waking thread stops permanently between any two of its steps. Nothing is written
 *            to a number that may have been reused, no hook is called after its argument is freed,
 *            and no thread waits.
 *   NO_GONE  the compare-and-swap is left out. The same holds: the count never rises under CLOSED,
 *            so one thread finds the last use. */
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef CLOSERS
#define CLOSERS 1 /* Inbox.Close and the drop of the sink both close it */
#endif
#ifdef HOOK
#define SETTERS 1
#else
#define SETTERS 0
#endif

byte count;
bool closed;          /* CLOSED */
bool gone;            /* GONE */

bool alive = true;    /* the descriptor is open; the hooks' arguments are there */
bool dead;            /* the number stands for a descriptor that no thread watches: dup3 */
byte hooks = 1;
byte ended;           /* how many hooks were dropped; how often the descriptor was closed */
bool deferred;        /* hooks_defer: a waking thread has left the hooks to another */
byte dropped;         /* calls of rawwaker_sink_close that have returned */
byte out;

#ifdef STOP
byte stopped = 255;
/* from the step that counts the process in to the end of its wake */
bool inside[WAKERS + CLOSERS + SETTERS + 1];
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

inline finish() { atomic { assert(alive); alive = false; ended = ended + hooks } }

/* use_begin, whose loop ends in one step that checks and counts; its result is ok */
inline use_begin() {
#if defined(TWIN_REFUSED_USES_ARE_COUNTED) || defined(TWIN_REFUSED_USES_ARE_COUNTED_AND_NO_GONE_BIT)
  atomic { ok = !closed; count++; enters } /* a thread that is refused calls use_end, too */
#else
#ifdef TWIN_CLOSED_IS_READ_BEFORE_THE_COUNT
  ok = !closed;
  if
  :: ok -> atomic { count++; enters }
  :: else
  fi
#else
  atomic {
    ok = !closed;
    if
    :: ok -> count++; enters
    :: else
    fi
  }
#endif
#endif
}

/* use_end; its result is won */
inline use_end() {
  atomic { assert(count > 0); count--; won = (count == 0 && closed && !gone) }
#if !defined(NO_GONE) && !defined(TWIN_REFUSED_USES_ARE_COUNTED_AND_NO_GONE_BIT)
  if
  :: won ->
    atomic {
      won = (count == 0 && closed && !gone); /* the compare-and-swap */
      if
      :: won -> gone = true
      :: else
      fi
    }
  :: else
  fi
#endif
}

/* sink_use; the hook's part of sink_unpark */
proctype Waker() running {
  byte n = ROUNDS;
  bool ok, won;
  do
  :: n > 0 ->
    n--;
    use_begin();
    if
    :: ok -> use()
    :: else
    fi;
#if defined(TWIN_REFUSED_USES_ARE_COUNTED) || defined(TWIN_REFUSED_USES_ARE_COUNTED_AND_NO_GONE_BIT)
    use_end();
#else
    if
    :: ok -> use_end()
    :: else
    fi;
#endif
    if
    :: won ->
#ifndef HOOK
      finish() /* sink_shut */
#else
#ifdef TWIN_A_WAKE_FREES_THE_HOOK
      assert(false); /* user code in a wake, which may be in a signal handler */
#else
      deferred = true /* hooks_defer */
#endif
#endif
    :: else
    fi;
    atomic { leaves; ok = false; won = false }
  :: else -> break
  od;
  out++
}

/* rawwaker_sink_close */
proctype Owner() {
  bool ok, won;
#ifdef TWIN_DUP_AFTER_CLOSED
  closed = true;
  if
  :: count != 0 -> atomic { assert(alive); dead = true }
  :: else
  fi;
  atomic { won = (count == 0 && !gone); gone = gone || won }
#else
  use_begin();
  if
  :: ok ->
    ok = false;
#ifndef HOOK
    /* It is counted, so the number is not closed before dup3 puts a dead descriptor there. */
    atomic { ok = (count > 1 && !closed); closed = true }
    if
    :: ok -> atomic { assert(alive); dead = true }
    :: else
    fi;
#else
    closed = true;
#endif
    use_end()
  :: else
#if defined(TWIN_REFUSED_USES_ARE_COUNTED) || defined(TWIN_REFUSED_USES_ARE_COUNTED_AND_NO_GONE_BIT)
    -> use_end()
#endif
  fi;
#endif
  if
  :: won -> finish()
  :: else
  fi;
  dropped++;
  out++
}

#ifdef HOOK
/* rawwaker_sink_on_wake: the older hook stays */
proctype Setter() {
  bool ok, won;
  use_begin();
  if
  :: ok ->
    atomic { assert(alive); hooks++ }
    use_end()
  :: else /* it drops its own */
  fi;
  if
  :: won -> finish()
  :: else
  fi;
  out++
}

/* hooks_defer writes to the dispatcher's descriptor, which then has rawwaker_sink_reap called. */
proctype Dispatcher() {
  if
  :: deferred -> finish()
  :: atomic { out == WAKERS + CLOSERS + SETTERS && !deferred -> skip }
  fi
}
#endif

init {
  byte i;
  atomic {
    for (i : 1 .. WAKERS) { run Waker() }
    for (i : 1 .. CLOSERS) { run Owner() }
#ifdef HOOK
    run Setter();
    run Dispatcher()
#endif
  }
#ifdef STOP
  stopped = 1;
  timeout;
  assert(dropped == CLOSERS);
#ifdef HOOK
  assert(ended == hooks || inside[1])
#else
  assert(ended == 1 || dead && inside[1]) /* one descriptor stays open, which no thread watches */
#endif
#else
  (out == WAKERS + CLOSERS + SETTERS && _nr_pr == 1) ->
  assert(dropped == CLOSERS && ended == hooks && count == 0)
#endif
}
