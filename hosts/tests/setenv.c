/* A host that sets FFIWAKERDEBUG by setenv before it loads the library. argv: the library, a folder
 * for the trace. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ffiwaker.h"

#define F(name) ((__typeof__(&name))dlsym(library, #name))

static int lines(const char *path, const char *with) {
  char line[65536];
  int n = 0;
  FILE *f = fopen(path, "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL) n += strstr(line, with) != NULL;
  if (f != NULL) fclose(f);
  return n;
}

int main(int argc, char **argv) {
  char trace[4096], later[4096], debug[8192];
  if (argc != 3) return 2;
  snprintf(trace, sizeof trace, "%s/set.trace", argv[2]);
  snprintf(later, sizeof later, "%s/later.trace", argv[2]);
  remove(trace), remove(later);
  snprintf(debug, sizeof debug, "trace=%s,tasks=1", trace);
  setenv("FFIWAKERDEBUG", debug, 1);
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return printf("%s\n", dlerror()), 1;
  snprintf(debug, sizeof debug, "trace=%s", later); /* too late */
  setenv("FFIWAKERDEBUG", debug, 1);
  ffiwaker_executor *ex = F(ffiwaker_executor_new)();
  for (int i = 0; i < 2; i++)
    F(ffiwaker_executor_spawn)(ex, F(ffiwaker_sleep)(0), NULL, NULL, NULL);
  while (F(ffiwaker_executor_tasks)(ex) > 0) F(ffiwaker_executor_tick)(ex);
  F(ffiwaker_executor_drop)(ex);
  printf("set before dlopen: headers %d, tasks %d, polls of futures: %s\n",
         lines(trace, "\"what\":\"trace\""), lines(trace, "\"kind\":\"task\""),
         lines(trace, "\"what\":\"is READY\"") > 0 ? "some" : "none");
  printf("set after dlopen: %s\n", access(later, F_OK) == 0 ? "a trace" : "nothing");
  return 0;
}
