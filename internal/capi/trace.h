/* The trace's half in C, and what of the environment C must read, for this folder's Go alone. */
#ifndef FFIWAKER_TRACE_H
#define FFIWAKER_TRACE_H

#include <stdint.h>

/* Has the auditor's events written to a file from now on: a descriptor; on Windows a handle. */
void ffiwaker_trace_begin(intptr_t file);

/* Nanoseconds since then, by the monotonic clock. */
int64_t ffiwaker_trace_now(void);

/* Says which goroutine is in C on this thread; gives what was said before. */
uint64_t ffiwaker_trace_enter(uint64_t goroutine);

/* Whether this program may do more than the one that has started it: set-user-ID, file capabilities, a security module. */
int ffiwaker_secure(void);

/* FFIWAKERDEBUG as C's environment had it when this was loaded: what the host has set by setenv before dlopen counts, which Go's copy,
 * made from what the process was started with, does not have. */
const char *ffiwaker_debug_text(void);

#endif
