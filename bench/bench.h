/* The C halves of the figures: loops that time themselves, and threads that wake. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

#include "rawwaker.h"

uint64_t bench_now(void); /* CLOCK_MONOTONIC, nanoseconds */

/* Nanoseconds for n of each. */
uint64_t bench_exchange(uint64_t n);
uint64_t bench_wake_by_ref(uint64_t n);
uint64_t bench_clone_drop(uint64_t n);

void bench_nothing(void);
rawwaker bench_plain_waker(void); /* its slots do nothing but count */

/* A thread that, n times, waits until it is told that the Go side waits, sleeps, notes the time, wakes, notes the time. It wakes
 * what is in the cell, or calls Go. */
enum { BENCH_WAKE = 0, BENCH_CALL = 1 };
typedef struct bench_thread bench_thread;
bench_thread *bench_thread_start(int how, uint32_t n, uint32_t sleep_ns, int handshake);
void bench_thread_register(bench_thread *t, const rawwaker *w);
void bench_thread_ready(bench_thread *t);            /* the Go side waits for the next wake */
uint32_t bench_thread_woken(const bench_thread *t);  /* wakes begun */
uint64_t bench_thread_began(const bench_thread *t, uint32_t i);
uint64_t bench_thread_ended(const bench_thread *t, uint32_t i);
void bench_thread_join(bench_thread *t);
void bench_thread_free(bench_thread *t);             /* after join */

/* Two words on cache lines of their own: ping is the asking side's, pong the answering thread's. */
typedef struct bench_rally bench_rally;
bench_rally *bench_rally_new(uint32_t n);
void bench_rally_start(bench_rally *r, rawwaker w);  /* a thread that answers, and wakes after each answer; takes w */
void bench_rally_end(bench_rally *r);
uint32_t *bench_rally_ping(bench_rally *r);
uint32_t *bench_rally_pong(bench_rally *r);
uint64_t bench_rally_c(uint32_t n);                  /* the median round trip of two threads that spin */

#endif
