/* curl.h - responses of HTTP servers, by libcurl (7.87 or newer), as futures. One thread owns the
 * transfers of an engine.
 *
 *   gcc -std=gnu11 -I../.. my.c curl.c ../../rawwaker.c $(pkg-config --libs libcurl)
 */
#ifndef CURL_H
#define CURL_H

#include "rawwaker.h"

typedef struct http http;

/* What a GET gives. If the transfer has failed, error is static text, and body is what had arrived
 * before; otherwise error is NULL. body is the owner's to free, and may be NULL. */
typedef struct http_value {
  char *body;
  size_t len;
  long status;
  const char *error;
} http_value;

/* Starts an engine, on a thread of its own, that has at most so many connections open; 0 sets no
 * limit. Transfers beyond that wait in libcurl. NULL, with errno: no memory, descriptor or
 * thread. */
http *http_open(long connections);

/* Ends the engine and its thread. Transfers that are under way, and those whose futures are polled
 * first later, give an error. Once. */
void http_close(http *h);

/* Frees what is left after http_close. No http_get may come later. */
void http_free(http *h);

/* Returns the future of an http_value: the response to a GET of url, which is copied. The transfer
 * begins at the first poll. If the future is dropped, or is given to rawwaker_oneshot_cancel, the
 * transfer ends at once. Any thread. */
rawwaker_future http_get(http *h, const char *url);

#endif
