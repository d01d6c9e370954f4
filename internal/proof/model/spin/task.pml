/* The task's word, its state and its one token, and its handle: task.go, queue.go, worker.go,
 * executor.go and handle.go in executor. Two workers, and threads that wake, abort, join, spawn and
 * close. idle.pml shows that a worker starts; here an idle worker sees that something is queued.
 *   CLOSE  a thread closes the executor.
 *   NEVER  the futures are never ready: only an abort or a close ends them. */
#ifndef TASKS
#define TASKS 1
#endif
#ifndef WAKERS
#define WAKERS 2 /* of each task */
#endif

#define EMPTY 0
#define NOTIFIED 1
#define PARKED 2
#define NIL 255

#define ABORTED 1
#define CLOSED 2
#define ENDING 4
#define DONE 8
#define JOINED 16
#define TAKEN 32

/* Where the token is. Only assertions use it. */
#define UNBORN 0
#define INWORD 1
#define QUEUED 2
#define CARRIED 3
#define WITHWORKER 4
#define VANISHED 5

byte word[TASKS];
byte state[TASKS];
byte token[TASKS];
byte events[TASKS];
bool inpoll[TASKS];
bool future[TASKS];   /* it has not been dropped */
bool result[TASKS];   /* value and err are written */
byte list[TASKS];
bool hw[TASKS];       /* the handle's AtomicWaker holds a waker */
bool jwoken[TASKS];

byte queue[2];        /* a bit for each task */
byte global;
bool shut[2];
byte linked[2];
byte polling[2] = NIL;
byte late;            /* threads that sweep what came after the queues were shut: lateSweeps */
byte out;             /* threads that have ended */
#define bit(t) (1 << t)

/* task.complete, and of its body */
inline complete(t) {
  atomic { assert(!inpoll[t] && !result[t]); future[t] = false; result[t] = true }
  atomic { token[t] = VANISHED; f = state[t]; state[t] = f | DONE }
  if
  :: f & JOINED ->
    atomic { /* AtomicWaker.Wake */
      if
      :: hw[t] -> hw[t] = false; jwoken[t] = true
      :: else
      fi
    }
  :: else
  fi;
  f = 0
}

/* task.cancel */
inline cancel(t) {
  state[t] = state[t] | ENDING;
  atomic { assert(!inpoll[t] && future[t]); future[t] = false } /* the future's Drop */
  complete(t)
}

/* task.requestEnd. f is 0 then, or NIL if the task was to end before, or has. */
inline request_end(t, why) {
  do
  :: atomic { f = state[t];
      if
      :: f & (ABORTED | CLOSED | ENDING | DONE) -> f = NIL; break
      :: else
      fi
    }
    atomic {
      if
      :: state[t] == f -> state[t] = f | why; f = 0; break
      :: else
      fi
    }
  od
}

/* task.end, by the holder of the token */
inline end_task(t) {
  request_end(t, CLOSED);
  atomic { assert(state[t] & (ABORTED | CLOSED)); f = 0 }
  cancel(t)
}

inline unlink(t) {
  atomic { assert(linked[list[t]] & bit(t)); linked[list[t]] = linked[list[t]] - bit(t) }
}

/* taskList.endNow */
inline endNow(t) {
  end_task(t);
  unlink(t)
}

inline pop_from(q, t, now) {
  atomic {
    t = (q & 1 -> 0 : (q & 2 -> 1 : NIL));
    if
    :: t != NIL -> q = q - bit(t); assert(token[t] == QUEUED); token[t] = now
    :: else
    fi
  }
}

/* Executor.sweep, taskList.sweep */
inline sweep(t) {
  i = 0;
  do
  :: i < 2 ->
    pop_from(queue[i], t, CARRIED);
    if
    :: t != NIL -> endNow(t)
    :: else -> i++
    fi
  :: else -> break
  od;
  do
  :: pop_from(global, t, CARRIED);
    if
    :: t != NIL -> endNow(t)
    :: else -> break
    fi
  od;
  atomic { i = 0; t = 0 }
}

