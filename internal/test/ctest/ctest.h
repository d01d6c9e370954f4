/* Fixtures in C for the Go tests. See ctest.go for what each is for. */
#ifndef CTEST_H
#define CTEST_H

#include "rawwaker.h"

/* A task whose wakers count. Each reference is a token from malloc of its own, so that ASan sees a second use. */
typedef struct ctest_task ctest_task;
ctest_task *ctest_task_new(void);
void ctest_task_free(ctest_task *t);
rawwaker ctest_task_waker(ctest_task *t);
typedef struct ctest_counts { uint64_t made, clones, wakes, by_refs, drops, live, foul; } ctest_counts;
ctest_counts ctest_task_counts(ctest_task *t);
size_t ctest_task_log(ctest_task *t, char *out, size_t n);   /* c w r d, in order; "!" for a slot called with foul data */
void ctest_task_hold(ctest_task *t, bool held);      /* while held, wake_by_ref and drop do not return */
void ctest_task_await(ctest_task *t, int inside);    /* until so many calls of them are inside */

/* A task whose data is a number that grows with each clone: 42, 43, ... ; only the vtable's own slots may see it. */
rawwaker ctest_number_waker(uintptr_t first);
uint64_t ctest_number_faults(void);   /* slots called with a number that was never given out */
uint64_t ctest_number_refs(void);     /* references alive */

/* Performs the letters on w on a new thread, one after the other: c clone and keep, r wake_by_ref, w wake the newest, d
 * drop the newest, i count one arrival. All references must be consumed at the end. */
typedef struct ctest_thread ctest_thread;
ctest_thread *ctest_thread_start(rawwaker w, const char *letters);
void ctest_thread_join(ctest_thread *t);
uint64_t ctest_arrivals(void);

/* Threads that each take wakers out of one queue and do at random with them what the contract allows, consuming them. */
typedef struct ctest_pool ctest_pool;
ctest_pool *ctest_pool_start(int threads, uint64_t seed);
void ctest_pool_give(ctest_pool *p, rawwaker w);
uint64_t ctest_pool_end(ctest_pool *p);   /* joins; how many operations there were */

/* Registers w in a cell of C, as a future does when it is polled; wakes, as who completes it does. */
typedef struct ctest_cell { rawwaker_cell cell; } ctest_cell;
ctest_cell *ctest_cell_new(void);
void ctest_cell_free(ctest_cell *c);

#endif
