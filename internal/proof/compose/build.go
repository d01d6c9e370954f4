package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Task is what a tree is built for. Its exported methods are the nodes of a program.
type Task struct {
	w          *World
	id         int
	domain     int           // 0: the executor, 1: the Local
	inDomain   int           // 1: it is of one of these, 0: it has a goroutine of its own
	everywhere bool          // its leaves may be polled by other tasks, or inside a call
	forgotten  bool          // never dropped
	loose      bool          // no one has to poll it
	blocked    *atomic.Int32 // user code of it

	handle *executor.JoinHandle[uint64]
	taken  atomic.Bool // the handle, by a node
	root   *probe
	ended  *call
	result result
	must   uint64 // bits of its result
	may    uint64

	expected, unpolled bool
	scoped             bool
	dropWaker          func() // of Swap
}

// with returns a Task like e for a part of its tree.
func (e *Task) with(change func(e *Task)) *Task {
	n := &Task{w: e.w, id: e.id, domain: e.domain, inDomain: e.inDomain, everywhere: e.everywhere,
		forgotten: e.forgotten, loose: e.loose, blocked: e.blocked, root: e.root}
	change(n)
	return n
}

func (e *Task) site(name string, acts []Act) *site {
	return &site{w: e.w, task: e, name: name, acts: acts}
}

func drop(f any) {
	if d, ok := f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

func value[T any](r rawwaker.Result[T]) (v T) {
	if r.Err == nil {
		v = r.Value
	}
	return v
}

func or(vs []uint64) (all uint64) {
	for _, v := range vs {
		all |= v
	}
	return all
}

// ---------------------------------------------------------------------------------- leaves

// Leaf is a future that wakes itself selfs times and is then ready when it is opened. keep: 0 an
// AtomicWaker, 1 a clone.
func (e *Task) Leaf(id, keep, selfs int, acts []Act) F { return e.leaf(id, keep, selfs, 0, acts) }

func (e *Task) leaf(id, keep, selfs, items int, acts []Act) *leaf {
	l := &leaf{id: id, keep: keep, items: items}
	l.selfs.Store(int32(selfs))
	l.site.w, l.site.task, l.site.name, l.acts = e.w, e, "leaf", acts
	e.w.guard(&l.guard, e, "leaf")
	e.w.add(l)
	return l
}

// Busy is a future that wakes itself in each poll until the program ends.
func (e *Task) Busy(id int) F {
	l := e.leaf(id, 0, 0, 0, nil)
	l.busy = true
	return l
}

func (e *Task) Ready(id int) F { return future.Ready(uint64(1) << id) }

// PollFn is a leaf that Drop does not reach.
func (e *Task) PollFn(id int) F {
	polls := 0
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
		if polls++; polls < 3 {
			cx.Waker().WakeByRef()
			return rawwaker.Pending[uint64]()
		}
		return rawwaker.Ready(uint64(1) << id)
	})
}

func (e *Task) Yield(id int) F {
	return future.Map(future.Yield(), func(struct{}) uint64 { return 1 << id })
}

