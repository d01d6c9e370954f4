/* jobs.c - tests each sentence of rawwaker.h about jobs, and prints TAP; then 7 threads make, poll,
 * cancel and drop jobs while an engine submits, sends and ends, and each outcome is counted.
 *
 *   ./jobs [-no-deaths] [ROUNDS]      ROUNDS jobs, 1,000,000 unless it is given */
#define _GNU_SOURCE
#include "tap.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

/* -------------------------------------------------------------------- scripts of one thread -- */

/* What happens: s submit, n submit without an engine, c cancel, d destroy, r release; P pending, Y
 * ready with the value, X(text) panicked, + send returned true, - false. What a test does: p poll,
 * x drop the future, k rawwaker_oneshot_cancel, t rawwaker_queue_run (. if it returns false), q
 * rawwaker_queue_stop, e rawwaker_queue_end, > send, ! fail; f f if the descriptor is readable. */
typedef struct script {
  const char *name, *does, *events;
  const char *submit, *alone, *cancel; /* done inside */
  bool bare;                           /* cancel, destroy and release are not given */
} script;

static char events[256];
static void note(const char *text) {
  size_t n = strlen(events);
  if (n + strlen(text) < sizeof events) memcpy(events + n, text, strlen(text) + 1);
}

static rawwaker_queue *queue;
static rawwaker_future future;
static rawwaker_job *job;
static script now;
static int engine_itself;

static void *data_of_job;
static bool watched;
static int takes; /* uses that ended a watched job */

static void play(const char *does);
static void check_data(rawwaker_job *j) {
  const uint64_t *data = rawwaker_job_data(j);
  CHECK((j == job || watched) && data == data_of_job && data[0] == 4 && data[1] == 0 &&
        (uintptr_t)data % _Alignof(max_align_t) == 0);
}
static void on_submit(void *engine, rawwaker_job *j) {
  check_data(j);
  CHECK(engine == NULL || engine == &engine_itself);
  note(engine != NULL ? "s" : "n");
  play(engine != NULL ? now.submit : now.alone);
}
static void on_cancel(void *engine, rawwaker_job *j) {
  check_data(j);
  CHECK(engine == &engine_itself);
  note("c");
  play(now.cancel);
}
static void on_destroy(rawwaker_job *j, void *value) {
  check_data(j);
  CHECK(*(int *)value == 42);
  note("d");
}
static void on_release(rawwaker_job *j) {
  check_data(j);
  note("r");
}
static const rawwaker_job_ops all = {on_submit, on_cancel, on_destroy, on_release};
static const rawwaker_job_ops bare = {on_submit, NULL, NULL, NULL};

static void poll_it(void) {
  rawwaker w = rawwaker_noop();
  rawwaker_context cx = {&w};
  int out = 7;
  rawwaker_poll got = future.vtable->poll(future.data, &cx, &out);
  CHECK(out == (got == RAWWAKER_READY ? 42 : 7));
  note(got == RAWWAKER_READY ? "Y" : got == RAWWAKER_PENDING ? "P" : "X(");
  if (got == RAWWAKER_PANICKED) note(rawwaker_last_panic()), note(")");
}
static void play(const char *does) {
  const int value = 42;
  for (; does != NULL && *does != '\0'; does++) switch (*does) {
      case 'p': poll_it(); break;
      case 'x': future.vtable->drop(future.data); break;
      case 'k': rawwaker_oneshot_cancel(future); break;
      case 't':
        if (!rawwaker_queue_run(queue, &engine_itself)) note(".");
        break;
      case 'q': rawwaker_queue_stop(queue); break;
      case 'f':
        if (poll(&(struct pollfd){rawwaker_queue_fd(queue), POLLIN, 0}, 1, 0) == 1) note("f");
        break;
      case 'e': rawwaker_queue_end(queue); break;
      case '>': note(rawwaker_job_send(job, &value) ? "+" : "-"); break;
      case '!': rawwaker_job_fail(job, "why", 3); break;
      default: CHECK(false);
    }
}

