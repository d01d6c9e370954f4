/* An epoll that watches one event. */
#ifndef STAND_IN_EPOLL_H
#define STAND_IN_EPOLL_H

#include "../poll.h"

enum { EPOLLIN = 1, EPOLL_CTL_ADD = 1, EPOLL_CLOEXEC = 0 };
struct epoll_event {
  unsigned events;
  struct {
    void *ptr;
    int fd;
  } data;
};

static int epoll_watched = -1;
static inline int epoll_create1(int flags) { return flags; }
static inline int epoll_ctl(int loop, int what, int fd, struct epoll_event *e) {
  if (what != EPOLL_CTL_ADD || e->events != EPOLLIN || epoll_watched != -1) abort();
  epoll_watched = fd;
  return loop;
}
static inline int epoll_wait(int loop, struct epoll_event *got, int n, int ms) {
  struct pollfd p = {epoll_watched, POLLIN, 0};
  (void)loop, (void)n;
  got->events = EPOLLIN;
  return poll(&p, 1, ms);
}

#endif
