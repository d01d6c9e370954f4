//go:build cgo && linux

package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -I${SRCDIR}/..
#include "sending.h"
*/
import "C"

import (
	"runtime/cgo"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	_ "github.com/seed-8a1b3254/ffiwaker/channel" // rawwaker_channel.c
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type item struct {
	number uint64
	rest   [7]uint64
}

func takeItem(i *C.bench_item) item { return *(*item)(unsafe.Pointer(i)) }

//export benchItem
func benchItem(h C.uintptr_t, i *C.bench_item) {
	cgo.Handle(h).Value().(chan item) <- takeItem(i)
}

const (
	items  = 1_000_000
	evenly = 40_000 * C.BENCH_CAPACITY
)

// checkItems returns a function to call with each item. It panics if one is missing.
func checkItems() (received *uint64, check func(item)) {
	received = new(uint64)
	return received, func(i item) {
		if i.number != *received {
			panic("bench: an item was lost")
		}
		*received++
	}
}

// streamed returns the CPU time of the process per item of a C thread's channel.
func streamed(from func(rawwaker.RawStream) rawwaker.Stream[item]) func() float64 {
	return func() float64 {
		received, check := checkItems()
		us := cpu(func() {
			var raw C.rawwaker_stream
			p := C.bench_produce(items, &raw, C.BENCH_CAPACITY, 0)
			s := from(rawwaker.RawStreamAt(unsafe.Pointer(&raw)))
			blockon.BlockOn(future.ForEach(s, check))
			C.bench_produced(p)
		})
		if *received != items {
			panic("bench: items were lost")
		}
		return us * 1000 / items
	}
}

// calledBack is the peer: the C thread calls an exported callback, which sends on a channel.
func calledBack() float64 {
	received, check := checkItems()
	us := cpu(func() {
		all := make(chan item, C.BENCH_CAPACITY)
		h := cgo.NewHandle(all)
		p := C.bench_produce(items, nil, 0, C.uintptr_t(h))
		for *received < items {
			check(<-all)
		}
		C.bench_produced(p)
		h.Delete()
	})
	return us * 1000 / items
}

const (
	erased  = "tokio::sync::oneshot, its receiver as a Pin<Box<dyn Future>>: rust/src/sending.rs"
	called1 = "an exported callback that sends on a Go channel of capacity 128: sending.go"
)

var sendings = []figure{
	{
		name: "oneshot: new + send + poll + drop in C, ns", goal: 1.0,
		peer: erased,
		ours: func() float64 { return float64(C.bench_oneshots(many)) / many },
		rust: "tokio_oneshot_boxed", rustN: many,
	},
	{
		name: "oneshot: new + send + poll + drop in C, beside a receiver not boxed, ns",
		goal: noGoal,
		peer: "tokio::sync::oneshot, its receiver polled where it is: rust/src/sending.rs",
		ours: func() float64 { return float64(C.bench_oneshots(many)) / many },
		rust: "tokio_oneshot", rustN: many,
	},
	{
		name: "channel in C, filled and drained on one thread, ns per item", goal: 1.0,
		peer: "tokio::sync::mpsc, try_send and poll_recv: rust/src/sending.rs",
		ours: func() float64 { return float64(C.bench_channel_alone(evenly)) / evenly },
		rust: "tokio_mpsc_alone", rustN: evenly,
	},
	{
		name: "channel in C, one thread sends and one receives, ns per item", goal: 1.0,
		peer: "tokio::sync::mpsc, blocking_send and blocking_recv: rust/src/sending.rs",
		ours: func() float64 { return float64(C.bench_channel_threads(items, 1)) / items },
		rust: "tokio_mpsc_threads", rustN: items,
	},
	{
		name: "C producer to Go consumer by StreamFromRawFunc: CPU time per item, ns", goal: 0.2,
		peer: called1,
		ours: streamed(func(raw rawwaker.RawStream) rawwaker.Stream[item] {
			return rawwaker.StreamFromRawFunc(raw, takeItem)
		}),
		other: calledBack,
	},
	{
		name: "C producer to Go consumer by StreamFromRaw: CPU time per item, ns", goal: noGoal,
		peer: called1,
		ours: streamed(func(raw rawwaker.RawStream) rawwaker.Stream[item] {
			return rawwaker.StreamFromRaw[item](raw)
		}),
		other: calledBack,
	},
}
