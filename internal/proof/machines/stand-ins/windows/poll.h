/* The unix calls of the programs in internal/test/purec, by Windows' own calls. Each descriptor
 * that they wait for belongs to a sink, so it is an event on Windows. */
#ifndef STAND_IN_POLL_H
#define STAND_IN_POLL_H

#define WIN32_LEAN_AND_MEAN
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <windows.h>

/* mingw's usleep does not sleep for less than a millisecond. */
#define usleep(us) Sleep(((us) + 999) / 1000)

enum { POLLIN = 1 };
struct pollfd {
  int fd;
  short events, revents;
};

static inline int poll(struct pollfd *p, unsigned n, int ms) {
  if (n != 1) abort();
  DWORD got = WaitForSingleObject((HANDLE)(intptr_t)p->fd, ms < 0 ? INFINITE : (DWORD)ms);
  p->revents = got == WAIT_OBJECT_0 ? POLLIN : 0;
  return got == WAIT_OBJECT_0 ? 1 : got == WAIT_TIMEOUT ? 0 : -1;
}

#endif
