// Package balance makes a test fail if it leaves resources behind.
package balance

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

type count struct {
	boxes, cores, handles   int
	futures                 int
	goroutines, descriptors int
}

func now() count {
	c := count{
		boxes: capi.Live(), cores: wake.Registered(), handles: int(wake.Handles.Load()),
		futures:    int(wake.Futures.Load()),
		goroutines: runtime.NumGoroutine(),
	}
	if runtime.GOOS == "linux" { // Wine has the folder too, with its own descriptors
		if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
			c.descriptors = len(entries)
		}
	}
	return c
}

func (c count) within(before count) bool {
	return c.boxes == 0 && c.cores == 0 && c.handles == 0 && c.futures == 0 &&
		c.goroutines <= before.goroutines && c.descriptors <= before.descriptors
}

// Check makes t fail if at its end a C waker, a core known to C, a handle of a C reference or a Go
// future in C is left, or more goroutines or descriptors than now. At the end of t it collects
// garbage until nothing is left, for up to a minute.
func Check(t testing.TB) {
	t.Helper()
	before := now()
	t.Cleanup(func() {
		var after count
		deadline := time.Now().Add(time.Minute)
		for ; time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			runtime.GC()
			if after = now(); after.within(before) {
				return
			}
		}
		t.Errorf("left behind: %+v; before the test: %+v", after, before)
	})
}
