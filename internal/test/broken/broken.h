/* broken.h - wakers, futures, executors and users of wakers, each of which breaks one rule of rawwaker.h; and a sound one of
 * each. What they make lives on until the kit frees it, so that a second use of a reference harms nothing. */
#ifndef BROKEN_H
#define BROKEN_H

#include "rawwaker_test.h"

/* kit: the scenario that must fail. audit: the auditor's rule; NULL where it cannot know. tsan: only a build under
 * ThreadSanitizer can tell. */
typedef struct broken {
  const char *name, *kind, *does, *kit, *audit;
  bool tsan;
} broken;

extern const broken broken_all[]; /* ends with a NULL name; a sound one has neither kit nor audit */
const broken *broken_find(const char *name);

/* Each takes the entry as arg. */
rawwaker_test_waker broken_waker(void *entry);
rawwaker_test_future broken_future(void *entry);
rawwaker_test_executor broken_executor(void *entry);
void broken_user(const broken *entry, rawwaker w); /* takes w, which is audited */

bool broken_is(const broken *b, const char *name);

#endif
