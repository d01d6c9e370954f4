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

// Compute is Simple under the name that the article uses in its list of what its executor can do.
func Compute() rawwaker.Future[int] { return Simple() }

// SimpleFuture is the state machine that a compiler makes of [Simple]. The zero value is at its
// start.
type SimpleFuture struct {
	state state
}

type state uint8

const (
	start state = iota
	done
)

// Poll implements [rawwaker.Future]. Like the compiler's future, it panics if it is polled after
// Ready.
func (f *SimpleFuture) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	switch f.state {
	case start:
		f.state = done
		return rawwaker.Ready(42)
	default:
		panic("future polled after completion")
	}
}
