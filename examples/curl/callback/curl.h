/* curl.h - responses of HTTP servers, by libcurl (7.87 or newer), given to a callback. */
#ifndef CURL_H
#define CURL_H

#include <stddef.h>
#include <stdint.h>

typedef struct fetcher fetcher;

/* Starts an engine, on a thread of its own, that has at most so many connections open; 0 sets no
 * limit. NULL, with errno: no memory or thread. */
fetcher *fetcher_open(long connections);

/* Ends the engine and its thread. Transfers that are under way give an error. */
void fetcher_close(fetcher *f);

/* Begins a GET of url, which is copied. fetched is called once, with handle. Any thread. */
void fetcher_get(fetcher *f, const char *url, uintptr_t handle);

/* Go's: called on the engine's thread. body and error are valid during the call. */
void fetched(uintptr_t handle, long status, char *body, size_t len, char *error);

#endif