/* Core.Wake, task.schedule, Executor.enqueue, worker.push */
inline wake(t, o) {
#ifdef TWIN_WAKE_IS_LOAD_AND_STORE
  was = word[t];
#endif
  atomic {
#ifndef TWIN_WAKE_IS_LOAD_AND_STORE
    was = word[t];
#endif
    word[t] = NOTIFIED;
    if
    :: was == PARKED -> assert(token[t] == INWORD); token[t] = CARRIED
    :: else
    fi
  }
  if
#ifdef TWIN_TOKEN_COPIED
  :: was == PARKED || was == EMPTY ->
#else
  :: was == PARKED ->
#endif
    was = 0;
    push(t);
    if
    :: shutq -> shutq = false; late++; sweep(o); late-- /* worker.sweepLate */
    :: else
    fi
  :: else -> was = 0
  fi
}

/* worker.push, under the lock of any worker: to its queue, or if that is full to the global one */
inline push(t) {
  atomic {
    assert(token[t] == CARRIED);
    token[t] = QUEUED;
    if
    :: queue[0] = queue[0] | bit(t); shutq = shut[0]
    :: queue[1] = queue[1] | bit(t); shutq = shut[1]
    :: global = global | bit(t); shutq = shut[0]
    fi
  }
}

proctype Waker(byte t) {
  byte was, f, i, o;
  bool shutq;
  token[t] != UNBORN; /* the waker comes from a poll */
  events[t]++;
  wake(t, o);
  out++
}

proctype Aborter(byte t) {
  byte was, f, i, o;
  bool shutq;
  token[t] != UNBORN;
#ifdef TWIN_ABORT_WAKES_FIRST
  wake(t, o);
  request_end(t, ABORTED);
  f = 0;
#else
  request_end(t, ABORTED);
  if
  :: f == 0 -> wake(t, o)
  :: else -> f = 0
  fi;
#endif
  out++
}

/* Spawn */
proctype Spawner(byte t) {
  byte f;
  bool refused;
  atomic {
    if
    :: list[t] = 0
    :: list[t] = 1
    fi;
    future[t] = true;
    refused = shut[list[t]];
    if
    :: refused -> token[t] = CARRIED
    :: else ->
      linked[list[t]] = linked[list[t]] | bit(t);
      token[t] = QUEUED;
      queue[list[t]] = queue[list[t]] | bit(t)
    fi
  }
  if
  :: refused -> end_task(t)
  :: else
  fi;
  out++
}

/* JoinHandle.join, polled until it is ready */
proctype Joiner(byte t) {
  byte f;
  token[t] != UNBORN;
  do
  :: f = state[t];
#ifdef TWIN_JOIN_DOES_NOT_LOOK_AGAIN
    if
    :: !(f & DONE) ->
      hw[t] = true;
      state[t] = state[t] | JOINED
    :: else -> break
    fi;
#else
    if
    :: !(f & DONE) ->
      hw[t] = true; /* AtomicWaker.Register */
      atomic { f = state[t]; state[t] = f | JOINED }
    :: else
    fi;
    if
    :: f & DONE -> break
    :: else
    fi;
#endif
    atomic { jwoken[t] -> jwoken[t] = false; f = 0 }
  od;
  atomic { assert(result[t] && !(state[t] & TAKEN)); state[t] = state[t] | TAKEN }
  out++
}

/* task.park, Core.Sleep */
inline park(t) {
#ifdef TWIN_SLEEP_IS_A_STORE
  word[t] = PARKED; token[t] = INWORD; parked = true
#else
  if
  :: word[t] == EMPTY -> word[t] = PARKED; token[t] = INWORD; parked = true
  :: else
  fi
#endif
}

