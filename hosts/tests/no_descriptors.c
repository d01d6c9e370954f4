/* If no descriptor is left, ffiwaker_executor_new fails and does not hang; it works again when
 * there are some. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ffiwaker.h"

static int open_descriptors(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  while (d != NULL && readdir(d) != NULL) n++;
  if (d != NULL) closedir(d);
  return n;
}

int main(void) {
  /* Go has started, and has opened its own descriptors */
  rawwaker_block_on(ffiwaker_sleep(10000000), NULL);
  int before = open_descriptors();
  int next = dup(0);
  close(next);
  struct rlimit was, few;
  getrlimit(RLIMIT_NOFILE, &was);
  few = was;
  few.rlim_cur = (rlim_t)next;
  setrlimit(RLIMIT_NOFILE, &few);
  errno = 0;
  ffiwaker_executor *none = ffiwaker_executor_new();
  printf("%s, errno is EMFILE: %d\n", none == NULL ? "NULL" : "an executor", errno == EMFILE);
  setrlimit(RLIMIT_NOFILE, &was);
  ffiwaker_executor *again = ffiwaker_executor_new();
  printf("again: %s\n", again == NULL ? "NULL" : "an executor");
  ffiwaker_executor_drop(again);
  printf("descriptors given back: %d\n", open_descriptors() == before);
  return 0;
}
