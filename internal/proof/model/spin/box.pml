/* The box and its sink: rawwaker.c. Several producers in C; the drainer, which also owns the sink
 * and drops it in the end; and the closer. Each step is one atomic operation. Without TELL, these
 * are boxes of tasks.
 *   TELL  one box of a function waker, which lists itself with C's last reference. The drainer
 *         retires it, and Go may lend it again meanwhile. */
#ifndef NB
#define NB 2 /* boxes */
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef OPS
#define OPS 1 /* clones and wakes by reference, in all; each reference ends by a wake or drop too */
#endif

#define IDLE 0
#define WOKEN 1
#define LAST 2
#define HOLD 1
#define REF 2
#define NIL 255
#define DROPPED 254 /* the mark */

byte queued[NB];
bool closed[NB];
byte refs[NB];
byte next[NB];
bool alive[NB];
byte head = NIL;
bool sleeping;
byte same;          /* a bit for each process: a flag that is set holds the number it has read */
bool readable;      /* the descriptor */
byte sinkrefs;
bool sinkalive = true;

bool listed[NB];    /* in the list, or taken by the drainer and not yet read: never twice */
bool pending[NB];   /* written before a wake, and not yet seen by a poll */
bool fresh[NB];     /* a wake's exchange came since the last notice that reports woken */
bool gone[NB];      /* Go has no box any more: x.box == 0, under x.mu */
bool mu;            /* x.mu, which also excludes close and retire from each other */
byte freed;
byte n = OPS;       /* operations left */
byte out;           /* producers that have ended */
bool waits;         /* the drainer waits for the descriptor */
bool stop;          /* every box is closed */

#define box(x) assert(alive[x])
#define sink assert(sinkalive)

inline sink_ref() {
#ifdef TWIN_NO_SINK_REF
  skip
#else
  atomic { sink; sinkrefs++ }
#endif
}
inline sink_unref_owned() {
  atomic { sink; assert(sinkrefs > 0); sinkrefs--; sinkalive = (sinkrefs != 0) }
}
inline sink_unref() {
#ifdef TWIN_NO_SINK_REF
  skip
#else
  sink_unref_owned()
#endif
}

inline box_free(x) {
  atomic { box(x); assert(!listed[x]); assert(!closed[x] || queued[x] == WOKEN) }
  sink_unref_owned();
  atomic { box(x); alive[x] = false; freed++ }
}

/* The compare-and-swap of box_unref_telling, which counts down from r, the value it has read. */
inline count_down(x) {
  do
  :: atomic {
      box(x);
      if
      :: refs[x] == r -> refs[x] = r - REF; break
      :: else -> r = refs[x]
      fi
    }
  od;
  if
  :: r == REF -> box_free(x)
  :: else
  fi
}

/* box_unref, and with TELL box_unref_telling. push is set if this last drop is to list the box. */
inline box_unref(x) {
#ifndef TELL
  atomic { box(x); r = refs[x]; refs[x] = r - REF }
  if
  :: r == REF -> box_free(x)
  :: else
  fi
#else
  atomic { box(x); r = refs[x]; push = false }
  do
  :: atomic {
      r == REF + HOLD && !refused && queued[x] == IDLE ->
      box(x);
      queued[x] = LAST;
      push = true;
      break
    }
  :: atomic { r == REF + HOLD && !refused && queued[x] != IDLE -> box(x); refused = true }
#ifndef TWIN_LAST_DROP_TAKES_A_LISTED_BOX_FOR_CLOSED
    if
    :: atomic { closed[x] -> box(x) }
    :: atomic { !closed[x] -> box(x) }
      atomic { box(x); r = refs[x]; refused = false }
    fi
#endif
  :: atomic {
      r != REF + HOLD || refused ->
      box(x);
      refused = false;
      if
      :: refs[x] == r -> refs[x] = r - REF; break
      :: else -> r = refs[x]
      fi
    }
  od;
  if
  :: !push && r == REF -> box_free(x)
  :: else
  fi;
#endif
  r = 0
}

/* box_push, sink_unpark. unref is set if the mark was found: box_unref and sink_unref follow. */
inline box_push(x) {
  sink_ref();
  atomic { sink; h = head; push = false }
  do
  :: h == DROPPED -> unref = true; break
  :: atomic { else -> box(x); next[x] = h }
    atomic {
      box(x);
      sink;
      if
      :: head == h -> assert(!listed[x]); head = x; listed[x] = true; break
      :: else -> h = head
      fi
    }
  od;
  h = 0;
  if
  :: !unref ->
#ifdef TWIN_TOUCH_AFTER_PUSH
    box(x);
#endif
    if
    :: atomic { sleeping -> sink; same = same | (1 << _pid) }
      atomic { sink; readable = true } /* sink_unpark */
      atomic {
        sink;
        if
        :: same & (1 << _pid) -> sleeping = false; same = same - (1 << _pid)
        :: else
        fi
      }
    :: atomic { else -> sink }
    fi;
    sink_unref()
  :: else
  fi
}

