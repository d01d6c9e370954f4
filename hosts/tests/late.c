/* A library that is loaded late, and wakes in its constructor the waker that the program has put where it looks. */
#include <dlfcn.h>

#include "rawwaker.h"

__attribute__((constructor)) static void late(void) {
  const rawwaker *w = dlsym(RTLD_DEFAULT, "late_waker");
  void (*wake)(const rawwaker *);
  *(void **)&wake = dlsym(RTLD_DEFAULT, "rawwaker_wake_by_ref");
  if (w != NULL && wake != NULL) wake(w);
}
