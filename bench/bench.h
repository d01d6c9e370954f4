/* The C side of the figures: loops that time themselves, and threads that wake. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

#include "rawwaker.h"

/* The monotonic clock, in nanoseconds. */
uint64_t bench_now(void);

/* Each does its operation n times and returns the nanoseconds for all of them. */
uint64_t bench_exchange(uint64_t n);
uint64_t bench_wake_by_ref(uint64_t n);
uint64_t bench_clone_drop(uint64_t n);

/* Does nothing: the body of an empty cgo call. */
void bench_nothing(void);

/* A waker whose slots do nothing. */
rawwaker bench_plain_waker(void);

/* A thread that wakes n times. Before each wake it sleeps; it notes the time before and after.
 * BENCH_WAKE wakes the registered waker, BENCH_CALL calls the exported Go function benchCallback.
 * With handshake, it also waits for one bench_thread_ready before each sleep. */
enum { BENCH_WAKE = 0, BENCH_CALL = 1 };
typedef struct bench_thread bench_thread;
bench_thread *bench_thread_start(int how, uint32_t n, uint32_t sleep_ns, int handshake);
void bench_thread_register(bench_thread *t, const rawwaker *w);
void bench_thread_ready(bench_thread *t);
uint32_t bench_thread_woken(const bench_thread *t); /* how many wakes have begun */
uint64_t bench_thread_began(const bench_thread *t, uint32_t i);
uint64_t bench_thread_ended(const bench_thread *t, uint32_t i);
void bench_thread_join(bench_thread *t);
void bench_thread_free(bench_thread *t); /* call after join */

/* Two words on separate cache lines and a thread that copies each new value of ping to pong.
 * bench_echo_start takes w; unless its vtable is NULL, the thread wakes it after each copy. */
typedef struct bench_echo bench_echo;
bench_echo *bench_echo_new(uint32_t n);
void bench_echo_start(bench_echo *e, rawwaker w);
void bench_echo_end(bench_echo *e);
uint32_t *bench_echo_ping(bench_echo *e);
uint32_t *bench_echo_pong(bench_echo *e);

/* The median round trip between two C threads that spin, of n, in nanoseconds. */
uint64_t bench_round_trip(uint32_t n);

#endif
