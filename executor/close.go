package executor

import (
	"runtime"
	"strings"
	"sync"
)

// closing is the part of Close that [Executor] and [Local] share. mu is held by the Close that is under way.
type closing struct{ mu sync.Mutex }

// run runs end, or waits until the call that is running it has returned. Inside a task it does not wait: what runs there may be a
// Drop that the other Close has called, and that waits for it.
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

// insideTask says whether the calling goroutine is in the Poll or Drop of a task, or runs the body of a future.Async. It walks the
// stack, which takes microseconds: only a Close that would have to wait for another asks.
func insideTask() bool { return onStack("/ffiwaker/executor.(*task).", "/ffiwaker/future.(*async") }

// onStack says whether a function whose name has one of these in it is under way on this goroutine.
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

// persist calls step, also again where it does not return because of runtime.Goexit, until it has returned once.
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
