package article

import (
	"time"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// DelayFuture is ready at its deadline. Before that it wakes itself in every poll, so it keeps any
// executor as busy as the simple one.
type DelayFuture struct {
	Deadline time.Time
}

// Poll implements [rawwaker.Future].
func (f *DelayFuture) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if !time.Now().Before(f.Deadline) {
		return rawwaker.Ready(struct{}{})
	}
	// In reality, we'd register the waker with a timer: see TimerFuture.
	cx.Waker().WakeByRef() // Wake ourselves immediately
	return rawwaker.Pending[struct{}]()
}

// DelayAndReturn is the article's `async fn delay_and_return() -> i32`.
func DelayAndReturn() rawwaker.Future[int] {
	return future.Async(func(aw *future.Awaiter) int {
		// Wait for 100ms
		future.Await(aw, &DelayFuture{
			Deadline: time.Now().Add(100 * time.Millisecond),
		})

		return 42
	})
}
