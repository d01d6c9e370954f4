/* stopped.c - stops one thread permanently at each step of each call, and has every other call of
 * another thread run to its end.
 *
 * The calls are one table. A call stops before each of its atomic steps, and before and after each
 * of its system calls; a new step in the library is a new position by itself. At each position
 * every call of the table runs, as another thread's: on the same objects and on others, unless the
 * contract forbids that the two meet. It must end within a number of steps of its own, and what it
 * has woken must arrive: the host finds its descriptor readable, takes the task, polls it, and the
 * poll finds what was sent. The exceptions are rows of data, each of which must be needed.
 *
 * Then the stopped thread continues, and all memory and descriptors are released; or it never does,
 * and no call of others has left more than the stopped thread itself leaves.
 *
 *   stopped [brief | long] [-v]
 *
 * Calls on a box are tried in further states of it, of its sink and of the host: one at a time;
 * with brief in none, with long in all together. -v counts the uses of each exception.
 *
 * This file includes the library, whose steps call step first. ./run builds and runs it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static void step(const char *what, const volatile void *word);
#define GAP(text, word) step(text, word)
#define GAP_ALONE
#include "gap.h"

/* ----------------------------------------------------------------------------- the threads -- */

/* A thread under test is a context that gives way to the main one. Calls of others are on the main
 * one. */
enum { STACK = 128 * 1024, BOUND = 20000, STEPS = 1024 };
typedef struct thread {
  ucontext_t at;
  char *stack;
  void (*run)(void);
  bool begun, done, blocked; /* blocked: it sleeps on a semaphore */
  unsigned long steps, positions, stop_at;
  size_t loads_from; /* in history: its latest steps, which only read */
  void *text; /* its thread-specific value */
} thread;
static thread stopper, parked[2], *current;
static ucontext_t main_at;
static unsigned long main_steps;
static void *main_text;

/* What the thread under test has done. */
typedef struct done_step {
  const char *what;
  const volatile void *word;
  uint32_t before; /* the word's value, if word_is_noted */
} done_step;
static done_step history[STEPS];
static size_t history_n;
static const char *stopped_at; /* what it is about to do */

static void fail(const char *why);

static void give_way(thread *t) {
  current = NULL;
  swapcontext(&t->at, &main_at);
  current = t;
}
static void thread_main(void) {
  thread *t = current;
  t->run();
  t->done = true;
  current = NULL;
  setcontext(&main_at);
}
static void resume(thread *t) {
  if (!t->begun) {
#ifdef __SANITIZE_ADDRESS__
    void __asan_unpoison_memory_region(void const volatile *, size_t);
    __asan_unpoison_memory_region(t->stack, STACK);
#endif
    t->begun = true;
    getcontext(&t->at);
    t->at.uc_stack.ss_sp = t->stack;
    t->at.uc_stack.ss_size = STACK;
    t->at.uc_link = NULL;
    makecontext(&t->at, thread_main, 0);
  }
  current = t;
  swapcontext(&main_at, &t->at);
}
static void begin(thread *t, void (*run)(void), unsigned long stop_at) {
  char *stack = t->stack != NULL ? t->stack : malloc(STACK);
  *t = (thread){.stack = stack, .run = run, .stop_at = stop_at};
  resume(t);
}

/* Whether excepted_by looks at the word's value before the step. */
static bool word_is_noted(const char *what) {
  static const char *const noted[] = {"exchange &b->queued", "swap &b->queued",
                                      "exchange &p->state", "swap u", "swap cell_word(c)"};
  for (size_t i = 0; i < sizeof noted / sizeof *noted; i++)
    if (strcmp(what, noted[i]) == 0) return true;
  return false;
}
static void step(const char *what, const volatile void *word) {
  thread *t = current;
  if (t == NULL) {
    if (++main_steps > BOUND) fail("it does not end");
    return;
  }
  if (++t->steps > BOUND) fail("the thread under test, or one that sleeps, does not end");
  if (t != &stopper) return;
  /* A loop that only reads has three positions for each of its reads. */
  if (strncmp(what, "load", 4) != 0) t->loads_from = history_n;
  unsigned again = 0;
  for (size_t i = t->loads_from; i < history_n; i++) again += history[i].what == what;
  if (again >= 3) return;
  if (++t->positions == t->stop_at) {
    stopped_at = what;
    give_way(t);
  }
  if (history_n == STEPS) fail("too many steps");
  history[history_n++] = (done_step){
      what, word, word_is_noted(what) ? *(const volatile uint32_t *)word : 0};
}

/* A system call, with a step before and after it. */
#define SYSTEM(what, call)               \
  __extension__({                        \
    step(what, NULL);                    \
    __auto_type result_ = (call);        \
    step("return from " what, NULL);     \
    result_;                             \
  })

/* Sleeps as another thread would, and gives way meanwhile. */
static int wait_for(bool (*try)(void *), void *arg, const char *what) {
  step(what, NULL);
  while (!try(arg)) {
    if (current == NULL) fail("it sleeps");
    current->blocked = true;
    give_way(current);
  }
  if (current != NULL) current->blocked = false;
  step("return from the sleep", NULL);
  return 0;
}
static bool semaphore_try(void *s) { return sem_trywait(s) == 0; }
__attribute__((unused)) static bool mutex_try(void *m) { return pthread_mutex_trylock(m) == 0; }

/* ---------------------------------------------------------------- memory and descriptors -- */

enum { MOST = 512, FDS = 64 };
static void *blocks[MOST];
static size_t blocks_n;

static void *block_add(void *p) {
  if (blocks_n == MOST) fail("too many allocations");
  if (p != NULL) blocks[blocks_n++] = p;
  return p;
}
static void block_free(void *p) {
  for (size_t i = blocks_n; p != NULL; i--) {
    if (i == 0) fail("free of what is not allocated");
    if (blocks[i - 1] != p) continue;
    blocks[i - 1] = blocks[--blocks_n];
    break;
  }
  free(p);
}
/* Descriptors are simulated: a number stands for a file, which has so many bytes. So a world needs
 * no system call, and a number that is closed and used again is noticed. */
static int descriptors[FDS]; /* each the number of its file, plus 1; 0: closed */
static unsigned long files[FDS];
static int fds_n, files_n;

static int fd_new(int file) {
  for (int fd = 3; fd < FDS; fd++)
    if (descriptors[fd] == 0) {
      descriptors[fd] = file + 1;
      fds_n++;
      return fd;
    }
  fail("too many descriptors");
  return -1;
}
static int file_new(void) {
  if (files_n == FDS) fail("too many files");
  files[files_n] = 0;
  return files_n++;
}
static unsigned long *fd_file(int fd) {
  if (fd < 0 || fd >= FDS || descriptors[fd] == 0)
    fail("a use of a descriptor that is not open");
  return &files[descriptors[fd] - 1];
}
static int fd_close(int fd) {
  fd_file(fd);
  descriptors[fd] = 0;
  fds_n--;
  return 0;
}
static ssize_t fd_write(int fd, size_t n) {
  *fd_file(fd) += n;
  return (ssize_t)n;
}
static ssize_t fd_read(int fd, size_t n) {
  unsigned long *bytes = fd_file(fd);
  ssize_t got = *bytes < n ? (ssize_t)*bytes : (ssize_t)n;
  *bytes -= (unsigned long)got;
  if (got == 0) errno = EAGAIN;
  return got == 0 ? -1 : got;
}
static int fd_dup(int from, int to) {
  fd_file(from);
  fd_file(to);
  descriptors[to] = descriptors[from];
  return to;
}
static bool readable(int fd) { return *fd_file(fd) != 0; }
__attribute__((unused)) static int fd_pipe(int ends[2]) {
  int file = file_new();
  for (int i = 0; i < 2; i++) ends[i] = fd_new(file);
  return 0;
}
__attribute__((unused)) static int fd_fcntl(int fd, int what) {
  return what == F_DUPFD_CLOEXEC ? fd_new((int)(fd_file(fd) - files)) : 0;
}

static void *text_get(void) { return current != NULL ? current->text : main_text; }
static int text_set(void *text) {
  *(current != NULL ? &current->text : &main_text) = text;
  return 0;
}

#define malloc(n) block_add(malloc(n))
#define calloc(n, size) block_add(calloc(n, size))
#define free(p) block_free(p)
#define pthread_getspecific(key) ((void)(key), text_get())
#define pthread_setspecific(key, text) ((void)(key), text_set(text))
#define write(fd, bytes, n) SYSTEM("write", ((void)(bytes), fd_write(fd, n)))
#define read(fd, bytes, n) SYSTEM("read", ((void)(bytes), fd_read(fd, n)))
#define close(fd) SYSTEM("close", fd_close(fd))
#define eventfd(n, flags) SYSTEM("eventfd", fd_new(file_new()))
#define dup3(from, to, flags) SYSTEM("dup3", fd_dup(from, to))
#define dup2(from, to) SYSTEM("dup2", fd_dup(from, to))
#define pipe(ends) SYSTEM("pipe", fd_pipe(ends))
#define fcntl(fd, what, arg) SYSTEM("fcntl", fd_fcntl(fd, what))
#define sem_post(s) SYSTEM("sem_post", sem_post(s))
#define sem_wait(s) wait_for(semaphore_try, s, "sem_wait")
#define pthread_mutex_lock(m) wait_for(mutex_try, m, "pthread_mutex_lock")
#define sched_yield() SYSTEM("sched_yield", sched_yield())
#define __builtin_ia32_pause() ((void)0)
#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_compare_exchange_strong
#define atomic_load(p) atomic_load_explicit(p, memory_order_seq_cst)
#define atomic_store(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#define atomic_exchange(p, v) atomic_exchange_explicit(p, v, memory_order_seq_cst)
#define atomic_compare_exchange_strong(p, e, v) \
  atomic_compare_exchange_strong_explicit(p, e, v, memory_order_seq_cst, memory_order_seq_cst)

#ifndef RAWWAKER_C
#define RAWWAKER_C "../../../rawwaker.c"
#endif
#ifndef RAWWAKER_CHANNEL_C
#define RAWWAKER_CHANNEL_C "../../../channel/rawwaker_channel.c"
#endif
#include RAWWAKER_C
/* The channel has the same names for other things. */
#define die channel_die
#define no_ops channel_no_ops
#define IDLE CHANNEL_IDLE
#define WOKEN CHANNEL_WOKEN
#define WAITING CHANNEL_WAITING
#define GONE CHANNEL_GONE
#undef ORD_REF
#undef ORD_UNREF
#undef ORD_LIST
#undef ORD_TAKEN
#include RAWWAKER_CHANNEL_C
#undef die
#undef no_ops
#undef IDLE
#undef WOKEN
#undef WAITING
#undef GONE
#undef malloc
#undef calloc
#undef free
#undef write
#undef read
#undef close
#undef pipe
#undef fcntl

