/* The sink's flag, its list and its descriptor, between threads of C that wake, the dispatcher (dispatch, drain, rawwaker_sink_sleep)
 * and the one BlockOn that spins (Parker.spin), all in internal/wake/cross_cgo.go; and the hook (rawwaker_sink_on_wake, sink_rouse). Boxes are a
 * bit each here: box.pml has the rest of them. Box and core 0 are the spinner's; 1 those of a goroutine that is parked, and
 * goes on when it is woken; with BOTH it is a BlockOn, too, so that two want to spin. */
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2 /* wakes of core 0 by each of its wakers; of core 1 there is one wake */
#endif
#ifndef TRIES
#define TRIES 1 /* spinTries */
#endif

#define EMPTY 0
#define NOTIFIED 1
#define PARKED 2

bool queued[2];       /* IDLE, WOKEN */
byte head;            /* the list, a bit for each box */
bool sleeping;
bool readable;        /* the descriptor */
byte hook;            /* the newest; 0: none */
bool hookalive[3];

byte word[2];
byte token[2];        /* the parkers' channels */
byte events[2];       /* what the wakers make true, before they wake */
byte total[2];
bool fresh[2];        /* a wake's exchange on the box came since the last drain of it */
byte out;             /* wakers that have ended */
byte finished;
bool spinning;

/* Core.WakeAt and Parker.Rouse, by a drainer */
inline wake_core(c) {
  atomic { was = word[c]; word[c] = NOTIFIED }
  if
  :: was == PARKED -> atomic { assert(token[c] == 0); token[c]++ }
  :: else
  fi;
  was = 0
}

/* drain: rawwaker_sink_take and rawwaker_box_read until there is nothing more */
inline drain() {
  do
  :: atomic { head != 0 -> list = head; head = 0 }
    do
    :: list & 1 -> atomic { assert(queued[0] && fresh[0]); queued[0] = false; fresh[0] = false; list = list - 1 }
      wake_core(0)
    :: list & 2 -> atomic { assert(queued[1] && fresh[1]); queued[1] = false; fresh[1] = false; list = list - 2 }
      wake_core(1)
    :: list == 0 -> break
    od
  :: atomic { head == 0 -> break }
  od
}

/* box_wake_by_ref, box_push, sink_rouse */
proctype Waker(byte x; byte n) {
  byte h;
  bool was, push;
  do
  :: n > 0 ->
    atomic { events[x]++; n-- }
    atomic { push = !queued[x]; queued[x] = true; fresh[x] = true }
#ifdef TWIN_FLAG_READ_BEFORE_THE_PUSH
    was = sleeping;
#endif
    if
    :: push ->
      atomic { push = false; assert(!(head & (1 << x))); head = head | (1 << x) }
#ifndef TWIN_FLAG_READ_BEFORE_THE_PUSH
      was = sleeping;
#endif
      if
      :: was ->
        atomic { was = sleeping; sleeping = false }
        if
        :: was ->
          atomic { was = false; readable = true }
          h = hook;
          if
          :: h != 0 -> atomic { assert(hookalive[h]); h = 0 }
          :: else
          fi
        :: else
        fi
      :: else
      fi
    :: else
    fi
#ifdef TWIN_FLAG_READ_BEFORE_THE_PUSH
    ; was = false
#endif
  :: else -> break
  od;
  out++
}

#ifdef HOOKS
/* rawwaker_sink_on_wake, twice: the older one stays */
proctype Setter() {
  byte older;
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

#ifdef KICK
/* startElsewhere: the dispatcher comes although no wake has called it */
proctype Kicker() { readable = true }
#endif

/* dispatch */
proctype Dispatcher() {
  byte list, was;
  do
  :: drain();
#ifdef TWIN_SLEEPER_DOES_NOT_LOOK_AGAIN
    sleeping = true;
    atomic { readable -> readable = false }
#else
    /* rawwaker_sink_sleep */
    sleeping = true;
    if
    :: atomic { head == 0 -> skip }
end:  atomic { readable -> readable = false }
    :: atomic { head != 0 -> skip }
      sleeping = false
    fi
#endif
  od
}

/* Parker.spin; woken is what it gives */
inline spin(c) {
  if
  :: atomic { !spinning -> spinning = true }
    atomic { slept = sleeping; sleeping = false; tries = 0; woken = false }
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
#ifndef TWIN_SPINNER_KEEPS_THE_FLAG
    if
    :: slept ->
      sleeping = true;
#ifndef TWIN_SPINNER_DOES_NOT_LOOK_AGAIN
      do
      :: atomic { head != 0 -> skip }
        sleeping = false;
        drain();
        sleeping = true
      :: atomic { head == 0 -> break }
      od
#endif
    :: else
    fi;
#endif
    atomic { spinning = false; tries = 0; slept = false }
    if
    :: atomic { woken || word[c] == NOTIFIED -> woken = true }
    :: atomic { else -> skip }
    fi
  :: atomic { spinning -> woken = false }
  fi
}

/* BlockOn's loop over Parker.Park, whose wakes come from C */
proctype Sleeper(byte c) {
  byte list, was, tries, seen;
  bool slept, woken;
  do
  :: seen = events[c]; /* the poll */
    if
    :: seen == total[c] -> break
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
    atomic { assert(word[c] == NOTIFIED); word[c] = EMPTY; woken = false }
  od;
  finished++
}

init {
  byte i, n;
  atomic {
    for (i : 0 .. WAKERS - 1) {
      n = (i % 2 -> 1 : ROUNDS);
      total[i % 2] = total[i % 2] + n;
      run Waker(i % 2, n)
    }
    run Sleeper(0);
#ifdef BOTH
    run Sleeper(1);
#else
    word[1] = PARKED;
    finished = 1;
#endif
#ifdef HOOKS
    run Setter();
#endif
#ifdef KICK
    run Kicker();
#endif
    run Dispatcher()
  }
#ifdef BOTH
  (finished == 2 && out == WAKERS) ->
  assert(token[0] == 0 && token[1] == 0)
#else
  (finished == 2 && out == WAKERS && token[1] == 1) ->
  assert(token[0] == 0)
#endif
}

#ifdef LIVE
ltl ends { <> (finished == 2) }
#endif
