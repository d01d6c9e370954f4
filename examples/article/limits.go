package article

import (
	"context"
	"os"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// SleepForReal is the article's `async fn sleep_for_real()`, which its executor cannot run. On
// blockon.BlockOn it sleeps.
func SleepForReal(d time.Duration) rawwaker.Future[struct{}] {
	return future.Async(func(aw *future.Awaiter) struct{} {
		return future.Await(aw, future.Sleep(d))
	})
}

// ReadFile is the article's `async fn read_file()`, which its executor cannot run: a blocking call
// on a goroutine of its own. Go's runtime is the event loop that it needs.
func ReadFile(name string) rawwaker.Future[rawwaker.Result[string]] {
	return future.Go(func(context.Context) (string, error) {
		text, err := os.ReadFile(name)
		return string(text), err
	})
}