/* ------------------------------------------------------------------------------- the world -- */

/* Two sets of objects, 0 and 1. The thread under test is actor 0 and uses set 0; the calls of
 * others are those of actor 1, on either set. */
enum { A0, A1, R0, R1, M0, M1, OTHER, TASKS }; /* a task, a receiver and a sender of each set */

/* What a call owes: that a task is polled, that a result is given, and so on. */
#define BIT(n) (1u << (n))
#define TASK(t) BIT(t)
#define VALUE(o) BIT(7 + (o))          /* the oneshot's */
#define NODE(a, o) BIT(9 + 2 * (a) + (o))
#define SUBMIT(o) BIT(13 + (o))
#define ANSWER(o) BIT(15 + (o))        /* the job's */
#define CANCEL(o) BIT(17 + (o))
#define ITEM(a, o) BIT(19 + 2 * (a) + (o))
#define END(o) BIT(23 + (o))           /* the stream's */
#define RETURN(o) BIT(25 + (o))        /* block_on's */
#define KEPT BIT(27)                   /* memory, until the thread continues */
#define CELL(o) BIT(28 + (o))          /* the wake by the cell, which holds its task's waker */
enum { BITS = 30 };
static const char *const bit_names[BITS] = {
    "the wake of task 0", "the wake of task 1", "the wake of receiver 0", "the wake of receiver 1",
    "the wake of room 0", "the wake of room 1", "the wake of another task",
    "the value of oneshot 0", "the value of oneshot 1",
    "the node of actor 0 in queue 0", "the node of actor 0 in queue 1",
    "the node of actor 1 in queue 0", "the node of actor 1 in queue 1",
    "the submit of job 0", "the submit of job 1", "the answer of job 0", "the answer of job 1",
    "the cancel of job 0", "the cancel of job 1",
    "the item of actor 0 in channel 0", "the item of actor 0 in channel 1",
    "the item of actor 1 in channel 0", "the item of actor 1 in channel 1",
    "the end of channel 0", "the end of channel 1",
    "the return of block_on 0", "the return of block_on 1", "what is kept",
    "the wake by cell 0", "the wake by cell 1",
};

/* What a call needs, and what it needs alone: of its set, but HOST and SINK of the whole world. */
enum {
  HOST = 1,      /* the host's thread */
  SINK = 2,      /* the sink is not dropped */
  OWNER = 4,     /* the runtime's hold on the task's box */
  FUTURE = 8,    /* the oneshot's */
  SENDER = 16,   /* the oneshot's */
  ENGINE = 32,   /* the queue's thread */
  QUEUE = 64,    /* the queue is not dropped */
  JOBS = 128,    /* the thread of the jobs' engine */
  JOB = 256,     /* the job's future */
  RECEIVER = 512,
  TX = 1024,     /* the actors' own senders, if they do more than use them */
  REPLACES = 2048, /* the cell's waker, so that another call does not find it */
  WORLD = HOST | SINK,
};

/* The state of set 0 at the beginning, and of the sink and host. */
enum {
  NO_HOOK = 1, FOREVER = 2, AWAKE_HOST = 4,
  LISTED = 8, LOOPS = 16, CLOSED_BOX = 32, TELLS = 64, ONLY_MINE = 128,
  UNPOLLED = 256,            /* the oneshot and the job */
  SETTLED_FIRST = 512, HUNG_UP_FIRST = 1024,
  CELL_EMPTY = 2048, CELL_OF_OTHER = 4096, CELL_IN_USE = 8192, /* another thread's register */
  FULL = 1 << 14, AWAKE_RECEIVER = 1 << 15, LAST_SENDER = 1 << 16, STREAM_GONE = 1 << 17,
  WATCHED = 1 << 18, NODES = 1 << 19, UNSUBMITTED = 1 << 20, QUEUE_CLOSED = 1 << 21,
  DEFERRED = 1 << 22,        /* hooks wait for the reap */
  NO_KEY = 1 << 23,          /* no thread has had a panic text */
  ROOM_MINE = 1 << 24,       /* with FULL: a room of actor 0 waits too */
  ROOM_WOKEN = 1 << 25,      /* with ROOM_MINE: an item was received */
};

typedef struct gate { /* a future that is ready when it is opened */
  bool open, self;
  rawwaker waker;
} gate;

static struct {
  unsigned with;
  rawwaker_sink *sink;
  int fd;
  bool ended, shut, asleep;
  unsigned long called, hooks;
  rawwaker_box *box[TASKS];
  bool closed[TASKS], run[TASKS];
  rawwaker ref[2][TASKS], more[2]; /* more: what a clone has given */
  rawwaker slow;                   /* of the other register */
  rawwaker fn[2][2];
  rawwaker_cell cell[2];
  struct {
    rawwaker_future f;
    rawwaker_oneshot *tx;
    bool dropped, ended, pending;
  } x[2];
  rawwaker_queue *q[2], *jq[2];
  rawwaker_queue_node node[2][2];
  bool pushed[2][2];
  struct {
    rawwaker_future f;
    rawwaker_job *j;
    bool dropped, ended, pending, submitted, sent, closed; /* closed: the queue */
  } job[2];
  struct {
    rawwaker_stream s;
    void *memory;
    rawwaker_sender *tx[3]; /* of the actors, and one that keeps the stream open */
    rawwaker_future room[2];
    bool dropped, ended, waits[2];
  } ch[2];
  gate gates[4]; /* of the two sleeping threads, and of the actors' own */
  rawwaker unpark[2][2];
  const volatile void *parker;           /* the word of the first sleeping thread */
  unsigned got, owed[2];
} w;

static void owe(int a, unsigned bits) { w.owed[a] |= bits; }

static bool watch_on;
static void *watch_made(void *sender, const char *call) {
  (void)call;
  step("made", NULL);
  return watch_on ? (void *)((uintptr_t)sender | 1) : NULL;
}
static void *watch_used(void *given, const char *call, bool takes) {
  (void)call;
  (void)takes;
  step("used", NULL);
  return (void *)((uintptr_t)given & ~(uintptr_t)1);
}

static rawwaker hook_clone(void *data);
static void hook_by_ref(void *data) {
  (void)data;
  step("hook", NULL);
  w.called++;
  step("return from hook", NULL);
}
static void hook_drop(void *data) {
  (void)data;
  step("the hook's drop", NULL);
  w.hooks--;
}
static void hook_wake(void *data) {
  hook_by_ref(data);
  hook_drop(data);
}
static const rawwaker_vtable hook_vtable = {hook_clone, hook_wake, hook_by_ref, hook_drop};
static rawwaker hook_clone(void *data) {
  w.hooks++;
  return (rawwaker){data, &hook_vtable};
}
static bool hook_set(void) {
  return rawwaker_sink_on_wake(w.sink, hook_clone(NULL));
}

static rawwaker_poll gate_poll(void *data, rawwaker_context *cx, void *out) {
  gate *g = data;
  (void)out;
  step("poll", NULL);
  if (g->open) return RAWWAKER_READY;
  rawwaker_clone_from(&g->waker, cx->waker);
  if (g->self) {
    g->open = true;
    rawwaker_wake_by_ref(cx->waker);
  }
  return RAWWAKER_PENDING;
}
static void gate_drop(void *data) {
  gate *g = data;
  if (g->waker.vtable != NULL) rawwaker_drop(g->waker);
  g->waker.vtable = NULL;
}
static const rawwaker_future_vtable gate_vtable = {gate_poll, gate_drop};
static void block_on_0(void) {
  rawwaker_block_on((rawwaker_future){&w.gates[0], &gate_vtable}, NULL);
}
static void block_on_1(void) {
  rawwaker_block_on((rawwaker_future){&w.gates[1], &gate_vtable}, NULL);
}

typedef struct operation {
  const char *name;
  bool (*run)(int a, int o);
  unsigned needs, alone; /* what it uses, and what no other call may use meanwhile */
  unsigned with;         /* if it is not 0, the row is only for the thread under test */
  bool box;              /* with every state of a box, sink and host */
  bool shared;           /* it is not of a set */
} operation;
static const operation *under_test;
static bool holds(unsigned what, int o); /* the thread under test stopped in such a use */

static rawwaker_context lend(int task, rawwaker *waker) {
  *waker = rawwaker_box_lend(w.box[task]);
  return (rawwaker_context){waker};
}
static bool poll_oneshot(int o, int task) {
  if (w.x[o].dropped || w.x[o].ended || w.closed[task]) return false;
  rawwaker waker;
  rawwaker_context cx = lend(task, &waker);
  uint64_t out;
  w.x[o].ended = w.x[o].f.vtable->poll(w.x[o].f.data, &cx, &out) != RAWWAKER_PENDING;
  w.x[o].pending = !w.x[o].ended;
  if (w.x[o].ended) w.got |= VALUE(o);
  return w.x[o].ended;
}
static bool poll_job(int o) {
  if (w.job[o].dropped || w.job[o].ended || w.closed[A0 + o]) return false;
  rawwaker waker;
  rawwaker_context cx = lend(A0 + o, &waker);
  uint64_t out;
  w.job[o].ended = w.job[o].f.vtable->poll(w.job[o].f.data, &cx, &out) != RAWWAKER_PENDING;
  w.job[o].pending = !w.job[o].ended;
  if (w.job[o].ended) w.got |= ANSWER(o);
  return w.job[o].ended;
}
/* Returns whether an item came. */
static bool poll_stream(int o) {
  if (w.ch[o].dropped || w.ch[o].ended || w.closed[R0 + o]) return false;
  rawwaker waker;
  rawwaker_context cx = lend(R0 + o, &waker);
  int item;
  rawwaker_poll got = w.ch[o].s.vtable->poll_next(w.ch[o].s.data, &cx, &item);
  if (got == RAWWAKER_READY && item < 2) w.got |= ITEM(item, o);
  w.ch[o].ended = got == RAWWAKER_DONE || got == RAWWAKER_PANICKED;
  if (w.ch[o].ended) w.got |= END(o);
  return got == RAWWAKER_READY;
}
static bool poll_room(int a, int o) {
  if (w.closed[M0 + o]) return false;
  rawwaker waker;
  rawwaker_context cx = lend(M0 + o, &waker);
  rawwaker_future f = w.ch[o].room[a];
  w.ch[o].waits[a] = f.vtable->poll(f.data, &cx, NULL) == RAWWAKER_PENDING;
  return !w.ch[o].waits[a];
}

