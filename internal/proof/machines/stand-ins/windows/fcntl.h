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

#endif
