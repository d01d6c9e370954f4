/* rawwaker_cell, the bits of futures-rs's AtomicWaker with one more rule: rawwaker_cell_register,
 * _take, _wake and _drop of rawwaker.c. Task t registers its waker, then tests its condition.
 * Threads make the condition true, then wake the cell. At the end the cell is dropped. No thread
 * waits for another. The slot is plain memory: one thread at a time uses it.
 *   TWO   two tasks register at the same cell at once. The cell keeps the newer waker, so a task
 *         may find its own replaced; then it polls again here.
 *   STOP  (with TWO) task 0 stops permanently between any two of its steps. The other task must get
 *         its wakes. */
#ifndef WAKES
#define WAKES 2 /* threads that wake, once each */
#endif

#define WAITING 0
#define REGISTERING 1
#define WAKING 2
#define NONE 255
#ifdef TWO
#define waker(t) (t)
#define NW 2
#else
#define waker(t) 0
#define NW 1
#endif

byte state;
byte slot = NONE;     /* the waker that is kept */
byte busy;            /* threads that use the slot: at most one */
byte refs[NW];        /* clones */
byte events;          /* what the waking threads have made true; a task waits for all of it */
bool woken[NW];
bool replaced[NW];    /* a newer registration has dropped this waker */
bool ready[2];
byte out;

#ifdef STOP
byte stopped = 255;
#define running provided (stopped != _pid)
#else
#define running
#endif

inline use_slot() { atomic { assert(busy == 0); busy++ } }
inline used_slot() { busy-- }
inline wake_by_ref(w) { woken[w] = true }
inline drop(w) { atomic { assert(refs[w] > 0); refs[w]-- } }

/* From here on the cell is w's: it wakes no other waker that it keeps. */
#ifdef TWO
inline newest(w) {
  if
  :: slot == 1 - w -> replaced[slot] = true
  :: else
  fi
}
#else
inline newest(w) { skip }
#endif

/* rawwaker_cell_register of waker w */
inline register(w) {
#ifdef TWIN_REGISTER_LOCKS
  atomic { state == WAITING -> state = REGISTERING; won = true; newest(w) }
#else
  atomic {
    won = (state == WAITING);
    if
    :: won -> state = REGISTERING; newest(w)
    :: else
    fi
  }
#endif
  if
  :: won ->
    use_slot();
    if
    :: slot == w /* will_wake */
    :: else ->
      refs[w]++; /* clone */
      atomic { old = slot; slot = w }
    fi;
    used_slot();
#ifdef TWIN_REGISTER_ENDS_BY_A_STORE
    state = WAITING;
#else
    atomic {
      won = (state == REGISTERING);
      if
      :: won -> state = WAITING
      :: else
      fi
    }
    if
    :: won
    :: else -> /* a wake or a drop has come meanwhile: it left the waker to this thread */
      use_slot();
      atomic { mine = slot; slot = NONE }
      used_slot();
      atomic { assert(state == REGISTERING + WAKING); state = WAITING }
#ifndef TWIN_REGISTER_DROPS_WHAT_IT_WAS_TO_WAKE
      wake_by_ref(mine);
#endif
      drop(mine);
      mine = NONE
    fi;
#endif
    if
    :: old != NONE ->
      drop(old);
      old = NONE
    :: else
    fi
  :: else ->
#ifndef TWIN_REGISTER_KEEPS_NOTHING_AND_DOES_NOT_WAKE
    wake_by_ref(w)
#else
    skip
#endif
  fi;
  won = false
}

/* rawwaker_cell_take; its result is mine */
inline take() {
  atomic { seen = state; state = state | WAKING }
#ifdef TWIN_TAKE_IGNORES_A_REGISTER
  if
  :: !(seen & WAKING) ->
#else
  if
  :: seen == WAITING ->
#endif
    use_slot();
    atomic { mine = slot; slot = NONE }
    used_slot();
    atomic { state = state & REGISTERING }
  :: else
  fi;
  seen = 0
}

proctype Task(byte t) running {
  byte old = NONE, mine = NONE;
  bool won, again;
  do
  :: atomic { woken[waker(t)] = false; replaced[waker(t)] = false }
    register(waker(t));
    if
    :: events == WAKES -> break
    :: else
    fi;
    if
    :: woken[waker(t)] || replaced[waker(t)]
    :: !again -> again = true /* polled for another reason */
    fi
  od;
  ready[t] = true;
  out++
}

/* Makes its part of the condition true, then rawwaker_cell_wake. */
proctype Thread() {
  byte mine = NONE, seen;
  events++;
  take();
  if
  :: mine != NONE -> wake_by_ref(mine); drop(mine); mine = NONE
  :: else
  fi;
  out++
}

init {
  byte i, mine = NONE, seen;
  atomic {
    run Task(0);
#ifdef TWO
    run Task(1);
#else
    out = 1;
    ready[1] = true;
#endif
    for (i : 1 .. WAKES) { run Thread() }
  }
#ifdef STOP
  stopped = 1; /* task 0 */
  timeout;
  assert(ready[1])
#else
  (out == WAKES + 2) ->
  take(); /* rawwaker_cell_drop */
  if
  :: mine != NONE -> drop(mine)
  :: else
  fi;
  assert(state == WAITING && slot == NONE && busy == 0);
  for (i : 0 .. NW - 1) { assert(refs[i] == 0) }
#endif
}
