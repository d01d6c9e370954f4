/* The C side of the figures of the oneshot, the channel and the streams that Go reads. */
#ifndef SENDING_H
#define SENDING_H

#include <stdint.h>

#include "channel/rawwaker_channel.h"
#include "rawwaker.h"

/* An item of the channels. */
typedef struct bench_item {
  uint64_t number, rest[7];
} bench_item;
enum { BENCH_CAPACITY = 128 };

/* Each returns the nanoseconds for n operations: a oneshot of 8 bytes made, sent, polled and
 * dropped; an item sent and received, on one thread, BENCH_CAPACITY of them at a time; an item sent
 * by one thread and received by another, which block: one until the full channel has room for
 * places items, the other until it has one. */
uint64_t bench_oneshots(uint64_t n);
uint64_t bench_channel_alone(uint64_t n);
uint64_t bench_channel_threads(uint64_t n, size_t places);

/* A thread that produces n items: into *items, the stream of a channel, where it blocks until there
 * is room for places items; or, if items is NULL, by calling the exported Go function benchItem
 * with handle. bench_produced waits for its end. */
typedef struct bench_producer bench_producer;
bench_producer *bench_produce(uint64_t n, rawwaker_stream *items, size_t places, uintptr_t handle);
void bench_produced(bench_producer *p);

#endif
