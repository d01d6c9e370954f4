/* The trace's half in C: one line of JSON for each event that the auditor tells of. docs/TRACE.md has the format. */
#ifdef _WIN32
#define __USE_MINGW_ANSI_STDIO 1 /* %zu */
#endif
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#else
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include "rawwaker_audit.h"

static int trace_fd;
static int64_t trace_began;
static _Thread_local uint64_t trace_goroutine; /* that is in C on this thread; 0: not known */

int64_t ffiwaker_trace_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - trace_began;
}

static long trace_thread(void) {
#if defined(__linux__)
  return syscall(SYS_gettid);
#else
  return 0;
#endif
}

/* What happened to what C holds. No lock but the auditor's, and no allocation. */
static void trace_event(const rawwaker_audit_event *e) {
  char line[1024];
  size_t room = sizeof line - 4, n;
  n = (size_t)snprintf(line, room, "{\"ns\":%" PRId64 ",\"thread\":%ld,\"what\":\"%s\",\"c\":%" PRIu64 ",\"there\":%zu", ffiwaker_trace_now(),
                       trace_thread(), e->what, e->waker, e->there);
  if (trace_goroutine != 0) n += (size_t)snprintf(line + n, room - n, ",\"goroutine\":%" PRIu64, trace_goroutine);
  if (e->reference != 0) n += (size_t)snprintf(line + n, room - n, ",\"ref\":%" PRIu64, e->reference);
  if (e->other != 0) n += (size_t)snprintf(line + n, room - n, ",\"new\":%" PRIu64, e->other);
  if (e->inner.vtable != NULL) {
    n += (size_t)snprintf(line + n, room - n, ",\"data\":\"0x%" PRIxPTR "\",\"vtable\":\"0x%" PRIxPTR "\"", (uintptr_t)e->inner.data,
                          (uintptr_t)e->inner.vtable);
    if (e->inner.vtable == rawwaker_box_vtable()) {
      rawwaker_box_field words[8];
      size_t many = rawwaker_box_look((const rawwaker_box *)e->inner.data, words, 8);
      for (size_t i = 0; i < many && i < 8; i++) n += (size_t)snprintf(line + n, room - n, "%s\"0x%" PRIx64 "\"", i == 0 ? ",\"box\":[" : ",", words[i].value);
      n += (size_t)snprintf(line + n, room - n, "]");
    }
  }
  memcpy(line + n, "}\n", 2);
  static bool told;
  int wrote = (int)write(trace_fd, line, (unsigned)(n + 2));
  if (wrote == (int)(n + 2)) return;
  if (!told) fprintf(stderr, "ffiwaker: FFIWAKERDEBUG: the trace has gaps where C speaks: %s\n", wrote < 0 ? strerror(errno) : "the disk is full");
  told = true; /* under the auditor's lock */
  if (wrote > 0) wrote = (int)write(trace_fd, "\n", 1); /* the next line is none of this one */
}

void ffiwaker_trace_begin(intptr_t file) {
#ifdef _WIN32
  trace_fd = _open_osfhandle(file, _O_APPEND);
#else
  trace_fd = (int)file;
#endif
  trace_began = ffiwaker_trace_now();
  rawwaker_audit_watch(trace_event);
}

uint64_t ffiwaker_trace_enter(uint64_t goroutine) {
  uint64_t outer = trace_goroutine;
  trace_goroutine = goroutine;
  return outer;
}
