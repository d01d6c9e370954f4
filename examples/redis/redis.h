/* redis.h - commands of a Redis server, by hiredis, as futures. One thread owns the connection.
 *
 *   gcc -std=gnu11 -I../.. my.c redis.c ../../rawwaker.c $(pkg-config --libs hiredis libuv)
 */
#ifndef REDIS_H
#define REDIS_H

#include "rawwaker.h"

typedef struct redis redis;

/* What a command gives. Errors are values too: is_error is set, and text says why. text is the
 * owner's to free; NULL is Redis's nil, or out of memory. */
typedef struct redis_value {
  char *text;
  size_t len;
  bool is_error;
} redis_value;

/* Connects to the server's socket at path, on a thread of its own. If the server does not answer,
 * the commands give errors. NULL: no memory, descriptor or thread. */
redis *redis_open(const char *path);

/* Ends the connection and the thread. What was not answered yet gives an error, and so does what is
 * started later. Once. */
void redis_close(redis *r);

/* Frees what is left after redis_close. No redis_command may come later. */
void redis_free(redis *r);

/* Returns the future of a redis_value: the answer to a command, which is len bytes in the form of
 * Redis's protocol and is copied. It is sent at the first poll. Any thread. */
rawwaker_future redis_command(redis *r, const char *command, size_t len);

#endif
