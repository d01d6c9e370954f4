/* No worker sleeps while work waits: idleState, push, startWorker, runWorker, serve, pop,
 * endSearch, search, refill, steal and hasWork in executor/worker.go. Queues are counts; a poll is
 * one step.
 *   BLOCK  one poll lasts until all else has been polled, and there is the watchdog. Its timer
 *          fires when nothing else can happen, the first EARLY times at any time, and FIRES times
 *          in all. That is more than is needed, so work that no worker takes ends the run. */
#ifndef N
#define N 2 /* workers */
#endif
#ifndef PUSHERS
#define PUSHERS 2
#endif
#ifndef PUSHES
#define PUSHES 2 /* of each */
#endif
#ifndef ROOM
#define ROOM 2
#endif
#ifndef EARLY
#define EARLY 1
#endif
#ifndef FIRES
#define FIRES 4
#endif
#define TOTAL (PUSHERS * PUSHES)
#define OTHER (1 - w)
#if N != 2
#error "steal and hasWork are written out for two workers"
#endif

byte queue[N];
bool awake[N];
bool blocked[N];     /* its poll has been running since the watchdog's last check */
bool moved[N];       /* polls != seen */
byte global;
byte awakes;         /* the low half of idleState */
byte searches;       /* and its high half: one word, changed in one step */
byte starts;         /* goroutines to be started */
byte busy;           /* those that run, a bit for each: the first that does not is next to start */
byte done;
bool armed;          /* the watchdog's timer */
bool lasting;        /* there is a poll that lasts */

/* idleState.admit; its result is ok */
inline admit() {
  do
  :: atomic { searches != 0 || awakes >= N -> ok = false; break }
  :: atomic { else -> ca = awakes; cs = searches }
    atomic {
      if
      :: awakes == ca && searches == cs -> awakes++; searches++; ok = true; break
      :: else
      fi
    }
  od;
  atomic { ca = 0; cs = 0 }
}

/* Executor.armWatchdog */
inline arm_watchdog() {
#ifdef BLOCK
  armed = true
#else
  skip
#endif
}

/* Executor.startWorker */
inline start_worker() {
  admit();
  if
  :: ok -> ok = false; arm_watchdog(); starts++
  :: else
  fi
}

#define forOthers(v) (queue[v] > 0 && (queue[v] > 1 || blocked[v] || !awake[v]))

/* Executor.hasWork; its result is ok */
inline has_work() {
  if
  :: atomic { forOthers(0) -> ok = true }
  :: atomic { !forOthers(0) -> skip }
    if
    :: atomic { forOthers(1) -> ok = true }
    :: atomic { !forOthers(1) -> skip }
      if
      :: atomic { global > 0 -> ok = true }
      :: atomic { global == 0 -> ok = false }
      fi
    fi
  fi
}

/* worker.push, from a spawn or a wake, for any worker */
proctype Pusher() {
  byte n = PUSHES, w, ca, cs;
  bool ok, alone;
  do
  :: n > 0 ->
    if
    :: w = 0
    :: w = 1
    fi;
#ifdef TWIN_IDLE_STATE_READ_BEFORE_THE_PUSH
    ok = (searches == 0 && awakes < N);
#endif
    atomic {
      n--;
      if
      :: queue[w] >= ROOM -> global++
      :: else -> queue[w]++
      fi;
#ifdef TWIN_ALONE_IN_A_WORKER_THAT_SLEEPS
      alone = (queue[w] == 1 && !blocked[w])
#else
      alone = (awake[w] && queue[w] == 1 && !blocked[w])
#endif
    }
    if
#ifdef TWIN_IDLE_STATE_READ_BEFORE_THE_PUSH
    :: alone || !ok -> ok = false
#else
    :: alone
#endif
    :: else -> start_worker()
    fi;
    atomic { alone = false; w = 0 }
  :: else -> break
  od
}

