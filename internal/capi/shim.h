/* What the cgo preambles of this package share: the two words of a waker, future or stream, as
 * numbers.
 *
 * Numbers cross between Go and C, not pointers: a C host may use any integer as data, and Go aborts
 * a program that keeps such an integer in a pointer. This is the one place that converts them. */
#ifndef FFIWAKER_SHIM_H
#define FFIWAKER_SHIM_H

#include "rawwaker.h"

typedef struct ffiwaker_raw {
  uintptr_t data, vtable;
} ffiwaker_raw;

static inline rawwaker ffiwaker_waker(ffiwaker_raw w) {
  rawwaker r = {(void *)w.data, (const rawwaker_vtable *)w.vtable};
  return r;
}

static inline ffiwaker_raw ffiwaker_of_waker(rawwaker w) {
  ffiwaker_raw r = {(uintptr_t)w.data, (uintptr_t)w.vtable};
  return r;
}

static inline rawwaker_future ffiwaker_future(ffiwaker_raw f) {
  rawwaker_future r = {(void *)f.data, (const rawwaker_future_vtable *)f.vtable};
  return r;
}

static inline ffiwaker_raw ffiwaker_of_future(rawwaker_future f) {
  ffiwaker_raw r = {(uintptr_t)f.data, (uintptr_t)f.vtable};
  return r;
}

static inline rawwaker_stream ffiwaker_stream(ffiwaker_raw s) {
  rawwaker_stream r = {(void *)s.data, (const rawwaker_stream_vtable *)s.vtable};
  return r;
}

static inline ffiwaker_raw ffiwaker_of_stream(rawwaker_stream s) {
  ffiwaker_raw r = {(uintptr_t)s.data, (uintptr_t)s.vtable};
  return r;
}

#endif
