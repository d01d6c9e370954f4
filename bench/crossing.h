/* The C side of the figures of futures that cross the FFI boundary. */
#ifndef CROSSING_H
#define CROSSING_H

#include <stdint.h>

#include "rawwaker.h"

/* A future that is pending n times and wakes itself each time. */
rawwaker_future bench_self_waking_future(uint64_t n);
/* Nanoseconds that rawwaker_block_on takes for that future. */
uint64_t bench_self_waking_block_on(uint64_t n);

/* A future that is ready at its first poll. */
rawwaker_future bench_ready_future(void);

/* n operations that two C threads complete: operation i wakes the future bench_ops_future(o, i),
 * or, if bench_ops_set_handle was called for it, calls the exported Go function benchSend. */
typedef struct bench_ops bench_ops;
bench_ops *bench_ops_new(uint32_t n);
rawwaker_future bench_ops_future(bench_ops *o, uint32_t i);
void bench_ops_set_handle(bench_ops *o, uint32_t i, uintptr_t handle);
/* Completes all of them. Stores the time of the first wake in *first.
 * Returns the nanoseconds that the two threads took together. */
uint64_t bench_ops_complete(bench_ops *o, uint64_t *first);

/* Nanoseconds for n polls of f, which stays pending, under one C waker. Drops f. */
uint64_t bench_polls(rawwaker_future f, uint64_t n);
/* Nanoseconds for n calls of the exported Go function benchEmpty, or of benchGoroutine. */
uint64_t bench_callbacks(uint64_t n, int goroutine);

/* A C thread wakes a task of an executor.Local, whose host waits for the descriptor with epoll.
 * Returns the 99th percentile of n wakes, from before the wake to the return of epoll_wait, in ns.
 * ex is a cgo.Handle of the Local and fd its descriptor; if ex is 0, the thread writes an eventfd.
 * The task is bench_epoll_task: spawn it before the call. */
uint64_t bench_epoll(uintptr_t ex, int fd, uint32_t n);
rawwaker_future bench_epoll_task(void);

#endif
