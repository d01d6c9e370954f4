/* article.c - the article "Building a Simple Future Executor with Custom Waker" in C, in its order
 * and with its names. Build it in this folder:
 *
 *   cc -std=c11 -Wall -Wextra -Wpedantic -Werror -DARTICLE_MAIN -I../.. article.c \
 *     ../../rawwaker.c -pthread -o article && ./article
 *
 * The article's Rust, and the C for it:
 *
 *   fn dummy_raw_waker() -> RawWaker     rawwaker dummy_raw_waker(void)
 *   Waker::from_raw(raw)                 nothing: in C a rawwaker is the waker
 *   Context::from_waker(&waker)          rawwaker_context cx = {&waker}
 *   std::pin::pin!(future)               a variable that does not move: the future points to it
 *   fn poll(self: Pin<&mut Self>, cx)    rawwaker_poll name_poll(void *data, rawwaker_context *cx,
 *                                                                void *out)
 *   Poll::Ready(42)                      *(int32_t *)out = 42; return RAWWAKER_READY
 *   Poll::Pending                        return RAWWAKER_PENDING
 *   panic!("...")                        rawwaker_set_panic("...", n); return RAWWAKER_PANICKED
 *   async fn                             a state machine, written by hand
 *
 * SPDX-License-Identifier: MIT
 */
#define _POSIX_C_SOURCE 200809L

#include "article.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------ Part 1: Creating a RawWaker -- */

static rawwaker dummy_raw_waker(void);

static void no_op(void *data) { (void)data; }

static rawwaker clone(void *data) {
  (void)data;
  return dummy_raw_waker();
}

static rawwaker dummy_raw_waker(void) {
  static const rawwaker_vtable vtable = {clone, no_op, no_op, no_op};
  return (rawwaker){NULL, &vtable};
}

/* --------------------------------------------------------------- Part 2: Creating a Waker -- */

/* Why unsafe? In Rust, because from_raw trusts the vtable. In C every use trusts it. */
static rawwaker dummy_waker(void) { return dummy_raw_waker(); }

/* ---------------------------------------------------------- Part 3: The block_on executor -- */

/* Polls again and again. rawwaker_block_on has the same signature, and sleeps until it is woken. */
rawwaker_poll article_block_on(rawwaker_future future, void *out) {
  rawwaker waker = dummy_waker();
  rawwaker_context context = {&waker};
  rawwaker_poll poll;
  do {
    poll = future.vtable->poll(future.data, &context, out);
    /* In a real executor, we'd wait for the waker to be called. */
  } while (poll == RAWWAKER_PENDING);
  future.vtable->drop(future.data);
  rawwaker_drop(waker);
  return poll;
}

static rawwaker_poll panicked(const char *message) {
  rawwaker_set_panic(message, strlen(message));
  return RAWWAKER_PANICKED;
}

/* --------------------------------------------------------------- async fn simple() -> i32 -- */

typedef struct SimpleFuture {
  enum { START, DONE } state;
} SimpleFuture;

static rawwaker_poll simple_poll(void *data, rawwaker_context *cx, void *out) {
  SimpleFuture *self = data;
  (void)cx;
  switch (self->state) {
  case START:
    self->state = DONE;
    *(int32_t *)out = 42;
    return RAWWAKER_READY;
  default:
    return panicked("future polled after completion");
  }
}

/* The future is in *self, which belongs to the caller: dropping it frees nothing. */
static rawwaker_future simple(SimpleFuture *self) {
  static const rawwaker_future_vtable vtable = {simple_poll, no_op};
  *self = (SimpleFuture){START};
  return (rawwaker_future){self, &vtable};
}

rawwaker_poll article_simple(article_executor *block_on, int32_t *out) {
  SimpleFuture f;
  return block_on(simple(&f), out);
}

/* A faulty future: it polls the other one again after completion. */
static rawwaker_poll twice_poll(void *data, rawwaker_context *cx, void *out) {
  rawwaker_future *f = data;
  rawwaker_poll poll = f->vtable->poll(f->data, cx, out);
  if (poll != RAWWAKER_READY) return poll;
  return f->vtable->poll(f->data, cx, out);
}

