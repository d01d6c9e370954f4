//go:build ffiwakerdebug

package rawwaker

import "runtime"

func debugGC() { runtime.GC() }
