/* The inbox of a Local on which a host sleeps: Arm, Take, FD, OnWake, enter, leave and Close in
 * internal/wake/inbox.go; push, pop, Tick and empty in executor/local.go; box_push and sink_unpark
 * in C. A goroutine wakes task 0; a C thread wakes task 1 through a box. The host waits for the
 * descriptor, which may be set up late.
 *   HOOK    the host waits for the call of its function instead.
 *   BUDGET  the host ticks once each time it finds the descriptor readable, instead of until a Tick
 *           returns false.
 *   CLOSE   another goroutine closes.
 *   STOP    one of the two wakers may stop permanently between any two of its steps. The other's
 *           task must get its wakes. */
#ifndef GOWAKES
#define GOWAKES 1
#endif
#ifndef CWAKES
#define CWAKES 1
#endif

#define EMPTY 0
#define NOTIFIED 1
#define PARKED 2
#define DROPPED 2
#define MIN (-10) /* of users: closed */

byte word[2];
byte queue;           /* a bit for each task */
bool ticking;
bool shut;            /* taskList.closed */
bool done[2];
byte events[2];
byte seen[2];         /* events, as the task's last poll has seen them */
byte need[2];

/* The sink's flag holds the number of a sleep. A process compares it only with the number that it
 * has read: its bit in same is set while the flag, if set, still holds that number. */
bool armed = true;
byte same;
#define GO 1
#define C 2
#define HOST 4

byte head;            /* the list: empty, or 1 with the box, or the mark */
bool readable;
bool watched;
bool hook;            /* the sink's and the inbox's: set one after the other, C's first */
bool chook;
bool called;          /* the host's function has been called */
short users;
bool over;            /* the sleeper has ended */
byte sinkrefs = 2;    /* the owner's, and the box's */
bool queued;          /* the box's word */
bool boxclosed;
byte boxrefs = 3;     /* twos and a one: C's waker, Go's hold */
bool finished;

#ifdef STOP
byte stopped = 255;   /* the task whose waker has stopped; 2: neither does */
bool inside[2];       /* its waker is between a wake's first step and its last */
#define running(t) provided (stopped != t)
#define enters(t) inside[t] = true
#define leaves(t) inside[t] = false
#else
#define running(t)
#define enters(t) skip
#define leaves(t) skip
#endif

#define bit(t) (1 << t)
#define sink assert(sinkrefs > 0)

inline box_unref(n) {
  atomic {
    assert(boxrefs >= n);
    boxrefs = boxrefs - n;
    if
    :: boxrefs == 0 -> sinkrefs--
    :: else
    fi
  }
}

/* rawwaker_sink_drop */
inline sink_drop() {
  atomic { sink; gone = (head == 1); head = DROPPED }
  if
  :: gone -> gone = false; box_unref(2)
  :: else
  fi;
  atomic { sink; sinkrefs-- }
}

/* Inbox.enter; its result is ok */
inline enter() {
#ifdef TWIN_USERS_ARE_NOT_COUNTED
  ok = true
#else
  atomic { users++; ok = (users > 0) }
  if
  :: ok
  :: else -> leave()
  fi
#endif
}

/* Inbox.leave, Inbox.last */
inline leave() {
#ifdef TWIN_USERS_ARE_NOT_COUNTED
  skip
#else
  atomic { users--; gone = (users == MIN) }
  last()
#endif
}

inline last() {
  if
  :: gone ->
    atomic { gone = !over; over = true }
    if
    :: gone -> gone = false; sink_drop()
    :: else
    fi
  :: else
  fi
}

/* The steps on the flag, by process me. */
inline set_flag() { atomic { sink; armed = true; same = 0 } }
inline saw_flag(me) { atomic { armed -> sink; same = same | me } }
inline clear_flag(me) {
#ifdef TWIN_FLAG_CLEARED_BY_A_STORE
  atomic { sink; armed = false; same = same & (7 - me) }
#else
  atomic {
    sink;
    if
    :: same & me -> armed = false
    :: else
    fi;
    same = same & (7 - me)
  }
#endif
}

