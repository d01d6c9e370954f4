/* 05_glib.c - Go's executor as a GSource of a GMainLoop. Debian: libglib2.0-dev.
 * Build it in this folder:
 *
 *   make && gcc -std=gnu11 -Wall -I.. -I. 05_glib.c build/libffiwaker.a \
 *     $(pkg-config --cflags --libs glib-2.0) -pthread -o glib
 *   ./glib
 */
#include <glib-unix.h>
#include <glib.h>
#include <stdio.h>

#include "ffiwaker.h"

typedef struct go_source {
  GSource source;
  ffiwaker_executor *ex;
  gpointer fd;
} go_source;

static gboolean go_check(GSource *source) {
  go_source *s = (go_source *)source;
  return (g_source_query_unix_fd(source, s->fd) & G_IO_IN) != 0;
}
static gboolean go_dispatch(GSource *source, GSourceFunc callback, gpointer data) {
  go_source *s = (go_source *)source;
  while (ffiwaker_executor_tick(s->ex)) {
  }
  if (callback != NULL) callback(data);
  return G_SOURCE_CONTINUE;
}
static void go_finalize(GSource *source) { ffiwaker_executor_drop(((go_source *)source)->ex); }
static GSourceFuncs go_funcs = {
    .check = go_check, .dispatch = go_dispatch, .finalize = go_finalize};

static go_source *go_source_new(void) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  if (ex == NULL) return NULL;
  go_source *s = (go_source *)g_source_new(&go_funcs, sizeof *s);
  s->ex = ex;
  s->fd = g_source_add_unix_fd(&s->source, ffiwaker_executor_fd(ex), G_IO_IN);
  return s;
}

static GMainLoop *loop;

/* The results. They are printed at the end, because their order may vary under load. */
static rawwaker_poll slept[2] = {RAWWAKER_PENDING, RAWWAKER_PENDING};
static int rang;

static gboolean go_is_idle(go_source *s) { return ffiwaker_executor_tasks(s->ex) == 0; }
static void done(void *arg, rawwaker_poll code) { *(rawwaker_poll *)arg = code; }
static gboolean glib_timer(gpointer data) {
  rang++;
  if (go_is_idle(data)) g_main_loop_quit(loop);
  return G_SOURCE_REMOVE;
}
static gboolean quit_when_empty(gpointer data) {
  if (go_is_idle(data) && rang > 0) g_main_loop_quit(loop);
  return G_SOURCE_CONTINUE;
}

int main(void) {
  loop = g_main_loop_new(NULL, FALSE);
  go_source *s = go_source_new();
  if (s == NULL) return 1;
  ffiwaker_executor_spawn(s->ex, ffiwaker_sleep(60000000), NULL, done, &slept[1]);
  ffiwaker_executor_spawn(s->ex, ffiwaker_sleep(1000000), NULL, done, &slept[0]);
  g_source_set_callback(&s->source, quit_when_empty, s, NULL);
  g_source_attach(&s->source, NULL);
  g_timeout_add(30, glib_timer, s);
  g_main_loop_run(loop);
  g_source_destroy(&s->source);
  g_source_unref(&s->source);
  g_main_loop_unref(loop);
  printf("Go's timers: 1 ms, code %d; 60 ms, code %d\n", slept[0], slept[1]);
  printf("GLib's timer: %d time\n", rang);
  puts("the loop has ended");
  return 0;
}
