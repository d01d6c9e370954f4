package executor_test

import (
	"fmt"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func Example() {
	ex := executor.New()
	defer ex.Close()
	var handles []rawwaker.Future[int]
	for i := range 4 {
		handles = append(handles, executor.Spawn(ex, future.Async(func(aw *future.Awaiter) int {
			future.Await(aw, future.Sleep(time.Millisecond))
			return i * i
		})))
	}
	fmt.Println(blockon.BlockOn(future.JoinAll(handles...)))
	// Output: [0 1 4 9]
}

// One goroutine, which parks while nothing can go on: the article's executor.
func ExampleLocal_Run() {
	l := executor.NewLocal()
	defer l.Close()
	for _, name := range []string{"a", "b"} {
		executor.SpawnLocal(l, future.Async(func(aw *future.Awaiter) struct{} {
			for i := range 2 {
				fmt.Print(name, i, " ")
				future.Await(aw, future.Yield())
			}
			return struct{}{}
		}))
	}
	l.Run()
	// Output: a0 b0 a1 b1
}

// An event loop: the hook says when to tick.
func ExampleLocal_OnWake() {
	l := executor.NewLocal()
	defer l.Close()
	tick := make(chan struct{}, 1)
	l.OnWake(func() { tick <- struct{}{} })
	h := executor.SpawnLocal(l, future.Async(func(aw *future.Awaiter) string {
		future.Await(aw, future.Sleep(time.Millisecond))
		return "ticked"
	}))
	for l.Len() > 0 {
		<-tick
		for l.Tick() {
		}
	}
	fmt.Println(blockon.BlockOn[string](h))
	// Output: ticked
}
