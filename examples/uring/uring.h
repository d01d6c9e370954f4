/* uring.h - reads and timeouts of io_uring, by liburing, as futures. One thread owns the ring.
 *
 *   gcc -std=gnu11 -I../.. my.c uring.c ../../rawwaker.c $(pkg-config --libs liburing)
 */
#ifndef URING_H
#define URING_H

#include "rawwaker.h"

typedef struct ring ring;

/* What an operation gives. result is what the kernel has reported: for a read the number of bytes,
 * 0 at the end of the file; for a timeout -ETIME; or a negative errno, which is -ECANCELED after a
 * cancel or a close. data holds the bytes of a read; it is the owner's to free, and may be NULL. */
typedef struct ring_value {
  char *data;
  int result;
} ring_value;

/* Sets up a ring, with a thread of its own. NULL, with errno: the kernel refuses io_uring or is
 * older than 5.19 (EINVAL); no memory, descriptor or thread. */
ring *ring_open(void);

/* Cancels what is in flight, waits until the kernel has ended it, and ends the thread. Futures that
 * are polled first later give -ECANCELED. Once. */
void ring_close(ring *r);

/* Frees what is left after ring_close. No ring_read or ring_timeout may come later. */
void ring_free(ring *r);

/* Both return the future of a ring_value. The operation begins at the first poll. If the future is
 * dropped, or is given to rawwaker_oneshot_cancel, the kernel is asked to end the operation; until
 * it has, the operation keeps its buffer and its file. Any thread. */

/* Reads up to len bytes of fd, from its current position. If fd is O_NONBLOCK and has no data, the
 * result is -EAGAIN. fd must stay open until the operation has begun. */
rawwaker_future ring_read(ring *r, int fd, unsigned len);

/* Ends after ns nanoseconds. */
rawwaker_future ring_timeout(ring *r, int64_t ns);

#endif
