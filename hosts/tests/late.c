/* A library that the program loads late. Its constructor wakes the program's late_waker. */
#include <dlfcn.h>

#include "rawwaker.h"

__attribute__((constructor)) static void late(void) {
  const rawwaker *w = dlsym(RTLD_DEFAULT, "late_waker");
  void (*wake)(const rawwaker *);
  *(void **)&wake = dlsym(RTLD_DEFAULT, "rawwaker_wake_by_ref");
  if (w != NULL && wake != NULL) wake(w);
}
