package executor_test

import (
	"context"
	"errors"
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

// Outcome reports a panic of the task as an error; a poll of the handle itself would panic.
func ExampleJoinHandle_Outcome() {
	ex := executor.New()
	defer ex.Close()
	h := executor.Spawn(ex, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
		panic(errors.New("out of paper"))
	}))
	r := blockon.BlockOn(h.Outcome())
	var panicked *executor.PanicError
	fmt.Println(errors.As(r.Err, &panicked), panicked.Value)
	// Output: true out of paper
}

// An aborted task drops its future; its outcome is ErrAborted.
func ExampleJoinHandle_Abort() {
	ex := executor.New()
	defer ex.Close()
	h := executor.Spawn(ex, future.Sleep(time.Hour))
	h.Abort()
	fmt.Println(blockon.BlockOn(h.Outcome()).Err)
	// Output: executor: task aborted
}

// One goroutine, which parks while no task is runnable: the article's executor.
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
	l.OnWake(func() {
		select {
		case tick <- struct{}{}:
		default: // a tick is due already
		}
	})
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

// The first panic aborts the other tasks, and Wait returns when all have ended.
func ExampleScope() {
	ex := executor.New()
	defer ex.Close()
	s := executor.NewScope(context.Background(), ex)
	slow := executor.SpawnIn(s, future.Sleep(time.Hour))
	executor.SpawnIn(s, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
		panic(errors.New("out of ink"))
	}))
	err := s.Wait()
	fmt.Println(errors.Unwrap(err))
	fmt.Println(blockon.BlockOn(slow.Outcome()).Err)
	// Output:
	// out of ink
	// executor: task aborted
}

// A task without a handle, like a goroutine.
func ExampleDetach() {
	ex := executor.New()
	defer ex.Close()
	tx, rx := future.Channel[string](1)
	executor.Detach(ex, future.Async(func(aw *future.Awaiter) struct{} {
		for _, word := range []string{"one", "two", "three"} {
			future.Await(aw, tx.Send(word))
		}
		tx.Close()
		return struct{}{}
	}))
	blockon.BlockOn(future.ForEach(rx.Stream(), func(word string) { fmt.Println(word) }))
	// Output:
	// one
	// two
	// three
}

func ExampleRunUntil() {
	l := executor.NewLocal()
	defer l.Close()
	executor.SpawnLocal(l, future.Sleep(time.Hour)) // stays
	f := future.Map(future.Yield(), func(struct{}) string { return "done" })
	fmt.Println(executor.RunUntil(l, f), l.Len())
	// Output: done 1
}
