//go:build cgo && linux

package main

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// The first four are tokio's own scheduler benchmarks, which rust/src/tasks.rs has too. An async
// block there is a struct with a Poll here, since the Rust compiler makes a struct of it as well.

var pool = executor.New()

type unit = struct{}

// countdown sends on done when it reaches 0.
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

// pings is the task that starts the ping tasks.
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

// once returns the nanoseconds of one call of f.
func once(f func()) float64 {
	start := time.Now()
	f()
	return float64(time.Since(start).Nanoseconds())
}

// scheduler returns the two figures of a scheduler benchmark: beside the faster of two executors in
// Rust, and beside goroutines.
func scheduler(name string, n int, what string, ours, goroutines func(n int)) []figure {
	sample := medianOf(25, func() float64 { return once(func() { ours(n) }) })
	return []figure{
		{
			name: name + " (" + what + "), ns", goal: 1.0,
			peer: "the faster of tokio multi-thread and smol's async-executor: rust/src/tasks.rs",
			ours: sample, rust: "tokio_" + name, rustOr: "smol_" + name, rustN: n, runs: 25,
		},
		{
			name: name + " (" + what + ") beside goroutines, ns", goal: 0.7,
			peer:  "goroutines and channels: tasks.go",
			ours:  sample,
			other: medianOf(25, func() float64 { return once(func() { goroutines(n) }) }),
		},
	}
}

// local runs n tasks in a Local, one at a time.
func local(n int) {
	l := executor.NewLocal()
	defer l.Close()
	for range n {
		executor.DetachLocal(l, done{})
		l.Tick()
	}
}

type done struct{}

func (done) Poll(*rawwaker.Context) rawwaker.Poll[unit] { return rawwaker.Ready(unit{}) }

// sleepers runs n tasks that sleep for 1 s to 10 s.
func sleepers(n int) {
	c := newCountdown(n)
	for i := range n {
		extra := 9 * time.Second / time.Duration(n) * time.Duration(i)
		executor.Detach(pool, &sleeper{future.Sleep(time.Second + extra), c})
	}
	<-c.done
}

type sleeper struct {
	sleep rawwaker.Future[unit]
	c     *countdown
}

func (f *sleeper) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	if !f.sleep.Poll(cx).IsReady() {
		return rawwaker.Pending[unit]()
	}
	f.c.down()
	return rawwaker.Ready(unit{})
}

// event is ready once it is set.
type event struct {
	waker future.AtomicWaker
	isSet atomic.Bool
}

func (f *event) set() {
	f.isSet.Store(true)
	f.waker.Wake()
}

func (f *event) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	f.waker.Register(cx.Waker())
	if !f.isSet.Load() {
		return rawwaker.Pending[unit]()
	}
	return rawwaker.Ready(unit{})
}

// joinAllWoken wakes n futures one by one and polls their JoinAll after each wake. It returns
// nanoseconds per future.
func joinAllWoken(n int) float64 {
	events := make([]event, n)
	fs := make([]rawwaker.Future[unit], n)
	for i := range events {
		fs[i] = &events[i]
	}
	all := future.JoinAll(fs...)
	var took time.Duration
	inTask(func(cx *rawwaker.Context) {
		all.Poll(cx)
		runtime.GC()
		start := time.Now()
		for i := range events {
			events[i].set()
			all.Poll(cx)
		}
		took = time.Since(start)
	})
	return float64(took.Nanoseconds()) / float64(n)
}

// atomicWaker registers a task's waker and wakes it, n times.
func atomicWaker(n int) {
	var a future.AtomicWaker
	inTask(func(cx *rawwaker.Context) {
		w := cx.Waker()
		for range n {
			a.Register(w)
			a.Wake()
		}
	})
}

// inTask calls f inside a poll.
func inTask(f func(cx *rawwaker.Context)) {
	l := executor.NewLocal()
	defer l.Close()
	executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[unit] {
		f(cx)
		return rawwaker.Ready(unit{})
	}))
	l.Tick()
}

