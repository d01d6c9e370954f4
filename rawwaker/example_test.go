package rawwaker_test

import (
	"fmt"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
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

// A combinator that awaits three futures and polls only those that were woken.
func ExampleWakerSet() {
	tx, rx := future.Oneshot[int]()
	futures := []rawwaker.Future[int]{
		future.Ready(1),
		future.Map(future.Yield(), func(struct{}) int { return 2 }),
		future.Map[rawwaker.Result[int]](rx, func(r rawwaker.Result[int]) int { return r.Value }),
	}
	var set rawwaker.WakerSet
	set.Init(len(futures))
	sum := 0
	all := future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		for i, cx := range set.Woken(cx) {
			fmt.Println("poll of", i)
			if p := futures[i].Poll(cx); p.IsReady() {
				sum += p.Value()
				set.Done(i)
			} else if i == 2 {
				tx.Send(3)
			}
		}
		if set.Left() > 0 {
			return rawwaker.Pending[int]()
		}
		return rawwaker.Ready(sum)
	})
	fmt.Println("sum:", blockon.BlockOn(all))
	// Output:
	// poll of 0
	// poll of 1
	// poll of 2
	// poll of 1
	// poll of 2
	// sum: 6
}
