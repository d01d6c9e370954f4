/* rawwaker_will_wake across two copies of rawwaker.c: this program's own, and that of libffiwaker,
 * which is loaded by dlopen. */
#include <dlfcn.h>
#include <stdio.h>

#include "rawwaker.h"

int main(int argc, char **argv) {
  void *lib = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (lib == NULL) {
    fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: two_copies LIBRARY");
    return 1;
  }
  rawwaker (*theirs)(void);
  bool (*is_box)(const rawwaker *);
  *(void **)&theirs = dlsym(lib, "rawwaker_noop");
  *(void **)&is_box = dlsym(lib, "rawwaker_is_box");
  rawwaker a = rawwaker_noop(), b = rawwaker_noop(), c = theirs(), d = theirs();
  rawwaker counted = rawwaker_from_fn((void (*)(void *))rawwaker_cell_wake, NULL, NULL);
  printf("ours and ours: %d\n", rawwaker_will_wake(&a, &b));
  printf("theirs and theirs: %d\n", rawwaker_will_wake(&c, &d));
  printf("ours and theirs: %d\n", rawwaker_will_wake(&a, &c));
  printf("our box, asked of us: %d, of them: %d\n", rawwaker_is_box(&counted), is_box(&counted));
  rawwaker_drop(counted);
  printf("dlclose: %d, and the library is still there: %d\n", dlclose(lib),
         rawwaker_will_wake(&c, &d));
  rawwaker_wake_by_ref(&c);
  return 0;
}