/* worker.serve */
proctype Worker(byte w) {
  byte t = NIL, polled = NIL, f, i, o, stolen;
  bool shutq, ready, parked;
  do
  :: /* worker.pop: under the lock the task that was polled goes to sleep or is queued again, and
      * the next one is taken out */
    atomic {
      if
      :: shut[w] -> polling[w] = polled; shutq = true
      :: else ->
        if
        :: polled != NIL ->
#ifndef TWIN_SLEEPS_BEFORE_THE_LOCK
          park(polled);
#endif
          if
          :: !parked -> token[polled] = QUEUED; queue[w] = queue[w] | bit(polled)
          :: else
          fi;
          polled = NIL
        :: else
        fi;
        t = (queue[w] & 1 -> 0 : (queue[w] & 2 -> 1 : NIL));
        if
        :: t != NIL ->
          queue[w] = queue[w] - bit(t);
          assert(token[t] == QUEUED);
          token[t] = WITHWORKER
        :: else
        fi;
        polling[w] = t
      fi;
      parked = false
    }
    if
    :: shutq && polled != NIL -> end_task(polled); unlink(polled); polled = NIL
    :: else
    fi;
    shutq = false;
    if
    :: t == NIL ->
      /* worker.refill, worker.steal, worker.accept */
      atomic {
        if
        :: global != 0 -> stolen = global; global = 0
        :: !shut[1 - w] && queue[1 - w] != 0 -> stolen = queue[1 - w]; queue[1 - w] = 0
        :: else
        fi;
        if
        :: stolen & 1 -> token[0] = CARRIED
        :: else
        fi;
#if TASKS > 1
        if
        :: stolen & 2 -> token[1] = CARRIED
        :: else
        fi
#endif
      }
      if
      :: stolen != 0 ->
        atomic {
          if
          :: stolen & 1 -> assert(token[0] == CARRIED); token[0] = QUEUED
          :: else
          fi;
#if TASKS > 1
          if
          :: stolen & 2 -> assert(token[1] == CARRIED); token[1] = QUEUED
          :: else
          fi;
#endif
          queue[w] = queue[w] | stolen;
          stolen = 0;
          shutq = shut[w]
        }
        if
        :: shutq ->
          shutq = false;
#ifdef TWIN_A_THIEF_SWEEPS_UNNOTICED
          sweep(o)
#else
          late++;
          sweep(o);
          late--
#endif
        :: else
        fi
      :: else
      fi;
      /* the end of worker.search */
      atomic {
        if
        :: shut[w] || queue[w] == 0 -> t = NIL
        :: else ->
          t = (queue[w] & 1 -> 0 : 1);
          queue[w] = queue[w] - bit(t);
          assert(token[t] == QUEUED);
          token[t] = WITHWORKER
        fi;
        polling[w] = t
      }
    :: else
    fi;
    if
    :: t == NIL ->
      if
      :: shut[w] -> break
      :: else ->
end_idle:
        (shut[w] || queue[0] != 0 || queue[1] != 0 || global != 0)
      fi
    :: else ->
      /* task.run */
#ifndef TWIN_WORD_CLEARED_AFTER_THE_POLL
      if
      :: atomic { word[t] != EMPTY -> skip } /* Core.Clear */
        word[t] = EMPTY
      :: word[t] == EMPTY
      fi;
#endif
      f = state[t];
      if
      :: f & (ABORTED | CLOSED) -> f = 0; cancel(t); unlink(t)
      :: else ->
        atomic {
          assert(!inpoll[t] && future[t] && token[t] == WITHWORKER);
          inpoll[t] = true;
          f = 0
        }
#ifdef NEVER
        atomic { inpoll[t] = false }
#else
        atomic { ready = (events[t] == WAKERS); inpoll[t] = false }
#endif
#ifdef TWIN_WORD_CLEARED_AFTER_THE_POLL
        word[t] = EMPTY;
#endif
        if
#ifndef NEVER
        :: ready -> ready = false; complete(t); unlink(t)
#endif
        :: !ready ->
          f = state[t];
          if
          :: f & (ABORTED | CLOSED) -> f = 0; cancel(t); unlink(t)
          :: else ->
            f = 0;
            polled = t;
#ifdef TWIN_SLEEPS_BEFORE_THE_LOCK
            atomic {
              park(polled);
              if
              :: parked -> polled = NIL; parked = false
              :: else
              fi
            }
#endif
          fi
        fi
      fi;
      t = NIL
    fi
  od
}

