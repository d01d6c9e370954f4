//go:build cgo && linux

package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -I${SRCDIR}/..
#include "border.h"

typedef struct future_numbers { uintptr_t data, vtable; } future_numbers;
static future_numbers future_out(rawwaker_future f) { return (future_numbers){(uintptr_t)f.data, (uintptr_t)f.vtable}; }
static future_numbers self_waking(uint64_t n) { return future_out(border_self_waking(n)); }
static future_numbers ready_now(void) { return future_out(border_ready()); }
static future_numbers ops_future(border_ops *o, uint32_t i) { return future_out(border_ops_future(o, i)); }
static future_numbers epoll_task(void) { return future_out(border_epoll_task()); }
static uint64_t polls(future_numbers f, uint64_t n) {
	return border_polls((rawwaker_future){(void *)f.data, (const rawwaker_future_vtable *)f.vtable}, n);
}
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

func fromC(n C.future_numbers) *rawwaker.CFuture[uint64] {
	return rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(n.data), uintptr(n.vtable)))
}

func await(f *rawwaker.CFuture[uint64]) uint64 { return blockon.BlockOn[uint64](f) }

// pending is 100,000 operations of C that are awaited at once and completed by two threads of C; measured in a process of its own.
type pending struct {
	threads float64 // of the process, while all are pending
	bytes   float64 // resident, for each
	last    float64 // ns from the first wake to the last result
	wake    float64 // ns that a thread takes for one wake
}

const manyOps = 100_000

func pendingFutures() pending {
	ops := C.border_ops_new(manyOps)
	before := resident()
	fs := make([]rawwaker.Future[uint64], manyOps)
	for i := range fs {
		fs[i] = fromC(C.ops_future(ops, C.uint32_t(i)))
	}
	all := future.JoinAll(fs...)
	clear(fs)
	var p pending
	var took, first C.uint64_t
	done := make(chan struct{})
	polled := false
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[[]uint64] {
		r := all.Poll(cx)
		if !polled {
			polled = true
			p.threads, p.bytes = threads(), (resident()-before)/manyOps
			go func() { took = C.border_ops_complete(ops, &first); close(done) }()
		}
		return r
	}))
	end := now()
	<-done
	p.last, p.wake = float64(end-uint64(first)), float64(took)/manyOps
	return p
}

// pendingGoroutines is the same as it is usually written: a goroutine, a channel and a handle for each, and a callback.
func pendingGoroutines() pending {
	ops := C.border_ops_new(manyOps)
	before := resident()
	var waiting atomic.Int64
	results := make(chan uint64, manyOps)
	for i := range manyOps {
		go func() {
			ch := make(chan uint64, 1)
			h := cgo.NewHandle(ch)
			C.border_ops_handle(ops, C.uint32_t(i), C.uintptr_t(h))
			waiting.Add(1)
			v := <-ch
			h.Delete()
			results <- v
		}()
	}
	for waiting.Load() < manyOps {
		runtime.Gosched()
	}
	p := pending{threads: threads(), bytes: (resident() - before - 8*manyOps) / manyOps} // results is ours
	var took, first C.uint64_t
	done := make(chan struct{})
	go func() { took = C.border_ops_complete(ops, &first); close(done) }()
	for range manyOps {
		<-results
	}
	end := now()
	<-done
	p.last, p.wake = float64(end-uint64(first)), float64(took)/manyOps
	return p
}

// resident is this process's resident memory after a collection, in bytes.
func resident() float64 {
	runtime.GC()
	debug.FreeOSMemory()
	return procStatus("VmRSS") * 1024
}

func threads() float64 { return procStatus("Threads") }

//export borderCallback
func borderCallback(h C.uintptr_t, v C.uint64_t) { cgo.Handle(h).Value().(chan uint64) <- uint64(v) }

//export borderNothing
func borderNothing() {}

//export borderGoroutine
func borderGoroutine() {
	to, from := make(chan struct{}), make(chan struct{})
	go func() {
		<-to
		from <- struct{}{}
	}()
	to <- struct{}{}
	<-from
}

//export borderTick
func borderTick(ex C.uintptr_t) C.int {
	if cgo.Handle(ex).Value().(*executor.Local).Tick() {
		return 1
	}
	return 0
}

// pollsOf is ns for each poll by C of a Go future that stays pending.
func pollsOf(f rawwaker.Future[uint64], n int) float64 {
	data, vtable := rawwaker.FutureIntoRaw(f).Words()
	return float64(C.polls(C.future_numbers{data: C.uintptr_t(data), vtable: C.uintptr_t(vtable)}, C.uint64_t(n))) / float64(n)
}

func callbacks(n int, goroutine bool) float64 {
	g := C.int(0)
	if goroutine {
		g = 1
	}
	return float64(C.border_callbacks(C.uint64_t(n), g)) / float64(n)
}

// keeper is pending, and keeps its waker.
type keeper struct{ waker future.AtomicWaker }

