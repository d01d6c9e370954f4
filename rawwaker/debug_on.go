//go:build ffiwakerdebug

package rawwaker

import (
	"runtime"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

func debugGC() { runtime.GC() }

func debugHandles(n int64) { wake.Handles.Add(n) }
