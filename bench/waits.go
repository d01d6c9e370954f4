//go:build cgo && linux

package main

import (
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// woken runs n waits of a BlockOn for a thread of C that sleeps sleepNS before each wake, and hands each poll's time on.
func wokenByWaker(n, sleepNS int, polled func(i int, t cThread)) cThread {
	t := startThread(false, n, sleepNS, true)
	seen := 0
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		if t.woken() > seen {
			polled(seen, t)
			seen++
		}
		if seen == n {
			return rawwaker.Ready(0)
		}
		t.register(cx.Waker().AsRaw())
		t.ready()
		return rawwaker.Pending[int]()
	}))
	return t
}

// wokenByCall is the same by an exported Go callback and a channel.
func wokenByCall(n, sleepNS int, received func(i int, t cThread)) cThread {
	t := startThread(true, n, sleepNS, true)
	for i := range n {
		t.ready()
		<-called
		received(i, t)
	}
	return t
}

// lost is what the waking thread loses by each of n wakes beside four CPU-bound goroutines, p99.
func lost(wait func(n, sleepNS int, done func(i int, t cThread)) cThread) func() float64 {
	return func() float64 {
		var stop atomic.Bool
		ended := make(chan struct{})
		for range 4 {
			go func() {
				for !stop.Load() {
				}
				ended <- struct{}{}
			}()
		}
		const n = 60
		took := make([]float64, n)
		t := wait(n, 1e6, func(int, cThread) {})
		stop.Store(true)
		for range 4 {
			<-ended
		}
		t.join() // it may still be on its way back from its last wake
		for i := range took {
			took[i] = float64(t.ended(i) - t.began(i))
		}
		t.free()
		return quantile(took, 0.99)
	}
}

// oneWay is from just before the wake in C to the code that waited for it, p50, on a machine that does nothing else.
func oneWay(wait func(n, sleepNS int, done func(i int, t cThread)) cThread) func() float64 {
	return func() float64 {
		const n = 300
		took := make([]float64, n)
		t := wait(n, 1e6, func(i int, t cThread) {
			at := now() // a cgo call on both sides: one clock for both
			took[i] = float64(at - t.began(i))
		})
		t.join()
		t.free()
		return quantile(took, 0.5)
	}
}

// rallyOfBlockOn is the round trip between a C thread that spins and a BlockOn, p50.
func rallyOfBlockOn(n int) float64 {
	r := newRally(n)
	took := make([]float64, 0, n)
	started := false
	var asked uint32
	last := time.Now()
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		if !started {
			started = true
			r.start(cx.Waker().Clone().IntoRaw())
		} else if atomic.LoadUint32(r.pong) != asked {
			return rawwaker.Pending[int]() // the wake of an answer that was seen already
		} else {
			at := time.Now()
			took = append(took, float64(at.Sub(last)))
			last = at
		}
		if len(took) == n {
			return rawwaker.Ready(0)
		}
		asked++
		atomic.StoreUint32(r.ping, asked)
		return rawwaker.Pending[int]()
	}))
	r.end()
	return quantile(took, 0.5)
}

// cpu is the process's CPU time for f, in microseconds.
func cpu(f func()) float64 {
	before := used()
	f()
	return float64(used()-before) / 1e3
}

func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// thousandWakes waits for a thread of C that wakes every millisecond, a thousand times.
func thousandWakes() {
	const n = 1000
	t := startThread(false, n, 1e6, false)
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		t.register(cx.Waker().AsRaw())
		if t.woken() == n {
			return rawwaker.Ready(0)
		}
		return rawwaker.Pending[int]()
	}))
	t.join()
	t.free()
}

func thousandCalls() {
	const n = 1000
	t := startThread(true, n, 1e6, false)
	for range n {
		<-called
	}
	t.join()
	t.free()
}

// delay is the article's DelayFuture: it wakes itself until its time has come.
type delay struct{ until time.Time }

func (d delay) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if !time.Now().Before(d.until) {
		return rawwaker.Ready(struct{}{})
	}
	cx.Waker().WakeByRef()
	return rawwaker.Pending[struct{}]()
}

const callback = "an exported Go callback that sends on a channel: bench.c, c.go"

var waits = []figure{
	{
		name: "C thread wakes a parked BlockOn beside 4 CPU-bound goroutines: lost by the waking thread, p99, ns", goal: 0.001,
		peer: callback, slow: true,
		ours: lost(wokenByWaker), other: lost(wokenByCall),
	},
	{
		name: "C thread wakes a parked BlockOn, idle machine: one way, p50, ns", goal: 0.6,
		peer: callback,
		ours: oneWay(wokenByWaker), other: oneWay(wokenByCall),
	},
	{
		name: "hot round trip between a C thread and a BlockOn, p50, ns", goal: 3.0,
		peer: "two C threads that spin on two atomics: bench.c",
		ours: func() float64 { return rallyOfBlockOn(20_000) }, other: func() float64 { return cRally(20_000) },
	},
	{
		name: "CPU time of 1,000 waits of 1 ms woken from C, us", goal: 1.1, slow: true,
		peer: callback,
		ours: func() float64 { return cpu(thousandWakes) }, other: func() float64 { return cpu(thousandCalls) },
	},
	{
		name: "CPU time of waiting 1 s, us", goal: 0.001, slow: true,
		peer: "blockon.Spin of the article's DelayFuture",
		ours: func() float64 { return cpu(func() { blockon.BlockOn(future.Sleep(time.Second)) }) },
		other: func() float64 {
			return cpu(func() { blockon.Spin(rawwaker.Future[struct{}](delay{time.Now().Add(time.Second)})) })
		},
	},
}