/* The job's callbacks, whose data is the number of its set. */
static void on_submit(void *engine, rawwaker_job *j) {
  int o = *(int *)rawwaker_job_data(j);
  step("submit", NULL);
  w.job[o].submitted = true;
  w.got |= SUBMIT(o);
  if (engine != NULL) return;
  uint64_t value = 0;
  w.job[o].sent = true;
  rawwaker_job_send(j, &value);
}
static void on_cancel(void *engine, rawwaker_job *j) {
  (void)engine;
  step("cancel", NULL);
  w.got |= CANCEL(*(int *)rawwaker_job_data(j));
}
static void on_job_destroy(rawwaker_job *j, void *value) {
  (void)j;
  (void)value;
  step("destroy", NULL);
}
static void on_job_release(rawwaker_job *j) {
  (void)j;
  step("release", NULL);
}
static const rawwaker_job_ops job_ops = {on_submit, on_cancel, on_job_destroy, on_job_release};

static void on_event(void *arg) {
  (void)arg;
  step("callback", NULL);
}
static void on_destroy(void *arg, void *value) {
  (void)arg;
  (void)value;
  step("destroy", NULL);
}
static const rawwaker_oneshot_ops ops = {NULL, on_event, on_destroy, on_event};

static void on_fn_wake(void *arg) {
  step("a function", NULL);
  rawwaker_wake_by_ref(arg);
}
static void on_fn_drop(void *arg) {
  (void)arg;
  step("a function's drop", NULL);
}

static void engine_run(int o) { rawwaker_queue_run(w.jq[o], &w); }
static void nodes_taken(int o, rawwaker_queue_node *n) {
  for (; n != NULL; n = rawwaker_queue_next(n))
    for (int a = 0; a < 2; a++)
      if (n == &w.node[a][o]) w.got |= NODE(a, o);
}

static void task_woken(int t) {
  w.got |= TASK(t) | (t == A0 || t == A1 ? CELL(t & 1) : 0);
  w.run[t] = true;
}
/* The host drains the list and falls asleep. */
static void host_drain(void) {
  rawwaker_notice n;
  w.asleep = false;
  rawwaker_sink_ack(w.sink);
  w.called = 0;
  do {
    for (rawwaker_box *list = rawwaker_sink_take(w.sink); rawwaker_box_read(&list, &n, 1) != 0;) {
      int t = (int)n.id - 1;
      if (n.woken) task_woken(t);
      if (n.last && rawwaker_box_retire(w.box[t])) w.closed[t] = true;
    }
  } while (!rawwaker_sink_sleep(w.sink));
  w.asleep = true;
}
static bool host_turn(void) {
  if (w.ended || holds(HOST, 0)) return false;
  if ((w.with & LOOPS) != 0 && !w.closed[A0]) { /* it watches the box meanwhile */
    if (atomic_exchange(&w.box[A0]->queued, RAWWAKER_BOX_LOOP) == RAWWAKER_BOX_WOKEN)
      task_woken(A0);
  }
  if (w.asleep && !w.shut) { /* it is woken by its hook, or by the descriptor */
    if ((w.with & NO_HOOK) == 0 ? w.called == 0 : !readable(w.fd)) return false;
  }
  if (w.shut && w.asleep && atomic_load(&w.sink->head) == NULL) return false;
  host_drain();
  return true;
}

static bool engine_turn(int o) {
  if (w.q[o] == NULL || holds(ENGINE, o) || !readable(rawwaker_queue_fd(w.q[o]))) return false;
  for (rawwaker_queue_node *n; (n = rawwaker_queue_take(w.q[o])) != NULL;) nodes_taken(o, n);
  return true;
}
static bool jobs_turn(int o) {
  if (w.jq[o] == NULL || holds(JOBS, o) || !readable(rawwaker_queue_fd(w.jq[o]))) return false;
  engine_run(o);
  return true;
}
static bool tasks_turn(int o) {
  bool ran = false;
  if (w.run[A0 + o]) {
    w.run[A0 + o] = holds(FUTURE | JOB, o); /* that one is polled when the thread continues */
    ran = !w.run[A0 + o];
    if (!holds(FUTURE, o) && w.x[o].pending) poll_oneshot(o, A0 + o);
    if (!holds(JOB, o) && w.job[o].pending) poll_job(o);
  }
  if (w.run[R0 + o] && !holds(RECEIVER, o)) {
    w.run[R0 + o] = false;
    ran = true;
    while (poll_stream(o)) {
    }
  }
  if (w.run[M0 + o]) {
    w.run[M0 + o] = false;
    for (int a = 0; a < 2; a++)
      if (w.ch[o].waits[a] && (a == 1 || !holds(TX, o))) ran |= poll_room(a, o);
  }
  return ran;
}
static bool parked_turn(int o) {
  if (parked[o].done || !parked[o].begun) return false;
  int n = 0;
  parker *p = w.gates[o].waker.data;
  if (sem_getvalue(&p->sleep, &n) != 0 || n == 0) return false;
  resume(&parked[o]);
  if (parked[o].done) w.got |= RETURN(o);
  return true;
}

/* All threads but the one under test do what they were woken for, until there is nothing. */
static void turn(void) {
  main_steps = 0;
  for (int round = 0; round < 20; round++) {
    bool more = host_turn();
    for (int o = 0; o < 2; o++) {
      more |= engine_turn(o);
      more |= jobs_turn(o);
      more |= tasks_turn(o);
      more |= parked_turn(o);
    }
    if (!more) return;
  }
  fail("the other threads never rest");
}

static void job_make(int o, unsigned with) {
  w.job[o].f = rawwaker_job_new(w.jq[o], &job_ops, 8, 8, sizeof(int), &w.job[o].j);
  *(int *)rawwaker_job_data(w.job[o].j) = o;
  if (with & UNPOLLED) return;
  poll_job(o);
  if (!(with & UNSUBMITTED)) engine_run(o);
}
static void channel_make(int o, unsigned with) {
  int item = 2;
  w.ch[o].s = rawwaker_channel_new(sizeof item, _Alignof(int), 4, &ops, NULL, &w.ch[o].tx[0]);
  w.ch[o].memory = ((rawwaker_sender *)w.ch[o].s.data)->memory;
  for (int i = 1; i < 3; i++) w.ch[o].tx[i] = rawwaker_sender_clone(w.ch[o].tx[0]);
  if (!(with & AWAKE_RECEIVER)) poll_stream(o);
  if (with & FULL) {
    while (rawwaker_sender_try_send(w.ch[o].tx[2], &item) == RAWWAKER_SENT) {
    }
    w.ch[o].room[1] = rawwaker_sender_room(w.ch[o].tx[1]);
    poll_room(1, o);
  }
  if (with & ROOM_MINE) {
    w.ch[o].room[0] = rawwaker_sender_room(w.ch[o].tx[0]);
    poll_room(0, o);
  }
  if (with & ROOM_WOKEN) poll_stream(o);
  if (with & LAST_SENDER)
    for (int i = 1; i < 3; i++) {
      rawwaker_sender_drop(w.ch[o].tx[i]);
      w.ch[o].tx[i] = NULL;
    }
  if (with & STREAM_GONE) {
    w.ch[o].s.vtable->drop(w.ch[o].s.data);
    w.ch[o].dropped = true;
  }
}

/* Another thread's register, which is in the middle of its clone. */
static thread registering;
static bool in_register;
static rawwaker slow_clone(void *data) {
  if (current == &registering) give_way(&registering);
  return rawwaker_clone(data);
}
static void slow_drop(void *data) { (void)data; }
static void slow_wake(void *data) { rawwaker_wake_by_ref(data); }
static const rawwaker_vtable slow_vtable = {slow_clone, slow_wake, slow_wake, slow_drop};
static void register_slowly(void) {
  rawwaker slow = {&w.slow, &slow_vtable};
  rawwaker_cell_register(&w.cell[0], &slow);
}

static void world_begin(unsigned with) {
  current = NULL;
  main_steps = 0;
  memset(&w, 0, sizeof w);
  w.with = with;
  if (with & NO_KEY) panic_unload();
  /* The same in each world: threads sleep at once, but with NO_KEY they spin first. */
  atomic_store(&spin_pays, (with & NO_KEY) != 0 ? SPIN_MOST : 0);
  atomic_store(&spin_skipped, 0);
  w.sink = rawwaker_sink_new(with & FOREVER ? RAWWAKER_SINK_FOREVER : 0);
  w.fd = rawwaker_sink_fd(w.sink);
  if (!(with & NO_HOOK)) hook_set();
  for (int t = 0; t < TASKS; t++) {
    w.box[t] = rawwaker_box_new(w.sink, (uint64_t)t + 1,
                                t == A0 && (with & TELLS) ? RAWWAKER_BOX_TELL : 0);
    for (int a = 0; a < 2; a++)
      if (a == 0 || t != A0 || !(with & ONLY_MINE)) w.ref[a][t] = rawwaker_box_ref(w.box[t]);
  }
  for (int o = 0; o < 2; o++) {
    unsigned f = o == 0 ? with : 0;
    for (int a = 0; a < 2; a++) w.fn[a][o] = (rawwaker){NULL, NULL};
    if (f & ONLY_MINE) f |= UNPOLLED | CELL_EMPTY;
    w.fn[0][o] = rawwaker_from_fn(on_fn_wake, &w.ref[1][OTHER], on_fn_drop);
    w.fn[1][o] = rawwaker_clone(&w.fn[0][o]);
    rawwaker_cell_init(&w.cell[o]);
    if (!(f & (CELL_EMPTY | CELL_IN_USE)))
      rawwaker_cell_register(&w.cell[o], &w.ref[1][f & CELL_OF_OTHER ? R0 + o : A0 + o]);
    watch_on = (f & WATCHED) != 0;
    w.x[o].f = rawwaker_oneshot_new(8, 8, &ops, NULL, &w.x[o].tx);
    if (!(f & UNPOLLED)) poll_oneshot(o, A0 + o);
    if (f & HUNG_UP_FIRST) {
      w.x[o].dropped = true;
      w.x[o].f.vtable->drop(w.x[o].f.data);
    }
    if (f & SETTLED_FIRST) {
      rawwaker_oneshot_send(w.x[o].tx, &(uint64_t){1});
      w.x[o].tx = NULL;
    }
    w.q[o] = rawwaker_queue_new();
    w.jq[o] = rawwaker_queue_new();
    if (f & NODES) {
      rawwaker_queue_push(w.q[o], &w.node[1][o]);
      w.pushed[1][o] = true;
    }
    if (f & QUEUE_CLOSED) {
      rawwaker_queue_close(w.q[o]);
      rawwaker_queue_end(w.jq[o]);
    }
    job_make(o, f);
    channel_make(o, f);
    watch_on = false;
  }
  begin(&parked[0], block_on_0, 0);
  begin(&parked[1], block_on_1, 0);
  for (int o = 0; o < 2; o++)
    for (int a = 0; a < 2; a++) w.unpark[a][o] = rawwaker_clone(&w.gates[o].waker);
  w.parker = &((parker *)w.gates[0].waker.data)->state;
  if (with & CLOSED_BOX) {
    rawwaker_box_close(w.box[A0]);
    w.closed[A0] = true;
  }
  in_register = (with & CELL_IN_USE) != 0;
  if (in_register) w.slow = rawwaker_box_ref(w.box[A0]);
  if (in_register) begin(&registering, register_slowly, 0);
  if (with & DEFERRED) {
    struct hook *h = block_add(malloc(sizeof *h));
    *h = (struct hook){hook_clone(NULL), NULL};
    atomic_store(&deferred, h);
  }
  host_drain();
  for (int t = 0; t < TASKS; t++) w.run[t] = false;
  if (with & LISTED) rawwaker_wake_by_ref(&w.ref[0][A0]);
  if (with & LOOPS) atomic_store(&w.box[A0]->queued, RAWWAKER_BOX_LOOP);
  if (with & AWAKE_HOST) {
    atomic_store(&w.sink->sleeping, 0);
    w.asleep = false;
  }
  w.got = 0;
  w.owed[0] = w.owed[1] = 0;
}

