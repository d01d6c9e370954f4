//go:build cgo && linux

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// each returns a function that calls loop(n) and returns nanoseconds per round.
func each(n int, loop func(n int)) func() float64 {
	return func() float64 {
		if rounds != 0 {
			n = rounds
		}
		start := time.Now()
		loop(n)
		return float64(time.Since(start).Nanoseconds()) / float64(n)
	}
}

const many = 5_000_000

// rounds replaces n in each, in a child process that counts instructions; unless it is 0.
var rounds int

// taskWaker returns a clone of a BlockOn's waker. The BlockOn has returned, so the waker stays
// woken; a wake is the same exchange as before.
func taskWaker() (w *rawwaker.Waker) {
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		w = cx.Waker().Clone()
		w.WakeByRef()
		return rawwaker.Ready(0)
	}))
	return w
}

type poll func(cx *rawwaker.Context) rawwaker.Poll[int]

func (p poll) Poll(cx *rawwaker.Context) rawwaker.Poll[int] { return p(cx) }

// thirtyTwo is 32 bytes with a pointer in them: the size of a Waker.
type thirtyTwo struct {
	_       *int
	_, _, _ uint64
}

//lint:ignore U1000 it keeps the allocation on the heap
var allocated *thirtyTwo

type ready struct{}

func (ready) Poll(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(1) }

// selfWaking is pending n times and wakes itself each time.
type selfWaking struct{ n int }

func (f *selfWaking) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	if f.n == 0 {
		return rawwaker.Ready(0)
	}
	f.n--
	cx.Waker().WakeByRef()
	return rawwaker.Pending[int]()
}

var loops = []figure{
	{
		name: "C: wake_by_ref of a Go-made waker already woken, ns", goal: 1.5,
		peer:  "atomic_exchange_explicit of a word on its own cache line, acq_rel: bench.c",
		ours:  func() float64 { return cWakeByRef(many) },
		other: func() float64 { return cExchange(many) },
	},
	{
		name: "C: clone + drop of a Go-made waker, ns", goal: 1.2,
		peer: "clone + drop of std::task::Waker from an Arc<impl Wake>: rust/src/main.rs",
		ours: func() float64 { return cCloneDrop(many) },
		rust: "arc_clone_drop", rustN: many,
	},
	{
		name: "Go: WakeByRef of a Go-made waker already woken, ns", goal: 2.0,
		peer: "atomic.SwapUint32",
		ours: func() float64 {
			w := taskWaker()
			return each(many, func(n int) {
				for range n {
					w.WakeByRef()
				}
			})()
		},
		other: each(many, func(n int) {
			word := new(uint32)
			for range n {
				atomic.SwapUint32(word, 1)
			}
		}),
	},
	{
		name: "Go: Clone + Drop of a Go-made waker, ns", goal: 1.5,
		peer: "allocating 32 bytes with a pointer in them",
		ours: func() float64 {
			w := taskWaker()
			return each(many, func(n int) {
				for range n {
					w.Clone().Drop()
				}
			})()
		},
		other: each(many, func(n int) {
			for range n {
				allocated = new(thirtyTwo)
			}
		}),
	},
	{
		name: "Go: FromRaw + Drop of a C waker, ns", goal: 1.2,
		peer: "an empty cgo call (nocallback, noescape), 32 bytes allocated, " +
			"a finalizer set and cleared",
		ours: func() float64 {
			raw := plainWaker()
			return each(many/10, func(n int) {
				for range n {
					rawwaker.FromRaw(raw).Drop()
				}
			})()
		},
		other: each(many/10, func(n int) {
			for range n {
				p := new(thirtyTwo)
				allocated = p
				runtime.SetFinalizer(p, func(*thirtyTwo) {})
				runtime.SetFinalizer(p, nil)
				cNothing()
			}
		}),
	},
	{
		name: "BlockOn of a ready future, ns", goal: 2.0,
		peer: "sync.Pool Get + Put",
		ours: each(many, func(n int) {
			var f rawwaker.Future[int] = ready{}
			for range n {
				blockon.BlockOn(f)
			}
		}),
		other: each(many, func(n int) {
			pool := sync.Pool{New: func() any { return new(thirtyTwo) }}
			for range n {
				pool.Put(pool.Get())
			}
		}),
	},
	{
		name: "BlockOn of a ready future, allocations", noPeer: true,
		ours: func() float64 {
			var f rawwaker.Future[int] = ready{}
			return testing.AllocsPerRun(10_000, func() { blockon.BlockOn(f) })
		},
	},
	{
		name: "BlockOn of a self-waking future, ns per poll", goal: 1.0,
		peer: "futures_lite::future::block_on of the same: rust/src/main.rs",
		ours: each(many, func(n int) { blockon.BlockOn(&selfWaking{n}) }),
		rust: "self_waking", rustN: many,
	},
	{
		name: "BlockOn of a self-waking future, allocations per poll", noPeer: true,
		ours: func() float64 {
			const polls = 10_000
			all := testing.AllocsPerRun(100, func() { blockon.BlockOn(&selfWaking{polls}) })
			one := testing.AllocsPerRun(100, func() { blockon.BlockOn(&selfWaking{1}) })
			return (all - one) / (polls - 1)
		},
	},
}
