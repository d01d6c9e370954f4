//go:build cgo && !windows

package capi

// #include "trace.h"
import "C"

// debugText is FFIWAKERDEBUG as C has it, which is what getenv says in a host.
func debugText() string { return C.GoString(C.ffiwaker_debug_text()) }

// secure says whether this program may do more than the one that has started it.
func secure() bool { return C.ffiwaker_secure() != 0 }
