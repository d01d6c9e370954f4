package future_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func ExampleAsync() {
	delayAndReturn := future.Async(func(aw *future.Awaiter) int {
		future.Await(aw, future.Sleep(time.Millisecond))
		return 42
	})
	fmt.Println("Result:", blockon.BlockOn(delayAndReturn))
	// Output: Result: 42
}

func ExampleGo() {
	lookup := future.Go(func(ctx context.Context) (string, error) {
		return "any blocking call", ctx.Err()
	})
	r := blockon.BlockOn(lookup)
	fmt.Println(r.Value, r.Err)
	// Output: any blocking call <nil>
}

// lamp is a future of one's own: it registers first and looks after.
type lamp struct {
	lit   atomic.Bool
	waker future.AtomicWaker
}

func (l *lamp) Poll(cx *rawwaker.Context) rawwaker.Poll[string] {
	l.waker.Register(cx.Waker())
	if l.lit.Load() {
		l.waker.Drop()
		return rawwaker.Ready("lit")
	}
	return rawwaker.Pending[string]()
}

// Drop gives the waker up where nobody waits any more.
func (l *lamp) Drop() { l.waker.Drop() }

// Light makes the condition true first and wakes after.
func (l *lamp) Light() {
	l.lit.Store(true)
	l.waker.Wake()
}

func ExampleAtomicWaker() {
	l := new(lamp)
	go l.Light()
	fmt.Println(blockon.BlockOn[string](l))
	// Output: lit
}
