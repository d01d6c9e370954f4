/* rawwaker_test.h - holds anybody's waker, future or executor to the contract of rawwaker.h: one named scenario for each rule.
 *
 *   gcc -std=c11 -I<folder of rawwaker.h> -I<folder of this file> my_test.c rawwaker_test.c rawwaker.c my_waker.c -pthread -o my_test
 *
 *   static size_t wakes(void *task) { return atomic_load(&((my_task *)task)->scheduled); }
 *   static long live(void *task) { return atomic_load(&((my_task *)task)->references); }
 *   static rawwaker_test_waker make(void *arg) {
 *     my_task *t = my_task_new();
 *     return (rawwaker_test_waker){.waker = my_task_waker(t), .arg = t, .wakes = wakes, .live = live, .poll = my_task_poll, .free = my_task_free};
 *   }
 *   int main(void) { return rawwaker_test_wakers("my task", make, NULL) != 0; }
 *
 * wakertest/c/own.c is a whole one.
 *
 * Output is TAP 13, on standard output. A scenario that fails says the rule, what was expected, and the calls in order. What the
 * subject cannot tell (a function left NULL) is skipped by name. A call that does not come back within RAWWAKER_TEST_SECONDS
 * (environment; 10), or ends the program, is reported as a failure of the scenario that made it, and the program ends with
 * status 3. The scenarios run one after the other; RAWWAKER_TEST_ONLY (environment) names a single one. Run them under
 * -fsanitize=thread too: what is published by a wake, no test can see otherwise on a machine that orders memory strongly.
 *
 * The kit for Go, package wakertest, has the same scenarios under the same names.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_TEST_H
#define RAWWAKER_TEST_H

#include "rawwaker.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A waker, and how to look at the task behind it. Only waker, arg and wakes are needed, but without live no count is checked, and
 * without poll nothing about wakes and polls. Functions may be called on any thread. */
typedef struct rawwaker_test_waker {
  rawwaker waker;               /* one reference, which the kit takes over */
  void *arg;                    /* given to each function; good until free, after the last reference too: for a task that frees itself,
                                   keep the counts outside it, or a hold that live does not count */
  size_t (*wakes)(void *arg);   /* how many wakes the task has noticed so far. Where they coalesce in a flag, do not count its setting, but
                                   how often a poll was owed: polls that found it set when they began, plus 1 while it is set now.
                                   Otherwise a poll that clears a wake made during it passes */
  long (*live)(void *arg);      /* how many references there are, the kit's included */
  void (*poll)(void *arg, void (*during)(void *), void *with); /* takes the notification away and polls the task: it calls
                                                                  during(with) inside the poll, unless during is NULL */
  void (*on_wake)(void *arg, void (*f)(void *), void *with);   /* from now on each wake that is noticed calls f(with) before it
                                                                  returns; NULL f: no more */
  void (*end)(void *arg);       /* the task is over: its wakers stay usable and wake nobody */
  void (*free)(void *arg);      /* the kit is through with it; every reference is gone */
  bool exact;                   /* each wake is counted: they do not coalesce */
} rawwaker_test_waker;

/* takes - | gives the number of scenarios that failed | make is called for each */
int rawwaker_test_wakers(const char *name, rawwaker_test_waker (*make)(void *arg), void *arg);

/* A future, and how to make it go on. */
typedef struct rawwaker_test_future {
  rawwaker_future future;       /* taken over: the kit polls and drops it */
  void *arg;
  size_t size;                  /* of what poll writes; at most 256 */
  void (*complete)(void *arg);  /* makes it ready, and wakes its waker, on any thread; once, and perhaps beside or after its drop.
                                   NULL: it becomes ready by itself in time */
  long (*live)(void *arg);      /* what the future holds: 0 after its drop */
  void (*free)(void *arg);      /* the kit is through with it: the future is dropped, complete was called or will not be */
} rawwaker_test_future;

int rawwaker_test_futures(const char *name, rawwaker_test_future (*make)(void *arg), void *arg);

/* An executor. Its tasks' futures have no result: out is NULL. */
typedef struct rawwaker_test_executor {
  void *arg;
  void (*spawn)(void *arg, rawwaker_future f); /* takes f over; called before run, and from inside polls where spawn_inside is set */
  void (*run)(void *arg);                      /* returns when every task is done */
  void (*close)(void *arg);                    /* drops the futures that are left, and ends: the last call. NULL: nothing is ever left */
  bool spawn_inside;
} rawwaker_test_executor;

int rawwaker_test_executors(const char *name, rawwaker_test_executor (*make)(void *arg), void *arg);

/* The scenarios by name, NULL at the end; each with its rule. */
typedef struct rawwaker_test_rule {
  const char *name, *rule;
} rawwaker_test_rule;
const rawwaker_test_rule *rawwaker_test_waker_rules(void);
const rawwaker_test_rule *rawwaker_test_future_rules(void);
const rawwaker_test_rule *rawwaker_test_executor_rules(void);

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_TEST_H */
