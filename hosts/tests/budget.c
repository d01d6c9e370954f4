/* Bounded ticks: the count that each returns, and the descriptor and the hook afterwards; also with
 * the greatest arguments. */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>

#include "ffiwaker.h"

enum { TASKS = 5 };
static ffiwaker_executor *ex;
static rawwaker kept[TASKS];
static int hooks;

static rawwaker_poll keep(void *data, rawwaker_context *cx, void *out) {
  (void)out;
  rawwaker_clone_from(data, cx->waker);
  return RAWWAKER_PENDING;
}
static void drop(void *data) { rawwaker_drop(*(rawwaker *)data); }
static const rawwaker_future_vtable never = {keep, drop};

static void hook(void *arg) {
  (void)arg;
  hooks++;
}
static void wake_all(void) {
  for (int i = 0; i < TASKS; i++) rawwaker_wake_by_ref(&kept[i]);
}
/* Reports after a call whether the descriptor is readable, and whether the next wake calls the
 * hook. */
static void report(const char *call, size_t polled) {
  struct pollfd p = {.fd = ffiwaker_executor_fd(ex), .events = POLLIN};
  printf("%s: %zu, readable %d", call, polled, poll(&p, 1, 0));
  int before = hooks;
  rawwaker_wake_by_ref(&kept[0]);
  printf(", the next wake: hook %s, readable %d\n", hooks > before ? "called" : "not called",
         poll(&p, 1, 0));
}

int main(void) {
  ex = ffiwaker_executor_new();
  ffiwaker_executor_on_wake(ex, hook, NULL, NULL);
  for (int i = 0; i < TASKS; i++)
    ffiwaker_executor_spawn(ex, (rawwaker_future){&kept[i], &never}, NULL, NULL, NULL);
#define REPORT(call) report(#call, ffiwaker_executor_##call)
  REPORT(tick_n(ex, SIZE_MAX));
  REPORT(tick_for(ex, UINT64_MAX));
  while (ffiwaker_executor_tick(ex)) {}
  wake_all();
  REPORT(tick_n(ex, 0));
  REPORT(tick_for(ex, 0));
  REPORT(tick_n(ex, 3));
  wake_all();
  REPORT(tick_for(ex, 1));
  while (ffiwaker_executor_tick(ex)) {}
  REPORT(tick_n(ex, 0));
  while (ffiwaker_executor_tick(ex)) {}
  REPORT(tick_for(ex, 0));
  ffiwaker_executor_drop(ex);
  printf("boxes left: %zu\n", rawwaker_live());
  return 0;
}