rawwaker_poll article_simple_twice(article_executor *block_on, int32_t *out) {
  static const rawwaker_future_vtable vtable = {twice_poll, no_op};
  SimpleFuture self;
  rawwaker_future f = simple(&self);
  return block_on((rawwaker_future){&f, &vtable}, out);
}

/* ----------------------------------------------------------------- How futures use wakers -- */

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t after(uint64_t milliseconds) { return now() + milliseconds * 1000000u; }

/* Shared by the future and its thread, and so reference-counted: the last reference frees it. */
typedef struct TimerFuture {
  uint64_t deadline;
  bool started;
  atomic_bool expired;
  rawwaker_cell waker;
  atomic_int refs;
} TimerFuture;

static void timer_release(TimerFuture *self) {
  if (atomic_fetch_sub(&self->refs, 1) == 1) free(self);
}

static void *timer_thread(void *data) {
  TimerFuture *self = data;
  /* The sleep may be too short, because of a signal or of the clock's ticks: sleep for the rest. */
  for (uint64_t t; (t = now()) < self->deadline;) {
    uint64_t left = self->deadline - t;
    struct timespec pause = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    nanosleep(&pause, NULL);
  }
  atomic_store(&self->expired, true);           /* set the condition first */
  rawwaker_cell_wake(&self->waker);             /* wake after it: the next poll sees it */
  timer_release(self);
  return NULL;
}

static bool register_timer_callback(TimerFuture *self) {
  pthread_t thread;
  atomic_fetch_add(&self->refs, 1);
  if (pthread_create(&thread, NULL, timer_thread, self) != 0) {
    atomic_fetch_sub(&self->refs, 1);
    return false;
  }
  pthread_detach(thread);
  return true;
}

static rawwaker_poll timer_poll(void *data, rawwaker_context *cx, void *out) {
  TimerFuture *self = data;
  (void)out;
  /* Register the waker (the cell clones it) and then test: a wake in between finds the waker. */
  rawwaker_cell_register(&self->waker, cx->waker);
  if (atomic_load(&self->expired)) return RAWWAKER_READY;
  if (!self->started && !(self->started = register_timer_callback(self)))
    return panicked("no thread for the timer");
  return RAWWAKER_PENDING;
}

/* It also cancels: the thread continues to sleep, then finds the cell empty and wakes nothing. */
static void timer_drop(void *data) {
  TimerFuture *self = data;
  rawwaker_cell_drop(&self->waker);
  timer_release(self);
}

rawwaker_future article_timer_future(uint64_t milliseconds) {
  static const rawwaker_future_vtable vtable = {timer_poll, timer_drop};
  TimerFuture *self = calloc(1, sizeof *self);
  if (self == NULL) abort();
  self->deadline = after(milliseconds);
  atomic_init(&self->expired, false);
  rawwaker_cell_init(&self->waker);
  atomic_init(&self->refs, 1);
  return (rawwaker_future){self, &vtable};
}

rawwaker_poll article_timer(article_executor *block_on, uint64_t milliseconds) {
  return block_on(article_timer_future(milliseconds), NULL);
}

/* ---------------------------------------------------------------------- Practical example -- */

typedef struct DelayFuture {
  uint64_t deadline;
} DelayFuture;

static rawwaker_poll delay_poll(void *data, rawwaker_context *cx, void *out) {
  DelayFuture *self = data;
  (void)out;
  if (now() >= self->deadline) return RAWWAKER_READY;
  /* In reality, we'd register the waker with a timer: see TimerFuture. */
  rawwaker_wake_by_ref(cx->waker);   /* Wake ourselves immediately */
  return RAWWAKER_PENDING;
}

/* async fn delay_and_return() -> i32 { DelayFuture { deadline: ... }.await; 42 }
 * Futures are lazy: the first poll, which enters the body, sets the deadline. */
typedef struct DelayAndReturn {
  enum { BEGIN, AWAIT, END } state;
  uint64_t milliseconds;
  DelayFuture delay;
} DelayAndReturn;

