//go:build cgo && linux

package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -I${SRCDIR}/..
#include "crossing.h"

// Go holds the two words of a future as numbers: only numbers cross from Go to C.
typedef struct future_words { uintptr_t data, vtable; } future_words;
static future_words words_of(rawwaker_future f) {
	return (future_words){(uintptr_t)f.data, (uintptr_t)f.vtable};
}
static rawwaker_future future_of(future_words w) {
	return (rawwaker_future){(void *)w.data, (const rawwaker_future_vtable *)w.vtable};
}
static future_words self_waking(uint64_t n) { return words_of(bench_self_waking_future(n)); }
static future_words ready_now(void) { return words_of(bench_ready_future()); }
static future_words ops_future(bench_ops *o, uint32_t i) {
	return words_of(bench_ops_future(o, i));
}
static future_words epoll_task(void) { return words_of(bench_epoll_task()); }
static uint64_t polls(future_words f, uint64_t n) { return bench_polls(future_of(f), n); }
*/
import "C"

import (
	"runtime"
	"runtime/cgo"
	"runtime/debug"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func fromC(w C.future_words) *rawwaker.CFuture[uint64] {
	return rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(w.data), uintptr(w.vtable)))
}

func await(f *rawwaker.CFuture[uint64]) uint64 { return blockon.BlockOn[uint64](f) }

const manyOps = 100_000

// pendingFutures is the work of a child process: one JoinAll awaits 100,000 operations of C, which
// two C threads complete.
func pendingFutures() childResult {
	ops := C.bench_ops_new(manyOps)
	before := resident()
	fs := make([]rawwaker.Future[uint64], manyOps)
	for i := range fs {
		fs[i] = fromC(C.ops_future(ops, C.uint32_t(i)))
	}
	all := future.JoinAll(fs...)
	clear(fs)
	var r childResult
	var took, first C.uint64_t
	done := make(chan struct{})
	polled := false
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[[]uint64] {
		p := all.Poll(cx)
		if !polled {
			polled = true
			r.Threads, r.Bytes = threads(), (resident()-before)/manyOps
			go func() {
				took = C.bench_ops_complete(ops, &first)
				close(done)
			}()
		}
		return p
	}))
	end := now()
	<-done
	r.Last, r.Wake = float64(end-uint64(first)), float64(took)/manyOps
	return r
}

// pendingGoroutines is the peer: a goroutine, a channel and a cgo.Handle for each operation, which
// an exported callback completes.
func pendingGoroutines() childResult {
	ops := C.bench_ops_new(manyOps)
	before := resident()
	var waiting atomic.Int64
	results := make(chan uint64, manyOps)
	for i := range manyOps {
		go func() {
			ch := make(chan uint64, 1)
			h := cgo.NewHandle(ch)
			C.bench_ops_set_handle(ops, C.uint32_t(i), C.uintptr_t(h))
			waiting.Add(1)
			v := <-ch
			h.Delete()
			results <- v
		}()
	}
	for waiting.Load() < manyOps {
		runtime.Gosched()
	}
	buffer := 8.0 * manyOps // the channel of results belongs to the measurement
	r := childResult{Threads: threads(), Bytes: (resident() - before - buffer) / manyOps}
	var took, first C.uint64_t
	done := make(chan struct{})
	go func() {
		took = C.bench_ops_complete(ops, &first)
		close(done)
	}()
	for range manyOps {
		<-results
	}
	end := now()
	<-done
	r.Last, r.Wake = float64(end-uint64(first)), float64(took)/manyOps
	return r
}

// resident returns this process's resident memory after a collection, in bytes.
func resident() float64 {
	runtime.GC()
	debug.FreeOSMemory()
	return procStatus("VmRSS") * 1024
}

func threads() float64 { return procStatus("Threads") }

//export benchSend
func benchSend(h C.uintptr_t, v C.uint64_t) {
	cgo.Handle(h).Value().(chan uint64) <- uint64(v)
}

//export benchEmpty
func benchEmpty() {}

//export benchGoroutine
func benchGoroutine() {
	to, from := make(chan struct{}), make(chan struct{})
	go func() {
		<-to
		from <- struct{}{}
	}()
	to <- struct{}{}
	<-from
}

//export benchTick
func benchTick(ex C.uintptr_t) C.int {
	if cgo.Handle(ex).Value().(*executor.Local).Tick() {
		return 1
	}
	return 0
}

// pollsOf returns nanoseconds per poll by C of f, which stays pending.
func pollsOf(f rawwaker.Future[uint64], n int) float64 {
	data, vtable := rawwaker.FutureIntoRaw(f).Words()
	words := C.future_words{data: C.uintptr_t(data), vtable: C.uintptr_t(vtable)}
	return float64(C.polls(words, C.uint64_t(n))) / float64(n)
}

// callbacks returns nanoseconds per call of an exported Go function.
func callbacks(n int, goroutine bool) float64 {
	g := C.int(0)
	if goroutine {
		g = 1
	}
	return float64(C.bench_callbacks(C.uint64_t(n), g)) / float64(n)
}

// stored stays pending and stores its waker.
type stored struct{ waker future.AtomicWaker }

func (s *stored) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] {
	s.waker.Register(cx.Waker())
	return rawwaker.Pending[uint64]()
}
func (s *stored) Drop() { s.waker.Drop() }

