/* Several libraries that contain Go, loaded by dlopen into one process. They share a small block of
 * static TLS, of which each must take little. Each library polls a future of each other one.
 * argv: the libraries. */
#include <dlfcn.h>
#include <stdio.h>

#include "ffiwaker.h"

#define F(library, name) ((__typeof__(&name))dlsym(library, #name))

int main(int argc, char **argv) {
  void *l[8];
  int n = 0, ready = 0;
  for (; n < argc - 1 && n < 8; n++)
    if ((l[n] = dlopen(argv[n + 1], RTLD_NOW | RTLD_LOCAL)) == NULL)
      return printf("%s\n", dlerror()), 1;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      ready += F(l[i], rawwaker_block_on)(F(l[j], ffiwaker_sleep)(1000), NULL) == RAWWAKER_READY;
  for (int i = 0; i < n; i++) {
    char text[2] = {(char)('a' + i), 0};
    F(l[i], rawwaker_set_panic)(text, 1);
  }
  printf("%d libraries, %d sleeps of one in another, texts of their own: ", n, ready);
  for (int i = 0; i < n; i++) printf("%s", F(l[i], rawwaker_last_panic)());
  printf("\n");
  return 0;
}
