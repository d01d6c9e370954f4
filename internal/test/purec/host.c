/* host.c - the smallest host: one future, run by rawwaker_block_on. Build it in the root folder:
 *
 *   cc -std=c11 -Wall -Wextra -Wpedantic -Werror -I. internal/test/purec/host.c rawwaker.c \
 *     -pthread -o host && ./host
 */
#include <stdio.h>

#include "rawwaker.h"

static rawwaker_poll simple_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)cx;
  *(int *)out = 42;
  return RAWWAKER_READY;
}
static void simple_drop(void *data) { (void)data; }
static const rawwaker_future_vtable simple = {simple_poll, simple_drop};

int main(void) {
  int result = 0;
  if (rawwaker_block_on((rawwaker_future){NULL, &simple}, &result) != RAWWAKER_READY) return 1;
  printf("Result: %d\n", result);
  return 0;
}
