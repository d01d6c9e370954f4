/* 01_hello.c - one future, two files, no Go.
 * Build it in this folder:
 *
 *   gcc -std=c11 -Wall -I.. 01_hello.c ../rawwaker.c -pthread -o hello && ./hello
 */
#include <stdio.h>

#include "rawwaker.h"

/* Its first poll wakes its own task and returns PENDING, so block_on polls it once more. */
typedef struct hello {
  int polls;
} hello;

static rawwaker_poll hello_poll(void *data, rawwaker_context *cx, void *out) {
  hello *h = data;
  printf("Poll #%d\n", ++h->polls);
  if (h->polls == 1) {
    rawwaker_wake_by_ref(cx->waker);
    return RAWWAKER_PENDING;
  }
  *(int *)out = 42;
  return RAWWAKER_READY;
}

static void hello_drop(void *data) {
  (void)data;
  puts("Dropped");
}

int main(void) {
  static const rawwaker_future_vtable vtable = {hello_poll, hello_drop};
  hello h = {0};
  int result = 0;
  if (rawwaker_block_on((rawwaker_future){&h, &vtable}, &result) != RAWWAKER_READY) return 1;
  printf("Result: %d\n", result);
  return 0;
}