/* worker.endSearch */
inline end_search() {
  if
  :: searching ->
    atomic { searching = false; searches--; ok = (searches == 0 && awakes < N) }
#ifndef TWIN_LAST_SEARCHER_STARTS_NONE
    if
    :: ok ->
      has_work();
      if
      :: ok -> start_worker()
      :: else
      fi
    :: else
    fi;
#endif
    ok = false
  :: else
  fi
}

inline accept() {
  if
  :: got > 0 -> atomic { queue[w] = queue[w] + got; got = 0 }
  :: else
  fi
}

/* Executor.runWorker: a goroutine. There may be one more than workers, one that is no longer
 * counted and checks for work once more. */
proctype Goroutine(byte k) {
  byte w, got, ca, cs;
  bool ok, searching, t, more;
end:
  do
  :: atomic { starts > 0 && (busy & (2 * k - 1)) == k - 1 -> starts--; busy = busy | k }
    do
    :: /* Executor.claim */
      if
      :: w = 0
      :: w = 1
      fi;
      do
      :: atomic { !awake[w] -> awake[w] = true; searching = true; break }
      :: atomic { awake[w] -> w = OTHER }
      od;
      do
      :: /* worker.pop, taskList.next */
        atomic {
          blocked[w] = false;
          moved[w] = true;
          t = (queue[w] > 0);
          if
          :: t -> queue[w]--
          :: else
          fi;
          more = (queue[w] > 0)
        }
        if
        :: t ->
          end_search();
          if
          :: more -> more = false; start_worker()
          :: else
          fi
        :: else ->
          /* worker.search */
          if
          :: !searching -> atomic { searching = true; searches++ }
          :: else
          fi;
          atomic { /* worker.refill */
            got = (global / N + 1 < global -> global / N + 1 : global);
            global = global - got
          }
          accept();
          atomic { /* worker.steal */
            if
            :: forOthers(OTHER) ->
              got = (queue[OTHER] + 1) / 2;
              queue[OTHER] = queue[OTHER] - got
            :: else
            fi
          }
          accept();
          atomic {
            if
            :: queue[w] == 0 -> awake[w] = false; blocked[w] = false
            :: else -> queue[w]--; t = true; blocked[w] = false; moved[w] = true
            fi
          }
          if
          :: t -> end_search()
          :: else -> break
          fi
        fi;
        /* the poll */
#ifdef BLOCK
        if
        :: atomic { !lasting -> lasting = true; done++ }
          done == TOTAL
        :: done++
        fi;
#else
        done++;
#endif
        t = false
      od;
      atomic {
        assert(searching && awakes > 0 && searches > 0);
        awakes--;
        searches--;
        searching = false;
        w = 0
      }
#ifdef TWIN_STOPS_WITHOUT_A_CHECK
      break
#else
      has_work();
      if
      :: ok ->
        admit();
        if
        :: ok -> ok = false
        :: else -> break
        fi
      :: else -> break
      fi
#endif
    od;
    busy = busy - k
  od
}

#if defined(BLOCK) && !defined(TWIN_NO_WATCHDOG)
/* Executor.watchdog */
proctype Watchdog() {
  byte ca, cs, w, n;
  bool ok, some;
end:
  do
  :: atomic { armed && n < FIRES && (n < EARLY || timeout) -> n++; armed = false }
    if
    :: awakes == 0
    :: awakes != 0 ->
      do
      :: w < N ->
        atomic {
          if
          :: awake[w] && !moved[w] && queue[w] > 0 -> blocked[w] = true; some = true
          :: else
          fi;
          moved[w] = false;
          w++
        }
      :: else -> w = 0; break
      od;
      if
      :: some -> some = false; start_worker()
      :: else
      fi;
      arm_watchdog()
    fi
  od
}
#endif

init {
  byte n;
  atomic {
    for (n : 1 .. PUSHERS) { run Pusher() }
    for (n : 0 .. N) { run Goroutine(1 << n) }
#if defined(BLOCK) && !defined(TWIN_NO_WATCHDOG)
    run Watchdog()
#endif
  }
  (done == TOTAL);
  atomic {
    (starts == 0 && awakes == 0) ->
    assert(searches == 0 && queue[0] == 0 && queue[1] == 0 && global == 0)
  }
}
