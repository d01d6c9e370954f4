/* httpget.h - an HTTP request of Go's net/http as a future in C. */
#ifndef HTTPGET_H
#define HTTPGET_H

#include "ffiwaker.h"

/* body and error come from malloc: free both. */
typedef struct httpget_response {
  int32_t status;    /* 0 where error is set */
  uint32_t length;   /* of body, which has no NUL at its end */
  char *body;
  char *error;       /* NULL: there was an answer */
} httpget_response;

extern void httpgetStart(char *url, void *out);

/* A future of a httpget_response. Dropping it early cancels the request.
 * takes - (copies url) | gives a future | threads any | signals no | fails: says so in the response */
static inline rawwaker_future httpget(const char *url) {
  rawwaker_future f;
  httpgetStart((char *)(uintptr_t)url, &f);
  return f;
}

#endif
