/* The C halves of the figures of futures across the border. */
#ifndef BORDER_H
#define BORDER_H

#include <stdint.h>

#include "rawwaker.h"

/* A future that is pending n times and wakes itself each time; one that is ready at once. */
rawwaker_future border_self_waking(uint64_t n);
rawwaker_future border_ready(void);
uint64_t border_self_waking_c(uint64_t n); /* ns, under rawwaker_block_on */

/* Operations that threads complete: by a waker, or by calling Go with a handle. */
typedef struct border_ops border_ops;
border_ops *border_ops_new(uint32_t n);
rawwaker_future border_ops_future(border_ops *o, uint32_t i);
void border_ops_handle(border_ops *o, uint32_t i, uintptr_t handle);
/* All of them, from two threads; *first: when the first wake began; gives the ns that the threads took in all. */
uint64_t border_ops_complete(border_ops *o, uint64_t *first);

/* n polls of a future that stays pending, under one waker of C; n empty callbacks. ns. */
uint64_t border_polls(rawwaker_future f, uint64_t n);
uint64_t border_callbacks(uint64_t n, int goroutine);

/* A thread wakes, a millisecond after it was told to; a host's epoll sees the descriptor. The p99 of n, in ns. With ex 0: an
 * eventfd that is written. */
uint64_t border_epoll(uintptr_t ex, int fd, uint32_t n);
rawwaker_future border_epoll_task(void); /* the task that is woken: to be spawned first */

#endif
