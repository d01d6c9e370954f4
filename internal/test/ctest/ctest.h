/* C fixtures for the Go tests. ctest.go describes each. */
#ifndef CTEST_H
#define CTEST_H

#include "rawwaker.h"

/* A task whose wakers count their calls. Each reference is allocated separately, so that ASan
 * reports a use after its end. */
typedef struct ctest_task ctest_task;
ctest_task *ctest_task_new(void);
void ctest_task_free(ctest_task *t);
rawwaker ctest_task_waker(ctest_task *t);
typedef struct ctest_counts {
  uint64_t made, clones, wakes, by_refs, drops, live, foul;
} ctest_counts;
ctest_counts ctest_task_counts(ctest_task *t);
/* The slots called, in order: c w r d; "!" for a call with invalid data. */
size_t ctest_task_log(ctest_task *t, char *out, size_t n);
/* while held, wake, wake_by_ref and drop do not return */
void ctest_task_hold(ctest_task *t, bool held);
void ctest_task_await(ctest_task *t, int inside);    /* until that many such calls are waiting */

/* A task whose data is a number that grows with each clone: 42, 43, and so on. Only the slots of
 * its vtable may use it. */
rawwaker ctest_number_waker(uintptr_t first);
uint64_t ctest_number_faults(void);   /* slots called with a number that no clone returned */
uint64_t ctest_number_refs(void);     /* references that were not ended */

/* Starts a thread that performs the letters on w, in order: c clone and keep, r wake_by_ref, w wake
 * the newest, d drop the newest, i count one arrival. At the end all references must be
 * consumed. */
typedef struct ctest_thread ctest_thread;
ctest_thread *ctest_thread_start(rawwaker w, const char *letters);
void ctest_thread_join(ctest_thread *t);
uint64_t ctest_arrivals(void);

/* Threads that take wakers out of one queue, perform random operations that the contract allows,
 * and consume them. */
typedef struct ctest_pool ctest_pool;
ctest_pool *ctest_pool_start(int threads, uint64_t seed);
void ctest_pool_give(ctest_pool *p, rawwaker w);
uint64_t ctest_pool_end(ctest_pool *p);   /* joins; returns the number of operations */

/* A cell, on its own. */
typedef struct ctest_cell { rawwaker_cell cell; } ctest_cell;
ctest_cell *ctest_cell_new(void);
void ctest_cell_free(ctest_cell *c);

/* Uses of a oneshot: 0 a correct one; 1 its sender is forgotten; 2 its sender is dropped and then
 * sends. */
void ctest_oneshot(int use);

#endif
