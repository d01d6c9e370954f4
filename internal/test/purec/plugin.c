/* plugin.c - a plug-in that contains rawwaker.c and, with -DHOST, the program that loads it.
 *
 *     plugin ./one.so ./two.so ./three.so
 *
 * The program loads several copies together. It then loads and unloads one copy more often than a
 * process has thread-specific keys, while threads that have a panic text in it end later.
 */
#define _GNU_SOURCE
#include "rawwaker.h"

#ifndef HOST

static rawwaker_poll fail(void *data, rawwaker_context *cx, void *out) {
  (void)data;
  (void)cx;
  (void)out;
  rawwaker_set_panic("why", 3);
  return RAWWAKER_PANICKED;
}
static void nothing(void *data) { (void)data; }
const char *panics(void);
const char *panics(void) {
  static const rawwaker_future_vtable vtable = {fail, nothing};
  rawwaker_block_on((rawwaker_future){NULL, &vtable}, NULL);
  return rawwaker_last_panic();
}

#else

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 3 };
static const char *(*panics)(void);
static pthread_barrier_t barrier;
static int bad;

static void check(int so, const char *what) {
  if (so) return;
  printf("FAIL plugin: %s\n", what);
  bad = 1;
}
static void *load(const char *path) {
  void *l = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (l == NULL) {
    printf("%s\n", dlerror());
    exit(1);
  }
  void *f = dlsym(l, "panics");
  memcpy(&panics, &f, sizeof f);
  return l;
}
static void *has_a_text(void *arg) {
  check(strcmp(panics(), "why") == 0, "a thread's panic text is wrong");
  pthread_barrier_wait(&barrier); /* the text is set */
  pthread_barrier_wait(&barrier); /* the plug-in is unloaded */
  return arg;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    load(argv[i]);
    check(strcmp(panics(), "why") == 0, "one copy's panic text is another's");
  }
  if (argc < 3) return 2;
  void *again = load(argv[1]);
  dlclose(again);
  dlclose(again); /* now it is unloaded */
  check(dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == NULL, "the plug-in was not unloaded");
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  for (int round = 0; round < PTHREAD_KEYS_MAX + 50; round++) {
    pthread_t t[THREADS];
    int threads = round % 50 == 0 ? THREADS : 0;
    void *l = load(argv[1]);
    for (int i = 0; i < threads; i++) pthread_create(&t[i], NULL, has_a_text, NULL);
    if (threads > 0) pthread_barrier_wait(&barrier);
    check(strcmp(panics(), "why") == 0, "a panic text is wrong after many loads");
    dlclose(l);
    if (threads > 0) pthread_barrier_wait(&barrier);
    for (int i = 0; i < threads; i++) pthread_join(t[i], NULL);
    if (bad) return 1;
  }
  printf("%d copies side by side, %d loads and unloads\n", argc - 1, PTHREAD_KEYS_MAX + 50);
  return bad;
}

#endif
