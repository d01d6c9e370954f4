/* FFIWAKERDEBUG=tasks=1 in a host: the report of a task that nothing can wake names the place in C
 * that spawned it, and each place has its own name. With -rdynamic the names are those of
 * functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ffiwaker.h"

static rawwaker_poll sleep_on(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx, (void)out;
  return RAWWAKER_PENDING; /* it keeps no waker */
}
static void nothing(void *data) { (void)data; }
static const rawwaker_future_vtable stuck = {sleep_on, nothing};
static const rawwaker_future future = {NULL, &stuck};

void first_place(ffiwaker_executor *ex);
void second_place(ffiwaker_executor *ex);
void third_place(ffiwaker_executor *ex);
void first_place(ffiwaker_executor *ex) {
  for (int i = 0; i < 2; i++) ffiwaker_executor_spawn(ex, future, NULL, NULL, NULL);
}
void second_place(ffiwaker_executor *ex) {
  ffiwaker_task_drop(ffiwaker_executor_spawn_task(ex, future, NULL, NULL, NULL));
}
void third_place(ffiwaker_executor *ex) { /* two places in one function */
  ffiwaker_executor_spawn(ex, future, NULL, NULL, NULL);
  ffiwaker_executor_spawn(ex, future, NULL, NULL, NULL);
}
static void host(void) {
  ffiwaker_executor *ex = ffiwaker_executor_new();
  first_place(ex), second_place(ex), third_place(ex);
  while (ffiwaker_executor_tick(ex)) {}
  ffiwaker_executor_drop(ex);
}

/* Runs a host with this value of FFIWAKERDEBUG, and prints the places that its reports name. */
static void reports(char *program, const char *debug) {
  int ends[2], status, other = 0, places = 0;
  char line[1024], seen[16][256];
  fflush(stdout);
  if (pipe(ends) != 0) exit(1);
  pid_t child = fork();
  if (child == 0) { /* exec, because Go reads the variable at its start */
    dup2(ends[1], 2);
    close(ends[0]), close(ends[1]);
    setenv("FFIWAKERDEBUG", debug, 1);
    execl(program, program, "host", (char *)NULL);
    _exit(9);
  }
  close(ends[1]);
  FILE *f = fdopen(ends[0], "r");
  printf("%s:\n", *debug != '\0' ? debug : "off");
  while (fgets(line, sizeof line, f) != NULL) {
    char *at = strstr(line, ", spawned at "), *comma = at != NULL ? strchr(at + 13, ',') : NULL;
    if (comma == NULL || strstr(comma, "nothing can wake it") == NULL) {
      other++;
      printf("  %s", line);
      continue;
    }
    *comma = '\0', at += 13;
    bool is_new = true;
    for (int i = 0; i < places; i++) is_new = is_new && strcmp(seen[i], at) != 0;
    if (is_new && places < 16) snprintf(seen[places++], sizeof *seen, "%s", at);
    char *plus = strchr(at, '+');
    if (plus != NULL) *plus = '\0';
    printf("  %s+...)%s\n", at, is_new ? "" : ", the same place");
  }
  fclose(f);
  waitpid(child, &status, 0);
  printf("  places: %d, other lines: %d, status %d\n", places, other, status);
}

int main(int argc, char **argv) {
  if (argc == 2) return host(), 0;
  reports(argv[0], "tasks=1");
  reports(argv[0], "");
  return 0;
}
