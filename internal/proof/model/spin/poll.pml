/* rawwaker_box_poll and rawwaker_box_adopt in rawwaker.c; Core.PollRaw, adopt, lend and end in
 * internal/wake/crossing_cgo.go. A task polls two C futures, siblings. A C thread completes each by
 * the waker that the future keeps in a rawwaker_cell. The dispatcher drains.
 *   BORN    one future. The task has no box at first, and another goroutine may lend it to C during
 *           the first poll, so it may have two.
 *   TWO     another thread polls the second future first, under the same box, at the same time.
 *   UNWIND  a panic that unwinds through C leaves one poll: Core.PollRaw leaves the box as if the
 *           poll had returned.
 *   CLOSE   only that other thread polls, and the box is closed meanwhile (in C; in Go a task ends
 *           after its poll).
 * The list is a set here, and the dispatcher reads it whenever it is not empty: box.pml and
 * sink.pml have the rest. */
#ifndef EVENTS
#define EVENTS 2 /* for the first future to be ready; one for the second */
#endif
#ifndef SPARE
#define SPARE 0 /* events that the first future does not need: it may end before the last one */
#endif
#ifndef POLLS
#define POLLS 2
#endif
#define NBOX 3
#ifdef CLOSE
#define WAKERS 1
#else
#define WAKERS 2
#endif

#define IDLE 0
#define WOKEN 1
#define LOOP 3
#define HOLD 1
#define REF 2
#define NIL 255

#define EMPTY 0
#define NOTIFIED 1
#define PARKED 2

byte queued[NBOX];
byte refs[NBOX];
bool closed[NBOX];
bool alive[NBOX];
bool known[NBOX];    /* the id is in the registry, */
bool id[NBOX];       /* and in the box */
bool fresh[NBOX];    /* a wake's exchange came since the looper's or drainer's last */
bool looped[NBOX];   /* a poll is in the loop with it */
byte listed;         /* the list, a bit for each box */
byte live;

byte cell[2] = NIL;  /* what each future keeps: a box, with one reference */
byte events[2];
byte need[2];
bool polled[2];      /* a poll of it is under way */
bool ready[2];

byte word = EMPTY;   /* the core's */
byte xbox = NIL;     /* x.box, x.extra */
byte xextra = NIL;
bool ended;
bool xdone = true;   /* the other poller has ended */
bool over;
byte out;
#ifdef UNWIND
bool panicked;       /* there is one panic at most */
#endif

#define box(b) assert(alive[b])

inline core_wake() { word = NOTIFIED } /* Core.Wake; the sleeper waits for the word */

/* The rest of box_free and of a free in rawwaker_box_poll */
inline free_box(b) { atomic { box(b); assert(!(listed & (1 << b))); alive[b] = false; live-- } }

/* calloc: the first free place, so places are used again, as memory is */
inline new_box(b, word0, refs0) {
  b = (!alive[0] -> 0 : (!alive[1] -> 1 : 2));
  assert(!alive[b]);
  alive[b] = true; live++; queued[b] = word0; refs[b] = refs0;
  closed[b] = false; id[b] = false; known[b] = false; fresh[b] = false
}

inline box_unref(b) {
  atomic { box(b); refs[b] = refs[b] - REF; gone = (refs[b] == 0) }
  if
  :: gone -> gone = false; free_box(b)
  :: else
  fi
}

inline box_push(b) {
  atomic { box(b); assert(!(listed & (1 << b)) && !looped[b]); listed = listed | (1 << b) }
}

/* box_wake, of a reference */
inline box_wake(b) {
  atomic { box(b); was = queued[b]; queued[b] = WOKEN; fresh[b] = true }
  if
  :: was == IDLE -> was = 0; box_push(b)
  :: else -> was = 0; box_unref(b)
  fi
}

/* A C thread: makes the condition true, then takes the waker out of the cell and wakes it. */
proctype Completer(byte f; byte n) {
  byte w, was;
  bool gone;
  do
  :: n > 0 ->
    atomic { events[f]++; n-- }
    atomic { w = cell[f]; cell[f] = NIL }
    if
    :: w != NIL -> box_wake(w)
    :: else
    fi;
    w = 0
  :: else -> break
  od;
  out++
}

/* The slot poll of future f: it may be ready at once; else it registers its waker, then tests
 * again. got: READY. */
inline future_poll(f, b) {
  atomic {
    assert(!polled[f] && !ready[f]);
    polled[f] = true;
    old = cell[f];
    got = (events[f] >= need[f])
  }
  if
  :: got || old == b /* will_wake */
  :: else ->
    atomic { box(b); refs[b] = refs[b] + REF } /* clone */
    atomic { old = cell[f]; cell[f] = b }
    if
    :: old != NIL -> box_unref(old)
    :: else
    fi
  fi;
  atomic { old = 0; got = (events[f] >= need[f]); polled[f] = false }
#ifdef UNWIND
  if
  :: !got && !panicked -> /* a Go callback panics, after the registration */
    atomic { panicked = true; panics = true }
  :: true
  fi
#endif
}

