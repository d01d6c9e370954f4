//go:build !cgo

package article

import (
	"io"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// HasC is true if this build has the examples in C.
const HasC = false

// DummyRawWaker needs C functions for its four slots. Without cgo it panics.
func DummyRawWaker() rawwaker.RawWaker { panic("article: DummyRawWaker needs cgo") }

// DummyWaker returns, without cgo, the Go waker that does nothing.
func DummyWaker() *rawwaker.Waker { return rawwaker.Noop() }

// CSimple and the other functions that run article.c panic without cgo. Check [HasC] first.
func CSimple() int { panic("article: CSimple needs cgo") }

func CSimpleTwice() int    { panic("article: CSimpleTwice needs cgo") }
func CTimer(time.Duration) { panic("article: CTimer needs cgo") }

func CDelay(time.Duration) int { panic("article: CDelay needs cgo") }
func CCountdown(io.Writer)     { panic("article: CCountdown needs cgo") }

func CTimerFuture(time.Duration) rawwaker.Future[struct{}] {
	panic("article: CTimerFuture needs cgo")
}