/* The exchange of box_wake and of box_wake_by_ref. */
inline exchange_to_woken(x) {
#ifdef TWIN_WAKE_IS_LOAD_AND_STORE
  atomic { box(x); was = queued[x] }
  atomic { box(x); queued[x] = WOKEN; fresh[x] = true }
#else
  atomic { box(x); was = queued[x]; queued[x] = WOKEN; fresh[x] = true }
#endif
}

/* What an operation may lead to: a push or an unref. An unref may have to push. A push may find the
 * mark, and the box closed. */
inline settle(x) {
  if
  :: unref -> unref = false; box_unref(x)
  :: else
  fi;
  if
  :: push ->
    box_push(x);
    if
    :: unref ->
      atomic { box(x); r = refs[x]; unref = false; assert(r != REF + HOLD || queued[x] != IDLE) }
      count_down(x);
      r = 0;
      sink_unref()
    :: else
    fi
  :: else
  fi
}

#ifdef TELL
/* The same for the drainer, which sets the mark itself. */
inline settle_own(x) {
  box_unref(x);
  if
  :: push -> box_push(x)
  :: else
  fi
}
#endif

/* box_clone, box_wake_by_ref, box_wake, box_drop: a holder of references of box x. */
proctype Producer(byte x; bool mine) {
  byte r, h, was;
  bool push, unref, refused, more;
#ifdef TELL
  /* Go lends it: Core.Cross, if there is still something to lend. */
  if
  :: mine
  :: else ->
    atomic { !mu -> mu = true }
    if
    :: gone[x]
    :: else -> atomic { box(x); refs[x] = refs[x] + REF; mine = true }
    fi;
    mu = false
  fi;
#endif
  do
  :: atomic { /* clone */
      mine && n > 0 && !more -> n--;
      more = true;
      box(x);
      refs[x] = refs[x] + REF
    }
  :: atomic { mine -> pending[x] = true }
    exchange_to_woken(x);
    if
    :: atomic { /* wake_by_ref */
        n > 0 -> n--;
        if
        :: was == IDLE -> was = 0; box(x); refs[x] = refs[x] + REF; push = true
        :: else -> was = 0
        fi
      }
    :: atomic { /* wake */
        true;
        if
        :: was == IDLE -> push = true
        :: else -> unref = true
        fi;
        was = 0;
        if
        :: more -> more = false
        :: else -> mine = false
        fi
      }
    fi;
    settle(x)
  :: atomic { /* drop */
      mine -> unref = true;
      if
      :: more -> more = false
      :: else -> mine = false
      fi
    }
#ifdef TELL
    settle(x)
#else
    unref = false;
    box_unref(x)
#endif
  :: !mine -> break
  od;
  out++
}

/* rawwaker_box_close, by Core.End: once for each box. */
proctype Closer() {
  byte x, was;
  bool first = true;
  do
  :: x < NB ->
    atomic {
      !mu -> mu = true;
      if
      :: first && out == PRODUCERS && waits && !readable -> /* nothing runs: nothing may be left */
        assert(!pending[0]);
#ifdef TELL
        assert(gone[0] && !alive[0]); /* C holds nothing: that was reported, and the box retired */
#else
        assert(!pending[NB - 1]);
#endif
        assert(head == NIL)
      :: else
      fi;
      first = false
    }
    if
    :: gone[x]
    :: else ->
      atomic { gone[x] = true; box(x); closed[x] = true }
      atomic { box(x); queued[x] = WOKEN }
      atomic { box(x); was = refs[x]; refs[x] = was - HOLD }
      if
      :: was == HOLD ->
        box_free(x)
      :: else
      fi;
      was = 0
    fi;
    atomic { mu = false; x++ }
  :: else -> break
  od;
  atomic { stop = true; readable = true }
}