/* Its slot drop. */
inline future_drop(f) {
  atomic { old = cell[f]; cell[f] = NIL; ready[f] = true }
  if
  :: old != NIL -> box_unref(old)
  :: else
  fi;
  old = 0
}

/* box_idle; its result is was */
inline box_idle(b) {
  if
  :: atomic { closed[b] -> box(b) }
    atomic { box(b); queued[b] = WOKEN; was = IDLE }
  :: atomic { !closed[b] -> box(b) }
    atomic {
      box(b);
      was = queued[b];
      queued[b] = IDLE;
      assert(was != WOKEN || closed[b] || fresh[b]);
      fresh[b] = false
    }
    if
    :: atomic { closed[b] -> box(b) }
      atomic { box(b); queued[b] = WOKEN; was = IDLE }
    :: atomic { !closed[b] -> box(b) }
    fi
  fi
}

/* rawwaker_box_poll of future f under box b. Its results are got, woken and, if b was NIL, b. */
inline box_poll(f, b) {
  atomic {
    woken = false;
    polls = 1;
    born = (b == NIL);
    if
    #ifdef BORN
    :: born -> new_box(b, LOOP, HOLD); looping = true; looped[b] = true
#endif
    :: !born ->
      box(b);
#ifdef TWIN_POLL_CLEARS_QUEUED
      looping = true; queued[b] = LOOP
#else
      looping = (queued[b] == IDLE);
      if
      :: looping -> assert(!looped[b] && !(listed & (1 << b))); looped[b] = true; queued[b] = LOOP
      :: else
      fi
#endif
    fi
  }
  do
  :: future_poll(f, b);
    if
    :: !looping || got || panics -> break
    :: else
    fi;
    if
    :: atomic { queued[b] != WOKEN -> box(b); break }
    :: atomic { queued[b] == WOKEN -> box(b) }
    fi;
#ifndef TWIN_LOOP_DOES_NOT_SAY_WOKEN
    woken = true;
#endif
    if
    :: break /* stopwatch_expired */
    :: polls < POLLS -> polls++
    fi;
    atomic {
      box(b);
      queued[b] = LOOP;
      assert(!(listed & (1 << b)));
      assert(fresh[b] || closed[b]);
      fresh[b] = false
    }
  od;
  polls = 0;
#ifdef TWIN_UNWOUND_POLL_LEAVES_LOOP
  if
  :: panics -> panics = false; looped[b] = false; looping = false; goto unwound
  :: else
  fi;
#endif
#ifdef TWIN_UNWOUND_POLL_FORGETS_WHAT_IT_TOOK
  woken = woken && !panics;
#endif
#ifdef TWIN_UNWOUND_POLL_IDLES_A_LISTED_BOX
  if
  :: panics && !looping && !born -> box_idle(b); was = 0
  :: else
  fi;
#endif
  if
  :: !born && looping ->
#ifdef TWIN_LEAVES_WITHOUT_A_LOOK
    atomic { box(b); looped[b] = false; queued[b] = IDLE }
#else
    looped[b] = false;
    box_idle(b);
    if
    :: was == WOKEN -> woken = true
    :: else
    fi;
    was = 0
#endif
  :: !born && !looping
#ifdef BORN
  :: born ->
    looped[b] = false;
#ifdef TWIN_KEPT_BOX_IS_FREED
    if
    :: true ->
#else
    if
    :: atomic { refs[b] == HOLD -> box(b) }
#endif
      if
      :: queued[b] == WOKEN -> woken = true
      :: queued[b] != WOKEN
      fi;
      atomic { assert(refs[b] == HOLD); free_box(b) }
      b = NIL
#ifndef TWIN_KEPT_BOX_IS_FREED
    :: atomic { refs[b] != HOLD -> box(b) }
      if
      :: atomic { queued[b] == WOKEN -> box(b); woken = true }
      :: atomic { queued[b] != WOKEN -> box(b) }
      fi
#endif
    fi
#endif
  fi;
#ifdef TWIN_UNWOUND_POLL_LEAVES_LOOP
unwound:
#endif
  atomic { looping = false; panics = false }
}

/* Core.adopt and rawwaker_box_adopt */
inline adopt(b) {
  atomic {
    known[b] = true; /* registry.Put; x.mu */
    if
    :: xbox == NIL -> xbox = b
    :: else -> assert(xextra == NIL); xextra = b
    fi
  }
#ifdef TWIN_ID_COMES_AFTER_THE_WORD
  box_idle(b);
  atomic { box(b); id[b] = true }
#else
  atomic { box(b); id[b] = true }
  box_idle(b);
#endif
#ifndef TWIN_ADOPT_DOES_NOT_SAY_WOKEN
  if
  :: was == WOKEN -> core_wake()
  :: else
  fi;
#endif
  was = 0
}

/* Core.PollRaw of future f, with ffiwaker_end, which calls the future's drop slot inside the same
 * call. */