static const script scripts[] = {
    {"the first poll pushes, the engine submits, the value is taken", "pt>px", "Ps+Yr", 0, 0, 0, 0},
    {"nothing is submitted before the first poll", "tpt>px", "Ps+Yr", 0, 0, 0, 0},
    {"submit may send at once", "ptpx", "Ps+Yr", ">", 0, 0, 0},
    {"a failure has its text", "pt!px", "PsX(why)r", 0, 0, 0, 0},
    {"dropped before the first poll: released, not submitted", "xt", "r", 0, 0, 0, 0},
    {"dropped before the engine has taken it: not submitted, not cancelled", "pxt", "Pr", 0, 0, 0,
     0},
    {"dropped after submit: cancelled by the engine, its value destroyed", "ptxt>", "Pscdr-", 0, 0,
     0, 0},
    {"cancel may end the job", "ptxt", "Pscd-r", 0, 0, ">", 0},
    {"cancel may fail the job", "ptxt", "Pscr", 0, 0, "!", 0},
    {"a job that ended before the engine saw its drop is not cancelled", "ptx>t", "Psd-r", 0, 0, 0,
     0},
    {"a value that is not taken is destroyed by the drop", "pt>xt", "Ps+dr", 0, 0, 0, 0},
    {"cancelled and awaited", "ptkt>pxt", "Psc+Yr", 0, 0, 0, 0},
    {"cancelled twice: once", "ptkktxt>", "Pscdr-", 0, 0, 0, 0},
    {"cancelled before the engine has taken it: submitted, then cancelled", "pkt>px", "Psc+Yr", 0,
     0, 0, 0},
    {"cancelled before the first poll: nothing", "kpt>px", "Ps+Yr", 0, 0, 0, 0},
    {"cancelled after its end: nothing", "pt>ktpx", "Ps+Yr", 0, 0, 0, 0},
    {"the end submits what is left without an engine", "pepx", "Pn+Yr", 0, ">", 0, 0},
    {"a job that is polled first after the end is submitted without an engine", "epx", "n+Yr", 0,
     ">", 0, 0},
    {"the end submits nothing that was dropped", "pxe", "Pr", 0, 0, 0, 0},
    {"the end does not cancel; the engine ends what was submitted", "ptxe>", "Psdr-", 0, 0, 0, 0},
    {"the end, cancelled and awaited", "ptke>px", "Ps+Yr", 0, 0, 0, 0},
    {"a drop after the end pushes nothing", "ptex>", "Psdr-", 0, 0, 0, 0},
    {"a push makes the descriptor readable, run unreadable", "fpftf>px", "Pfs+Yr", 0, 0, 0, 0},
    {"stop makes the descriptor readable, and run returns false", "tqftfx", "f.r", 0, 0, 0, 0},
    {"stop does not close", "qptepx", "Ps+.Yr", ">", 0, 0, 0},
    {"submit may end the queue", "pt>px", "Ps+Yr", "e", 0, 0, 0},
    {"polled after completion", "pt>ppx", "Ps+YX(oneshot: future polled after completion)r", 0, 0,
     0, 0},
    {"without callbacks", "ptxt>", "Ps-", 0, 0, 0, true},
    {"without callbacks, taken", "pt>px", "Ps+Y", 0, 0, 0, true},
};

static void run_script(void) {
  events[0] = '\0';
  queue = rawwaker_queue_new();
  future = rawwaker_job_new(queue, now.bare ? &bare : &all, sizeof(int), _Alignof(int), 16, &job);
  data_of_job = rawwaker_job_data(job);
  *(uint64_t *)data_of_job = 4;
  play(now.does);
  CHECK(rawwaker_queue_close(queue) == NULL);
  rawwaker_queue_drop(queue);
  CHECK(strcmp(events, now.events) == 0);
  if (strcmp(events, now.events) != 0) printf("# got %s, want %s\n", events, now.events);
}

static void outlives(void) {
  now = scripts[0];
  events[0] = '\0';
  queue = rawwaker_queue_new();
  future = rawwaker_job_new(queue, &all, sizeof(int), _Alignof(int), 16, &job);
  data_of_job = rawwaker_job_data(job);
  *(uint64_t *)data_of_job = 4;
  rawwaker_queue_end(queue);
  rawwaker_queue_drop(queue); /* the job's own reference is left */
  now.alone = ">";
  play("px");
  CHECK(strcmp(events, "n+Yr") == 0);
}

/* A watcher that gives out the address after the sender's. */
static void *watch_made(void *sender, const char *call) {
  CHECK(strcmp(call, "rawwaker_job_new") == 0);
  return (char *)sender + 1;
}
static void *watch_used(void *given, const char *call, bool ends) {
  CHECK(!ends || strcmp(call, "rawwaker_job_send") == 0 || strcmp(call, "rawwaker_job_fail") == 0 ||
        strcmp(call, "rawwaker_oneshot_drop") == 0);
  takes += ends;
  return (char *)given - 1;
}
static void run_watched(void) {
  takes = 0;
  run_script();
  CHECK(((uintptr_t)job & 1) == 1);
  CHECK(takes == 1);
}

