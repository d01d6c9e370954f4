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

// wokenByWaker makes a BlockOn wait n times for a C thread, which sleeps sleepNS before each wake.
// It calls polled in each poll that follows a wake.
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

// wokenByCall is the peer: the C thread calls an exported Go callback, which sends on a channel.
func wokenByCall(n, sleepNS int, received func(i int, t cThread)) cThread {
	t := startThread(true, n, sleepNS, true)
	for i := range n {
		t.ready()
		<-called
		received(i, t)
	}
	return t
}

// A wait is wokenByWaker or wokenByCall.
type wait func(n, sleepNS int, done func(i int, t cThread)) cThread

// wakeTime returns how long the C thread's wakes take beside four busy goroutines: the 99th
// percentile, in nanoseconds.
func wakeTime(wait wait) func() float64 {
	return func() float64 {
		const n = 60
		took := make([]float64, n)
		var t cThread
		whileBusy(func() { t = wait(n, 1e6, func(int, cThread) {}) })
		t.join() // it may not have returned from its last wake yet
		for i := range took {
			took[i] = float64(t.ended(i) - t.began(i))
		}
		t.free()
		return quantile(took, 0.99)
	}
}

// oneWay returns the time from before a wake in C to the Go code that waited for it, on an
// otherwise idle machine: the median, in nanoseconds.
func oneWay(wait wait) func() float64 {
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

// roundTrip returns the median round trip between a BlockOn and a C thread that spins.
func roundTrip(n int) float64 {
	e := newEcho(n)
	took := make([]float64, 0, n)
	started := false
	var asked uint32
	last := time.Now()
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		if !started {
			started = true
			e.start(cx.Waker().Clone().IntoRaw())
		} else if atomic.LoadUint32(e.pong) != asked {
			return rawwaker.Pending[int]() // this answer was seen before its wake
		} else {
			at := time.Now()
			took = append(took, float64(at.Sub(last)))
			last = at
		}
		if len(took) == n {
			return rawwaker.Ready(0)
		}
		asked++
		atomic.StoreUint32(e.ping, asked)
		return rawwaker.Pending[int]()
	}))
	e.end()
	return quantile(took, 0.5)
}

// cpu returns the process's CPU time for f, in microseconds.
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

// thousandWakes waits 1,000 times for a C thread that wakes every millisecond.
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

// thousandCalls is the peer: the C thread calls an exported Go callback.
func thousandCalls() {
	const n = 1000
	t := startThread(true, n, 1e6, false)
	for range n {
		<-called
	}
	t.join()
	t.free()
}

// delay is the article's DelayFuture: it wakes itself until its time is reached.
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
		name: "C thread wakes a parked BlockOn beside 4 busy goroutines: time of the wake, p99, ns",
		goal: 0.001, slow: true,
		peer: callback,
		ours: wakeTime(wokenByWaker), other: wakeTime(wokenByCall),
	},
	{
		name: "C thread wakes a parked BlockOn, idle machine: one way, p50, ns", goal: 0.6,
		peer: callback,
		ours: oneWay(wokenByWaker), other: oneWay(wokenByCall),
	},
	{
		name: "round trip between a C thread and a BlockOn, both spinning, p50, ns", goal: 3.0,
		peer:  "two C threads that spin on two atomics: bench.c",
		ours:  func() float64 { return roundTrip(20_000) },
		other: func() float64 { return cRoundTrip(20_000) },
	},
	{
		name: "CPU time of 1,000 waits of 1 ms woken from C, us", goal: 1.1, slow: true,
		peer:  callback,
		ours:  func() float64 { return cpu(thousandWakes) },
		other: func() float64 { return cpu(thousandCalls) },
	},
	{
		name: "CPU time of waiting 1 s, us", goal: 0.001, slow: true,
		peer: "blockon.Spin of the article's DelayFuture",
		ours: func() float64 {
			return cpu(func() { blockon.BlockOn(future.Sleep(time.Second)) })
		},
		other: func() float64 {
			return cpu(func() {
				blockon.Spin[struct{}](delay{time.Now().Add(time.Second)})
			})
		},
	},
}
