package article

import (
	"context"
	"os"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// What the article's executor can't do. On blockon.BlockOn, both sleep while they wait.

// SleepForReal is the article's `async fn sleep_for_real()`.
func SleepForReal(d time.Duration) rawwaker.Future[struct{}] {
	return future.Async(func(aw *future.Awaiter) struct{} {
		return future.Await(aw, future.Sleep(d))
	})
}

// ReadFile is the article's `async fn read_file()`: a blocking call on a goroutine of its own. Go's runtime is the event
// loop that it needs.
func ReadFile(name string) rawwaker.Future[rawwaker.Result[string]] {
	return future.Go(func(context.Context) (string, error) {
		text, err := os.ReadFile(name)
		return string(text), err
	})
}
