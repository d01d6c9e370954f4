//go:build cgo

package ffiwaker

// #include "host.h"
import "C"

import "os"

// environment is the value of FFIWAKERDEBUG. In a library it is what C's getenv gave when it was loaded: its host may have set it.
func environment() string {
	if words := C.ffiwaker_environment(); words != nil {
		return C.GoString(words)
	}
	return os.Getenv("FFIWAKERDEBUG")
}
