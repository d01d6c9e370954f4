/* drop(arg) of a hook is called once, after the last call of the hook has returned, and never
 * inside a wake. A hook must not drop the executor; if one does, its argument is still valid until
 * the hook returns.
 * The letters: h the hook begins; r it returns; e ffiwaker_executor_drop has returned; d the drop;
 * W a drop inside a wake. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "ffiwaker.h"

enum { ROUNDS = 1000, WAKERS = 2 };

static rawwaker kept;
static _Thread_local bool waking;

static rawwaker_poll keep(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  rawwaker_clone_from(&kept, cx->waker);
  return RAWWAKER_PENDING;
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable never = {keep, nothing};

static void *wake(void *arg) {
  waking = true;
  rawwaker_wake_by_ref(&kept);
  waking = false;
  return arg;
}
/* Returns an executor with a hook and one pending task, whose waker is in kept. */
static ffiwaker_executor *asleep(void (*f)(void *), void *arg, void (*drop)(void *)) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  ffiwaker_executor_on_wake(ex, f, arg, drop);
  ffiwaker_executor_spawn(ex, (rawwaker_future){NULL, &never}, NULL, NULL, NULL);
  while (ffiwaker_executor_tick(ex)) {}
  return ex;
}
static void drop_waker(void) {
  rawwaker_drop(kept);
  kept = (rawwaker){NULL, NULL};
}
static void wait_for(sem_t *s) { while (sem_wait(s) != 0) {} }

typedef struct host {
  const char *name;
  bool waits, drops_executor; /* in its hook */
  /* false during the spawn, which calls the hook too: that call is not recorded */
  bool begun;
  ffiwaker_executor *ex;
  sem_t called, go_on, dropped;
  pthread_mutex_t mu;
  char order[32];
} host;

static void letter(host *h, char c) {
  pthread_mutex_lock(&h->mu);
  size_t n = strlen(h->order);
  if (n < sizeof h->order - 1) h->order[n] = c;
  pthread_mutex_unlock(&h->mu);
}
static void hook(void *arg) {
  host *h = arg;
  if (!h->begun) return;
  letter(h, 'h');
  if (h->waits) {
    sem_post(&h->called);
    wait_for(&h->go_on);
  }
  if (h->drops_executor) {
    ffiwaker_executor_drop(h->ex);
    letter(h, 'e');
  }
  letter(h, 'r');
}
static void dropped(void *arg) {
  host *h = arg;
  letter(h, waking ? 'W' : 'd');
  sem_post(&h->dropped);
}
static void begin(host *h) {
  sem_init(&h->called, 0, 0), sem_init(&h->go_on, 0, 0), sem_init(&h->dropped, 0, 0);
  pthread_mutex_init(&h->mu, NULL);
  h->ex = asleep(hook, h, dropped);
  h->begun = true;
}
static void finish(host *h) {
  wait_for(&h->dropped);
  wake(NULL); /* must not call the hook */
  drop_waker();
}

static host unused = {.name = "never called"}, used = {.name = "called before"},
            beside = {.name = "the executor is dropped during a call", .waits = true},
            by_hook = {.name = "the hook drops the executor", .drops_executor = true};

static void one_hook_each(void) {
  begin(&unused);
  ffiwaker_executor_drop(unused.ex);
  finish(&unused);

  begin(&used);
  wake(NULL);
  ffiwaker_executor_drop(used.ex);
  finish(&used);

  pthread_t id;
  begin(&beside);
  pthread_create(&id, NULL, wake, NULL);
  wait_for(&beside.called);
  ffiwaker_executor_drop(beside.ex);
  letter(&beside, 'e');
  sem_post(&beside.go_on);
  pthread_join(id, NULL);
  finish(&beside);

  begin(&by_hook);
  wake(NULL);
  finish(&by_hook);
}
static void report(const host *h) { printf("%s: %s\n", h->name, h->order); }

/* Executors that are dropped while other threads wake their tasks. */
static struct hooked {
  atomic_int inside, drops;
} hooked[ROUNDS];
static atomic_int during, after, in_wakes, all_drops;
static pthread_barrier_t start, end;

static void count(void *arg) {
  struct hooked *h = arg;
  h->inside++;
  after += h->drops != 0;
  h->inside--;
}
static void count_drop(void *arg) {
  struct hooked *h = arg;
  during += h->inside != 0;
  in_wakes += waking;
  h->drops++;
  all_drops++;
}
static void *waker_thread(void *arg) {
  for (int i = 0; i < ROUNDS; i++) {
    pthread_barrier_wait(&start);
    for (int n = 0; n < 3; n++) wake(NULL);
    pthread_barrier_wait(&end);
  }
  return arg;
}
static void storm(void) {
  pthread_t ids[WAKERS];
  pthread_barrier_init(&start, NULL, WAKERS + 1);
  pthread_barrier_init(&end, NULL, WAKERS + 1);
  for (int i = 0; i < WAKERS; i++) pthread_create(&ids[i], NULL, waker_thread, NULL);
  for (int i = 0; i < ROUNDS; i++) {
    ffiwaker_executor *ex = asleep(count, &hooked[i], count_drop);
    pthread_barrier_wait(&start);
    ffiwaker_executor_drop(ex);
    pthread_barrier_wait(&end);
    drop_waker();
  }
  for (int i = 0; i < WAKERS; i++) pthread_join(ids[i], NULL);
  while (all_drops < ROUNDS || rawwaker_live() != 0) sched_yield();
  int once = 0;
  for (int i = 0; i < ROUNDS; i++) once += hooked[i].drops == 1;
  printf("executors dropped beside wakes: %d hooks dropped once; %d during a call, %d before one, "
         "%d in a wake\n", once, during, after, in_wakes);
}

int main(void) {
  one_hook_each();
  storm();
  /* Reported last, so that a second drop has had time to come. */
  report(&unused), report(&used), report(&beside), report(&by_hook);
  return 0;
}
