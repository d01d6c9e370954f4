//go:build !cgo

package article

import (
	"io"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// HasC says whether C's examples are in this build.
const HasC = false

// DummyRawWaker needs C functions for its four slots; without cgo it panics.
func DummyRawWaker() rawwaker.RawWaker { panic("article: DummyRawWaker needs cgo") }

// DummyWaker is, without cgo, Go's own waker that does nothing.
func DummyWaker() *rawwaker.Waker { return rawwaker.Noop() }

// CSimple and the others run article.c; without cgo they panic. Ask [HasC] first.
func CSimple() int { panic("article: CSimple needs cgo") }

func CSimpleTwice() int                                    { panic("article: CSimpleTwice needs cgo") }
func CTimer(time.Duration)                                 { panic("article: CTimer needs cgo") }
func CDelay(time.Duration) int                             { panic("article: CDelay needs cgo") }
func CCountdown(io.Writer)                                 { panic("article: CCountdown needs cgo") }
func CTimerFuture(time.Duration) rawwaker.Future[struct{}] { panic("article: CTimerFuture needs cgo") }
