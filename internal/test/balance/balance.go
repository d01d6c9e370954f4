// Package balance holds each test to the rule that it leaves nothing behind.
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
	if runtime.GOOS == "linux" { // wine has the folder too, and in it what is wine's
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

// Check makes t fail if at its end a C waker, a core known to C, a handle of a C reference or a Go future in C is left, or more goroutines
// or descriptors than now. It collects garbage until all is gone, for up to ten seconds.
func Check(t testing.TB) {
	t.Helper()
	before := now()
	t.Cleanup(func() {
		var after count
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			runtime.GC()
			if after = now(); after.within(before) {
				return
			}
		}
		t.Errorf("left behind: %+v; before the test: %+v", after, before)
	})
}
