/* The trace's half in C, for this folder's Go alone. */
#ifndef FFIWAKER_TRACE_H
#define FFIWAKER_TRACE_H

#include <stdint.h>

/* Has the auditor's events written to a file from now on: a descriptor; on Windows a handle. */
void ffiwaker_trace_begin(intptr_t file);

/* Nanoseconds since then, by the monotonic clock. */
int64_t ffiwaker_trace_now(void);

/* Says which goroutine is in C on this thread; gives what was said before. */
uint64_t ffiwaker_trace_enter(uint64_t goroutine);

#endif
