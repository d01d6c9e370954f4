/* The trace's half in C: one line of JSON for each event that the auditor reports. docs/TRACE.md
 * defines the format. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "trace.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#else
#include <pthread.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#endif

#include "rawwaker_audit.h"

/* The goroutine that is in C on this thread; 0: unknown. A signal handler reads it and must not be
 * the first to allocate it: see rawwaker_audit.c. */
#if defined(__GLIBC__) && defined(__GNUC__)
static _Thread_local __attribute__((tls_model("initial-exec"))) uint64_t trace_goroutine;
#else
static _Thread_local uint64_t trace_goroutine;
#endif

static int trace_fd;
static int64_t trace_began;
#ifndef _WIN32
static pid_t trace_process; /* a forked child writes nothing: it would reuse the parent's numbers */
#endif

int64_t ffiwaker_trace_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - trace_began;
}

static uint64_t trace_thread(void) {
#if defined(__linux__)
  return (uint64_t)syscall(SYS_gettid);
#else
  return 0;
#endif
}

/* One write, which waits for no other thread and is not a cancellation point. */
static ptrdiff_t trace_put(int fd, const char *text, size_t n) {
#if defined(_WIN32)
  return _write(fd, text, (unsigned)n);
#else
  ptrdiff_t wrote;
#if defined(__linux__)
  do wrote = (ptrdiff_t)syscall(SYS_write, fd, text, n);
  while (wrote < 0 && errno == EINTR);
#else
  int old;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
  do wrote = write(fd, text, n);
  while (wrote < 0 && errno == EINTR);
  pthread_setcancelstate(old, &old);
#endif
  return wrote;
#endif
}

/* A line, built without stdio, which a signal handler must not use. */
typedef struct line {
  char at[1536];
  size_t used;
} line;

static void add(line *l, const char *text) {
  size_t n = strlen(text), room = sizeof l->at - 2 - l->used; /* 2 for the line's end */
  memcpy(l->at + l->used, text, n < room ? n : room);
  l->used += n < room ? n : room;
}
static void add_number(line *l, const char *before, uint64_t n, unsigned base) {
  char digits[24];
  size_t i = sizeof digits - 1;
  digits[i] = '\0';
  do digits[--i] = "0123456789abcdef"[n % base];
  while ((n /= base) != 0);
  add(l, before);
  add(l, digits + i);
}

enum { FIELDS = 32 };

static void trace_failed(int error) {
  static atomic_bool reported;
  if (atomic_exchange(&reported, true)) return;
  line l = {.used = 0};
  add(&l, "ffiwaker: FFIWAKERDEBUG: the trace has gaps in C's events: ");
  switch (error) { /* strerror is not async-signal-safe */
  case 0: add(&l, "the disk is full"); break;
  case ENOSPC: add(&l, "No space left on device"); break;
  case EIO: add(&l, "Input/output error"); break;
  case EFBIG: add(&l, "File too large"); break;
  case EPIPE: add(&l, "Broken pipe"); break;
  case EBADF: add(&l, "Bad file descriptor"); break;
#ifdef EDQUOT
  case EDQUOT: add(&l, "Disk quota exceeded"); break;
#endif
  default: add_number(&l, "error ", (uint64_t)error, 10);
  }
  add(&l, "\n");
  (void)trace_put(2, l.at, l.used);
}

/* Writes one event of a waker or future that C holds, on the event's thread, perhaps in a signal
 * handler: no lock, no allocation, errno kept. */
