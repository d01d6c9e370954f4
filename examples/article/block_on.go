package article

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// BlockOn is the article's block_on: it polls until f is ready, and keeps a CPU busy. blockon.Spin
// does the same in library quality; blockon.BlockOn sleeps until the waker is woken.
func BlockOn[T any](f rawwaker.Future[T]) T {
	waker := DummyWaker()
	defer waker.Drop()
	cx := rawwaker.NewContext(waker)

	for {
		if p := f.Poll(cx); p.IsReady() {
			return p.Value()
		}
		// In a real executor, we'd wait for the waker to be called.
		// For this simple executor, we just keep polling.
	}
}