#ifdef CLOSE
/* Executor.Close, inTransit */
proctype Closer() {
  byte all, t, f, i, o, was, seen;
  bool more;
  shut[0] = true;
  shut[1] = true;
  do
  :: i < 2 ->
    atomic {
      t = 0;
      do
      :: t < TASKS ->
        if
        :: (linked[i] & bit(t)) && !(state[t] & DONE) -> all = all | bit(t)
        :: else
        fi;
        t++
      :: else -> break
      od;
      t = 0;
      i++
    }
  :: else -> i = 0; break
  od;
  do
  :: t < TASKS ->
    if
    :: all & bit(t) -> request_end(t, CLOSED); f = 0
    :: else
    fi;
    t++
  :: else -> t = 0; break
  od;
  do
  :: t < TASKS ->
    if
    :: all & bit(t) ->
      atomic {
        was = word[t];
        word[t] = NOTIFIED;
        if
        :: was == PARKED -> assert(token[t] == INWORD); token[t] = CARRIED
        :: else
        fi
      }
#ifdef TWIN_CLOSE_ENDS_WITHOUT_THE_TOKEN
      endNow(t)
#else
      if
      :: was == PARKED -> endNow(t)
      :: else
      fi
#endif
    :: else
    fi;
    atomic { t++; was = 0 }
  :: else -> t = 0; break
  od;
  do
  :: sweep(o);
#ifdef TWIN_CLOSE_DOES_NOT_WAIT
    break;
#endif
    atomic { seen = 0; i = 0; more = false }
    do
    :: i < 2 -> atomic {
        if
        :: polling[i] != NIL -> seen = seen | bit(polling[i])
        :: else
        fi;
        i++
      }
    :: else -> i = 0; break
    od;
    do
    :: t < TASKS -> atomic {
        if
        :: (all & bit(t)) && !(state[t] & (ENDING | DONE)) && !(seen & bit(t)) -> more = true
        :: else
        fi;
        t++
      }
    :: else -> t = 0; break
    od;
    if
    :: more -> more = false
    :: !more && late != 0 /* Executor.sweeping */
    :: !more && late == 0 -> break
    fi
  od;
  atomic { /* those that are not being polled have ended */
    do
    :: t < TASKS ->
      assert(!(all & bit(t)) || state[t] & DONE || token[t] == WITHWORKER);
      t++
    :: else -> break
    od
  }
  out++
}
#endif

init {
  byte t, n;
  atomic {
    for (t : 0 .. TASKS - 1) {
      run Spawner(t);
#if WAKERS > 0
      for (n : 1 .. WAKERS) { run Waker(t) }
#endif
#ifdef ABORT
      run Aborter(t);
#endif
#ifdef JOIN
      run Joiner(t)
#endif
    }
#ifdef CLOSE
    run Closer();
    n = 1;
#else
    n = 0;
#endif
#ifdef ABORT
    n = n + TASKS;
#endif
#ifdef JOIN
    n = n + TASKS;
#endif
    run Worker(0);
    run Worker(1)
  }
  (out == n + TASKS + TASKS * WAKERS);
  for (t : 0 .. TASKS - 1) {
    (state[t] & DONE);
    assert(token[t] == VANISHED && !future[t]);
    !(linked[list[t]] & bit(t))
  }
  assert(queue[0] == 0 && queue[1] == 0 && global == 0)
}
