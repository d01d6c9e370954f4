package capi

// #include "trace.h"
import "C"

// TraceBegin starts the trace's clock, and has the events of C written to file, a descriptor (on
// Windows, a handle). Package internal/trace calls it, before anything crosses to C.
func TraceBegin(file uintptr) {
	setTracing()
	C.ffiwaker_trace_begin(C.intptr_t(file))
}

// TraceNow returns nanoseconds since the trace began, by C's clock: it puts the events of Go and C
// in one order.
func TraceNow() int64 { return int64(C.ffiwaker_trace_now()) }

// DebugText returns FFIWAKERDEBUG from C's environment. In a library that a host loads it may
// differ from Go's, which is a copy of what the process was started with.
func DebugText() string { return C.GoString(C.ffiwaker_debug_text()) }

// Secure reports whether the process has rights that its caller may not have: set-user-ID, file
// capabilities, a security module.
func Secure() bool { return C.ffiwaker_secure() != 0 }