// GoCall is a blocking call of Go that waits for the leaf.
func (e *Task) GoCall(id int) F {
	w, gate := e.w, make(chan struct{})
	l := &goLeaf{id: id, task: e, gate: gate}
	w.add(l)
	if w.open.Load() {
		l.wake(0, true)
	}
	f := future.Go(func(ctx context.Context) (uint64, error) {
		select {
		case <-gate:
			return 1 << id, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	return future.Map(f, value[uint64])
}

type goLeaf struct {
	id   int
	task *Task
	gate chan struct{}
	once sync.Once
}

func (l *goLeaf) number() int                { return l.id }
func (l *goLeaf) owner() *Task               { return l.task }
func (l *goLeaf) progress() (int, int, bool) { return 0, 0, true }
func (l *goLeaf) wake(_ int, open bool) {
	if open {
		l.once.Do(func() { close(l.gate) })
	}
}

// C is a leaf in C. If it has acts, its slots call Go.
func (e *Task) C(id, selfs int, acts []Act) F {
	l := cLeafOf{newCLeaf(1<<id, selfs, e.site("C leaf", acts)), id, e}
	e.w.mu.Lock()
	e.w.cLeaves = append(e.w.cLeaves, l.cLeaf)
	e.w.mu.Unlock()
	e.w.add(l)
	if e.w.open.Load() {
		l.wake(0, true)
	}
	return rawwaker.FutureFromRaw[uint64](l.raw())
}

// Oneshot is the receiver of a oneshot; World.Send and World.DropSender have the sender.
func (e *Task) Oneshot(n int) F {
	tx, rx := future.Oneshot[uint64]()
	o := &oneshotState{tx: tx}
	if !e.w.putOneshot(n, o) {
		tx.Drop()
		o.over.Store(true)
	}
	return waitFor(e.oneshot(o), future.Map[rawwaker.Result[uint64]](rx, value[uint64]))
}

// COneshot is the same of C.
func (e *Task) COneshot(n int) F {
	f, end := cOneshot()
	o := &oneshotState{end: end}
	if !e.w.putOneshot(n, o) {
		end(0, 0)
		o.over.Store(true)
	}
	return waitFor(e.oneshot(o), f)
}

func (w *World) putOneshot(n int, o *oneshotState) bool {
	n %= len(w.oneshots)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.oneshots[n] != nil || w.open.Load() {
		return false
	}
	w.oneshots[n] = o
	return true
}

func (e *Task) Recv(n int) F {
	c := e.w.channel(n)
	if e.forgotten {
		c.lossy.Store(true)
	}
	f := e.received(c, future.Map(c.rx.Recv(), value[uint64]))
	return waitFor(e.receives(c, "a Recv beside a value"), f)
}

// received notes what f, a Recv, is ready with.
func (e *Task) received(c *channelState, f F) F {
	return future.Map(f, func(v uint64) uint64 {
		e.w.receive(c, v)
		return v
	})
}

func (w *World) receive(c *channelState, v uint64) {
	if v != 0 {
		c.values.Add(-1)
	}
	if twice := c.received.Or(v) & v; twice != 0 {
		w.fail("received twice", "%#x", twice)
	}
	if unsent := v &^ c.sent.Load(); unsent != 0 && !w.Faults {
		w.fail("received, not sent", "%#x", unsent)
	}
}

func (e *Task) Send(n, id int) F {
	c := e.w.channel(n)
	v := uint64(1) << id
	c.sent.Or(v)
	if e.forgotten {
		c.lossy.Store(true)
	}
	return waitFor(e.sends(c), F(&sender{c: c, v: v, f: c.tx.Send(v)}))
}

// sender takes the value back that was not sent.
type sender struct {
	c *channelState
	v uint64
	f rawwaker.Future[error]
}

func (s *sender) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] {
	p := s.f.Poll(cx)
	if !p.IsReady() {
		return rawwaker.Pending[uint64]()
	}
	if p.Value() != nil {
		s.c.sent.And(^s.v)
	} else {
		s.c.values.Add(1)
	}
	return rawwaker.Ready(s.v)
}

func (s *sender) Drop() {
	defer s.c.sent.And(^s.v) // the Drop may wake another sender, whose waker panics
	drop(s.f)
}

// Handle is the handle of an earlier task, Outcome the same without its panic.
func (e *Task) Handle(task int) F {
	if t, h := e.take(task); t != nil {
		return waitFor[uint64](e.outcome(t), h)
	}
	return future.Ready(uint64(0))
}

// take returns a task whose handle no other node has, and the handle; or nil.
func (e *Task) take(task int) (*Task, *executor.JoinHandle[uint64]) {
	t := e.w.task(task)
	if t == nil || t.forgotten {
		return nil, nil
	}
	h := t.handleNow()
	if h == nil || !t.taken.CompareAndSwap(false, true) {
		return nil, nil
	}
	return t, h
}

func (e *Task) Outcome(task int) F {
	if t, h := e.take(task); t != nil {
		return waitFor(e.outcome(t), future.Map(h.Outcome(), value[uint64]))
	}
	return future.Ready(uint64(0))
}

// ScopeDone awaits the scope of the executor (0) or the Local (1).
func (e *Task) ScopeDone(n int) F {
	f := future.Map(e.w.scopeOf(n).Done(), func(error) uint64 { return 0 })
	return waitFor(e.scopeEnd(n), f)
}

// ---------------------------------------------------------------------------------- combinators

func (e *Task) Join(a, b F) F {
	return future.Map(future.Join(a, b), func(p future.Pair[uint64, uint64]) uint64 {
		return p.First | p.Second
	})
}

func (e *Task) All(fs ...F) F  { return future.Map(future.JoinAll(fs...), or) }
func (e *Task) Race(fs ...F) F { return future.Race(fs...) }

func (e *Task) Map(a F, acts []Act) F {
	s := e.site("Map", acts)
	return future.Map(a, func(v uint64) uint64 {
		s.visit(0, nil)
		return v
	})
}

func (e *Task) Then(a F, acts []Act, b func(e *Task) F) F {
	s := e.site("Then", acts)
	return future.Then(a, func(v uint64) F {
		s.visit(0, nil)
		return future.Map(b(e), func(u uint64) uint64 { return u | v })
	})
}

// Rounds is a loop by Then: each of n rounds yields, and a follows.
func (e *Task) Rounds(n int, a func(e *Task) F) F {
	if n > 10000 && debugs("trace=") { // each poll writes lines
		n = 10000
	}
	return future.Then(future.Yield(), func(struct{}) F {
		if n <= 0 {
			return a(e)
		}
		return e.Rounds(n-1, a)
	})
}

func (e *Task) Catch(a F) F { return future.Map(future.CatchPanic(a), value[uint64]) }

// Timeout never fires, TimeoutNow fires in the first poll unless a is ready.
func (e *Task) Timeout(a F) F { return future.Map(future.Timeout(a, time.Hour), value[uint64]) }
func (e *Task) TimeoutNow(a F) F {
	return future.Map(future.Timeout(a, -time.Second), value[uint64])
}

// Shared is the first handle of a, whose slot Clone reads.
func (e *Task) Shared(n int, a func(e *Task) F) F {
	s := &sharedState{}
	f := a(e.with(func(e *Task) { e.everywhere, e.loose = true, true }))
	s.h = future.Shared(s.inner(f))
	n %= len(e.w.shared)
	e.w.mu.Lock()
	e.w.shared[n] = s
	e.w.mu.Unlock()
	return waitFor[uint64](e.sharedWait(s), s.h)
}

func (e *Task) Clone(n int) (f F) {
	e.w.mu.Lock()
	h := e.w.shared[n%len(e.w.shared)]
	e.w.mu.Unlock()
	defer func() {
		if recover() != nil { // the last handle was dropped before
			f = future.Ready(uint64(0))
		}
	}()
	if h == nil {
		return future.Ready(uint64(0))
	}
	return waitFor[uint64](e.sharedWait(h), h.h.Clone())
}

// Async awaits fs in turn.
func (e *Task) Async(acts []Act, fs ...F) F {
	s := e.site("Async", acts)
	return &asyncOf{left: fs, f: future.Async(func(aw *future.Awaiter) (all uint64) {
		defer s.visit(1, nil)
		s.visit(0, nil)
		for i, f := range fs {
			fs[i] = nil
			all |= future.Await(aw, f)
			s.visit(0, nil)
		}
		return all
	})}
}

// asyncOf drops what the body has not awaited.
type asyncOf struct {
	f    F
	left []F
}

func (a *asyncOf) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] { return a.f.Poll(cx) }

func (a *asyncOf) Drop() {
	defer dropAll(a.left)
	drop(a.f)
}

func dropAll(fs []F) {
	if len(fs) == 0 {
		return
	}
	defer dropAll(fs[1:])
	if f := fs[0]; f != nil {
		fs[0] = nil
		drop(f)
	}
}

// Crossed is a, given to C and taken back.
func (e *Task) Crossed(a F) F { return rawwaker.FutureFromRaw[uint64](rawwaker.FutureIntoRaw(a)) }

func (e *Task) CrossedFunc(a F, acts []Act) F {
	s := e.site("put or take", acts)
	raw := rawwaker.FutureIntoRawFunc(a, func(out unsafe.Pointer, v uint64) {
		*(*uint64)(out) = v
	})
	return rawwaker.FutureFromRawFunc(raw, func(c *uint64) uint64 {
		s.visit(0, nil)
		return *c
	})
}

func (e *Task) Named(a F) F { return rawwaker.Named("named", a) }

// Forget polls a a few times and is ready without dropping it.
func (e *Task) Forget(polls int, a func(e *Task) F) F {
	f := a(e.with(func(e *Task) { e.forgotten, e.loose = true, true }))
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
		if polls--; polls < 0 {
			f = nil
			return rawwaker.Ready(uint64(0))
		}
		if p := f.Poll(cx); p.IsReady() {
			f = nil
			return p
		}
		cx.Waker().WakeByRef()
		return rawwaker.Pending[uint64]()
	})
}