static void trace_event(const rawwaker_audit_event *e) {
#ifndef _WIN32
  if (getpid() != trace_process) return;
#endif
  int saved = errno;
  line l = {.used = 0};
  add_number(&l, "{\"ns\":", (uint64_t)ffiwaker_trace_now(), 10);
  add_number(&l, ",\"thread\":", trace_thread(), 10);
  add(&l, ",\"what\":\"");
  add(&l, e->what);
  add_number(&l, "\",\"c\":", e->waker, 10);
  add_number(&l, ",\"there\":", e->there, 10);
  if (trace_goroutine != 0) add_number(&l, ",\"goroutine\":", trace_goroutine, 10);
  if (e->reference != 0) add_number(&l, ",\"ref\":", e->reference, 10);
  if (e->other != 0) add_number(&l, ",\"new\":", e->other, 10);
  if (e->inner.vtable != NULL) {
    add_number(&l, ",\"data\":\"0x", (uintptr_t)e->inner.data, 16);
    add_number(&l, "\",\"vtable\":\"0x", (uintptr_t)e->inner.vtable, 16);
    add(&l, "\"");
    if (e->inner.vtable == rawwaker_box_vtable()) {
      rawwaker_box_field words[FIELDS];
      size_t many = rawwaker_box_look((const rawwaker_box *)e->inner.data, words, FIELDS);
      for (size_t i = 0; i < many && i < FIELDS; i++) {
        add_number(&l, i == 0 ? ",\"box\":[\"0x" : ",\"0x", words[i].value, 16);
        add(&l, "\"");
      }
      add(&l, "]");
    }
  }
  memcpy(l.at + l.used, "}\n", 2);
  l.used += 2;
  ptrdiff_t wrote = trace_put(trace_fd, l.at, l.used);
  if (wrote != (ptrdiff_t)l.used) {
    trace_failed(wrote < 0 ? errno : 0);
    if (wrote > 0) (void)trace_put(trace_fd, "\n", 1); /* so that the next event begins a line */
  }
  errno = saved;
}

void ffiwaker_trace_begin(intptr_t file) {
#ifdef _WIN32
  trace_fd = _open_osfhandle(file, _O_APPEND);
#else
  trace_fd = (int)file;
  trace_process = getpid();
#endif
  trace_began = ffiwaker_trace_now();
  rawwaker_audit_watch(trace_event);
}

uint64_t ffiwaker_trace_enter(uint64_t goroutine) {
  uint64_t outer = trace_goroutine;
  trace_goroutine = goroutine;
  return outer;
}

/* ------------------------------------------------------------------------- environment -- */

int ffiwaker_secure(void) {
#if defined(__linux__)
  return getauxval(AT_SECURE) != 0;
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || \
    defined(__OpenBSD__) || defined(__DragonFly__)
  return issetugid() != 0;
#elif defined(_WIN32)
  return 0;
#else
  return getuid() != geteuid() || getgid() != getegid();
#endif
}

static char *debug_text;
static bool debug_read;

/* Whether the last "audit=" of the list has the value 1, as debugParse in internal/trace finds. */
static bool asks_for_audit(const char *list) {
  static const char key[] = "audit=", spaces[] = " \t\r\n\v\f";
  bool asks = false;
  while (*list != '\0') {
    list += strspn(list, spaces);
    size_t word = strcspn(list, ","), size = word;
    while (size > 0 && strchr(spaces, list[size - 1]) != NULL) size--;
    if (size >= sizeof key - 1 && strncmp(list, key, sizeof key - 1) == 0)
      asks = size == sizeof key && list[size - 1] == '1';
    list += word + (list[word] == ',');
  }
  return asks;
}

/* Runs before main or inside dlopen, on the thread that loads the library, because a host may
 * change its environment later, while Go starts. */
#if defined(__APPLE__)
__attribute__((constructor))
#elif defined(__GNUC__)
__attribute__((constructor(101))) /* before Go's */
#endif
static void read_debug(void) {
  if (debug_read) return;
  debug_read = true;
  const char *is = getenv("FFIWAKERDEBUG");
  if (is == NULL) return;
  debug_text = malloc(strlen(is) + 1);
  if (debug_text != NULL) strcpy(debug_text, is);
  /* Here, because a host may make senders before Go's packages are initialised. */
  if (!ffiwaker_secure() && asks_for_audit(is)) rawwaker_audit_senders();
}

const char *ffiwaker_debug_text(void) {
  read_debug(); /* if constructors do not run here */
  return debug_text != NULL ? debug_text : "";
}
