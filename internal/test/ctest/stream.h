/* C results that own memory, and C streams, for the Go tests. stream.go describes each. */
#ifndef CTEST_STREAM_H
#define CTEST_STREAM_H

#include "rawwaker.h"

/* A result that owns its text. */
typedef struct ctest_reply {
  char *text;
  uint64_t n;
} ctest_reply;
void ctest_reply_free(ctest_reply *r);
uint64_t ctest_replies_live(void);

/* An operation as ctest_op, whose result is a ctest_reply. */
typedef struct ctest_query ctest_query;
ctest_query *ctest_query_new(void);                      /* returns the completer's reference */
rawwaker_future ctest_query_future(ctest_query *q);      /* once */
void ctest_query_complete(ctest_query *q, uint64_t n);   /* releases the completer's reference */
/* Completes n of them in order on a thread of its own, which go waits for. */
void ctest_queries_complete(ctest_query **all, uint32_t n);

typedef struct ctest_feed ctest_feed;
ctest_feed *ctest_feed_new(const char *letters, bool replies);
rawwaker_stream ctest_feed_stream(ctest_feed *f);
void ctest_feed_wake(ctest_feed *f);            /* by reference, the waker that it kept */
int ctest_feed_polls(ctest_feed *f);
int ctest_feed_drops(ctest_feed *f);
void ctest_feed_free(ctest_feed *f);            /* after its drop */

/* Polls s once on this thread. It borrows w and s. */
rawwaker_poll ctest_poll_next(rawwaker_stream s, rawwaker w, void *out);

/* Polls s once and drops it in a forked child. It returns the code; text gets rawwaker_last_panic.
 * It borrows w and s. */
rawwaker_poll ctest_poll_forked(rawwaker_stream s, rawwaker w, char *text, size_t size);

#endif