// GiveUp polls a and drops it, if it is pending, n times, and then waits for the last.
func (e *Task) GiveUp(n int, a func(e *Task) F) F {
	var f F
	return &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
		if f == nil {
			f = a(e)
		}
		p := f.Poll(cx)
		if n--; !p.IsReady() && n >= 0 {
			g := f
			f = nil
			drop(g)
			cx.Waker().WakeByRef()
		}
		return p
	}, drop: func() {
		if f != nil {
			drop(f)
		}
	}}
}

// twoFuncs is a future of two functions.
type twoFuncs struct {
	poll func(cx *rawwaker.Context) rawwaker.Poll[uint64]
	drop func()
}

func (g *twoFuncs) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] { return g.poll(cx) }
func (g *twoFuncs) Drop()                                           { g.drop() }

// Spawned spawns a in the first poll, on the executor (0) or the Local (1), and awaits its handle.
func (e *Task) Spawned(on int, a func(e *Task) F) F {
	if e.w.Forget {
		on = 0
	}
	var h *executor.JoinHandle[uint64]
	s := e.site("Spawned", nil)
	return &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
		if h == nil {
			func() {
				defer s.calling()()
				h = e.w.spawn(on%2, a(&Task{w: e.w, id: -1, domain: on % 2, inDomain: 1,
					loose: e.loose, blocked: &atomic.Int32{}}))
			}()
		}
		return h.Poll(cx)
	}, drop: func() {
		if h != nil {
			h.Drop()
		}
	}}
}

