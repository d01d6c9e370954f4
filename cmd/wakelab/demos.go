package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
	"github.com/seed-8a1b3254/ffiwaker/examples/chost"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// demo is a program that wakelab trace runs, in a process of its own: an example of the article, or
// one of these.
type demo struct {
	name, does string
	inC        bool
	size       int // the default of --size; 0: it has no size
	run        func(out io.Writer, size int)
}

func demos() []demo {
	all := []demo{
		{"c-thread", "a C thread keeps a Go task's waker, and wakes it", true, 0, cThreadDemo},
		{"c-host", "a C program's loop polls a Go future, under C's own waker", true, 0, cHostDemo},
		{"join", "two C timers under one BlockOn, each with its own waker: a wake polls only its timer",
			true, 0, joinDemo},
		{"executor", "an executor of two workers: a sender, its receiver, a sleeper and a yielder",
			false, 0, executorDemo},
		{"storm", "one task, woken --size times by two goroutines and, with cgo, two C threads",
			false, 200, storm},
	}
	for _, e := range examples {
		run := func(out io.Writer, _ int) { e.run(nil, out) }
		all = append(all, demo{e.name, "the article's " + e.title, e.inC, 0, run})
	}
	return all
}

func cThreadDemo(out io.Writer, _ int) {
	blockon.BlockOn(count(nil, article.CTimerFuture(100*time.Millisecond)))
	fmt.Fprintln(out, "Timer expired")
}

func cHostDemo(out io.Writer, _ int) {
	v := chost.Run(rawwaker.Named("Go future", sleepAndReturnFor(5*time.Millisecond)))
	fmt.Fprintf(out, "Result: %d\n", v)
}

func joinDemo(out io.Writer, _ int) {
	timer := func(name string, d time.Duration) rawwaker.Future[struct{}] {
		return rawwaker.Named(name, article.CTimerFuture(d))
	}
	both := future.JoinAll(
		timer("short timer", 100*time.Millisecond), timer("long timer", 150*time.Millisecond))
	blockon.BlockOn(rawwaker.Named("JoinAll", both))
	fmt.Fprintln(out, "Both timers expired")
}

func sleepAndReturnFor(d time.Duration) rawwaker.Future[int] {
	return future.Async(func(aw *future.Awaiter) int {
		future.Await(aw, future.Sleep(d))
		return 42
	})
}

func executorDemo(out io.Writer, _ int) {
	ex := executor.New(executor.Workers(2))
	defer ex.Close()
	tx, rx := future.Oneshot[int]()
	received := executor.Spawn(ex, rawwaker.Named("receiver", rx))
	executor.Detach(ex, rawwaker.Named("sender", future.Async(func(aw *future.Awaiter) struct{} {
		future.Await(aw, future.Sleep(2*time.Millisecond))
		tx.Send(42)
		return struct{}{}
	})))
	slept := executor.Spawn(ex, rawwaker.Named("sleeper", future.Sleep(4*time.Millisecond)))
	executor.Detach(ex, rawwaker.Named("yielder", future.Async(func(aw *future.Awaiter) struct{} {
		for range 3 {
			future.Await(aw, future.Yield())
		}
		return struct{}{}
	})))
	got := blockon.BlockOn(rawwaker.Named("the receiver's handle", received.Outcome()))
	fmt.Fprintf(out, "Received: %+v\n", got.Value)
	blockon.BlockOn(rawwaker.Named("the sleeper's handle", slept.Outcome()))
}

// stormy is a future that is ready after all wakes have come.
type stormy struct {
	size  int
	begun bool
	wakes sync.WaitGroup
	last  sync.WaitGroup // the last wake may come after the last poll
	done  chan struct{}
}

func (f *stormy) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	if !f.begun {
		f.begun = true
		each := f.size / 4
		waker := cx.Waker().Clone()
		for range 2 {
			f.wakes.Go(func() {
				for range each {
					waker.WakeByRef()
				}
			})
		}
		rest := f.size - 2*each
		if article.HasC {
			c, times := cx.Waker().Clone(), rest/2
			f.wakes.Go(func() { chost.WakeFromThreads(c, 2, times) })
			rest -= 2 * times
		}
		f.last.Go(func() {
			for range rest {
				waker.WakeByRef()
			}
			f.wakes.Wait()
			close(f.done)
			waker.Wake() // one more, so that a poll comes after all the others
		})
	}
	select {
	case <-f.done:
		return rawwaker.Ready(f.size)
	default:
		return rawwaker.Pending[int]()
	}
}

func storm(out io.Writer, size int) {
	f := &stormy{size: size, done: make(chan struct{})}
	woken := blockon.BlockOn(count[int](nil, f))
	f.last.Wait()
	fmt.Fprintf(out, "Woken %d times, and once to end\n", woken)
}
