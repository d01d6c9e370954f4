//go:build cgo

package main

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// tokio's own scheduler benchmarks, as rust/src/tasks.rs has them: what is an async block there is a struct with a Poll here, for
// that is what the Rust compiler makes of one.

var pool = executor.New()

type unit = struct{}

// countdown says so when it comes to nothing.
type countdown struct {
	left atomic.Int64
	done chan unit
}

func newCountdown(n int) *countdown {
	c := &countdown{done: make(chan unit, 1)}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) down() {
	if c.left.Add(-1) == 0 {
		c.done <- unit{}
	}
}

type counting struct{ c *countdown }

func (f *counting) Poll(*rawwaker.Context) rawwaker.Poll[unit] {
	f.c.down()
	return rawwaker.Ready(unit{})
}

func spawnMany(n int) {
	c := newCountdown(n)
	for range n {
		executor.Detach(pool, &counting{c})
	}
	<-c.done
}

func spawnManyGo(n int) {
	c := newCountdown(n)
	for range n {
		go c.down()
	}
	<-c.done
}

const yielders = 200

type yielding struct {
	left int
	done chan unit
}

func (f *yielding) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	if f.left == 0 {
		f.done <- unit{}
		return rawwaker.Ready(unit{})
	}
	f.left--
	cx.Waker().WakeByRef()
	return rawwaker.Pending[unit]()
}

func yieldMany(n int) {
	done := make(chan unit, yielders)
	for range yielders {
		executor.Detach(pool, &yielding{n, done})
	}
	for range yielders {
		<-done
	}
}

func yieldManyGo(n int) {
	done := make(chan unit, yielders)
	for range yielders {
		go func() {
			for range n {
				runtime.Gosched()
			}
			done <- unit{}
		}()
	}
	for range yielders {
		<-done
	}
}

// pings is the task that starts the pairs.
type pings struct {
	n int
	c *countdown
}

func (f *pings) Poll(*rawwaker.Context) rawwaker.Poll[unit] {
	for range f.n {
		executor.Detach(pool, &ping{c: f.c})
	}
	return rawwaker.Ready(unit{})
}

type ping struct {
	c  *countdown
	rx *future.OneshotReceiver[unit]
}

func (f *ping) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	if f.rx == nil {
		tx1, rx1 := future.Oneshot[unit]()
		tx2, rx2 := future.Oneshot[unit]()
		executor.Detach(pool, &pong{rx1, tx2})
		tx1.Send(unit{})
		f.rx = rx2
	}
	if !f.rx.Poll(cx).IsReady() {
		return rawwaker.Pending[unit]()
	}
	f.c.down()
	return rawwaker.Ready(unit{})
}

type pong struct {
	rx *future.OneshotReceiver[unit]
	tx *future.OneshotSender[unit]
}

func (f *pong) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	if !f.rx.Poll(cx).IsReady() {
		return rawwaker.Pending[unit]()
	}
	f.tx.Send(unit{})
	return rawwaker.Ready(unit{})
}

func pingPong(n int) {
	c := newCountdown(n)
	executor.Detach(pool, &pings{n, c})
	<-c.done
}

func pingPongGo(n int) {
	c := newCountdown(n)
	go func() {
		for range n {
			go func() {
				one, two := make(chan unit, 1), make(chan unit, 1)
				go func() {
					<-one
					two <- unit{}
				}()
				one <- unit{}
				<-two
				c.down()
			}()
		}
	}()
	<-c.done
}

type chain struct {
	left int
	done chan unit
}

func (f *chain) Poll(*rawwaker.Context) rawwaker.Poll[unit] {
	if f.left == 0 {
		f.done <- unit{}
	} else {
		executor.Detach(pool, &chain{f.left - 1, f.done})
	}
	return rawwaker.Ready(unit{})
}

func chainedSpawn(n int) {
	done := make(chan unit, 1)
	executor.Detach(pool, &chain{n, done})
	<-done
}

func chainGo(n int, done chan unit) {
	if n == 0 {
		done <- unit{}
	} else {
		go chainGo(n-1, done)
	}
}

func chainedSpawnGo(n int) {
	done := make(chan unit, 1)
	go chainGo(n, done)
	<-done
}

// once is nanoseconds for one of what f does.
func once(f func()) float64 {
	start := time.Now()
	f()
	return float64(time.Since(start).Nanoseconds())
}

// The median of several runs of f.
func several(runs int, f func() float64) func() float64 {
	return func() float64 {
		all := make([]float64, runs)
		for i := range all {
			all[i] = f()
		}
		return quantile(all, 0.5)
	}
}

// scheduler is one of the four, against the faster of two executors in Rust, and against goroutines.
func scheduler(name string, n int, what string, ours, plain func(n int)) []figure {
	mine := several(5, func() float64 { return once(func() { ours(n) }) })
	return []figure{
		{
			name: name + " (" + what + "), ns", goal: 1.0,
			peer: "the faster of tokio multi-thread and smol's async-executor: rust/src/tasks.rs",
			ours: mine, rust: "tokio_" + name, rustOr: "smol_" + name, rustN: n, runs: 5,
		},
		{
			name: name + " (" + what + ") beside goroutines, ns", goal: 0.7,
			peer: "goroutines and channels: tasks.go",
			ours: mine, other: several(5, func() float64 { return once(func() { plain(n) }) }),
		},
	}
}

var tasks = slices.Concat(
	scheduler("spawn_many", 10_000, "10,000 tasks", spawnMany, spawnManyGo),
	scheduler("yield_many", 1000, "200 tasks of 1,000 yields", yieldMany, yieldManyGo),
	scheduler("ping_pong", 1000, "1,000 pairs", pingPong, pingPongGo),
	scheduler("chained_spawn", 1000, "1,000 tasks", chainedSpawn, chainedSpawnGo),
)