/* ------------------------------------------------------------------------------- the calls -- */

/* A call of actor a on set o. It returns false if it has nothing to call. */
static rawwaker use(rawwaker *from) {
  rawwaker used = *from;
  from->vtable = NULL;
  return used;
}
static bool wake_task(int a, int t, bool by_ref) {
  rawwaker *ref = &w.ref[a][t];
  if (ref->vtable == NULL) return false;
  if (by_ref)
    rawwaker_wake_by_ref(ref);
  else
    rawwaker_wake(use(ref));
  owe(a, TASK(t));
  return true;
}
static bool wake(int a, int o) { return wake_task(a, A0 + o, false); }
static bool wake_by_ref(int a, int o) { return wake_task(a, A0 + o, true); }
static bool clone_it(int a, int o) {
  if (w.ref[a][A0 + o].vtable == NULL || w.more[a].vtable != NULL) return false;
  w.more[a] = rawwaker_clone(&w.ref[a][A0 + o]);
  return true;
}
static bool drop(int a, int o) {
  if (w.ref[a][A0 + o].vtable == NULL) return false;
  rawwaker_drop(use(&w.ref[a][A0 + o]));
  return true;
}
static bool clone_from(int a, int o) {
  if (w.ref[a][A0 + o].vtable == NULL || w.ref[a][R0 + o].vtable == NULL) return false;
  rawwaker_clone_from(&w.ref[a][R0 + o], &w.ref[a][A0 + o]);
  return true;
}
static bool boxed(int a, int o) {
  if (w.ref[a][A0 + o].vtable == NULL) return false;
  const rawwaker_boxed *b = w.ref[a][A0 + o].data;
  b = b->vtable->clone(b);
  b->vtable->wake_by_ref(b);
  b->vtable->drop(b);
  owe(a, TASK(A0 + o));
  return true;
}
static bool fn_wake_it(int a, int o) {
  if (w.fn[a][o].vtable == NULL || w.ref[1][OTHER].vtable == NULL) return false;
  rawwaker_wake(use(&w.fn[a][o]));
  owe(a, TASK(OTHER));
  return true;
}
static bool fn_clone_and_drop(int a, int o) {
  if (w.fn[a][o].vtable == NULL) return false;
  rawwaker_drop(rawwaker_clone(&w.fn[a][o]));
  rawwaker_drop(use(&w.fn[a][o]));
  return true;
}

static bool lend_new(int a, int o) {
  if (w.closed[A0 + o]) return false;
  rawwaker_wake(rawwaker_box_ref(w.box[A0 + o]));
  owe(a, TASK(A0 + o));
  return true;
}
static bool close_box(int a, int o) {
  (void)a;
  if (w.closed[A0 + o]) return false;
  w.closed[A0 + o] = true;
  rawwaker_box_close(w.box[A0 + o]);
  return true;
}
/* A future that wakes itself in its first polls, and then is ready; or that keeps its waker. */
typedef struct self_waking {
  unsigned wakes;
  bool keeps;
  rawwaker kept;
} self_waking;
static rawwaker_poll self_waking_poll(void *data, rawwaker_context *cx, void *out) {
  self_waking *f = data;
  (void)out;
  step("poll", NULL);
  if (f->keeps) f->kept = rawwaker_clone(cx->waker);
  if (f->wakes == 0) return f->keeps ? RAWWAKER_PENDING : RAWWAKER_READY;
  f->wakes--;
  rawwaker_wake_by_ref(cx->waker);
  return RAWWAKER_PENDING;
}
static void no_drop(void *data) { (void)data; }
static const rawwaker_future_vtable self_waking_vtable = {self_waking_poll, no_drop};
static bool poll_under(int a, int o) {
  if (w.closed[A0 + o] || ((w.with & LOOPS) != 0 && o == 0)) return false;
  self_waking f = {.wakes = 2};
  rawwaker_box *b = w.box[A0 + o];
  bool woken;
  rawwaker_box_poll(w.sink, &b, (rawwaker_future){&f, &self_waking_vtable}, NULL, &woken);
  if (woken) task_woken(A0 + o);
  owe(a, TASK(A0 + o));
  return true;
}
/* A box that the poll makes, and that is adopted. */
static bool poll_new(int a, int o) {
  (void)a;
  (void)o;
  self_waking f = {.keeps = true};
  rawwaker_box *b = NULL;
  bool woken;
  rawwaker_box_poll(w.sink, &b, (rawwaker_future){&f, &self_waking_vtable}, NULL, &woken);
  rawwaker_box_adopt(b, OTHER + 1);
  rawwaker_box_close(b);
  rawwaker_wake(f.kept);
  return true;
}

static bool host(int a, int o) {
  (void)a;
  (void)o;
  host_drain();
  return true;
}
static bool set_hook(int a, int o) {
  (void)o;
  owe(a, KEPT);
  return hook_set();
}
static bool kick(int a, int o) {
  (void)a;
  (void)o;
  rawwaker_sink_kick(w.sink);
  return true;
}
static bool shut(int a, int o) {
  (void)a;
  (void)o;
  if ((w.with & FOREVER) == 0) w.shut = true;
  rawwaker_sink_close(w.sink);
  return true;
}
static bool end_sink(int a, int o) {
  (void)a;
  (void)o;
  if ((w.with & FOREVER) != 0) return false;
  w.ended = true;
  for (int t = 0; t < TASKS; t++)
    if (!w.closed[t]) {
      w.closed[t] = true;
      rawwaker_box_close(w.box[t]);
    }
  rawwaker_sink_drop(w.sink);
  return true;
}
static bool reap(int a, int o) {
  (void)a;
  (void)o;
  rawwaker_sink_reap();
  return true;
}
/* A host of its own, whose one task is woken. */
static bool other_host(int a, int o) {
  (void)a;
  (void)o;
  rawwaker_sink *s = rawwaker_sink_new(0);
  rawwaker_box *b = rawwaker_box_new(s, 1, 0);
  if (!rawwaker_sink_sleep(s)) fail("a new sink's list is not empty");
  rawwaker_wake(rawwaker_box_ref(b));
  if (!readable(rawwaker_sink_fd(s))) fail("a wake of another host does not arrive");
  rawwaker_box *list = rawwaker_sink_take(s);
  rawwaker_notice n = {0, 0, 0};
  while (rawwaker_box_read(&list, &n, 1) != 0) {
  }
  if (n.woken != 1) fail("a wake of another host does not arrive");
  rawwaker_box_close(b);
  rawwaker_sink_drop(s);
  return true;
}

static bool cell_wake(int a, int o);
static bool cell_register(int a, int o) {
  if (w.ref[a][A0 + o].vtable == NULL) return false;
  rawwaker_cell_register(&w.cell[o], &w.ref[a][A0 + o]);
  return true;
}
static bool cell_register_other(int a, int o) {
  if (w.ref[a][OTHER].vtable == NULL) return false;
  rawwaker_cell_register(&w.cell[o], &w.ref[a][OTHER]);
  return true;
}
/* A task that registers, and finds its condition true afterwards, by a wake. */
static bool cell_register_and_wake(int a, int o) {
  if (w.ref[a][OTHER].vtable == NULL) return false;
  rawwaker_cell_register(&w.cell[o], &w.ref[a][OTHER]);
  rawwaker_cell_wake(&w.cell[o]);
  if (a == 1) owe(a, TASK(OTHER)); /* of actor 0 another register may take its place */
  return true;
}
static bool holds_task(const rawwaker_cell *c, int o) {
  if (c->private_lock == WAITING) return c->private_waker.data == w.box[A0 + o];
  return (w.with & CELL_IN_USE) == 0 && /* the thread under test is at the cell */
         (under_test->run == cell_register ||
          (under_test->run == cell_wake && (w.with & CELL_EMPTY) == 0));
}
static bool cell_wake(int a, int o) {
  if (holds_task(&w.cell[o], o)) owe(a, CELL(o));
  rawwaker_cell_wake(&w.cell[o]);
  return true;
}
static bool cell_take_and_wake(int a, int o) {
  rawwaker taken;
  (void)a;
  if (rawwaker_cell_take(&w.cell[o], &taken)) rawwaker_wake(taken);
  return true;
}
static bool cell_drop(int a, int o) {
  (void)a;
  rawwaker_cell_drop(&w.cell[o]);
  return true;
}

