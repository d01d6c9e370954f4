/* What the library must know of the process that it is in, for its own C only. */
#ifndef FFIWAKER_HOST_H
#define FFIWAKER_HOST_H

#include <stdbool.h>
#if !defined(_WIN32) && !defined(__ANDROID__)
#include <pthread.h>
#endif

/* Whether this is a child that was forked after the library was loaded, where Go's threads do not
 * exist. It costs one load.
 * takes - | gives the answer | threads any | signals yes | fails never */
bool ffiwaker_forked(void);

/* Disable cancellation around each call into Go, and restore the state: a thread that is cancelled
 * there would unwind through Go's frames. */
static inline int ffiwaker_hold_cancel(void) {
  int was = 0;
#if !defined(_WIN32) && !defined(__ANDROID__)
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
#endif
  return was;
}
static inline void ffiwaker_restore_cancel(int was) {
#if !defined(_WIN32) && !defined(__ANDROID__)
  int held;
  pthread_setcancelstate(was, &held);
#else
  (void)was;
#endif
}

#endif