static rawwaker_poll delay_and_return_poll(void *data, rawwaker_context *cx, void *out) {
  DelayAndReturn *self = data;
  rawwaker_poll poll;
  switch (self->state) {
  case BEGIN:
    self->delay = (DelayFuture){after(self->milliseconds)};
    self->state = AWAIT;
    /* fall through */
  case AWAIT:
    poll = delay_poll(&self->delay, cx, NULL);
    if (poll != RAWWAKER_READY) return poll;
    self->state = END;
    *(int32_t *)out = 42;
    return RAWWAKER_READY;
  default:
    return panicked("future polled after completion");
  }
}

static rawwaker_future delay_and_return(DelayAndReturn *self, uint64_t milliseconds) {
  static const rawwaker_future_vtable vtable = {delay_and_return_poll, no_op};
  *self = (DelayAndReturn){BEGIN, milliseconds, {0}};
  return (rawwaker_future){self, &vtable};
}

rawwaker_poll article_delay_and_return(article_executor *block_on, uint64_t milliseconds,
                                       int32_t *out) {
  DelayAndReturn f;
  return block_on(delay_and_return(&f, milliseconds), out);
}

/* --------------------------------------------------------------- Advanced: multiple polls -- */

typedef struct CountdownFuture {
  uint32_t count;
  article_println *println;   /* receives the lines, because the caller may not be C */
  void *to;
} CountdownFuture;

static rawwaker_poll countdown_poll(void *data, rawwaker_context *cx, void *out) {
  CountdownFuture *self = data;
  char line[32];
  (void)out;
  snprintf(line, sizeof line, "Poll #%lu", (unsigned long)self->count);
  self->println(self->to, line);

  if (self->count == 0) return RAWWAKER_READY;
  self->count -= 1;
  rawwaker_wake_by_ref(cx->waker);   /* Wake immediately for next poll */
  return RAWWAKER_PENDING;
}

static rawwaker_future countdown(CountdownFuture *self) {
  static const rawwaker_future_vtable vtable = {countdown_poll, no_op};
  return (rawwaker_future){self, &vtable};
}

rawwaker_poll article_countdown(article_executor *block_on, uint32_t count,
                                article_println *println, void *to) {
  CountdownFuture f = {count, println, to};
  return block_on(countdown(&f), NULL);
}

#ifdef ARTICLE_MAIN

/* ---------------------------------------------------------- Tokio's executor (conceptual) -- */

/* Reference-counted: each of its wakers holds a reference, and so does the queue that it is in. */
typedef struct Task {
  rawwaker_future future;
  bool queued, done;   /* guarded by EXECUTOR.lock */
  struct Task *next;   /* likewise */
  atomic_int refs;
} Task;

static struct {
  pthread_mutex_t lock;
  pthread_cond_t parker;
  Task *first, **end;   /* tasks: VecDeque<Task> */
} EXECUTOR = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &EXECUTOR.first};

static void task_release(Task *task) {
  if (atomic_fetch_sub(&task->refs, 1) == 1) free(task);
}

/* EXECUTOR.schedule(task) and EXECUTOR.notify(). A task is in the queue at most once, and never
 * after completion. */
static void schedule(Task *task) {
  pthread_mutex_lock(&EXECUTOR.lock);
  if (!task->queued && !task->done) {
    atomic_fetch_add(&task->refs, 1);
    task->queued = true;
    task->next = NULL;
    *EXECUTOR.end = task;
    EXECUTOR.end = &task->next;
    pthread_cond_signal(&EXECUTOR.parker);
  }
  pthread_mutex_unlock(&EXECUTOR.lock);
}

/* Returns the first task with the queue's reference. Sleeps while the queue is empty. */
static Task *pop_front(void) {
  pthread_mutex_lock(&EXECUTOR.lock);
  /* self.parker.park() */
  while (EXECUTOR.first == NULL) pthread_cond_wait(&EXECUTOR.parker, &EXECUTOR.lock);
  Task *task = EXECUTOR.first;
  EXECUTOR.first = task->next;
  if (EXECUTOR.first == NULL) EXECUTOR.end = &EXECUTOR.first;
  task->queued = false;
  pthread_mutex_unlock(&EXECUTOR.lock);
  return task;
}

