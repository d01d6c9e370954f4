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

func ExampleAwait() {
	countdown := future.Async(func(aw *future.Awaiter) string {
		for n := 3; n > 0; n-- {
			fmt.Println(n)
			future.Await(aw, future.Sleep(time.Millisecond))
		}
		return "go"
	})
	fmt.Println(blockon.BlockOn(countdown))
	// Output:
	// 3
	// 2
	// 1
	// go
}

func ExampleSleep() {
	start := time.Now()
	blockon.BlockOn(future.Sleep(10 * time.Millisecond))
	fmt.Println(time.Since(start) >= 10*time.Millisecond)
	// Output: true
}

func ExampleGo() {
	lookup := future.Go(func(ctx context.Context) (string, error) {
		return "any blocking call", ctx.Err()
	})
	r := blockon.BlockOn(lookup)
	fmt.Println(r.Value, r.Err)
	// Output: any blocking call <nil>
}

// lamp is a future of one's own. Its Poll registers the waker first and checks the condition after.
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

// Drop is called if the lamp is given up before it is ready.
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

func ExampleJoin() {
	name := future.Go(func(context.Context) (string, error) { return "Ada", nil })
	age := future.Ready(36)
	both := blockon.BlockOn(future.Join(name, age))
	fmt.Println(both.First.Value, both.Second)
	// Output: Ada 36
}

func ExampleJoinAll() {
	square := func(n int) rawwaker.Future[int] {
		return future.Async(func(aw *future.Awaiter) int {
			future.Await(aw, future.Yield())
			return n * n
		})
	}
	fmt.Println(blockon.BlockOn(future.JoinAll(square(1), square(2), square(3))))
	// Output: [1 4 9]
}

func ExampleRace() {
	after := func(d time.Duration, name string) rawwaker.Future[string] {
		return future.Async(func(aw *future.Awaiter) string {
			future.Await(aw, future.Sleep(d))
			return name
		})
	}
	race := future.Race(after(time.Hour, "tortoise"), after(time.Millisecond, "hare"))
	fmt.Println(blockon.BlockOn(race))
	// Output: hare
}

func ExampleTimeout() {
	r := blockon.BlockOn(future.Timeout(future.Sleep(time.Hour), time.Millisecond))
	fmt.Println(r.Err)
	// Output: context deadline exceeded
}

func ExampleChannel() {
	tx, rx := future.Channel[int](2)
	producer := future.Async(func(aw *future.Awaiter) error {
		defer tx.Close()
		for i := range 5 {
			if err := future.Await(aw, tx.Send(i)); err != nil { // waits if the channel is full
				return err
			}
		}
		return nil
	})
	consumer := future.Collect(rx.Stream()) // until the channel is closed and empty
	fmt.Println(blockon.BlockOn(future.Join(producer, consumer)).Second)
	// Output: [0 1 2 3 4]
}

func ExampleReceiver_Recv() {
	tx, rx := future.Channel[string](1)
	tx.TrySend("hello")
	tx.Close()
	for {
		r := blockon.BlockOn(rx.Recv())
		if r.Err != nil {
			fmt.Println(r.Err)
			return
		}
		fmt.Println(r.Value)
	}
	// Output:
	// hello
	// future: channel closed
}

func ExampleOneshot() {
	tx, rx := future.Oneshot[int]()
	go tx.Send(42)
	fmt.Println(blockon.BlockOn(rx).Value)
	// Output: 42
}

// One computation is awaited twice.
func ExampleShared() {
	compute := func(struct{}) int {
		fmt.Println("computed")
		return 42
	}
	first := future.Shared(future.Map(future.Yield(), compute))
	second := first.Clone()
	fmt.Println(blockon.BlockOn(future.Join[int, int](first, second)))
	// Output:
	// computed
	// {42 42}
}

// The results come in the order in which they are ready.
func ExampleUnordered() {
	after := func(d time.Duration, name string) rawwaker.Future[string] {
		return future.Map(future.Sleep(d), func(struct{}) string { return name })
	}
	s := future.Unordered(after(20*time.Millisecond, "second"), after(time.Millisecond, "first"))
	fmt.Println(blockon.BlockOn(future.Collect(s)))
	// Output: [first second]
}

func ExampleFilter() {
	odd := future.Filter(future.Values(1, 2, 3, 4, 5), func(v int) bool { return v%2 == 1 })
	fmt.Println(blockon.BlockOn(future.Collect(future.Take(odd, 2))))
	// Output: [1 3]
}

func ExampleCatchPanic() {
	f := future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { panic("no ink") })
	r := blockon.BlockOn(future.CatchPanic(f))
	fmt.Println(r.Err.(*future.PanicError).Value)
	// Output: no ink
}
