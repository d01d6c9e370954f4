/* callback.h - what ../postgres.h does, with a callback for each result. */
#ifndef CALLBACK_H
#define CALLBACK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct postgres postgres;

postgres *callback_open(const char *conninfo, int size);
void callback_close(postgres *p);

/* Sends a statement, whose text is that of ../postgres.h. The thread calls callbackResult once with
 * handle, and if rows is set, callbackRow before it for each row. False: the pool was closed. */
bool callback_query(postgres *p, const void *text, size_t len, uintptr_t handle, bool rows);

/* There is room again for rows that callbackRow has refused. */
void callback_resume(postgres *p);

const char *callback_error(const PGresult *result);

#endif