func (w *World) spawn(on int, f F) *executor.JoinHandle[uint64] {
	if on == 0 {
		return executor.Spawn(w.executor(), f)
	}
	return executor.SpawnLocal(w.localOf(), f)
}

// BlockOn runs a to its end inside the poll.
func (e *Task) BlockOn(a func(e *Task) F) F {
	s := e.site("BlockOn", nil)
	return future.PollFn(func(*rawwaker.Context) rawwaker.Poll[uint64] {
		defer s.busyIn()()
		return rawwaker.Ready(blockon.BlockOn(e.w.nested(e, a)))
	})
}

// Probe checks how a is used.
func (e *Task) Probe(a F) F { return e.probe(a, "probe") }

func (e *Task) probe(a F, name string) *probe {
	p := &probe{f: a}
	e.w.guard(&p.guard, e, name)
	return p
}

type probe struct {
	guard
	f     F
	polls atomic.Int32
}

func (p *probe) Poll(cx *rawwaker.Context) (v rawwaker.Poll[uint64]) {
	p.enter()
	p.polls.Add(1)
	returned, over := false, false
	defer p.leave(&returned, &over)
	v = p.f.Poll(cx)
	over = v.IsReady()
	returned = true
	return v
}

func (p *probe) Drop() {
	if p.drop() {
		drop(p.f)
	}
}

// ---------------------------------------------------------------------------------- streams

// Items is a stream of n items, available when the leaf is opened.
func (e *Task) Items(id, keep, selfs, n int, acts []Act) S {
	return asStream{e.leaf(id, keep, selfs, n, acts)}
}

