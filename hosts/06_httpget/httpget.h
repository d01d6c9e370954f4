/* httpget.h - an HTTP request, made by Go's net/http, as a future in C. */
#ifndef HTTPGET_H
#define HTTPGET_H

#include "ffiwaker.h"

/* body and error were allocated by malloc: free both. */
typedef struct httpget_response {
  int32_t status;  /* 0 if error is set */
  uint32_t length; /* of body, which is not NUL-terminated */
  char *body;
  char *error;     /* NULL if there was an answer */
} httpget_response;

extern void httpgetStart(char *url, void *out);

/* Returns a future whose result is a httpget_response. Dropping it early cancels the request.
 * takes - (copies url) | gives a future | threads any | signals no | fails: error is set */
static inline rawwaker_future httpget(const char *url) {
  rawwaker_future f;
  httpgetStart((char *)(uintptr_t)url, &f);
  return f;
}

#endif
