/* module.h - the Go futures of module.c. Each is made by a call into Go; the result of each is a
 * module_answer, which the caller zeroes first. */
#ifndef MODULE_H
#define MODULE_H

#include "ffiwaker.h"

/* text and error were allocated by malloc: free both. Both are NULL if there is nothing to say. */
typedef struct module_answer {
  char *text;
  size_t length; /* of text, which is not NUL-terminated */
  char *error;
} module_answer;

extern void moduleGet(char *url, void *out);
extern void moduleGzip(char *data, size_t length, void *out);
extern void moduleYield(uint64_t times, void *out);
extern void modulePanic(char *text, void *out);
extern void moduleNoop(void *out);
extern void moduleNoopGo(uintptr_t f, uintptr_t arg);

/* Each returns a future.
 * takes - (copies its arguments) | gives a future | threads any | signals no | fails: error is
 * set */

/* An HTTP GET, whose answer is the body. Dropping it early cancels the request. */
static inline rawwaker_future module_get(const char *url) {
  rawwaker_future f;
  moduleGet((char *)(uintptr_t)url, &f);
  return f;
}
/* The data, compressed. Dropping it early ends the compression. */
static inline rawwaker_future module_gzip(const char *data, size_t length) {
  rawwaker_future f;
  moduleGzip((char *)(uintptr_t)data, length, &f);
  return f;
}
/* Wakes itself that many times before it is ready. */
static inline rawwaker_future module_yield(uint64_t times) {
  rawwaker_future f;
  moduleYield(times, &f);
  return f;
}
/* Panics with text, in Go. */
static inline rawwaker_future module_panic(const char *text) {
  rawwaker_future f;
  modulePanic((char *)(uintptr_t)text, &f);
  return f;
}
/* Is ready at once. */
static inline rawwaker_future module_noop(void) {
  rawwaker_future f;
  moduleNoop(&f);
  return f;
}

/* Calls f(arg) on a goroutine. No future: the bench compares the two ways.
 * takes arg | gives - | threads any | signals no | fails never */
static inline void module_noop_go(void (*f)(void *arg), void *arg) {
  moduleNoopGo((uintptr_t)f, (uintptr_t)arg);
}

#endif
