/* broken.h - wakers, futures, streams, executors and users of wakers that each break one rule of
 * rawwaker.h, and a correct one of each kind. Their memory stays valid until the kit frees it, so
 * that a second use of a reference does no harm. */
#ifndef BROKEN_H
#define BROKEN_H

#include "rawwaker_test.h"

/* kit: the scenario that must fail. audit: the auditor's rule, or NULL if it cannot detect the
 * fault. tsan: only a build under ThreadSanitizer can detect it. */
typedef struct broken {
  const char *name, *kind, *does, *kit, *audit;
  bool tsan;
} broken;

extern const broken broken_all[]; /* ends with a NULL name; a correct one has no kit and no audit */
const broken *broken_find(const char *name);

/* Their arg is the entry. */
rawwaker_test_waker broken_waker(void *entry);
rawwaker_test_future broken_future(void *entry);
rawwaker_test_stream broken_stream(void *entry);
rawwaker_test_executor broken_executor(void *entry);
void broken_user(const broken *entry, rawwaker w); /* takes w, which is audited */

bool broken_is(const broken *b, const char *name);

/* Returns ready(arg) as soon as it is true, or after so many milliseconds. */
bool broken_wait(bool (*ready)(void *arg), void *arg, int milliseconds);

/* wakes_before_its_condition: after its wake, complete waits until the future was polled again or
 * dropped. For a kit whose wakes are delivered later than the slot returns. */
void broken_future_waits(rawwaker_test_future *f);

#endif