static void no_ops(void) { rawwaker_job_new(queue, NULL, 0, 0, 0, &job); }
static void no_submit(void) {
  static const rawwaker_job_ops none = {NULL, NULL, NULL, NULL};
  rawwaker_job_new(queue, &none, 0, 0, 0, &job);
}
static void no_job(void) { rawwaker_job_new(queue, &all, 0, 0, 0, NULL); }
static void too_large(void) { rawwaker_job_new(queue, &all, 0, 0, SIZE_MAX - 8, &job); }
static void no_memory(void) {
  out_of_memory_at = 1;
  rawwaker_job_new(queue, &all, 0, 0, 0, &job);
}
static void bad_align(void) { rawwaker_job_new(queue, &all, 8, 3, 0, &job); }

/* ---------------------------------------------------------------------------------- storm -- */

enum { CLIENTS = 7, PARTS = 10 };
static unsigned long rounds = 1000000;
static atomic_ulong submitted, refused, cancelled, destroyed, released, taken, failed, unused;
static atomic_int running;
static atomic_bool broken;

typedef struct work {
  rawwaker_job *next;
  unsigned how; /* 0: answered at once; 1: later; 2: later or by cancel; 3: fails */
  bool held, over;
  atomic_bool seen; /* by submit */
  int value;
} work;

typedef struct engine {
  rawwaker_job *held; /* to be answered later */
  size_t many;
} engine;

static void answer(rawwaker_job *j) {
  work *w = rawwaker_job_data(j);
  if (w->over) atomic_store(&broken, true);
  w->over = true;
  if (w->how == 3)
    rawwaker_job_fail(j, "storm", 5);
  else
    rawwaker_job_send(j, &w->value);
}
static void storm_submit(void *arg, rawwaker_job *j) {
  engine *e = arg;
  work *w = rawwaker_job_data(j);
  atomic_store(&w->seen, true);
  if (e == NULL) {
    refused++;
    answer(j);
    return;
  }
  submitted++;
  if (w->how == 0 || w->how == 3) {
    answer(j);
    return;
  }
  w->held = true;
  w->next = e->held;
  e->held = j;
  e->many++;
}
static void unhold(engine *e, rawwaker_job *j) {
  rawwaker_job **at = &e->held;
  while (*at != j) at = &((work *)rawwaker_job_data(*at))->next;
  *at = ((work *)rawwaker_job_data(j))->next;
  e->many--;
}
static void storm_cancel(void *arg, rawwaker_job *j) {
  work *w = rawwaker_job_data(j);
  cancelled++;
  if (!w->held || w->over) atomic_store(&broken, true); /* only what has not ended */
  if (w->how != 2) return;
  unhold(arg, j);
  answer(j);
}
static void storm_destroy(rawwaker_job *j, void *value) {
  work *w = rawwaker_job_data(j);
  if (*(int *)value != w->value) atomic_store(&broken, true);
  destroyed++;
}
static void storm_release(rawwaker_job *j) {
  if (!((work *)rawwaker_job_data(j))->over) unused++;
  released++;
}

static void answer_held(engine *e, size_t leave) {
  while (e->many > leave) {
    rawwaker_job *j = e->held;
    unhold(e, j);
    answer(j);
  }
}
static size_t last_turn;
static void *storm_engine(void *arg) {
  engine e = {NULL, 0};
  rawwaker_queue *q = arg;
  for (size_t turn = 0; atomic_load(&running) > 0 && turn < last_turn; turn++) {
    struct pollfd p = {rawwaker_queue_fd(q), POLLIN, 0};
    poll(&p, 1, e.many > 0 ? 0 : 10);
    rawwaker_queue_run(q, &e);
    answer_held(&e, turn % 5 == 0 ? 0 : 3);
  }
  rawwaker_queue_end(q);
  answer_held(&e, 0);
  return NULL;
}

