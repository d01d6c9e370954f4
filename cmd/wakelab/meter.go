package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// meter counts what futures do.
type meter struct {
	used         bool
	polls, wakes atomic.Int64
}

// cost is what one example of the tour costs.
type cost struct {
	cpu     time.Duration
	cpuOK   bool // this system reports it
	elapsed time.Duration
}

// measure runs f. The CPU time is that of the whole process, so nothing else should run meanwhile.
func measure(f func()) cost {
	before, ok := cpuTime()
	start := time.Now()
	f()
	elapsed := time.Since(start)
	after, _ := cpuTime()
	return cost{after - before, ok, elapsed}
}

// metered wraps a future. It polls it with its own waker, and passes each wake on to the waker with
// which it was polled itself.
type metered[T any] struct {
	f     rawwaker.Future[T]
	m     *meter
	outer future.AtomicWaker
	waker *rawwaker.Waker
	cx    *rawwaker.Context
	ended bool
}

// count makes m count f's polls and wakes. If m is nil, it only gives f a name in traces.
func count[T any](m *meter, f rawwaker.Future[T]) rawwaker.Future[T] {
	if m == nil {
		return rawwaker.Named(futureName(f), f)
	}
	m.used = true
	c := &metered[T]{f: f, m: m}
	c.waker = rawwaker.FromFunc(func() {
		m.wakes.Add(1)
		c.outer.Wake()
	})
	c.cx = rawwaker.NewContext(c.waker)
	return c
}

// Poll implements [rawwaker.Future].
func (c *metered[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	c.m.polls.Add(1)
	c.outer.Register(cx.Waker())
	p := c.f.Poll(c.cx)
	if p.IsReady() {
		c.release()
	}
	return p
}

// Drop implements [rawwaker.Dropper].
func (c *metered[T]) Drop() {
	if c.ended {
		return
	}
	if d, ok := c.f.(rawwaker.Dropper); ok {
		d.Drop()
	}
	c.release()
}

// release drops the wakers. A clone that was kept may still be woken: it then finds outer empty.
func (c *metered[T]) release() {
	c.ended = true
	c.waker.Drop()
	c.outer.Drop()
}

// futureName returns the name of a future's type, without packages.
func futureName(f any) string {
	name, _, _ := strings.Cut(fmt.Sprintf("%T", f), "[")
	name = strings.TrimPrefix(name, "*")
	return name[strings.LastIndexByte(name, '.')+1:]
}
