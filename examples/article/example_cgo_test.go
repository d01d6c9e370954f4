//go:build cgo

package article_test

import (
	"fmt"
	"os"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
)

func ExampleDummyRawWaker() {
	raw := article.DummyRawWaker()
	fmt.Println(raw.Data, raw.VTable.Wake == raw.VTable.Drop) // both are no_op
	// Output: 0 true
}

func ExampleCSimple() {
	fmt.Printf("Result: %d\n", article.CSimple())
	// Output: Result: 42
}

func ExampleCSimpleTwice() {
	defer func() { fmt.Println("panic:", recover()) }()
	article.CSimpleTwice()
	// Output: panic: future polled after completion
}

func ExampleCTimer() {
	start := time.Now()
	article.CTimer(20 * time.Millisecond)
	fmt.Println(time.Since(start) >= 20*time.Millisecond)
	// Output: true
}

// A C thread wakes a goroutine.
func ExampleCTimerFuture() {
	start := time.Now()
	blockon.BlockOn(article.CTimerFuture(20 * time.Millisecond))
	fmt.Println(time.Since(start) >= 20*time.Millisecond)
	// Output: true
}

func ExampleCDelay() {
	fmt.Printf("Result: %d\n", article.CDelay(20*time.Millisecond))
	// Output: Result: 42
}

func ExampleCCountdown() {
	article.CCountdown(os.Stdout)
	// Output:
	// Poll #3
	// Poll #2
	// Poll #1
	// Poll #0
}