// whileBusy calls f while four goroutines compute.
func whileBusy(f func()) {
	var stop atomic.Bool
	ended := make(chan struct{})
	for range 4 {
		go func() {
			for !stop.Load() {
			}
			ended <- struct{}{}
		}()
	}
	f()
	stop.Store(true)
	for range 4 {
		<-ended
	}
}

const epollWakes = 100

// epollOfLocal returns the 99th percentile from a C thread's wake of a Local's task to the host's
// return from epoll_wait, in nanoseconds.
func epollOfLocal() (p99 float64) {
	l := executor.NewLocal()
	defer l.Close()
	task := C.epoll_task()
	executor.SpawnLocal[struct{}](l, rawwaker.FutureFromRaw[struct{}](
		rawwaker.RawFutureOf(uintptr(task.data), uintptr(task.vtable))))
	h := cgo.NewHandle(l)
	defer h.Delete()
	fd := l.FD()
	whileBusy(func() {
		p99 = float64(C.bench_epoll(C.uintptr_t(h), C.int(fd), epollWakes))
	})
	return p99
}

// epollOfEventfd is the peer: the C thread writes an eventfd itself.
func epollOfEventfd() (p99 float64) {
	whileBusy(func() { p99 = float64(C.bench_epoll(0, -1, epollWakes)) })
	return p99
}

const (
	perGoroutinePeer = "a goroutine, a channel and a cgo.Handle for each, " +
		"and an exported callback: crossing.go" + separately
	separately = "; each sample in a separate process"

	readyFuture = "C future ready at once: made + awaited + dropped, ns"
)

var crossings = []figure{
	{
		name: "self-waking C future under BlockOn, ns per poll", goal: 1.5,
		peer: "the same future under rawwaker_block_on: crossing.c",
		ours: func() float64 {
			return each(many, func(n int) { await(fromC(C.self_waking(C.uint64_t(n)))) })()
		},
		other: func() float64 { return float64(C.bench_self_waking_block_on(many)) / many },
	},
	{
		name: readyFuture, goal: 1.2,
		peer: "3 empty cgo calls (nocallback, noescape), 32 bytes allocated, " +
			"a finalizer set and cleared",
		ours: each(many/10, func(n int) {
			for range n {
				await(fromC(C.ready_now()))
			}
		}),
		other: each(many/10, func(n int) {
			for range n {
				p := new(thirtyTwo)
				allocated = p
				runtime.SetFinalizer(p, func(*thirtyTwo) {})
				runtime.SetFinalizer(p, nil)
				cNothing()
				cNothing()
				cNothing()
			}
		}),
	},
	{
		name: "100,000 pending C futures: OS threads", goal: 1.0, slow: true,
		peer:  "GOMAXPROCS + 8" + separately,
		ours:  func() float64 { return child("futures").Threads },
		other: func() float64 { return float64(runtime.GOMAXPROCS(0) + 8) },
	},
	{
		name: "100,000 pending C futures: resident memory per future, bytes",
		goal: 0.15, slow: true,
		peer:  perGoroutinePeer,
		ours:  func() float64 { return child("futures").Bytes },
		other: func() float64 { return child("goroutines").Bytes },
	},
	{
		name: "100,000 pending C futures, woken by 2 C threads: first wake to last result, ns",
		goal: 0.5, slow: true,
		peer:  perGoroutinePeer,
		ours:  func() float64 { return child("futures").Last },
		other: func() float64 { return child("goroutines").Last },
	},
	{
		name: "100,000 pending C futures, woken by 2 C threads: time of one wake, ns",
		goal: 0.2, slow: true,
		peer:  perGoroutinePeer,
		ours:  func() float64 { return child("futures").Wake },
		other: func() float64 { return child("goroutines").Wake },
	},
	{
		name: "Go future polled once from C, pending, ns", goal: 2.5,
		peer:  "an empty exported callback",
		ours:  func() float64 { return pollsOf(new(stored), many/10) },
		other: func() float64 { return callbacks(many/10, false) },
	},
	{
		name: "Go future made with Async, polled once from C, pending, ns", goal: 1.0,
		peer: "an exported callback that starts a goroutine and exchanges two values with it",
		ours: func() float64 {
			return pollsOf(future.Async(func(aw *future.Awaiter) uint64 {
				return future.Await[uint64](aw, new(stored))
			}), many/500)
		},
		other: func() float64 { return callbacks(many/500, true) },
	},
	{
		name: "C future polled 1,000 times by Rust: allocations + failed will_wake", goal: 0.001,
		peer:     "the same future as async-ffi's FfiFuture: rust/src/repolled.rs",
		rustOurs: "foreign_repolled", rust: "asyncffi_repolled", rustN: 1000,
	},
	{
		name: "Rust future polled 1,000 times by Go: clones + failed will_wake", goal: 1,
		peer:     "1",
		rustOurs: "rust_repolled_by_go", rustN: 1000,
		other: func() float64 { return 1 },
	},
	{
		name: "Rust: clone + drop of a Go-made waker, ns", goal: 1.5,
		peer:     "clone + drop of std::task::Waker from an Arc<impl Wake>: rust/src/main.rs",
		rustOurs: "go_waker_clone_drop", rust: "arc_clone_drop", rustN: many,
	},
	{
		name: "C thread wakes a Local's epoll host beside 4 busy goroutines: one way, p99, ns",
		goal: 2.0,
		peer: "an eventfd that the thread writes itself: crossing.c",
		ours: epollOfLocal, other: epollOfEventfd,
	},
}
