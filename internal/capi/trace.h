/* The trace's half in C, and what C must read of the environment, for this folder's Go only. */
#ifndef FFIWAKER_TRACE_H
#define FFIWAKER_TRACE_H

#include <stdint.h>

/* Writes the auditor's events to file from now on: a descriptor, or on Windows a handle. */
void ffiwaker_trace_begin(intptr_t file);

/* Returns the nanoseconds since ffiwaker_trace_begin, by the monotonic clock. */
int64_t ffiwaker_trace_now(void);

/* Sets which goroutine is in C on this thread. Returns the previous one. */
uint64_t ffiwaker_trace_enter(uint64_t goroutine);

/* Whether this process has more rights than the one that started it: set-user-ID, file
 * capabilities, a security module. */
int ffiwaker_secure(void);

/* Returns FFIWAKERDEBUG as it was in C's environment when this library was loaded. A host may have
 * set it with setenv before dlopen. Go's copy of the environment, made when the process started,
 * does not have it then. */
const char *ffiwaker_debug_text(void);

#endif
