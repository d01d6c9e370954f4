package rawwaker_test

import (
	"fmt"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// An executor of one's own polls with a waker of its own.
func ExampleNewContext() {
	woken := make(chan struct{}, 1)
	waker := rawwaker.FromFunc(func() { woken <- struct{}{} })
	defer waker.Drop()
	cx := rawwaker.NewContext(waker)
	f := future.Yield()
	for polls := 1; ; polls++ {
		if f.Poll(cx).IsReady() {
			fmt.Println("ready at poll", polls)
			return
		}
		<-woken
	}
	// Output: ready at poll 2
}

func ExampleWaker_Drop() {
	w := rawwaker.Noop()
	w.Drop()
	defer func() { fmt.Println(recover()) }()
	w.WakeByRef()
	// Output: rawwaker: WakeByRef after Drop
}
