/* postgres.h - statements of a PostgreSQL server, by libpq, as futures. One thread owns the
 * connections, and another one cancels.
 *
 *   gcc -std=gnu11 -I../.. -I../../channel my.c postgres.c ../../rawwaker.c \
 *       ../../channel/rawwaker_channel.c $(pkg-config --cflags --libs libpq)
 */
#ifndef POSTGRES_H
#define POSTGRES_H

#include <libpq-fe.h>

#include "rawwaker.h"

/* A pool of connections. A statement waits in line for one of them, so a transaction of several
 * statements needs a pool of one connection. */
typedef struct postgres postgres;

/* Returns a pool of up to size connections, which are opened as statements need them. If no server
 * answers, the statements give errors. conninfo is libpq's, and is copied; a host's name is looked
 * up on the thread, so give hostaddr too. It aborts without memory, descriptors or threads. */
postgres *postgres_open(const char *conninfo, int size);

/* Cancels the statements that have no result yet, which give NULL, and ends the connections and the
 * threads. Futures that are polled first later give NULL, but no postgres_query may come later. It
 * may take as long as a connection to the server. */
void postgres_close(postgres *p);

/* Returns the future of a PGresult *, the owner's to clear: what one statement gives, also if that
 * is an error. It is sent at the first poll. NULL: it was cancelled before it was sent, it is a
 * COPY, or the pool was closed. text is len bytes, which are copied: the statement and a NUL, and
 * for each of its parameters $1, $2 ... a 'v', the value and a NUL; or an 'n' and a NUL, for NULL.
 * If rows is not NULL, *rows is the stream of its rows, each a PGresult * of its own, and the
 * future gives the result without them; await both. The stream ends when the future has been taken
 * or dropped. While it holds 128 rows, no more are read from the connection.
 *
 * If the future or the stream is dropped, or by rawwaker_oneshot_cancel, the server is asked to end
 * the statement until it has ended. Any thread. */
rawwaker_future postgres_query(postgres *p, const void *text, size_t len, rawwaker_stream *rows);

/* Returns a result's text if it is an error or NULL, else "". It is valid as long as the result. */
const char *postgres_error(const PGresult *result);

#endif
