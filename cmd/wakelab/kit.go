package main

import (
	"flag"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/broken"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// runKit runs the kit outside go test, and ends the process as go test does.
func runKit(e broken.Entry) error {
	testing.Init()
	if err := flag.CommandLine.Parse([]string{"-test.v"}); err != nil {
		return err
	}
	wakertest.Patience = 500 * time.Millisecond
	kit := func(t *testing.T) {
		switch e.Kind {
		case "waker":
			wakertest.TestWaker(t, func(testing.TB) wakertest.Waker { return broken.GoWaker(e) })
		case "future":
			wakertest.TestFuture(t, func(testing.TB) wakertest.Future[uint64] {
				return broken.GoFuture(e)
			})
		case "stream":
			wakertest.TestStream(t, func(testing.TB) wakertest.Stream[uint64] {
				return broken.GoStream(e)
			})
		case "executor":
			wakertest.TestExecutor(t, func(testing.TB) wakertest.Executor {
				return broken.GoExecutor(e)
			})
		}
	}
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "kit", F: kit}}, nil, nil)
	return nil // not reached: Main has ended the process
}
