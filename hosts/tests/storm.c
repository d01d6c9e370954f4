/* Threads abort and wake tasks while another thread ticks and then drops the executor with the
 * tasks that are left. Each task ends once. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "ffiwaker.h"

enum { ROUNDS = 30, TASKS = 40, THREADS = 3 };

typedef struct job {
  rawwaker_cell cell;
  atomic_int polls, wakes, drops, dones;
  bool wrong;
  ffiwaker_task *task;
} job;
static job jobs[TASKS];
static atomic_bool stop;
static pthread_t host; /* the thread that ticks and drops: each task must end on it */

static rawwaker_poll job_poll(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  job *j = data;
  j->polls++;
  rawwaker_cell_register(&j->cell, cx->waker);
  return j->wakes > 20 ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void job_drop(void *data) {
  job *j = data;
  j->wrong = j->wrong || !pthread_equal(pthread_self(), host);
  j->drops++;
  rawwaker_cell_drop(&j->cell);
}
static void job_done(void *arg, rawwaker_poll code) {
  job *j = arg;
  j->wrong = j->wrong || !pthread_equal(pthread_self(), host) || j->drops != 1 ||
             (code != RAWWAKER_READY && code != FFIWAKER_ABORTED);
  j->dones++;
}
static const rawwaker_future_vtable vtable = {job_poll, job_drop};

static void *disturb(void *arg) {
  unsigned seed = (unsigned)(uintptr_t)arg;
  while (!stop) {
    job *j = &jobs[rand_r(&seed) % TASKS];
    j->wakes++;
    rawwaker_cell_wake(&j->cell);
    if (rand_r(&seed) % 16 == 0) {
      ffiwaker_task *t = ffiwaker_task_clone(j->task);
      ffiwaker_task_abort(t);
      ffiwaker_task_drop(t);
    }
  }
  return NULL;
}

int main(void) {
  int ended = 0, wrong = 0;
  host = pthread_self();
  for (int round = 0; round < ROUNDS; round++) {
    pthread_t ids[THREADS];
    ffiwaker_executor *ex = ffiwaker_executor_new();
    stop = false;
    for (int i = 0; i < TASKS; i++) {
      job *j = &jobs[i];
      j->polls = j->wakes = j->drops = j->dones = 0;
      j->task = ffiwaker_executor_spawn_task(ex, (rawwaker_future){j, &vtable}, NULL, job_done, j);
    }
    for (uintptr_t i = 0; i < THREADS; i++)
      pthread_create(&ids[i], NULL, disturb, (void *)(uintptr_t)(round * THREADS + i + 1));
    for (size_t end = (size_t)rand() % TASKS; ffiwaker_executor_tasks(ex) > end; sched_yield())
      ffiwaker_executor_tick_n(ex, 8);
    ffiwaker_executor_drop(ex); /* while others wake and abort */
    int dones = 0;
    for (int i = 0; i < TASKS; i++) dones += jobs[i].dones;
    wrong += dones != TASKS; /* each task has had its done by now */
    stop = true;
    for (int i = 0; i < THREADS; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < TASKS; i++) {
      ended += jobs[i].drops == 1 && jobs[i].dones == 1;
      wrong += jobs[i].wrong;
      ffiwaker_task_drop(jobs[i].task);
      rawwaker_cell_drop(&jobs[i].cell);
    }
  }
  printf("%d tasks ended, %d wrong, boxes left: %zu\n", ended, wrong, rawwaker_live());
  return 0;
}
