#ifndef STAND_IN_FCNTL_H
#define STAND_IN_FCNTL_H

#include_next <fcntl.h>

#include "poll.h"

enum { F_GETFD = 1 };

/* Returns at least 0 if the event exists. */
static inline int fcntl(int fd, int what) {
  DWORD flags;
  if (what != F_GETFD) abort();
  return GetHandleInformation((HANDLE)(intptr_t)fd, &flags) ? (int)flags : -1;
}

/* Returns a new event: like a descriptor, it takes a number that was closed. */
#define dup new_event
static inline int new_event(int fd) {
  (void)fd;
  return (int)(intptr_t)CreateEventW(NULL, TRUE, FALSE, NULL);
}
#define close close_event
static inline int close_event(int fd) { return CloseHandle((HANDLE)(intptr_t)fd) ? 0 : -1; }

#endif