/* A real waker: data is the task, on which the four slots operate. */
static const rawwaker_vtable TASK_VTABLE;

static rawwaker task_clone(void *data) {
  atomic_fetch_add(&((Task *)data)->refs, 1);
  return (rawwaker){data, &TASK_VTABLE};
}
static void task_wake_by_ref(void *data) { schedule(data); }
static void task_drop(void *data) { task_release(data); }
static void task_wake(void *data) {
  task_wake_by_ref(data);
  task_drop(data);   /* wake consumes */
}
static const rawwaker_vtable TASK_VTABLE = {task_clone, task_wake, task_wake_by_ref, task_drop};

static rawwaker create_waker_for_task(Task *task) { return task_clone(task); }

static void spawn(rawwaker_future future) {
  Task *task = calloc(1, sizeof *task);
  if (task == NULL) abort();
  task->future = future;
  atomic_init(&task->refs, 1);
  schedule(task);
  task_release(task);
}

/* Runs until that many tasks have completed. */
static void run(int tasks) {
  /* A task that woke itself in its last poll is still queued: remove it. */
  while (tasks > 0 || EXECUTOR.first != NULL) {
    Task *task = pop_front();
    if (!task->done) {
      rawwaker waker = create_waker_for_task(task);
      rawwaker_context context = {&waker};
      if (task->future.vtable->poll(task->future.data, &context, NULL) == RAWWAKER_PENDING) {
        /* Task will wake us when ready */
      } else {
        pthread_mutex_lock(&EXECUTOR.lock);
        task->done = true;
        pthread_mutex_unlock(&EXECUTOR.lock);
        task->future.vtable->drop(task->future.data);
        tasks--;
      }
      rawwaker_drop(waker);
    }
    task_release(task);
  }
}

/* ----------------------------------------------------------- main, in the article's order -- */

static double ms_since(uint64_t start) { return (double)(now() - start) / 1e6; }

static void println(void *to, const char *line) { fprintf(to, "%s\n", line); }

int main(void) {
  int32_t result = 0;
  uint64_t start;

  puts("-- simple: the article's block_on, with the dummy waker: it spins");
  article_simple(article_block_on, &result);
  printf("Result: %ld\n", (long)result);
  puts("-- simple: rawwaker_block_on, which sleeps until it is woken");
  article_simple(rawwaker_block_on, &result);
  printf("Result: %ld\n", (long)result);
  puts("-- SimpleFuture, polled after completion");
  if (article_simple_twice(rawwaker_block_on, &result) == RAWWAKER_PANICKED)
    printf("panic: %s\n", rawwaker_last_panic());

  puts("-- TimerFuture: the article's block_on");
  start = now();
  article_timer(article_block_on, 100);
  printf("Timer expired after %fms\n", ms_since(start));
  puts("-- TimerFuture: rawwaker_block_on, woken by another thread");
  start = now();
  article_timer(rawwaker_block_on, 100);
  printf("Timer expired after %fms\n", ms_since(start));

  puts("-- delay_and_return: the article's block_on");
  start = now();
  article_delay_and_return(article_block_on, 100, &result);
  printf("Result: %ld after %fms\n", (long)result, ms_since(start));
  puts("-- delay_and_return: rawwaker_block_on, as busy, because DelayFuture wakes itself");
  start = now();
  article_delay_and_return(rawwaker_block_on, 100, &result);
  printf("Result: %ld after %fms\n", (long)result, ms_since(start));

  puts("-- CountdownFuture: the article's block_on");
  article_countdown(article_block_on, 3, println, stdout);
  puts("-- CountdownFuture: rawwaker_block_on");
  article_countdown(rawwaker_block_on, 3, println, stdout);

  puts("-- two timers, one block_on after the other");
  start = now();
  article_timer(rawwaker_block_on, 50);
  article_timer(rawwaker_block_on, 50);
  printf("Both expired after %fms\n", ms_since(start));
  puts("-- two timers, as tasks of an executor with real wakers");
  start = now();
  spawn(article_timer_future(50));
  spawn(article_timer_future(50));
  run(2);
  printf("Both expired after %fms\n", ms_since(start));
  return 0;
}

#endif /* ARTICLE_MAIN */
