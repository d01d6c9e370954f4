//go:build cgo

package capi

// #include "trace.h"
import "C"

// traceBegin has C's events written to the file too. The trace's time begins.
func traceBegin(file uintptr) { C.ffiwaker_trace_begin(C.intptr_t(file)) }

// TraceNow is nanoseconds since the trace began. C's events stand between Go's by it, so both look at one clock: C's.
func TraceNow() int64 { return int64(C.ffiwaker_trace_now()) }
