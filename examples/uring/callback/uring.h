/* uring.h - reads and timeouts of io_uring, by liburing, given to a callback. */
#ifndef URING_H
#define URING_H

#include <stdint.h>

typedef struct loop loop;

/* Sets up a ring, with a thread of its own. NULL, with errno: the kernel refuses io_uring or is
 * older than 5.19 (EINVAL); no memory, descriptor or thread. */
loop *loop_open(void);

/* Cancels what is in flight, waits until the kernel has ended it, and ends the thread. */
void loop_close(loop *l);

/* Both begin an operation, whose end is given to ended, once, with handle. Any thread. */
void loop_read(loop *l, int fd, unsigned len, uintptr_t handle);
void loop_timeout(loop *l, int64_t ns, uintptr_t handle);

/* Go's: called on the ring's thread. result is the kernel's; data is valid during the call. */
void ended(uintptr_t handle, int result, char *data);

#endif