/* box_idle; its result is was. */
inline box_idle(x) {
  if
  :: atomic { closed[x] -> box(x) }
    atomic { box(x); queued[x] = WOKEN; was = IDLE }
  :: atomic { !closed[x] -> box(x) }
    atomic { box(x); was = queued[x]; queued[x] = IDLE; told = fresh[x]; fresh[x] = false }
#ifndef TWIN_IDLE_DOES_NOT_LOOK_AT_CLOSED_AGAIN
    if
    :: atomic { closed[x] -> box(x) }
      atomic { box(x); queued[x] = WOKEN; was = IDLE }
    :: atomic { !closed[x] -> box(x) }
    fi
#endif
  fi
}

/* rawwaker_box_retire, by crossing.retire */
inline retire(x) {
  atomic { !mu -> mu = true }
#ifdef TWIN_RETIRE_NOT_CALLED_FOR_A_CLOSED_BOX
  if
  :: gone[x] -> skip
  :: else ->
#endif
  atomic {
    box(x);
#ifdef TWIN_RETIRE_WITHOUT_COUNT
    ok = true
#else
    ok = (refs[x] == REF + HOLD)
#endif
    if
    :: ok -> refs[x] = 0; gone[x] = true
    :: else
    fi
  }
  if
  :: ok -> box_free(x)
  :: else -> settle_own(x)
  fi;
#ifdef TWIN_RETIRE_NOT_CALLED_FOR_A_CLOSED_BOX
  fi;
#endif
  atomic { mu = false; ok = false }
}

/* drain, rawwaker_sink_take, rawwaker_box_read, rawwaker_sink_sleep; rawwaker_sink_drop */
proctype Drainer() {
  byte list = NIL, x = NIL, r, h, was;
  bool push, unref, refused, told, ok, over;
  do
  :: atomic { /* rawwaker_sink_take: one exchange, and then the list is its own */
      sink;
      list = head;
      head = NIL;
      x = NIL;
      do
      :: list != NIL -> box(list); h = next[list]; next[list] = x; x = list; list = h
      :: else -> break
      od;
      list = x;
      x = NIL;
      h = 0
    }
    do
    :: list != NIL ->
#ifdef TWIN_NEXT_READ_AFTER_IDLE
      atomic { x = list; box(x); listed[x] = false }
#else
      atomic { x = list; box(x); list = next[x]; listed[x] = false }
#endif
      box_idle(x);
#ifdef TWIN_NEXT_READ_AFTER_IDLE
      atomic { box(x); list = next[x] }
#endif
      atomic {
        box(x);
        if
        :: was == WOKEN -> assert(told); pending[x] = false /* Core.Wake, and a poll */
        :: else
        fi;
        was = 0;
        told = false;
#ifdef TELL
        ok = (refs[x] == REF + HOLD)
#endif
      }
#ifdef TELL
      if
      :: ok -> retire(x)
      :: else -> settle_own(x)
      fi;
#else
      box_unref(x);
#endif
      x = NIL
    :: else -> break
    od;
    if
    :: over -> break
    :: stop -> over = true /* one more drain, as by Inbox.Close */
    :: else ->
      atomic { sink; sleeping = true; same = 0 }
      if
      :: atomic { head == NIL -> sink; waits = true }
        atomic { readable -> sink; readable = false; waits = false }
      :: atomic { head != NIL -> sink }
        atomic { sink; sleeping = false }
      fi
    fi
  od;
  /* rawwaker_sink_drop */
#ifdef TWIN_DROP_LEAVES_NO_MARK
  atomic { sink; list = head; head = NIL }
#else
  atomic { sink; list = head; head = DROPPED }
#endif
  do
  :: list != NIL ->
    atomic { x = list; box(x); list = next[x]; listed[x] = false }
#ifndef TWIN_DROP_FORGETS_WHAT_IS_LISTED
    atomic { box(x); r = refs[x]; assert(r != REF + HOLD || queued[x] != IDLE) }
    count_down(x);
    r = 0
#endif
  :: else -> break
  od;
  sink_unref_owned()
}

init {
  byte i, whose;
  bool mine;
  atomic {
    sinkrefs = 1 + NB;
    for (i : 0 .. NB - 1) {
      refs[i] = HOLD;
      alive[i] = true;
      next[i] = NIL
    }
    whose = 0;
    for (i : 1 .. PRODUCERS) {
#ifdef TELL
      mine = (i != 1)
#else
      mine = true
#endif
      if
      :: mine -> refs[whose] = refs[whose] + REF
      :: else
      fi;
      run Producer(whose, mine);
      whose = (whose + 1) % NB
    }
    whose = 0;
    run Closer();
    run Drainer()
  }
  (_nr_pr == 1) ->
  assert(freed == NB && !sinkalive);
  for (i : 0 .. NB - 1) {
    assert(!alive[i] && !listed[i] && refs[i] == 0)
  }
}
