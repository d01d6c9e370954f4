//go:build ignore

/* httpget.c - an epoll loop in C that awaits 100 HTTP requests at once, made by Go's net/http.
 * Build it in the folder above:
 *
 *   make httpget && build/httpget http://127.0.0.1:8080/
 */
#include "httpget.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { REQUESTS = 100 };

static httpget_response responses[REQUESTS];
static int answered, failed;

static void done(void *arg, rawwaker_poll code) {
  httpget_response *r = arg;
  if (code == RAWWAKER_READY && r->error == NULL && r->status == 200) {
    answered++;
  } else {
    failed++;
    fprintf(stderr, "%s\n",
            code == RAWWAKER_READY && r->error != NULL ? r->error : rawwaker_last_panic());
  }
}

/* The number of threads of this process, as the kernel reports it. */
static int threads(void) {
  char line[256];
  int n = 0;
  FILE *status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL)
    if (sscanf(line, "Threads: %d", &n) == 1) break;
  if (status != NULL) fclose(status);
  return n;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s URL\n", argv[0]);
    return 2;
  }
  ffiwaker_executor *ex = ffiwaker_executor_new();
  if (ex == NULL) {
    perror("ffiwaker_executor_new");
    return 1;
  }
  for (int i = 0; i < REQUESTS; i++)
    ffiwaker_executor_spawn(ex, httpget(argv[1]), &responses[i], done, &responses[i]);

  int most = 0, loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  if (epoll_ctl(loop, EPOLL_CTL_ADD, ffiwaker_executor_fd(ex), &event) != 0) return 1;
  while (ffiwaker_executor_tasks(ex) > 0) {
    if (epoll_wait(loop, &event, 1, -1) < 1) continue;
    while (ffiwaker_executor_tick(ex)) {
    }
    int now = threads();
    if (now > most) most = now;
  }
  ffiwaker_executor_drop(ex);

  long bytes = 0;
  for (int i = 0; i < REQUESTS; i++) {
    bytes += responses[i].length;
    free(responses[i].body);
    free(responses[i].error);
  }
  printf("%d answered, %d failed, %ld bytes\n", answered, failed, bytes);
  fprintf(stderr, "at most %d threads\n", most);
  return failed != 0;
}