// Endless is a stream that always has an item, until the program ends.
func (e *Task) Endless(id int) S {
	n, poll := 0, int32(0)
	return streamFn(func(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
		if now := e.root.polls.Load(); now != poll {
			n, poll = 0, now
			runtime.Gosched()
		}
		if n++; n > 10000 {
			e.w.fail("others cannot run", "%d items in one poll", n)
			e.w.stop.Store(true)
		}
		if e.w.stop.Load() {
			return rawwaker.Ready(rawwaker.Item[uint64]{})
		}
		return rawwaker.Ready(rawwaker.Item[uint64]{Value: 1 << id, Ok: true})
	})
}

type streamFn func(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]]

func (f streamFn) PollNext(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	return f(cx)
}

func (e *Task) Values(id, n int) S {
	vs := make([]uint64, n)
	for i := range vs {
		vs[i] = 1 << id
	}
	return future.Values(vs...)
}

// Unordered checks that a result is taken from its future only when it is given.
func (e *Task) Unordered(fs ...F) S {
	u := &unorderedOf{w: e.w}
	for i, f := range fs {
		fs[i] = &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			p := f.Poll(cx)
			if p.IsReady() {
				u.taken++
			}
			return p
		}, drop: func() { drop(f) }}
	}
	u.s = future.Unordered(fs...)
	return u
}

type unorderedOf struct {
	w            *World
	s            S
	taken, given int
}

func (u *unorderedOf) PollNext(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	p := u.s.PollNext(cx)
	if p.IsReady() && p.Value().Ok {
		u.given++
	}
	if u.taken != u.given {
		u.w.fail("taken ahead", "Unordered has taken %d results and given %d", u.taken, u.given)
	}
	return p
}

func (u *unorderedOf) Drop() { drop(u.s) }

func (e *Task) Take(s S, n int) S { return future.Take(s, n) }

func (e *Task) Filter(s S, acts []Act) S {
	at := e.site("Filter", acts)
	n := 0
	return future.Filter(s, func(uint64) bool {
		at.visit(0, nil)
		n++
		return n%3 != 0
	})
}

func (e *Task) MapStream(s S, acts []Act) S {
	at := e.site("MapStream", acts)
	return future.MapStream(s, func(v uint64) uint64 {
		at.visit(0, nil)
		return v
	})
}

func (e *Task) RecvStream(n int) S {
	c := e.w.channel(n)
	if e.forgotten {
		c.lossy.Store(true)
	}
	s := future.MapStream(c.rx.Stream(), func(v uint64) uint64 {
		e.w.receive(c, v)
		return v
	})
	return waitForItems(e.receives(c, "an item of a channel beside a value"), s)
}

// CChannel is the stream of a channel of C with n items; it ends with the program.
func (e *Task) CChannel(id, n int) S {
	s, send, end := cChannel(max(n, 1))
	tx := &cSender{end: end}
	s = waitForItems(e.wait("an item of a channel of C that has ended", tx.over.Load, nil), s)
	for range n {
		send(1 << id)
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if e.w.open.Load() {
		tx.close()
	} else {
		e.w.cSenders = append(e.w.cSenders, tx)
	}
	return s
}

// CrossedStream is s, given to C and taken back.
func (e *Task) CrossedStream(s S) S {
	return rawwaker.StreamFromRaw[uint64](rawwaker.StreamIntoRaw(s))
}

func (e *Task) Collect(s S) F { return future.Map(future.Collect(s), or) }

func (e *Task) ForEach(s S, acts []Act) F {
	at := e.site("ForEach", acts)
	var all uint64
	return future.Map(future.ForEach(s, func(v uint64) {
		at.visit(0, nil)
		all |= v
	}), func(struct{}) uint64 { return all })
}

// Next is the first item of s, which is then dropped.
func (e *Task) Next(s S) F { return &nextOf{s: s, f: future.Next(s)} }

type nextOf struct {
	s S
	f rawwaker.Future[rawwaker.Item[uint64]]
}

func (n *nextOf) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] {
	p := n.f.Poll(cx)
	if !p.IsReady() {
		return rawwaker.Pending[uint64]()
	}
	n.f = nil
	if p.Value().Ok {
		s := n.s
		n.s = nil
		drop(s)
	}
	return rawwaker.Ready(p.Value().Value)
}

func (n *nextOf) Drop() {
	s, f := n.s, n.f
	n.s, n.f = nil, nil
	defer drop(s)
	drop(f)
}
