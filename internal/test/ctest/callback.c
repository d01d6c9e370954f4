#include "callback.h"

#include <stdlib.h>
#include <string.h>

#include "rawwaker.h"

extern uint8_t ctestCallback(uintptr_t handle, uintptr_t data, uintptr_t vtable);
extern void ctestCallbackDrop(uintptr_t handle);

struct ctest_callback {
  uintptr_t handle, size;
};

static rawwaker_poll callback_poll(void *data, rawwaker_context *cx, void *out) {
  ctest_callback *c = data;
  rawwaker_poll got =
      ctestCallback(c->handle, (uintptr_t)cx->waker->data, (uintptr_t)cx->waker->vtable);
  if (got == RAWWAKER_READY && c->size != 0) memset(out, 0x41, c->size);
  return got;
}
static void callback_drop(void *data) {
  ctest_callback *c = data;
  ctestCallbackDrop(c->handle);
  free(c);
}
static const rawwaker_future_vtable callback_vtable = {callback_poll, callback_drop};

ctest_callback *ctest_callback_new(uintptr_t handle, uintptr_t size) {
  ctest_callback *c = malloc(sizeof *c);
  if (c == NULL) abort();
  *c = (ctest_callback){handle, size};
  return c;
}
uintptr_t ctest_callback_vtable(void) { return (uintptr_t)&callback_vtable; }
