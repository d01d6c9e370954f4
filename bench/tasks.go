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

// scheduler is one of the four, against the faster of two executors in Rust, and against goroutines.
func scheduler(name string, n int, what string, ours, plain func(n int)) []figure {
	mine := several(25, func() float64 { return once(func() { ours(n) }) })
	return []figure{
		{
			name: name + " (" + what + "), ns", goal: 1.0,
			peer: "the faster of tokio multi-thread and smol's async-executor: rust/src/tasks.rs",
			ours: mine, rust: "tokio_" + name, rustOr: "smol_" + name, rustN: n, runs: 25,
		},
		{
			name: name + " (" + what + ") beside goroutines, ns", goal: 0.7,
			peer: "goroutines and channels: tasks.go",
			ours: mine, other: several(25, func() float64 { return once(func() { plain(n) }) }),
		},
	}
}

// local is one task at a time in a Local.
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

// sleepers is n tasks that sleep for 1 s to 10 s.
func sleepers(n int) {
	c := newCountdown(n)
	for i := range n {
		executor.Detach(pool, &sleeper{future.Sleep(time.Second + 9*time.Second/time.Duration(n)*time.Duration(i)), c})
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

// lamp is ready once it is lit.
type lamp struct {
	waker future.AtomicWaker
	lit   atomic.Bool
}

func (f *lamp) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	f.waker.Register(cx.Waker())
	if !f.lit.Load() {
		return rawwaker.Pending[unit]()
	}
	return rawwaker.Ready(unit{})
}

// joinAllWoken is nanoseconds for each of n futures that are woken one by one, and a poll of the JoinAll after each.
func joinAllWoken(n int) float64 {
	lamps := make([]lamp, n)
	fs := make([]rawwaker.Future[unit], n)
	for i := range lamps {
		fs[i] = &lamps[i]
	}
	all := future.JoinAll(fs...)
	var took time.Duration
	inTask(func(cx *rawwaker.Context) {
		all.Poll(cx)
		runtime.GC()
		start := time.Now()
		for i := range lamps {
			lamps[i].lit.Store(true)
			lamps[i].waker.Wake()
			all.Poll(cx)
		}
		took = time.Since(start)
	})
	return float64(took.Nanoseconds()) / float64(n)
}

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

// perTask is nanoseconds for each of n tasks at once, each of which sleeps on a waker until all do, is woken, and is done.
func perTask(n int) float64 {
	start := time.Now()
	asleep, left := newCountdown(n), newCountdown(n)
	lamps := make([]*lamp, n)
	for i := range lamps {
		lamps[i] = new(lamp)
		executor.Detach(pool, &watching{lamp: lamps[i], asleep: asleep, left: left})
	}
	<-asleep.done
	for _, l := range lamps {
		l.lit.Store(true)
		l.waker.Wake()
	}
	<-left.done
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

// perGoroutine is the same with a goroutine and a channel for each.
func perGoroutine(n int) float64 {
	start := time.Now()
	asleep, left := newCountdown(n), newCountdown(n)
	lamps := make([]chan unit, n)
	for i := range lamps {
		lit := make(chan unit)
		lamps[i] = lit
		go func() {
			asleep.down()
			<-lit
			left.down()
		}()
	}
	<-asleep.done
	for _, lit := range lamps {
		close(lit)
	}
	<-left.done
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

type watching struct {
	*lamp
	asleep, left *countdown
}

func (f *watching) Poll(cx *rawwaker.Context) rawwaker.Poll[unit] {
	p := f.lamp.Poll(cx)
	if f.asleep != nil {
		f.asleep.down()
		f.asleep = nil
	}
	if p.IsReady() {
		f.left.down()
	}
	return p
}

// idle is n tasks that sleep on a waker each, with their futures and handles: bytes for each. In a process of its own.
func idle(n int) pending {
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
	time.Sleep(10 * time.Millisecond) // the last polls end
	p := pending{bytes: (resident() - before) / float64(n)}
	runtime.KeepAlive(handles)
	return p
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

// idleGo is n goroutines that each wait for a channel of its own.
func idleGo(n int) pending {
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
	p := pending{bytes: (resident() - before) / float64(n)}
	runtime.KeepAlive(channels)
	return p
}

// spawnAllocations is how many allocations a Spawn takes whose future and handle are there already, or wanted.
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
			name: "a task asleep on a waker, with its future and handle, of 1,000,000: resident memory, bytes", goal: 0.1,
			peer: "a goroutine blocked on a channel" + inOwn, pairs: 3, slow: true,
			ours: func() float64 { return child("idle 1000000").bytes }, other: func() float64 { return child("idleGo 1000000").bytes },
		},
		{
			name: "1,000,000 timers of 1 s to 10 s: CPU time from first to last, ns", goal: 1.5,
			peer: "tokio: rust/src/tasks.rs", pairs: 3, slow: true,
			ours: func() float64 { return 1e3 * cpu(func() { sleepers(1_000_000) }) }, rust: "tokio_timers", rustN: 1_000_000,
		},
		{
			name: "JoinAll of 10,000 futures woken one by one, ns a future", goal: 1.0,
			peer: "join_all of Rust's futures crate: rust/src/tasks.rs",
			ours: func() float64 { return joinAllWoken(10_000) }, rust: "join_all", rustN: 10_000,
		},
		{
			name: "AtomicWaker: register + wake, ns", goal: 1.5,
			peer: "AtomicWaker of Rust's futures crate: rust/src/tasks.rs",
			ours: each(many/5, atomicWaker), rust: "atomic_waker", rustN: many / 5,
		},
		{
			name: "a task spawned, asleep, woken, over: its cost among 1,000,000 at once over that among 1,000", goal: 1.0,
			peer: "tokio's own ratio: rust/src/tasks.rs",
			ours: func() float64 { return rise(perTask) }, rust: "tokio_per_task", rise: true, slow: true,
		},
		{
			name: "allocations for a task beside the caller's future", goal: 1.0, peer: "2",
			ours: spawnAllocations, other: func() float64 { return 2 },
		},
	},
)
