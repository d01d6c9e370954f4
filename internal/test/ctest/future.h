/* Futures in C, and hosts in C that poll futures, for the Go tests. See future.go for what each is for. */
#ifndef CTEST_FUTURE_H
#define CTEST_FUTURE_H

#include "rawwaker.h"

typedef struct ctest_script ctest_script;
ctest_script *ctest_script_new(const char *letters);
rawwaker_future ctest_script_future(ctest_script *s);
void ctest_script_wake(ctest_script *s);            /* by reference, what it kept */
bool ctest_script_kept(const ctest_script *s);      /* no poll is under way */
void ctest_script_hold(ctest_script *s, bool held);
void ctest_script_await(ctest_script *s);           /* until a poll is inside of letter b */
int ctest_script_polls(ctest_script *s);
int ctest_script_drops(ctest_script *s);
int ctest_script_misses(ctest_script *s);
void ctest_script_free(ctest_script *s);            /* after its drop */

/* An operation that somebody completes, as most futures of C are: {cell, done, value}, counted by future and completer. */
typedef struct ctest_op ctest_op;
ctest_op *ctest_op_new(void);                       /* with the completer's reference */
rawwaker_future ctest_op_future(ctest_op *op);      /* once */
void ctest_op_complete(ctest_op *op, uint64_t v);   /* gives the completer's reference up */
uint64_t ctest_ops_live(void);
uint64_t ctest_ops_dropped(void);                   /* futures whose drop slot was called */
/* Completes n operations from as many threads as given, each its share, in order; returns when they are through. */
void ctest_ops_complete_all(ctest_op **ops, uint32_t n, int threads);

/* Hosts. All consume f. */
rawwaker_poll ctest_block_on(rawwaker_future f, void *out);   /* on a thread of its own */
rawwaker_poll ctest_hop(rawwaker_future f, void *out, int *polls);  /* each poll on a thread of its own */
/* One poll on this thread under w, borrowed; f stays the caller's. */
rawwaker_poll ctest_poll(rawwaker_future f, rawwaker w, void *out);

#endif
