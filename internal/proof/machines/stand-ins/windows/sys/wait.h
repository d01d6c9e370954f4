/* Windows has no fork, so tests that fork are not run there. It has only the signals of ISO C, of
 * which SIGTERM is one. */
#ifndef STAND_IN_WAIT_H
#define STAND_IN_WAIT_H

#include <stdlib.h>
#include <sys/types.h>

#define SIGUSR1 SIGTERM
#define WIFSIGNALED(status) (status)
#define WTERMSIG(status) (status)
#define fork no_fork
static inline pid_t no_fork(void) { abort(); }
static inline pid_t waitpid(pid_t child, int *status, int flags) {
  *status = flags;
  return child;
}
static inline int pipe(int ends[2]) {
  ends[0] = ends[1] = -1;
  return -1;
}
static inline unsigned alarm(unsigned seconds) { return seconds; }

#endif
