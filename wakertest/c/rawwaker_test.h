/* rawwaker_test.h - tests a waker, a future, a stream or an executor against the contract of
 * rawwaker.h, with one named scenario for each rule.
 *
 *   gcc -std=c11 -I<folder of rawwaker.h> -I<folder of this file> \
 *     my_test.c my_waker.c rawwaker_test.c rawwaker.c -pthread -o my_test
 *
 *   static size_t wakes(void *task) { return atomic_load(&((my_task *)task)->scheduled); }
 *   static long live(void *task) { return atomic_load(&((my_task *)task)->references); }
 *   static rawwaker_test_waker make(void *arg) {
 *     my_task *t = my_task_new();
 *     return (rawwaker_test_waker){.waker = my_task_waker(t), .arg = t, .wakes = wakes,
 *                                  .live = live, .poll = my_task_poll, .free = my_task_free};
 *   }
 *   int main(void) { return rawwaker_test_wakers("my task", make, NULL) != 0; }
 *
 * wakertest/c/own.c is a complete example.
 *
 * The kit prints TAP 13 on standard output. For a scenario that fails it prints the rule, what was
 * expected, and the calls in order. A scenario that needs a function which is NULL is skipped.
 *
 * If a call does not return in time, or ends the program, the scenario that made it is reported as
 * failed, and the program exits with status 3. The time is RAWWAKER_TEST_SECONDS (environment;
 * default 10).
 *
 * The scenarios run one after the other. RAWWAKER_TEST_ONLY (environment) selects one of them by
 * name. Run them with -fsanitize=thread too: on a machine with strong memory ordering, no other
 * test can detect that a wake does not publish the writes before it.
 *
 * The kit for Go, package wakertest, has the same scenarios with the same names. For streams its
 * scenarios and names are others.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_TEST_H
#define RAWWAKER_TEST_H

#include "rawwaker.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A waker, and the functions by which the kit observes its task. Only waker, arg and wakes are
 * required. Without live no reference count is checked; without poll, nothing about wakes and
 * polls. The functions may be called on any thread. */
typedef struct rawwaker_test_waker {
  /* One reference. The kit owns it. */
  rawwaker waker;
  /* Passed to each function. It must be valid until free is called, also after the last reference
   * has ended. If a task frees itself, keep the counts outside it, or hold a reference that live
   * does not count. */
  void *arg;
  /* Returns how many wakes the task has noticed so far. If wakes coalesce in a flag, return the
   * number of polls that found the flag set when they began, plus 1 while the flag is set. Do not
   * count how often the flag is set: a poll that clears a wake made during it would then pass. */
  size_t (*wakes)(void *arg);
  /* Returns the number of references, including the kit's. */
  long (*live)(void *arg);
  /* Clears the notification and polls the task. If during is not NULL, it calls during(with) inside
   * the poll. */
  void (*poll)(void *arg, void (*during)(void *), void *with);
  /* Sets f: from now on, each wake that is noticed calls f(with) before it returns. If f is NULL,
   * wakes call nothing. */
  void (*on_wake)(void *arg, void (*f)(void *), void *with);
  /* Ends the task: its wakers remain valid, and wakes do nothing. */
  void (*end)(void *arg);
  /* The kit no longer uses arg, and every reference has ended. */
  void (*free)(void *arg);
  /* Each wake is counted: they do not coalesce. */
  bool exact;
} rawwaker_test_waker;

/* Runs the scenarios for wakers, each with a waker of its own that make(arg) returns. It returns
 * the number of scenarios that failed. */
int rawwaker_test_wakers(const char *name, rawwaker_test_waker (*make)(void *arg), void *arg);

/* A future, and how the kit completes it. */
typedef struct rawwaker_test_future {
  /* The kit owns it: it polls and drops it. */
  rawwaker_future future;
  void *arg;
  /* The size of the result that poll writes, in bytes; at most 256. */
  size_t size;
  /* Completes the future and wakes its waker. It is called once, on any thread, perhaps at the same
   * time as the future's drop or after it. NULL: the future becomes ready by itself. */
  void (*complete)(void *arg);
  /* Returns how many resources the future holds. It must be 0 after the drop; see lingers. */
  long (*live)(void *arg);
  /* The kit no longer uses arg: the future was dropped, and complete was called or will not be. */
  void (*free)(void *arg);
  /* An engine holds the operation longer than the future: live is 0 not at once after the drop, but
   * when the engine has seen that the operation was cancelled. The kit waits for that. For bindings
   * of real libraries; live may then count operations, buffers or calls of release. */
  bool lingers;
} rawwaker_test_future;

/* As rawwaker_test_wakers, for futures. */
int rawwaker_test_futures(const char *name, rawwaker_test_future (*make)(void *arg), void *arg);

/* A stream, and how the kit produces its items. */
typedef struct rawwaker_test_stream {
  /* The kit owns it: it polls and drops it. */
  rawwaker_stream stream;
  void *arg;
  /* The size of an item in bytes; at most 256. */
  size_t size;
  /* The count items that the stream gives, in order, each of size bytes; then it gives DONE. count
   * must be at least 3. */
  const void *items;
  size_t count;
  /* Makes the next item available and wakes the stream's waker. The call after the last item ends
   * the stream, and is the last one. The kit makes one call at a time, on any thread, perhaps at
   * the same time as a poll_next or the drop, or after the drop. NULL: the stream produces by
   * itself. */
  void (*produce)(void *arg);
  /* How many items may be produced that were not received yet; 0 counts as 1. The call that ends
   * the stream counts as an item. */
  size_t ahead;
  /* As those of rawwaker_test_future. */
  long (*live)(void *arg);
  void (*free)(void *arg);
  bool lingers;
} rawwaker_test_stream;

/* As rawwaker_test_wakers, for streams. */
int rawwaker_test_streams(const char *name, rawwaker_test_stream (*make)(void *arg), void *arg);

/* An executor. The futures of its tasks have no result: out is NULL. */
typedef struct rawwaker_test_executor {
  void *arg;
  /* Makes f a task. It is called before run and, if spawn_inside is set, inside polls. */
  void (*spawn)(void *arg, rawwaker_future f);
  /* Returns when every task has completed. */
  void (*run)(void *arg);
  /* Drops the remaining futures and ends the executor. It is the last call. NULL: the executor
   * never has remaining futures. */
  void (*close)(void *arg);
  bool spawn_inside;
} rawwaker_test_executor;

/* As rawwaker_test_wakers, for executors. */
int rawwaker_test_executors(const char *name, rawwaker_test_executor (*make)(void *arg), void *arg);

/* The scenarios: each name with its rule. A NULL name ends the list. */
typedef struct rawwaker_test_rule {
  const char *name, *rule;
} rawwaker_test_rule;
const rawwaker_test_rule *rawwaker_test_waker_rules(void);
const rawwaker_test_rule *rawwaker_test_future_rules(void);
const rawwaker_test_rule *rawwaker_test_stream_rules(void);
const rawwaker_test_rule *rawwaker_test_executor_rules(void);

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_TEST_H */