/* Inbox.Take */
inline take(me) {
  enter();
  if
  :: ok ->
    ok = false;
    if
    :: saw_flag(me)
#ifdef TWIN_FLAG_CLEARED_FIRST
      clear_flag(me);
#endif
      if
      :: watched -> atomic { sink; readable = true }
      :: !watched
      fi;
#ifdef TWIN_FLAG_CLEARED_BEFORE_THE_HOOK
      clear_flag(me);
#endif
      if
      :: hook -> called = true
      :: !hook
      fi;
#if !defined(TWIN_FLAG_CLEARED_FIRST) && !defined(TWIN_FLAG_CLEARED_BEFORE_THE_HOOK)
      clear_flag(me)
#endif
    :: atomic { !armed -> sink }
    fi;
    leave()
  :: else
  fi
}

/* Local.push: the token comes with the call */
inline push(t, me) {
  atomic { assert(!(queue & bit(t))); queue = queue | bit(t); asleep = !ticking; late = shut }
  if
  :: late -> late = false; asleep = false;
    atomic { queue = 0; done[0] = true; done[1] = true } /* sweep */
  :: !late && asleep -> asleep = false; take(me)
  :: else
  fi
}

/* Core.Wake, task.schedule */
inline wake(t, me) {
  atomic { was = word[t]; word[t] = NOTIFIED }
  if
  :: was == PARKED -> was = 0; push(t, me)
  :: else -> was = 0
  fi
}

proctype GoWaker() running(0) {
  byte n = GOWAKES, was;
  bool ok, asleep, late, gone;
  do
  :: n > 0 -> atomic { n--; events[0]++; enters(0) }
    wake(0, GO);
    leaves(0)
  :: else -> break
  od
}

/* box_wake_by_ref, the last one box_wake; box_push, sink_unpark */
proctype CWaker() running(1) {
  byte n = CWAKES;
  bool got, mark;
  do
  :: n > 0 -> atomic { n--; events[1]++; enters(1) }
    atomic { got = !queued; queued = true }
    if
    :: got ->
      got = false;
      atomic {
        boxrefs = boxrefs + 2;
        sink;
        mark = head == DROPPED;
        if
        :: !mark -> assert(head == 0); head = 1
        :: else
        fi
      }
      if
      :: mark -> mark = false; box_unref(2)
      :: else ->
        if
        :: saw_flag(C)
          atomic { sink; readable = true }
          if
          :: chook -> called = true
          :: !chook
          fi;
          clear_flag(C)
        :: atomic { !armed -> sink }
        fi
      fi
    :: else
    fi;
    leaves(1)
  :: else -> break
  od;
  box_unref(2)
}

/* Inbox.Drain: rawwaker_sink_take and rawwaker_box_read, and the wake of the core */
inline drain() {
  enter();
  if
  :: ok ->
    ok = false;
    if
    :: atomic { head == 1 -> sink; head = 0 }
      if
      :: atomic { !boxclosed -> got = queued; queued = false }
        if
        :: boxclosed -> queued = true; got = false
        :: !boxclosed
        fi
      :: atomic { boxclosed -> queued = true }
      fi;
      if
      :: got -> got = false; wake(1, HOST)
      :: else
      fi;
      box_unref(2)
    :: atomic { head != 1 -> sink }
    fi;
    leave()
  :: else
  fi
}

/* Sets idle if nothing is listed and nothing queued. */
inline look() {
  if
#ifndef TWIN_ARM_DOES_NOT_LOOK_AT_THE_LIST
  :: atomic { head == 1 -> sink; idle = false }
  :: atomic { head != 1 -> sink }
#else
  :: true ->
#endif
#ifndef TWIN_ARM_DOES_NOT_LOOK_AT_THE_QUEUE
    atomic { idle = (queue == 0 || shut) } /* Local.empty */
#else
    idle = true
#endif
  fi
}

inline quiet() {
  if
  :: watched -> atomic { sink; readable = false }
  :: !watched
  fi
}

/* Inbox.Arm; its result is ok. The descriptor is quieted before the flag is set: a wake that clears
 * the flag of this sleep makes it readable after that. */
inline arm() {
  enter();
  if
  :: ok ->
#ifdef TWIN_QUIET_WITHOUT_A_LOOK
    quiet();
    set_flag();
    look();
    if
    :: !idle -> atomic { sink; armed = false }
    :: else
    fi;
#else
    look();
    if
    :: idle ->
#ifdef TWIN_QUIET_AFTER_THE_FLAG
      set_flag();
      quiet();
#else
      quiet();
      set_flag();
#endif
#ifndef TWIN_ARM_DOES_NOT_LOOK_AGAIN
      look();
#endif
      if
      :: !idle ->
        atomic { sink; armed = false }
        if
        :: watched -> atomic { sink; readable = true }
        :: !watched
        fi
      :: else
      fi
    :: else
    fi;
#endif
    ok = idle;
    idle = false;
    leave()
  :: else -> ok = true
  fi
}

