/* redis.h - hiredis with one callback for all answers, without ffiwaker, for comparison. */
#ifndef REDIS_H
#define REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct redis redis;

redis *calls_open(const char *path);
void calls_close(redis *r);

/* Sends a command. onRedisReply is called once, on the connection's thread, or on this one if the
 * connection was closed. */
void calls_command(redis *r, const char *command, size_t len, uintptr_t handle);

#endif
