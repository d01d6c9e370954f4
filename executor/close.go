package executor

import (
	"runtime"
	"strings"
	"sync"
)

// closing is what [Executor] and [Local] share of Close. The Close that is under way holds mu.
type closing struct{ mu sync.Mutex }

// run runs end or, if another call is running it, waits until that one has returned. Inside a
// task it does not wait: the task may be in a Drop that the other Close has called, and that
// Close waits for it.
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

// insideTask reports whether the calling goroutine is in the Poll or Drop of a task, or in the
// body of a future.Async. It walks the stack, which takes microseconds: only a Close that would
// have to wait for another one calls it.
func insideTask() bool { return onStack("/ffiwaker/executor.(*task).", "/ffiwaker/future.(*async") }

// onStack reports whether this goroutine is in a function whose name contains one of names.
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

// persist calls step until it has returned once: again if it ends by runtime.Goexit or a panic.
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