/* box_close, by Core.End */
inline core_end() {
  boxclosed = true;
  queued = true;
  box_unref(1)
}

/* Local.Close, in short: it ends tasks that are asleep or queued; a poll ends its own. Then
 * Inbox.Close. */
inline close() {
  shut = true;
  atomic { done[0] = true; done[1] = true; queue = 0 }
  core_end();
#ifdef TWIN_USERS_ARE_NOT_COUNTED
  atomic { over = true }
  sink_drop()
#else
  atomic { users = users + MIN; gone = (users == MIN) }
  last()
#endif
}

/* A host that ticks until both tasks have ended. */
proctype Host() {
  byte t, was;
  bool ok, got, asleep, late, gone, idle, set;
  do
  :: /* Local.Tick */
    do
    :: atomic { /* Local.pop */
        if
        :: shut -> t = 2
        :: else ->
          t = (queue & 1 -> 0 : (queue & 2 -> 1 : 2));
          if
          :: t < 2 -> queue = queue - bit(t); ticking = true
          :: else ->
#ifndef TWIN_TICKING_STAYS_SET
            ticking = false
#endif
          fi
        fi
      }
      if
      :: t < 2 ->
        /* task.run */
        if
        :: atomic { word[t] != EMPTY -> skip }
          word[t] = EMPTY
        :: word[t] == EMPTY
        fi;
        seen[t] = events[t];
        if
        :: seen[t] >= need[t] -> done[t] = true
        :: else ->
          atomic { /* Local.suspend */
            if
            :: shut -> done[t] = true
            :: !shut && word[t] == EMPTY -> word[t] = PARKED
            :: !shut && word[t] != EMPTY -> queue = queue | bit(t)
            fi
          }
        fi;
#ifdef BUDGET
        if
        :: set -> break /* Tick has returned true */
        :: else
        fi
#endif
      :: else ->
        drain();
        arm();
        if
        :: ok -> ok = false; break
        :: else
        fi
      fi
    od;
    t = 0;
    if
    :: done[0] && done[1] -> break
    :: else
    fi;
    if
    :: !set ->
      /* It sets up what it sleeps on, and checks once more if that requires it. */
      set = true;
#ifdef HOOK
      chook = true; /* OnWake, WakeRaw: rawwaker_sink_on_wake, then hook.Store */
      hook = true;
#ifndef TWIN_HOOK_IS_SET_WITHOUT_A_CALL
#ifdef TWIN_HOOK_GOES_BY_THE_FLAG
      if
      :: atomic { !armed -> called = true }
      :: atomic { armed -> skip }
      fi
#else
      called = true
#endif
#endif
#else
      enter(); /* FD */
      if
      :: ok -> ok = false;
        watched = true;
#ifndef TWIN_DESCRIPTOR_IS_GIVEN_WITHOUT_A_KICK
#ifdef TWIN_DESCRIPTOR_GOES_BY_THE_FLAG
        if
        :: atomic { !armed -> sink }
          atomic { sink; readable = true }
        :: atomic { armed -> sink }
        fi;
#else
        atomic { sink; readable = true }
#endif
#endif
        leave()
      :: else
      fi
#endif
    :: else
    fi;
    /* It sleeps. A close also ends it: over. */
#ifdef HOOK
    if
    :: called -> called = false
    :: over -> break
    fi
#else
    if
    :: readable
    :: over -> break
    fi
#endif
  od;
#ifndef CLOSE
  close();
#endif
  finished = true
}

#ifdef CLOSE
proctype Closer() {
  byte was;
  bool ok, asleep, late, gone;
  close()
}
#endif

init {
  atomic {
    need[0] = GOWAKES;
    need[1] = CWAKES;
    queue = 3; /* both have been spawned */
    armed = false;
    run GoWaker();
    run CWaker();
#ifdef CLOSE
    run Closer();
#endif
    run Host()
  }
#ifdef STOP
  if
  :: stopped = 0
  :: stopped = 1
  :: stopped = 2
  fi;
  timeout;
  assert(finished || (inside[0] && stopped == 0) || seen[0] == events[0]);
  assert(finished || (inside[1] && stopped == 1) || seen[1] == events[1])
#else
  (_nr_pr == 1) ->
  assert(finished && over && sinkrefs == 0 && boxrefs == 0 && head == DROPPED)
#endif
}
