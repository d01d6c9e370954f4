/* FFIWAKERDEBUG=audit=1 in a host: the senders that it makes before its first call into Go, when
 * Go's packages may not be initialised yet, are watched too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ffiwaker.h"

static int use_twice(void) {
  rawwaker_oneshot *tx;
  rawwaker_future f = rawwaker_oneshot_new(0, 0, NULL, NULL, &tx);
  /* Not watched: this use is the only one, as the second would be undefined. */
  if (((uintptr_t)tx & 1) == 0) return f.vtable->drop(f.data), rawwaker_oneshot_drop(tx), 0;
  rawwaker_oneshot_send(tx, NULL);
  rawwaker_oneshot_send(tx, NULL);
  return 1;
}

static void with(const char *debug, char *self) {
  char line[1024], last[1024] = "nothing\n";
  int ends[2], status;
  if (pipe(ends) != 0) exit(2);
  pid_t child = fork();
  if (child == 0) {
    setenv("FFIWAKERDEBUG", debug, 1);
    dup2(ends[1], 2);
    execl(self, self, "use", (char *)NULL);
    _exit(2);
  }
  close(ends[1]);
  FILE *f = fdopen(ends[0], "r");
  while (fgets(line, sizeof line, f) != NULL)
    if (strncmp(line, "rawwaker: ", 10) == 0) strcpy(last, line);
  fclose(f);
  waitpid(child, &status, 0);
  printf("%s: %s, %s", debug, WIFSIGNALED(status) ? "aborted" : "not watched", last);
}

int main(int argc, char **argv) {
  if (argc > 1) return use_twice() + ffiwaker_in_forked_child(); /* a program with Go in it */
  with("audit=1", argv[0]);
  with("tasks=1, audit=1 ,tasks=1", argv[0]);
  with("audit=1,audit=0", argv[0]);
  with("noaudit=1,audit=11", argv[0]);
  return 0;
}