// perTask spawns n tasks and wakes them once all are asleep. It returns nanoseconds per task, from
// the first spawn until all have completed.
func perTask(n int) float64 {
	start := time.Now()
	asleep, left := newCountdown(n), newCountdown(n)
	events := make([]*event, n)
	for i := range events {
		events[i] = new(event)
		executor.Detach(pool, &eventTask{event: events[i], asleep: asleep, left: left})
	}
	<-asleep.done
	for _, e := range events {
		e.set()
	}
	<-left.done
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

// perGoroutine does the same with a goroutine and a channel for each task.
func perGoroutine(n int) float64 {
	start := time.Now()
	asleep, left := newCountdown(n), newCountdown(n)
	events := make([]chan unit, n)
	for i := range events {
		event := make(chan unit)
		events[i] = event
		go func() {
			asleep.down()
			<-event
			left.down()
		}()
	}
	<-asleep.done
	for _, event := range events {
		close(event)
	}
	<-left.done
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

// eventTask waits for an event. It counts its first poll and its end.
type eventTask struct {
	*event
	asleep, left *countdown
}

func (f *eventTask) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	p := f.event.Poll(cx)
	if f.asleep != nil {
		f.asleep.down()
		f.asleep = nil
	}
	if p.IsReady() {
		f.left.down()
	}
	return p
}

// idle is the work of a child process: n tasks that each sleep on a waker, with their futures and
// handles.
func idle(n int) childResult {
	before := resident()
	handles := make([]*executor.JoinHandle[unit], n)
	var asleep atomic.Int64
	ex := executor.New()
	for i := range handles {
		handles[i] = executor.Spawn[unit](ex, &sleeping{asleep: &asleep})
	}
	for asleep.Load() < int64(n) {
		runtime.Gosched()
	}
	time.Sleep(10 * time.Millisecond) // until the last polls have returned
	r := childResult{Bytes: (resident() - before) / float64(n)}
	runtime.KeepAlive(handles)
	return r
}

type sleeping struct {
	waker  future.AtomicWaker
	asleep *atomic.Int64
}

func (f *sleeping) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	f.waker.Register(cx.Waker())
	f.asleep.Add(1)
	return rawwaker.Pending[unit]()
}

// idleGo is the peer: n goroutines that each wait for a separate channel.
func idleGo(n int) childResult {
	before := resident()
	channels := make([]chan unit, n)
	var asleep atomic.Int64
	for i := range channels {
		ch := make(chan unit)
		channels[i] = ch
		go func() {
			asleep.Add(1)
			<-ch
		}()
	}
	for asleep.Load() < int64(n) {
		runtime.Gosched()
	}
	time.Sleep(10 * time.Millisecond)
	r := childResult{Bytes: (resident() - before) / float64(n)}
	runtime.KeepAlive(channels)
	return r
}

// spawnAllocations returns the allocations of one Spawn and its task. The caller's future is not
// counted.
func spawnAllocations() float64 {
	ex := executor.New(executor.Workers(1))
	defer ex.Close()
	var f rawwaker.Future[int] = ready{}
	return testing.AllocsPerRun(10_000, func() {
		h := executor.Spawn(ex, f)
		for !h.IsDone() {
			runtime.Gosched()
		}
	})
}

var tasks = slices.Concat(
	scheduler("spawn_many", 10_000, "10,000 tasks", spawnMany, spawnManyGo),
	scheduler("yield_many", 1000, "200 tasks of 1,000 yields", yieldMany, yieldManyGo),
	scheduler("ping_pong", 1000, "1,000 pairs", pingPong, pingPongGo),
	scheduler("chained_spawn", 1000, "1,000 tasks", chainedSpawn, chainedSpawnGo),
	[]figure{
		{
			name: "Local: spawn + run + detach, one task, ns", goal: 1.5,
			peer: "async-task and a VecDeque: rust/src/tasks.rs",
			ours: each(many/5, local), rust: "asynctask_local", rustN: many / 5,
		},
		{
			name: "1,000,000 sleeping tasks: resident memory per task, bytes", goal: 0.1,
			pairs: 3, slow: true,
			peer:  "a goroutine blocked on a channel" + separately,
			ours:  func() float64 { return child("idle 1000000").Bytes },
			other: func() float64 { return child("idleGo 1000000").Bytes },
		},
		{
			name: "1,000,000 timers of 1 s to 10 s: CPU time, ns", goal: 1.5, pairs: 3, slow: true,
			peer: "tokio: rust/src/tasks.rs",
			ours: func() float64 { return 1e3 * cpu(func() { sleepers(1_000_000) }) },
			rust: "tokio_timers", rustN: 1_000_000,
		},
		{
			name: "JoinAll of 10,000 futures woken one by one, ns per future", goal: 1.0,
			peer: "join_all of Rust's futures crate: rust/src/tasks.rs",
			ours: func() float64 { return joinAllWoken(10_000) }, rust: "join_all", rustN: 10_000,
		},
		{
			name: "AtomicWaker: register + wake, ns", goal: 1.5,
			peer: "AtomicWaker of Rust's futures crate: rust/src/tasks.rs",
			ours: each(many/5, atomicWaker), rust: "atomic_waker", rustN: many / 5,
		},
		{
			name: "time per task among 1,000,000 at once, divided by that among 1,000", goal: 1.0,
			slow: true,
			peer: "tokio's quotient: rust/src/tasks.rs",
			ours: func() float64 { return costGrowth(perTask) },
			rust: "tokio_per_task", growth: true,
		},
		{
			name: "allocations per task, without the caller's future", goal: 1.0, peer: "2",
			ours: spawnAllocations, other: func() float64 { return 2 },
		},
	},
)