static rawwaker_oneshot *use_sender(int o) {
  rawwaker_oneshot *tx = w.x[o].tx;
  w.x[o].tx = NULL;
  return tx;
}
static void owe_value(int a, int o) {
  if (w.x[o].pending && !w.x[o].dropped) owe(a, VALUE(o));
}
static bool send(int a, int o) {
  rawwaker_oneshot *tx = use_sender(o);
  if (tx == NULL) return false;
  rawwaker_oneshot_send(tx, &(uint64_t){7});
  owe_value(a, o);
  return true;
}
static bool send_failure(int a, int o) {
  rawwaker_oneshot *tx = use_sender(o);
  if (tx == NULL) return false;
  rawwaker_oneshot_fail(tx, "failed", 6);
  owe_value(a, o);
  return true;
}
static bool drop_tx(int a, int o) {
  rawwaker_oneshot *tx = use_sender(o);
  if (tx == NULL) return false;
  rawwaker_oneshot_drop(tx);
  owe_value(a, o);
  return true;
}
static bool ask_closed(int a, int o) {
  (void)a;
  if (w.x[o].tx == NULL) return false;
  rawwaker_oneshot_closed(w.x[o].tx);
  return true;
}
static bool poll_again(int a, int o) {
  (void)a;
  poll_oneshot(o, A0 + o);
  return true;
}
static bool poll_elsewhere(int a, int o) { /* with another waker, and back */
  (void)a;
  poll_oneshot(o, OTHER);
  poll_oneshot(o, A0 + o);
  return true;
}
static bool cancel(int a, int o) {
  (void)a;
  if (w.x[o].dropped) return false;
  rawwaker_oneshot_cancel(w.x[o].f);
  return true;
}
static bool drop_future(int a, int o) {
  (void)a;
  if (w.x[o].dropped) return false;
  w.x[o].dropped = true;
  w.x[o].f.vtable->drop(w.x[o].f.data);
  return true;
}
static bool oneshot_of_its_own(int a, int o) {
  (void)a;
  (void)o;
  rawwaker_oneshot *tx;
  rawwaker_future f = rawwaker_oneshot_new(8, 8, &ops, NULL, &tx);
  rawwaker noop_waker = rawwaker_noop();
  uint64_t out;
  f.vtable->poll(f.data, &(rawwaker_context){&noop_waker}, &out);
  rawwaker_oneshot_send(tx, &(uint64_t){1});
  if (f.vtable->poll(f.data, &(rawwaker_context){&noop_waker}, &out) != RAWWAKER_READY)
    fail("a value that was sent is not there");
  f.vtable->drop(f.data);
  return true;
}

static bool push(int a, int o) {
  if (w.q[o] == NULL || w.pushed[a][o]) return false;
  w.pushed[a][o] = true;
  if (rawwaker_queue_push(w.q[o], &w.node[a][o])) owe(a, NODE(a, o));
  return true;
}
static bool take(int a, int o) {
  (void)a;
  if (w.q[o] == NULL) return false;
  for (rawwaker_queue_node *n; (n = rawwaker_queue_take(w.q[o])) != NULL;) nodes_taken(o, n);
  return true;
}
static bool close_queue(int a, int o) {
  (void)a;
  if (w.q[o] == NULL) return false;
  nodes_taken(o, rawwaker_queue_close(w.q[o]));
  return true;
}
static bool stop_queue(int a, int o) {
  (void)a;
  if (w.q[o] == NULL) return false;
  rawwaker_queue_stop(w.q[o]);
  return true;
}
static bool clone_queue(int a, int o) {
  (void)a;
  if (w.q[o] == NULL) return false;
  rawwaker_queue_drop(rawwaker_queue_clone(w.q[o]));
  return true;
}
static bool drop_queue(int a, int o) {
  rawwaker_queue *q = w.q[o];
  if (q == NULL) return false;
  close_queue(a, o);
  w.q[o] = NULL;
  rawwaker_queue_drop(q);
  return true;
}

static bool job_poll(int a, int o) {
  bool first = w.job[o].f.data != NULL && !w.job[o].pending && !w.job[o].ended;
  if (w.job[o].dropped || w.job[o].ended || w.closed[A0 + o]) return false;
  poll_job(o);
  if (first) owe(a, SUBMIT(o));
  return true;
}
static bool job_answer(int a, int o) {
  if (!w.job[o].submitted || w.job[o].sent) return false;
  w.job[o].sent = true;
  rawwaker_job_send(w.job[o].j, &(uint64_t){7});
  if (w.job[o].pending && !w.job[o].dropped) owe(a, ANSWER(o));
  return true;
}
static bool job_fail(int a, int o) {
  if (!w.job[o].submitted || w.job[o].sent) return false;
  w.job[o].sent = true;
  rawwaker_job_fail(w.job[o].j, "failed", 6);
  if (w.job[o].pending && !w.job[o].dropped) owe(a, ANSWER(o));
  return true;
}
static bool job_stop(int a, int o) {
  if (w.job[o].dropped) return false;
  rawwaker_oneshot_cancel(w.job[o].f);
  if (w.job[o].submitted && !w.job[o].sent) owe(a, CANCEL(o));
  return true;
}
static bool job_drop(int a, int o) {
  if (w.job[o].dropped) return false;
  w.job[o].dropped = true;
  bool running = w.job[o].submitted && !w.job[o].sent;
  w.job[o].f.vtable->drop(w.job[o].f.data);
  if (running) owe(a, CANCEL(o));
  return true;
}
static bool jobs_run(int a, int o) {
  (void)a;
  if (w.jq[o] == NULL) return false;
  engine_run(o);
  return true;
}
static bool jobs_end(int a, int o) {
  (void)a;
  if (w.jq[o] == NULL) return false;
  w.job[o].closed = true;
  rawwaker_queue_end(w.jq[o]);
  return true;
}

static void owe_rooms(int a, int o) {
  if (w.ch[o].waits[1]) owe(a, TASK(M0 + o));
}
static bool try_send(int a, int o) {
  if (w.ch[o].tx[a] == NULL) return false;
  if (rawwaker_sender_try_send(w.ch[o].tx[a], &a) == RAWWAKER_SENT &&
      (o == 1 || (w.with & (AWAKE_RECEIVER | FULL | STREAM_GONE)) == 0))
    owe(a, ITEM(a, o));
  return true;
}
static bool sender_clone(int a, int o) {
  if (w.ch[o].tx[a] == NULL) return false;
  rawwaker_sender_drop(rawwaker_sender_clone(w.ch[o].tx[a]));
  return true;
}
static bool sender_drop(int a, int o) {
  rawwaker_sender *tx = w.ch[o].tx[a];
  if (tx == NULL) return false;
  w.ch[o].tx[a] = NULL;
  rawwaker_sender_drop(tx);
  if (o == 0 && (w.with & LAST_SENDER) != 0) owe(a, END(o));
  return true;
}
static bool sender_fail(int a, int o) {
  rawwaker_sender *tx = w.ch[o].tx[a];
  if (tx == NULL) return false;
  w.ch[o].tx[a] = NULL;
  rawwaker_sender_fail(tx, "failed", 6);
  if (o == 1 || (w.with & (AWAKE_RECEIVER | FULL | STREAM_GONE)) == 0) owe(a, END(o));
  if (a == 0) owe_rooms(a, o);
  return true;
}
static bool room_wait(int a, int o) {
  if (w.ch[o].tx[a] == NULL || w.ch[o].room[a].vtable != NULL) return false;
  if (w.closed[M0 + o]) return false;
  w.ch[o].room[a] = rawwaker_sender_room_for(w.ch[o].tx[a], 2);
  poll_room(a, o);
  return true;
}
static bool room_drop_it(int a, int o) {
  if (w.ch[o].room[a].vtable == NULL) return false;
  rawwaker_future f = w.ch[o].room[a];
  w.ch[o].room[a].vtable = NULL;
  w.ch[o].waits[a] = false;
  f.vtable->drop(f.data);
  return true;
}
static bool receive_one(int a, int o) {
  if (w.ch[o].dropped || w.ch[o].ended || w.closed[R0 + o]) return false;
  bool waits = w.ch[o].waits[1];
  if (poll_stream(o) && waits && a == 0) owe_rooms(a, o);
  return true;
}
static bool stream_drop(int a, int o) {
  if (w.ch[o].dropped) return false;
  w.ch[o].dropped = true;
  w.ch[o].s.vtable->drop(w.ch[o].s.data);
  if (a == 0) owe_rooms(a, o);
  return true;
}

static bool unpark(int a, int o) {
  if (w.unpark[a][o].vtable == NULL) return false;
  w.gates[o].open = true;
  rawwaker_wake(use(&w.unpark[a][o]));
  owe(a, RETURN(o));
  return true;
}
static bool unpark_by_ref(int a, int o) {
  if (w.unpark[a][o].vtable == NULL) return false;
  w.gates[o].open = true;
  rawwaker_wake_by_ref(&w.unpark[a][o]);
  owe(a, RETURN(o));
  return true;
}
static bool unpark_clone(int a, int o) {
  if (w.unpark[a][o].vtable == NULL) return false;
  rawwaker_drop(rawwaker_clone(&w.unpark[a][o]));
  return true;
}
static bool unpark_drop(int a, int o) {
  if (w.unpark[a][o].vtable == NULL) return false;
  rawwaker_drop(use(&w.unpark[a][o]));
  return true;
}
static bool block_on(int a, int o) {
  (void)o;
  gate *g = &w.gates[2 + a];
  *g = (gate){.self = true};
  if (rawwaker_block_on((rawwaker_future){g, &gate_vtable}, NULL) != RAWWAKER_READY)
    fail("block_on gave another code");
  return true;
}
/* The thread under test sleeps, until the world wakes it. */
static bool block_on_and_sleep(int a, int o) {
  (void)o;
  if (a != 0) return false;
  return rawwaker_block_on((rawwaker_future){&w.gates[2], &gate_vtable}, NULL) == RAWWAKER_READY;
}
/* Wakes it, whatever it is about to do. */
static bool wake_sleeper(int a, int o) {
  (void)a;
  (void)o;
  if (w.gates[2].waker.vtable == NULL) return false;
  rawwaker_wake_by_ref(&w.gates[2].waker);
  return true;
}
static bool set_panic(int a, int o) {
  (void)a;
  (void)o;
  rawwaker_set_panic("text", 4);
  if (strcmp(rawwaker_last_panic(), "text") != 0) fail("another panic text");
  rawwaker_set_panic(NULL, 0);
  return true;
}