inline poll_raw(f) {
  b = xbox; /* under x.mu */
  box_poll(f, b);
  if
  :: got -> future_drop(f)
  :: else
  fi;
#ifdef BORN
  if
  :: born && b != NIL -> adopt(b)
  :: else
  fi;
#endif
  if
  :: woken -> core_wake()
  :: else
  fi;
  atomic { b = 0; born = false; got = false; woken = false }
}

/* rawwaker_box_close */
inline box_close(b) {
  atomic { box(b); closed[b] = true }
  atomic { box(b); queued[b] = WOKEN }
  atomic { box(b); refs[b] = refs[b] - HOLD; gone = (refs[b] == 0) }
  if
  :: gone -> gone = false; free_box(b)
  :: else
  fi
}

#ifndef CLOSE
/* The task, by task.run: Clear, the polls, Sleep. */
proctype Task() {
  byte b, was, old, polls;
  bool born, looping, got, woken, gone, panics;
  do
  :: if
    :: atomic { word != EMPTY -> skip }
      word = EMPTY
    :: word == EMPTY
    fi;
    if
    :: !ready[0] -> poll_raw(0)
    :: else
    fi;
#ifndef BORN
    xdone; /* one poll of a future at a time */
    if
    :: !ready[1] -> poll_raw(1)
    :: else
    fi;
#endif
    if
    :: ready[0] && ready[1] -> break
    :: else
    fi;
    if
    :: atomic { word == EMPTY -> word = PARKED }
      word == NOTIFIED
    :: atomic { word != EMPTY -> skip }
    fi
  od;
  /* Core.End */
  atomic { ended = true; b = xbox; old = xextra; xbox = NIL; xextra = NIL }
  if
  :: b != NIL -> known[b] = false; box_close(b)
  :: else
  fi;
#ifdef BORN
  if
  :: old != NIL -> known[old] = false; box_close(old)
  :: else
  fi;
#endif
  over = true
}
#endif

#ifdef BORN
/* Core.Cross on another goroutine, and the C thread that gets the waker. */
proctype Lender() {
  byte b = NIL, was;
  bool gone;
  atomic { /* under x.mu: rawwaker_box_new, rawwaker_box_ref */
    if
    :: ended
    :: !ended && xbox == NIL ->
      new_box(b, IDLE, HOLD + REF); known[b] = true; id[b] = true; xbox = b
    :: !ended && xbox != NIL -> b = xbox; box(b); refs[b] = refs[b] + REF
    fi
  }
  events[0]++;
  if
  :: b != NIL -> box_wake(b)
  :: else
  fi;
  out++
}
#endif

#if defined(TWO) || defined(CLOSE)
/* Another poll under the same box, which this thread's reference keeps. */
proctype Other() {
  byte b, was, old, polls;
  bool born, looping, got, woken, gone, panics;
  b = xbox;
  box_poll(1, b);
  if
  :: got -> future_drop(1)
  :: else
  fi;
  if
  :: woken -> core_wake()
  :: else
  fi;
#ifdef CLOSE
  if
  :: !got -> future_drop(1) /* it abandons the future */
  :: else
  fi;
#endif
  box_unref(b);
  xdone = true
}
#endif

#ifdef CLOSE
proctype Closer() {
  bool gone;
  box_close(0);
  over = true
}
#endif

/* drain: rawwaker_box_read, and a wake of each core */
proctype Drainer() {
  byte b, list, was;
  bool gone, tell;
  do
  :: atomic { listed != 0 -> list = listed } /* rawwaker_sink_take; each stays listed until read */
    do
    :: list != 0 ->
      atomic {
        b = (list & 1 -> 0 : (list & 2 -> 1 : 2));
        list = list - (1 << b);
        listed = listed - (1 << b);
        box(b);
        tell = id[b];
        assert(tell) /* a box has its id before it is listed */
      }
      box_idle(b);
      if
      :: was == WOKEN && known[b] -> core_wake()
      :: else
      fi;
      was = 0;
      box_unref(b)
    :: else -> break
    od;
    b = 0
  :: atomic { over && out == WAKERS && xdone && listed == 0 -> break }
  od;
  out++
}

init {
  byte i;
  atomic {
    need[0] = EVENTS - SPARE;
    need[1] = 1;
#ifndef BORN
    new_box(xbox, IDLE, HOLD);
    known[0] = true;
    id[0] = true;
#endif
#if defined(TWO) || defined(CLOSE)
    refs[0] = refs[0] + REF;
    xdone = false;
    run Other();
#endif
#ifdef BORN
    run Lender();
    run Completer(0, EVENTS - 1);
#endif
#ifdef TWO
    run Completer(0, EVENTS);
#endif
#ifdef BORN
    ready[1] = true;
#else
    run Completer(1, 1);
#endif
#ifdef CLOSE
    run Closer();
#else
    run Task();
#endif
    run Drainer()
  }
  (_nr_pr == 1) ->
  assert(over && live == 0 && cell[0] == NIL && cell[1] == NIL);
  for (i : 0 .. NBOX - 1) {
    assert(!closed[i] || queued[i] == WOKEN)
  }
}
