/* 04_libuv.c - Go's executor in a libuv loop, beside one of libuv's timers. Debian: libuv1-dev.
 * Build it in this folder:
 *
 *   make && gcc -std=gnu11 -Wall -I.. -I. 04_libuv.c build/libffiwaker.a -luv -pthread -o uv
 *   ./uv
 */
#include <stdio.h>
#include <uv.h>

#include "ffiwaker.h"

static ffiwaker_executor *ex;
static uv_poll_t readable;
static uv_timer_t timer;

/* The results. They are printed at the end, because their order may vary under load. */
static rawwaker_poll slept[2] = {RAWWAKER_PENDING, RAWWAKER_PENDING};
static int rang;

static void drain(void) {
  while (ffiwaker_executor_tick(ex)) {
  }
  /* uv_run returns when no handle is open. */
  if (ffiwaker_executor_tasks(ex) == 0) uv_close((uv_handle_t *)&readable, NULL);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
  (void)handle;
  (void)events;
  if (status == 0) drain();
}

static void on_timer(uv_timer_t *handle) {
  rang++;
  uv_close((uv_handle_t *)handle, NULL);
}

static void done(void *arg, rawwaker_poll code) { *(rawwaker_poll *)arg = code; }

int main(void) {
  uv_loop_t *loop = uv_default_loop();
  ex = ffiwaker_executor_new();
  if (ex == NULL) return 1;
  ffiwaker_executor_spawn(ex, ffiwaker_sleep(60000000), NULL, done, &slept[1]);
  ffiwaker_executor_spawn(ex, ffiwaker_sleep(1000000), NULL, done, &slept[0]);
  uv_poll_init(loop, &readable, ffiwaker_executor_fd(ex));
  uv_poll_start(&readable, UV_READABLE, on_readable);
  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, on_timer, 30, 0);
  drain();
  uv_run(loop, UV_RUN_DEFAULT);
  ffiwaker_executor_drop(ex);
  uv_loop_close(loop);
  printf("Go's timers: 1 ms, code %d; 60 ms, code %d\n", slept[0], slept[1]);
  printf("libuv's timer: %d time\n", rang);
  puts("the loop is empty");
  return 0;
}