static const operation operations[] = {
    {"wake", wake, 0, 0, 0, true, false},
    {"wake_by_ref", wake_by_ref, 0, 0, 0, true, false},
    {"clone", clone_it, 0, 0, 0, true, false},
    {"drop", drop, 0, 0, 0, true, false},
    {"clone_from", clone_from, 0, 0, 0, true, false},
    {"the slots of async-ffi", boxed, 0, 0, 0, true, false},
    {"wake of a function", fn_wake_it, 0, 0, 0, false, false},
    {"clone and drop of a function", fn_clone_and_drop, 0, 0, 0, false, false},
    {"box_ref and wake", lend_new, OWNER | SINK, 0, 0, true, false},
    {"box_close", close_box, OWNER, OWNER, 0, true, false},
    {"box_poll", poll_under, OWNER | SINK, OWNER, 0, true, false},
    {"box_poll, adopt and close", poll_new, SINK, 0, 0, true, true},
    {"sink_take, read and sleep", host, HOST | SINK, HOST, 0, true, true},
    {"sink_take, read and sleep, of what is listed", host, HOST | SINK, HOST, LISTED, false, true},
    {"sink_on_wake", set_hook, SINK, 0, 0, true, true},
    {"sink_on_wake, hooks deferred", set_hook, SINK, 0, DEFERRED, false, true},
    {"sink_kick", kick, SINK, 0, 0, true, true},
    {"sink_close", shut, SINK, 0, 0, true, true},
    {"sink_drop", end_sink, WORLD, WORLD, 0, true, true},
    {"sink_drop, hooks deferred", end_sink, WORLD, WORLD, DEFERRED, false, true},
    {"sink_reap", reap, 0, 0, 0, false, true},
    {"sink_reap, hooks deferred", reap, 0, 0, DEFERRED, false, true},
    {"another host", other_host, 0, 0, 0, false, true},
    {"another host, hooks deferred", other_host, 0, 0, DEFERRED, false, true},

    {"cell_register of the kept waker", cell_register, 0, 0, 0, false, false},
    {"cell_register in an empty cell", cell_register, 0, 0, CELL_EMPTY, false, false},
    {"cell_register in place of another", cell_register, 0, 0, CELL_OF_OTHER, false, false},
    {"cell_register beside another", cell_register, 0, 0, CELL_IN_USE, false, false},
    {"cell_register of another task", cell_register_other, REPLACES, 0, 0, false, false},
    {"cell_register and cell_wake", cell_register_and_wake, REPLACES, 0, 0, false, false},
    {"cell_wake", cell_wake, 0, 0, 0, false, false},
    {"cell_wake of an empty cell", cell_wake, 0, 0, CELL_EMPTY, false, false},
    {"cell_wake beside a register", cell_wake, 0, 0, CELL_IN_USE, false, false},
    {"cell_take and wake", cell_take_and_wake, REPLACES, 0, 0, false, false},
    {"cell_take beside a register", cell_take_and_wake, REPLACES, 0, CELL_IN_USE, false, false},
    {"cell_drop", cell_drop, REPLACES, 0, 0, false, false},
    {"cell_drop beside a register", cell_drop, REPLACES, 0, CELL_IN_USE, false, false},

    {"oneshot_send", send, SENDER, SENDER, 0, false, false},
    {"oneshot_send before the poll", send, SENDER, SENDER, UNPOLLED, false, false},
    {"oneshot_send after the drop", send, SENDER, SENDER, HUNG_UP_FIRST, false, false},
    {"oneshot_send, watched", send, SENDER, SENDER, WATCHED, false, false},
    {"oneshot_fail", send_failure, SENDER, SENDER, 0, false, false},
    {"oneshot_fail after the drop", send_failure, SENDER, SENDER, HUNG_UP_FIRST, false, false},
    {"oneshot_drop", drop_tx, SENDER, SENDER, 0, false, false},
    {"oneshot_drop before the poll", drop_tx, SENDER, SENDER, UNPOLLED, false, false},
    {"oneshot_closed", ask_closed, SENDER, 0, 0, false, false},
    {"poll of a oneshot", poll_again, FUTURE, FUTURE, 0, false, false},
    {"first poll of a oneshot", poll_again, FUTURE, FUTURE, UNPOLLED, false, false},
    {"poll of a oneshot with a value", poll_again, FUTURE, FUTURE, SETTLED_FIRST, false, false},
    {"poll of a oneshot by another task", poll_elsewhere, FUTURE, FUTURE, 0, false, false},
    {"oneshot_cancel", cancel, FUTURE, FUTURE, 0, false, false},
    {"drop of a oneshot", drop_future, FUTURE, FUTURE, 0, false, false},
    {"drop of a oneshot before the poll", drop_future, FUTURE, FUTURE, UNPOLLED, false, false},
    {"drop of a oneshot with a value", drop_future, FUTURE, FUTURE, SETTLED_FIRST, false, false},
    {"a new oneshot, send and poll", oneshot_of_its_own, 0, 0, 0, false, true},

    {"queue_push", push, QUEUE, 0, 0, false, false},
    {"queue_push to what is there", push, QUEUE, 0, NODES, false, false},
    {"queue_push to a closed queue", push, QUEUE, 0, QUEUE_CLOSED, false, false},
    {"queue_take", take, QUEUE | ENGINE, ENGINE, 0, false, false},
    {"queue_take of a node", take, QUEUE | ENGINE, ENGINE, NODES, false, false},
    {"queue_close", close_queue, QUEUE, 0, 0, false, false},
    {"queue_close of a node", close_queue, QUEUE, 0, NODES, false, false},
    {"queue_stop", stop_queue, QUEUE, 0, 0, false, false},
    {"queue_clone and queue_drop", clone_queue, QUEUE, 0, 0, false, false},
    {"queue_close and the last queue_drop", drop_queue, QUEUE | ENGINE, QUEUE | ENGINE, 0, false,
     false},

    {"poll of a job", job_poll, JOB, JOB, 0, false, false},
    {"first poll of a job", job_poll, JOB, JOB, UNPOLLED, false, false},
    {"first poll of a job, queue closed", job_poll, JOB | JOBS, JOB | JOBS,
     UNPOLLED | QUEUE_CLOSED, false, false},
    {"job_send", job_answer, JOBS, JOBS, 0, false, false},
    {"job_send, watched", job_answer, JOBS, JOBS, WATCHED, false, false},
    {"job_fail", job_fail, JOBS, JOBS, 0, false, false},
    {"oneshot_cancel of a job", job_stop, JOB, JOB, 0, false, false},
    {"drop of a job", job_drop, JOB, JOB, 0, false, false},
    {"drop of a job before its submit", job_drop, JOB, JOB, UNSUBMITTED, false, false},
    {"queue_run", jobs_run, JOBS, JOBS, 0, false, false},
    {"queue_run of a submit", jobs_run, JOBS, JOBS, UNSUBMITTED, false, false},
    {"queue_end", jobs_end, JOBS, JOBS, 0, false, false},
    {"queue_end of a submit", jobs_end, JOBS, JOBS, UNSUBMITTED, false, false},

    {"try_send", try_send, TX, 0, 0, false, false},
    {"try_send to a receiver that is awake", try_send, TX, 0, AWAKE_RECEIVER, false, false},
    {"try_send to a full channel", try_send, TX, 0, FULL, false, false},
    {"try_send, the stream is dropped", try_send, TX, 0, STREAM_GONE, false, false},
    {"try_send, watched", try_send, TX, 0, WATCHED, false, false},
    {"sender_clone and sender_drop", sender_clone, TX, 0, 0, false, false},
    {"sender_drop", sender_drop, TX, 0, 0, false, false},
    {"the last sender_drop", sender_drop, TX, 0, LAST_SENDER, false, false},
    {"sender_fail", sender_fail, TX, 0, 0, false, false},
    {"sender_fail of a full channel", sender_fail, TX, 0, FULL, false, false},
    {"room and its poll", room_wait, TX, 0, 0, false, false},
    {"room of a full channel", room_wait, TX, 0, FULL, false, false},
    {"drop of a room", room_drop_it, TX, 0, FULL | ROOM_MINE, false, false},
    {"drop of a room that was woken", room_drop_it, TX, 0, FULL | ROOM_MINE | ROOM_WOKEN, false,
     false},
    {"poll_next", receive_one, RECEIVER, RECEIVER, 0, false, false},
    {"first poll_next", receive_one, RECEIVER, RECEIVER, AWAKE_RECEIVER, false, false},
    {"poll_next of a full channel", receive_one, RECEIVER, RECEIVER, FULL, false, false},
    {"drop of the stream", stream_drop, RECEIVER, RECEIVER, 0, false, false},
    {"drop of a full stream", stream_drop, RECEIVER, RECEIVER, FULL, false, false},

    {"wake of block_on", unpark, 0, 0, 0, false, false},
    {"wake_by_ref of block_on", unpark_by_ref, 0, 0, 0, false, false},
    {"clone of block_on's waker", unpark_clone, 0, 0, 0, false, false},
    {"drop of block_on's waker", unpark_drop, 0, 0, 0, false, false},
    {"block_on", block_on, 0, 0, 0, false, true},
    {"block_on that sleeps", block_on_and_sleep, 0, 0, NO_KEY, false, true},
    {"wake of the thread itself", wake_sleeper, 0, 0, 0, false, true},
    {"set_panic", set_panic, 0, 0, 0, false, true},
    {"the first set_panic", set_panic, 0, 0, NO_KEY, false, true},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* --------------------------------------------------------------------------- the exceptions -- */

/* Whether the thread under test is between two of its steps: after the last step `after`, and
 * before the next step `until`. DELIVERED is the one that makes a wake known to the host. */
#define DELIVERED NULL
static const char *delivery(void) {
  if ((w.with & AWAKE_HOST) != 0) return "swap &s->head";
  return (w.with & NO_HOOK) == 0 ? "hook" : "write";
}

/* What is owed, of the same set, and does not arrive while the thread is stopped there. It arrives
 * when the thread continues. What the first step must be is in excepted_by. */
typedef struct exception {
  const char *after, *until;
  unsigned owed;
  enum { ANY, BOX, TELLING, CELL_0, REGISTER, PARKER_0, HOOKS } of;
  const char *reason;
} exception;
static const exception exceptions[] = {
    {"exchange &b->queued", DELIVERED, 0, BOX,
     "a second wake of the same task is delivered when the first is"},
    {"swap &b->queued", DELIVERED, 0, TELLING,
     "a wake of a task whose last drop is being listed is delivered with that"},
    {"swap cell_word(c)", "exchange cell_word(c)", CELL(0), REGISTER,
     "a wake by a cell that finds a register in progress is left to it"},
    {"or cell_word(c)", "exchange cell_word(c)", CELL(0), CELL_0,
     "of two wakes by a cell, one wakes"},
    {"exchange &p->state", "sem_post", RETURN(0), PARKER_0,
     "a second wake of the same block_on is delivered when the first is"},
    {"swap &c->tail", "exchange &p->stamp", ITEM(1, 0) | END(0), ANY,
     "later items are held back by a sender that stopped in try_send"},
    {"swap &c->rx", DELIVERED, ITEM(1, 0) | END(0), ANY,
     "a wake of the receiver that coalesces with one under way is delivered with it"},
    {"swap u", "or &s->hooked|sub u", KEPT, HOOKS,
     "the hooks of a sink are kept as long as a call of one has not returned"},
};
enum { EXCEPTIONS = sizeof exceptions / sizeof *exceptions, PARKED_ROW = 4 };
static unsigned long used[EXCEPTIONS];

/* What depends on a wake of task t. */
static unsigned of_task(int t) {
  int o = t & 1;
  if (t == A0 || t == A1) return TASK(t) | CELL(o) | VALUE(o) | ANSWER(o);
  return t == R0 || t == R1 ? TASK(t) | ITEM(1, o) | END(o) : TASK(t);
}
static bool is_among(const char *what, const char *list) {
  size_t n = strlen(what);
  for (const char *at = list; at != NULL; at = strchr(at, '|')) {
    at += *at == '|';
    if (strncmp(at, what, n) == 0 && (at[n] == '\0' || at[n] == '|')) return true;
  }
  return false;
}
static unsigned excepted_by(const exception *e) {
  unsigned owed = 0;
  for (const done_step *d = history; d < history + history_n; d++) {
    bool ends = is_among(d->what, e->until != NULL ? e->until : delivery());
    if (strcmp(d->what, e->after) == 0) switch (e->of) {
      case BOX: /* a wake that has found the box idle lists it: what depends on its task is owed */
      case TELLING: /* and so does a last drop */
        for (int t = 0; t < TASKS; t++)
          if (d->word == &w.box[t]->queued && d->before == RAWWAKER_BOX_IDLE &&
              (e->of == BOX || (w.with & TELLS) != 0))
            owed = of_task(t);
        break;
      case CELL_0:
        if (d->word == &w.cell[0].private_lock) owed = e->owed;
        break;
      case REGISTER: /* its first step; the second one ends it */
        if (d->word == &w.cell[0].private_lock) owed = d->before == WAITING ? e->owed : 0;
        break;
      case PARKER_0: /* a wake that has found it asleep */
        if (d->word == w.parker && d->before == PARKED) owed = e->owed;
        break;
      case HOOKS: /* a use that begins, of the hooks */
        if (d->word == &w.sink->hooked && (d->before & CLOSED) == 0) owed = e->owed;
        break;
      case ANY:
        owed = e->owed;
        break;
      }
    if (ends) owed = 0;
  }
  return owed;
}
static unsigned excepted(void) {
  unsigned owed = 0;
  for (int i = 0; i < EXCEPTIONS; i++) owed |= excepted_by(&exceptions[i]);
  return owed;
}

/* ------------------------------------------------------------------------------ the matrix -- */

static const operation *other; /* NULL: none */
static int other_set;
static unsigned long position, positions, pairs, forbidden, allowed;
static const char *phase = "";

static void fail(const char *why) {
  printf("FAIL %s (state %x) stops at step %lu, %s", under_test->name, w.with, position,
         stopped_at != NULL ? stopped_at : "its end");
  if (other != NULL)
    printf("; %s%s", other->name, other->shared ? "" : other_set == 0 ? " (same)" : " (other)");
  printf("%s: %s\n", phase, why);
  if (getenv("STOPPED_ABORT") != NULL) abort();
  fflush(stdout);
  _exit(1);
}
static void fail_bits(unsigned bits, const char *what) {
  char why[256];
  size_t at = 0;
  for (int i = 0; i < BITS && at < sizeof why - 64; i++)
    if (bits & BIT(i))
      at += (size_t)snprintf(why + at, sizeof why - at, "%s%s", at ? ", " : "", bit_names[i]);
  snprintf(why + at, sizeof why - at, " %s", what);
  fail(why);
}

static bool holds(unsigned what, int o) {
  return under_test != NULL && stopper.begun && !stopper.done &&
         (o == 0 || (what & WORLD) != 0) && (under_test->alone & what) != 0;
}
/* What the thread under test would have to do itself. */
static unsigned deferred_bits(void) {
  unsigned bits = 0;
  for (int t = 0; t < TASKS; t++)
    if (holds(HOST, 0)) bits |= of_task(t) | TASK(t);
  if (holds(OWNER, 0)) bits |= of_task(A0);
  if (holds(FUTURE, 0)) bits |= VALUE(0);
  if (holds(JOB, 0)) bits |= ANSWER(0);
  if (holds(ENGINE, 0)) bits |= NODE(0, 0) | NODE(1, 0);
  if (holds(JOBS, 0)) bits |= SUBMIT(0) | CANCEL(0);
  if (holds(RECEIVER, 0)) bits |= ITEM(0, 0) | ITEM(1, 0) | END(0);
  return bits;
}
/* What nobody waits for any more. */
static unsigned void_bits(void) {
  unsigned bits = 0;
  for (int t = 0; t < TASKS; t++)
    if (w.closed[t]) bits |= of_task(t) | TASK(t) | (t == R0 || t == R1 ? ITEM(0, t & 1) : 0);
  if (other != NULL && other_set == 0 && (other->needs & REPLACES) != 0) bits |= CELL(0);
  for (int o = 0; o < 2; o++) {
    if (w.x[o].dropped) bits |= VALUE(o);
    if (w.job[o].dropped) bits |= ANSWER(o);
    if (w.job[o].sent || w.job[o].dropped) bits |= SUBMIT(o);
    if (w.job[o].sent || w.job[o].closed) bits |= CANCEL(o);
    if (w.ch[o].dropped || w.ch[o].ended) bits |= ITEM(0, o) | ITEM(1, o);
    if (w.ch[o].dropped) bits |= END(o);
  }
  return bits;
}

static bool applies; /* the call under test has something to call in this state */
static void run_under_test(void) { applies = under_test->run(0, 0); }

/* Runs the thread under test to the position, or its end. */
static void run_to(unsigned long at) {
  history_n = 0;
  stopped_at = NULL;
  begin(&stopper, run_under_test, at);
  while (!stopper.done && stopped_at == NULL) {
    if (!stopper.blocked || w.gates[2].open) fail("it sleeps");
    w.gates[2].open = true;
    rawwaker_wake_by_ref(&w.gates[2].waker);
    resume(&stopper);
  }
}
static void continue_to_end(void) {
  stopper.stop_at = 0;
  while (!stopper.done) {
    resume(&stopper);
    if (stopper.done) break;
    if (!stopper.blocked) fail("it gives way twice");
    parker *p = w.gates[2].waker.data;
    int n = 0;
    if (w.gates[2].waker.vtable != NULL && sem_getvalue(&p->sleep, &n) == 0 && n > 0) continue;
    if (w.gates[2].open) fail("it sleeps, and was woken");
    w.gates[2].open = true;
    rawwaker_wake_by_ref(&w.gates[2].waker);
  }
}

static void drop_waker(rawwaker *waker) {
  if (waker->vtable != NULL) rawwaker_drop(use(waker));
}
static void drop_future_of(rawwaker_future f) { f.vtable->drop(f.data); }

/* All threads but the one under test release what they have. */
static void world_end(void) {
  main_steps = 0;
  for (int o = 0; o < 2; o++) {
    if (!parked[o].done) {
      w.gates[o].open = true;
      for (int a = 1; a >= 0; a--)
        if (w.unpark[a][o].vtable != NULL) rawwaker_wake_by_ref(&w.unpark[a][o]);
      rawwaker_wake_by_ref(&w.gates[o].waker);
      parked_turn(o);
    }
    bool mine = excepted_by(&exceptions[PARKED_ROW]) != 0 && !stopper.done;
    if (!parked[o].done && !(mine && o == 0)) fail("block_on does not return");
  }
  if (in_register) {
    resume(&registering);
    if (!registering.done) fail("the other register does not end");
    drop_waker(&w.slow);
  }
  /* A stopped thread's own references stay: it may be about to use them. */
  for (int a = stopper.done ? 0 : 1; a < 2; a++) {
    for (int t = 0; t < TASKS; t++) drop_waker(&w.ref[a][t]);
    for (int o = 0; o < 2; o++) {
      drop_waker(&w.unpark[a][o]);
      drop_waker(&w.fn[a][o]);
    }
    drop_waker(&w.more[a]);
  }
  for (int o = 0; o < 2; o++) {
    rawwaker_cell_drop(&w.cell[o]);
    if (!w.x[o].dropped && !holds(FUTURE, o)) drop_future_of(w.x[o].f);
    if (w.x[o].tx != NULL && !holds(SENDER, o)) rawwaker_oneshot_drop(use_sender(o));
    if (!holds(JOBS, o)) {
      job_answer(1, o);
      if (!w.job[o].dropped && !holds(JOB, o)) {
        w.job[o].dropped = true;
        drop_future_of(w.job[o].f);
      }
      if (w.jq[o] != NULL) {
        engine_run(o);
        job_answer(1, o);
        rawwaker_queue_end(w.jq[o]);
        rawwaker_queue_drop(w.jq[o]);
      }
    }
    if (w.q[o] != NULL && !holds(ENGINE, o)) {
      rawwaker_queue_close(w.q[o]);
      rawwaker_queue_drop(w.q[o]);
    }
    for (int a = 0; a < 2; a++)
      if (w.ch[o].room[a].vtable != NULL && (a == 1 || stopper.done))
        drop_future_of(w.ch[o].room[a]);
    for (int i = 0; i < 3; i++)
      if (w.ch[o].tx[i] != NULL && (i != 0 || o != 0 || stopper.done ||
                                    (under_test->needs & TX) == 0))
        rawwaker_sender_drop(w.ch[o].tx[i]);
    if (!w.ch[o].dropped && !holds(RECEIVER, o)) w.ch[o].s.vtable->drop(w.ch[o].s.data);
  }
  if (!w.ended && !holds(HOST, 0)) host_drain();
  for (int t = 0; t < TASKS; t++)
    if (!w.closed[t] && !(t == A0 && holds(OWNER, 0))) {
      if (t == A0 && (w.with & LOOPS) != 0) atomic_store(&w.box[t]->queued, RAWWAKER_BOX_IDLE);
      rawwaker_box_close(w.box[t]);
    }
  if (!w.ended && (!holds(HOST, 0) || (w.with & FOREVER) == 0)) rawwaker_sink_drop(w.sink);
  rawwaker_sink_reap();
  block_free(main_text);
  main_text = NULL;
}

/* What is left; the next world begins with none. */
typedef struct rest {
  size_t blocks, live;
  int fds;
  unsigned long hooks;
} rest;
static bool is_block(const void *p) {
  for (size_t i = 0; i < blocks_n; i++)
    if (blocks[i] == p) return true;
  return false;
}
/* The text of a oneshot, if the stopped thread holds it. */
static size_t of_oneshot(const rawwaker_oneshot *o) { return is_block(o) && o->owned != NULL; }
/* What a channel that it holds keeps: all rooms that there were, and the text. */
static size_t of_channel(void) {
  rawwaker_sender *c = w.ch[0].s.data;
  if (!is_block(w.ch[0].memory)) return 0;
  size_t n = atomic_load(&c->text) != NULL;
  for (room *r = atomic_load(&c->rooms); r != NULL; r = r->next) n++;
  return n;
}
static size_t of_its_things(void) {
  return of_oneshot(w.x[0].f.data) + of_oneshot(w.job[0].f.data) + of_channel();
}
static rest world_rest(void) {
  if ((w.with & FOREVER) != 0) { /* it is never freed; this is not its end */
    rawwaker_sink *s = w.sink;
    hooks_drop(s->hook, "stopped");
    sink_shut(s);
    block_free(s);
  }
  if (stopper.done) {
    if (stopper.text != NULL) block_free(stopper.text);
    for (int o = 0; o < 2; o++)
      if (parked[o].done && parked[o].text != NULL) block_free(parked[o].text);
  }
  rest left = {blocks_n - of_its_things(), rawwaker_live(), fds_n, w.hooks};
  while (blocks_n > 0) free(blocks[--blocks_n]);
  memset(descriptors, 0, sizeof descriptors);
  fds_n = files_n = 0;
  *(volatile size_t *)&live = 0;
  *(struct hook *volatile *)&deferred = NULL;
  return left;
}

/* A wake of a task that nothing else is about arrives, and so does the one after it. */
static void wake_another(bool must) {
  for (int i = 0; i < 2 && !w.closed[OTHER] && w.ref[1][OTHER].vtable != NULL; i++) {
    w.got &= ~TASK(OTHER);
    rawwaker_wake_by_ref(&w.ref[1][OTHER]);
    turn();
    if ((w.got & TASK(OTHER)) == 0 && must && !holds(HOST, 0))
      fail_bits(TASK(OTHER), "does not arrive");
  }
}

static rest left_alone; /* by the stopped thread, beside no call of others */

/* One pair, or with other NULL none. Returns whether the position exists. */
static bool pair(unsigned with, unsigned long at, bool killed) {
  phase = "";
  position = at;
  stopper.begun = stopper.done = false;
  world_begin(with);
  run_to(at);
  bool exists = !stopper.done;
  unsigned may_lose = exists ? excepted() : 0;
  bool written = false;
  for (size_t i = 0; i < history_n; i++)
    written |= strcmp(history[i].what, "exchange &b->queued") == 0;
  main_steps = 0;
  if (other != NULL && exists) {
    if (!other->run(1, other_set)) {
      forbidden++;
      other = NULL;
    } else {
      pairs++;
    }
  }
  /* A host may wait for its hook or for the descriptor; turn knows one of them. */
  bool listed = (w.owed[1] & (BIT(TASKS) - 1) & ~may_lose & ~void_bits() & ~w.got) != 0;
  if (listed && w.asleep && !w.ended && !w.shut && atomic_load(&w.sink->head) != NULL) {
    if (!readable(w.fd)) fail("a task is listed, and the descriptor is not readable");
    if ((with & NO_HOOK) == 0 && w.called == 0) fail("a task is listed, and no hook was called");
  }
  turn();
  unsigned owed = w.owed[1] & ~KEPT & ~void_bits() & ~w.got & ~deferred_bits();
  if (exists) {
    if ((owed & ~may_lose) != 0) fail_bits(owed & ~may_lose, "does not arrive");
    unsigned stale = w.owed[1] & ~KEPT & ~void_bits() & ~deferred_bits() & may_lose & w.got;
    if (stale != 0) fail_bits(stale, "arrives, and an exception says that it need not");
    if (owed != 0) allowed++;
    for (int i = 0; i < EXCEPTIONS; i++) used[i] += (excepted_by(&exceptions[i]) & owed) != 0;
  }
  phase = ", and then a wake of another task";
  wake_another((may_lose & TASK(OTHER)) == 0);
  if (!killed) {
    phase = ", and then the stopped thread continues";
    if (exists && !written) w.got &= ~(TASK(A0) | TASK(M0) | TASK(R0) | TASK(OTHER));
    continue_to_end();
    turn();
    owed = w.owed[0] & ~KEPT & ~void_bits() & ~w.got;
    if (owed != 0) fail_bits(owed, "does not arrive");
    owed = w.owed[1] & ~KEPT & ~void_bits() & ~w.got;
    if (exists && !written) owed &= ~(TASK(A0) | TASK(M0) | TASK(R0) | TASK(OTHER));
    if (owed != 0) fail_bits(owed, "does not arrive even then");
    wake_another(true);
  } else {
    phase = ", and the stopped thread never continues";
  }
  world_end();
  rest left = world_rest();
  if (!killed || !exists) {
    if (left.blocks != 0) fail("memory is left");
    if (left.fds != 0) fail("a descriptor is left");
    if (left.live != 0) fail("a waker is left");
    if (left.hooks != 0) fail("a hook is left, or was dropped twice");
  } else if (other == NULL) {
    left_alone = left;
  } else {
    bool kept = left.blocks > left_alone.blocks, may = (w.owed[1] & may_lose & KEPT) != 0;
    if (kept && !may) fail("more memory is left than the thread holds");
    if (!kept && may) fail("no memory is kept, and an exception says that it is");
    used[EXCEPTIONS - 1] += kept;
    allowed += kept;
    if (left.fds > left_alone.fds) fail("more descriptors are left than the thread holds");
  }
  return exists;
}

static bool may_meet(const operation *a, const operation *b, int o) {
  unsigned both = (a->alone & b->needs) | (b->alone & a->needs);
  return o == 0 ? both == 0 : (both & WORLD) == 0;
}

static unsigned long rows;
/* Returns whether there was something to call. */
static bool stop_everywhere(const operation *op, unsigned with) {
  if (op->run == wake_sleeper) return false; /* only of others */
  under_test = op;
  applies = true;
  for (unsigned long at = 1; applies; at++) {
    other = NULL;
    if (!pair(with, at, false)) break;
    positions++;
    pair(with, at, true);
    for (const operation *b = operations; b < operations + OPERATIONS; b++) {
      if (b->with != 0 && b->run != wake_sleeper) continue;
      for (other_set = 0; other_set < (b->shared ? 1 : 2); other_set++) {
        if (!may_meet(op, b, b->shared ? 0 : other_set)) {
          forbidden++;
          continue;
        }
        for (int killed = 0; killed < 2; killed++) {
          other = b;
          pair(with, at, killed != 0);
        }
      }
    }
    if (at > 400) fail("too many positions");
  }
  rows += applies;
  return applies;
}

/* The other states of a box, of its sink and of the host: one at a time, or all together. */
static bool stop_in_states(const operation *op, bool all) {
  static const unsigned sinks[] = {0, NO_HOOK, FOREVER, FOREVER | NO_HOOK};
  static const unsigned boxes[] = {0,         LISTED,
                                   LOOPS,     CLOSED_BOX,
                                   TELLS,     TELLS | ONLY_MINE,
                                   ONLY_MINE, CLOSED_BOX | ONLY_MINE,
                                   CLOSED_BOX | TELLS | ONLY_MINE};
  bool any = false;
  for (size_t s = 0; s < sizeof sinks / sizeof *sinks; s++)
    for (size_t b = 0; b < sizeof boxes / sizeof *boxes; b++)
      for (unsigned awake = 0; awake <= AWAKE_HOST; awake += AWAKE_HOST) {
        int changes = (s != 0) + (b != 0) + (awake != 0);
        if (changes == 0 || (changes > 1 && !all)) continue;
        any |= stop_everywhere(op, op->with | sinks[s] | boxes[b] | awake);
      }
  return any;
}

int main(int argc, char **argv) {
  bool all = false, brief = false, verbose = false;
  for (int i = 1; i < argc; i++) {
    all |= strcmp(argv[i], "long") == 0;
    brief |= strcmp(argv[i], "brief") == 0;
    verbose |= strcmp(argv[i], "-v") == 0;
  }
  static const rawwaker_watcher watching_all = {watch_made, watch_used};
  alarm(600);
  setvbuf(stdout, NULL, _IOLBF, 0);
  rawwaker_watch(&watching_all);
  const char *only = getenv("STOPPED_ONLY");
  bool any[OPERATIONS] = {false};
  for (int i = 0; i < OPERATIONS; i++)
    if (only == NULL || strstr(operations[i].name, only) != NULL)
      any[i] |= stop_everywhere(&operations[i], operations[i].with);
  for (int i = 0; i < OPERATIONS && !brief; i++)
    if (operations[i].box && (only == NULL || strstr(operations[i].name, only) != NULL))
      any[i] |= stop_in_states(&operations[i], all);
  for (int i = 0; i < OPERATIONS; i++) {
    under_test = &operations[i];
    if (!any[i] && only == NULL && under_test->run != wake_sleeper)
      fail("there is nothing to call in any state");
  }
  if (verbose)
    for (int i = 0; i < EXCEPTIONS; i++)
      printf("   %lu times: %s\n", used[i], exceptions[i].reason);
  for (int i = 0; i < EXCEPTIONS; i++)
    if (used[i] == 0 && only == NULL && !brief) {
      printf("FAIL an exception that is never used: %s\n", exceptions[i].reason);
      return 1;
    }
  int others = 0;
  for (int i = 0; i < OPERATIONS; i++)
    if (operations[i].with == 0) others += operations[i].shared ? 1 : 2;
  printf("ok: %lu calls stop permanently in %lu positions, beside %d calls of others: %lu pairs, "
         "%lu times one of %d exceptions, 0 lost\n",
         rows, positions, others, pairs, allowed, EXCEPTIONS);
  return 0;
}
