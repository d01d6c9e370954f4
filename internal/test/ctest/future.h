/* C futures, and C hosts that poll futures, for the Go tests. future.go describes each. */
#ifndef CTEST_FUTURE_H
#define CTEST_FUTURE_H

#include "rawwaker.h"

typedef struct ctest_script ctest_script;
ctest_script *ctest_script_new(const char *letters);
rawwaker_future ctest_script_future(ctest_script *s);
void ctest_script_wake(ctest_script *s);            /* by reference, the waker that it kept */
bool ctest_script_kept(const ctest_script *s);      /* call it while no poll is in progress */
void ctest_script_hold(ctest_script *s, bool held);
void ctest_script_await(ctest_script *s);           /* until a poll waits in letter b */
int ctest_script_polls(ctest_script *s);
int ctest_script_drops(ctest_script *s);
int ctest_script_misses(ctest_script *s);
void ctest_script_free(ctest_script *s);            /* after its drop */

/* An operation that the test completes, in the form of most C futures: {cell, done, value}, with a
 * reference for the future and one for the completer. */
typedef struct ctest_op ctest_op;
ctest_op *ctest_op_new(void);                       /* returns the completer's reference */
rawwaker_future ctest_op_future(ctest_op *op);      /* once */
void ctest_op_complete(ctest_op *op, uint64_t v);   /* releases the completer's reference */
uint64_t ctest_ops_live(void);
uint64_t ctest_ops_dropped(void);                   /* futures whose drop slot was called */
/* Completes n operations on the given number of threads, each a part of them in order, and returns
 * when all are complete. */
void ctest_ops_complete_all(ctest_op **ops, uint32_t n, int threads);

/* Hosts. They consume f. */
rawwaker_poll ctest_block_on(rawwaker_future f, void *out);   /* on a thread of its own */
/* each poll on a thread of its own */
rawwaker_poll ctest_hop(rawwaker_future f, void *out, int *polls);
/* Polls f once on this thread. It borrows w and f. */
rawwaker_poll ctest_poll(rawwaker_future f, rawwaker w, void *out);

#endif