func (k *keeper) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] {
	k.waker.Register(cx.Waker())
	return rawwaker.Pending[uint64]()
}
func (k *keeper) Drop() { k.waker.Drop() }

// beside runs f beside four goroutines that compute.
func beside(f func() float64) float64 {
	var stop atomic.Bool
	ended := make(chan struct{})
	for range 4 {
		go func() {
			for !stop.Load() {
			}
			ended <- struct{}{}
		}()
	}
	v := f()
	stop.Store(true)
	for range 4 {
		<-ended
	}
	return v
}

const epollWakes = 100

func epollOfLocal() float64 {
	l := executor.NewLocal()
	defer l.Close()
	n := C.epoll_task()
	executor.SpawnLocal[struct{}](l, rawwaker.FutureFromRaw[struct{}](rawwaker.RawFutureOf(uintptr(n.data), uintptr(n.vtable))))
	h := cgo.NewHandle(l)
	defer h.Delete()
	fd := l.FD()
	return beside(func() float64 { return float64(C.border_epoll(C.uintptr_t(h), C.int(fd), epollWakes)) })
}

func epollOfEventfd() float64 {
	return beside(func() float64 { return float64(C.border_epoll(0, -1, epollWakes)) })
}

const (
	goroutines = "a goroutine, a channel and a cgo.Handle for each, an exported callback: border.go"
	inOwn      = "; each sample in a process of its own"
)

var border = []figure{
	{
		name: "self-waking C future under BlockOn, ns a poll", goal: 1.5,
		peer: "the same under rawwaker_block_on: border.c",
		ours: func() float64 {
			return each(many, func(n int) { await(fromC(C.self_waking(C.uint64_t(n)))) })()
		},
		other: func() float64 { return float64(C.border_self_waking_c(many)) / many },
	},
	{
		name: "C future ready at once: made + awaited + dropped, ns", goal: 1.2,
		peer: "three empty cgo calls (nocallback, noescape), 32 bytes allocated, a finalizer set and cleared",
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
		name: "100,000 pending C futures: OS threads", goal: 1.0, slow: true, peer: "GOMAXPROCS + 8" + inOwn,
		ours: func() float64 { return child("futures").threads }, other: func() float64 { return float64(runtime.GOMAXPROCS(0) + 8) },
	},
	{
		name: "100,000 pending C futures: resident memory for each, bytes", goal: 0.15, slow: true, peer: goroutines + inOwn,
		ours: func() float64 { return child("futures").bytes }, other: func() float64 { return child("goroutines").bytes },
	},
	{
		name: "100,000 pending C futures, woken by 2 C threads: from the first wake to the last result, ns", goal: 0.5, slow: true, peer: goroutines + inOwn,
		ours: func() float64 { return child("futures").last }, other: func() float64 { return child("goroutines").last },
	},
	{
		name: "100,000 pending C futures, woken by 2 C threads: a thread's time for one wake, ns", goal: 0.2, slow: true, peer: goroutines + inOwn,
		ours: func() float64 { return child("futures").wake }, other: func() float64 { return child("goroutines").wake },
	},
	{
		name: "Go future polled once from C, pending, ns", goal: 2.5,
		peer: "an empty exported callback",
		ours: func() float64 { return pollsOf(new(keeper), many/10) }, other: func() float64 { return callbacks(many/10, false) },
	},
	{
		name: "Go future made with Async, polled once from C, pending, ns", goal: 1.0,
		peer: "an exported callback that starts a goroutine and does two channel operations with it",
		ours: func() float64 {
			return pollsOf(future.Async(func(aw *future.Awaiter) uint64 { return future.Await[uint64](aw, new(keeper)) }), many/500)
		},
		other: func() float64 { return callbacks(many/500, true) },
	},
	{
		name: "C future re-polled 1,000 times by Rust, waker kept by clone_from: allocations + missed will_wake", goal: 0.001,
		peer:     "the same as async-ffi's FfiFuture: rust/src/repolled.rs",
		rustOurs: "foreign_repolled", rust: "asyncffi_repolled", rustN: 1000,
	},
	{
		name: "Rust future re-polled 1,000 times by Go, waker kept by clone_from: clones + missed will_wake", goal: 1,
		peer: "1", rustOurs: "rust_repolled_by_go", rustN: 1000, other: func() float64 { return 1 },
	},
	{
		name: "Rust: clone + drop of a Go-made waker, ns", goal: 1.5,
		peer: "clone + drop of std::task::Waker from an Arc<impl Wake>", rustOurs: "go_waker_clone_drop", rust: "arc_clone_drop", rustN: many,
	},
	{
		name: "from a C thread's wake to the epoll host that sees Local's descriptor, beside 4 CPU-bound goroutines, p99, ns", goal: 2.0,
		peer: "a raw eventfd, written and polled: border.c",
		ours: epollOfLocal, other: epollOfEventfd,
	},
}
