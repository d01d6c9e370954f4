package executor

import (
	"runtime"
	"strings"
	"sync"
)

// closing is the part of Close that [Executor] and [Local] share. The running Close holds mu.
type closing struct{ mu sync.Mutex }

// run runs end, or waits until the call that is running it has returned. Inside a task it does not
// wait: this may be a Drop that the other Close has called and waits for.
func (c *closing) run(end func()) {
	if !c.mu.TryLock() {
		if !insideTask() {
			c.mu.Lock()
			//lint:ignore SA2001 there is nothing to do in between: the other Close has returned
			c.mu.Unlock()
		}
		return
	}
	defer c.mu.Unlock()
	end()
}

// insideTask reports whether the calling goroutine is in the Poll or Drop of a task, or runs the
// body of a future.Async. It walks the stack, which takes microseconds: only a Close that would
// have to wait for another calls it.
func insideTask() bool { return onStack("/ffiwaker/executor.(*task).", "/ffiwaker/future.(*async") }

// onStack reports whether a function whose name contains one of these is running on this goroutine.
func onStack(names ...string) bool {
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		if n == 0 {
			return false
		}
		for frames, more := runtime.CallersFrames(pcs[:n]), true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			for _, name := range names {
				if strings.Contains(f.Function, name) {
					return true
				}
			}
		}
	}
}

// persist calls step until it has returned once: again if runtime.Goexit ends it.
func persist(step func()) {
	returned := false
	defer func() {
		if !returned {
			persist(step)
		}
	}()
	step()
	returned = true
}