static void *storm_client(void *arg) {
  static const rawwaker_job_ops ops = {storm_submit, storm_cancel, storm_destroy, storm_release};
  static atomic_ulong numbers;
  rawwaker_queue *q = arg;
  unsigned seed = (unsigned)atomic_fetch_add(&numbers, 1) * 2654435761u + 1;
  for (unsigned long r = rounds / PARTS / CLIENTS; r > 0; r--) {
    seed = seed * 1664525 + 1013904223;
    rawwaker_job *j;
    rawwaker_future f = rawwaker_job_new(q, &ops, sizeof(int), _Alignof(int), sizeof(work), &j);
    work *w = rawwaker_job_data(j);
    w->how = seed >> 30;
    int want = w->value = (int)(seed >> 8 & 0xFFFF), out = -1;
    unsigned way = seed >> 27 & 7;
    bool fails = w->how == 3;
    if (way == 0) { /* never polled */
      f.vtable->drop(f.data);
    } else if (way <= 4) { /* polled, then dropped, perhaps cancelled before */
      rawwaker waker = rawwaker_noop();
      rawwaker_context cx = {&waker};
      rawwaker_poll got = RAWWAKER_PENDING;
      for (unsigned polls = way; polls > 0 && got == RAWWAKER_PENDING; polls--) {
        got = f.vtable->poll(f.data, &cx, &out);
        if (got != RAWWAKER_PENDING) break;
        if (way % 2 == 0)
          while (!atomic_load(&w->seen)) sched_yield();
        if (polls == 2) rawwaker_oneshot_cancel(f);
      }
      if (got == RAWWAKER_READY) taken++;
      if (got == RAWWAKER_PANICKED) failed++;
      f.vtable->drop(f.data);
    } else {
      rawwaker_poll got = rawwaker_block_on(f, &out);
      if (got != (fails ? RAWWAKER_PANICKED : RAWWAKER_READY)) atomic_store(&broken, true);
      if (got == RAWWAKER_READY) taken++;
      if (got == RAWWAKER_PANICKED) failed++;
      if (!fails && out != want) atomic_store(&broken, true);
    }
  }
  atomic_fetch_sub(&running, 1);
  return NULL;
}

static void storm_part(void) {
  rawwaker_queue *q = rawwaker_queue_new();
  pthread_t threads[CLIENTS], engine_thread;
  atomic_store(&running, CLIENTS);
  pthread_create(&engine_thread, NULL, storm_engine, q);
  for (int i = 0; i < CLIENTS; i++) pthread_create(&threads[i], NULL, storm_client, q);
  for (int i = 0; i < CLIENTS; i++) pthread_join(threads[i], NULL);
  pthread_join(engine_thread, NULL);
  rawwaker_queue_drop(q);
}

static void storm(void) {
  unsigned long all_jobs = rounds / PARTS / CLIENTS * CLIENTS * PARTS;
  for (int part = 0; part < PARTS; part++) { /* in every other one the engine ends early */
    last_turn = part % 2 == 0 ? SIZE_MAX : 20;
    storm_part();
  }
  printf("# storm: %lu jobs = %lu submitted + %lu to no engine + %lu never; %lu taken, %lu "
         "destroyed, %lu failed and seen, %lu cancelled\n",
         all_jobs, submitted, refused, unused, taken, destroyed, failed, cancelled);
  CHECK(!broken);
  CHECK(released == all_jobs);
  CHECK(submitted + refused + unused == all_jobs);
  CHECK(taken + destroyed + failed + unused <= all_jobs);
  CHECK(taken > 0);
}

int main(int argc, char **argv) {
  bool deaths = true;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "-no-deaths") == 0)
      deaths = false;
    else
      rounds = strtoul(argv[i], NULL, 10);
  }
  for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
    now = scripts[i];
    run(now.name, run_script);
  }
  run("a job may outlive its queue's other references", outlives);
  run("storm: 7 threads and an engine", storm);
  static const rawwaker_watcher watcher = {watch_made, watch_used};
  rawwaker_watch(&watcher); /* it stays */
  watched = true;
  for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
    char name[256];
    now = scripts[i];
    snprintf(name, sizeof name, "watched: %s", now.name);
    run(name, run_watched);
  }
  if (deaths) {
    queue = rawwaker_queue_new();
    death("rawwaker_job_new: NULL ops", no_ops);
    death("rawwaker_job_new: empty member submit", no_submit);
    death("rawwaker_job_new: NULL j", no_job);
    death("rawwaker_job_new: out of memory", too_large);
    death("rawwaker_job_new: out of memory", no_memory);
    death("rawwaker_job_new: align is not a power of two", bad_align);
    rawwaker_queue_drop(queue);
  }
  printf("1..%d\n", tests);
  return failures != 0;
}
