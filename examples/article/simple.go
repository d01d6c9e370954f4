package article

import (
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Simple is the article's `async fn simple() -> i32`.
func Simple() rawwaker.Future[int] {
	return future.Async(func(*future.Awaiter) int {
		return 42
	})
}

// Compute is the same under the name that it has where the article lists what its executor can do.
func Compute() rawwaker.Future[int] { return Simple() }

// SimpleFuture is what a compiler makes of [Simple]: a state machine. The zero value is at its start.
type SimpleFuture struct {
	state state
}

type state uint8

const (
	start state = iota
	done
)

// Poll implements [rawwaker.Future]. Like the compiler's, it must not be polled again after Ready.
func (f *SimpleFuture) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	switch f.state {
	case start:
		f.state = done
		return rawwaker.Ready(42)
	default:
		panic("future polled after completion")
	}
}
