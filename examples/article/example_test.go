package article_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// go test -run Example -v ./examples/article

// The article's first program.
func Example() {
	result := article.BlockOn(article.Simple())
	fmt.Printf("Result: %d\n", result)
	// Output: Result: 42
}

func ExampleDummyWaker() {
	waker := article.DummyWaker()
	clone := waker.Clone()
	waker.WakeByRef() // does nothing
	waker.Wake()      // nothing, and consumes
	fmt.Println(clone.WillWake(clone))
	clone.Drop()
	// Output: true
}

func ExampleSimple() {
	fmt.Printf("Result: %d\n", blockon.Spin(article.Simple()))
	fmt.Printf("Result: %d\n", blockon.BlockOn(article.Simple()))
	// Output:
	// Result: 42
	// Result: 42
}

func ExampleCompute() {
	fmt.Println(article.BlockOn(article.Compute())) // Works!
	// Output: 42
}

func ExampleSimpleFuture() {
	result := article.BlockOn(new(article.SimpleFuture))
	fmt.Printf("Result: %d\n", result)
	// Output: Result: 42
}

func ExampleSimpleFuture_completed() {
	defer func() { fmt.Println("panic:", recover()) }()
	f := new(article.SimpleFuture)
	article.BlockOn(f)
	article.BlockOn(f)
	// Output: panic: future polled after completion
}

func ExampleTimer() {
	polls := 0
	timer := article.Timer(100 * time.Millisecond)
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
		polls++
		return timer.Poll(cx)
	}))
	fmt.Println(polls, "polls")
	// Output: 2 polls
}

func ExampleDelayAndReturn() {
	start := time.Now()
	result := article.BlockOn(article.DelayAndReturn())
	elapsed := time.Since(start)

	fmt.Printf("Result: %d after 100ms or more: %v\n", result, elapsed >= 100*time.Millisecond)
	// Output: Result: 42 after 100ms or more: true
}

func ExampleCountdownFuture() {
	f := &article.CountdownFuture{Count: 3, Out: os.Stdout}
	article.BlockOn(f)
	// Output:
	// Poll #3
	// Poll #2
	// Poll #1
	// Poll #0
}

func ExampleSleepForReal() {
	start := time.Now()
	blockon.BlockOn(article.SleepForReal(20 * time.Millisecond))
	fmt.Println(time.Since(start) >= 20*time.Millisecond)
	// Output: true
}

func ExampleReadFile() {
	dir, err := os.MkdirTemp("", "article")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "file.txt")
	if err := os.WriteFile(name, []byte("read without spinning"), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	result := blockon.BlockOn(article.ReadFile(name))
	fmt.Println(result.Value, result.Err)
	// Output: read without spinning <nil>
}

// A context can cancel what is awaited.
func ExampleTimerFuture_Drop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_, err := blockon.Await(ctx, article.Timer(time.Hour))
	fmt.Println(err)
	// Output: context deadline exceeded
}

// One goroutine, and two futures at once: each goes on where the other one waits.
func ExampleExecutor() {
	steps := func(name string) rawwaker.Future[struct{}] {
		return future.Async(func(aw *future.Awaiter) struct{} {
			fmt.Println(name, "begins")
			future.Await(aw, future.Yield())
			fmt.Println(name, "ends")
			return struct{}{}
		})
	}
	ex := article.NewExecutor()
	ex.Spawn(steps("future1"))
	ex.Spawn(steps("future2"))
	ex.Run()
	// Output:
	// future1 begins
	// future2 begins
	// future1 ends
	// future2 ends
}
