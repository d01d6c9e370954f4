package main

import (
	"runtime"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// wait is a future or stream of the library that may be pending, beside what it waits for.
type wait struct {
	w       *World
	pending atomic.Bool
	what    string
	there   func() bool // what it waits for is there
	broken  func()      // a poll has not returned
}

// wait notes a wait of e. It is nil if no one has to poll it.
func (e *Task) wait(what string, there func() bool, broken func()) *wait {
	if e.loose || e.forgotten {
		return nil
	}
	t := &wait{w: e.w, what: what, there: there, broken: broken}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.w.waits = append(e.w.waits, t)
	return t
}

// polled is deferred.
func (t *wait) polled(returned, pending *bool) {
	if !*returned && t.broken != nil {
		t.broken()
	}
	t.pending.Store(*returned && *pending)
	if !*pending {
		t.w.ring()
	}
}

func (t *wait) dropped() {
	t.pending.Store(false)
	t.w.ring()
}

// waitFor is f, noted as a wait.
func waitFor[T any](t *wait, f rawwaker.Future[T]) rawwaker.Future[T] {
	if t == nil {
		return f
	}
	return &waiting[T]{t, f}
}

type waiting[T any] struct {
	*wait
	f rawwaker.Future[T]
}

func (f *waiting[T]) Poll(cx *rawwaker.Context) (p rawwaker.Poll[T]) {
	returned, pending := false, false
	defer f.polled(&returned, &pending)
	p = f.f.Poll(cx)
	returned, pending = true, !p.IsReady()
	return p
}

func (f *waiting[T]) Drop() {
	defer f.dropped()
	drop(f.f)
}

// waitForItems is s, each of whose items is noted as a wait.
func waitForItems(t *wait, s S) S {
	if t == nil {
		return s
	}
	f := &waitingStream{t, s}
	if taken, ok := s.(nextTaken); ok {
		return &waitingTaken{f, taken}
	}
	return f
}

type waitingStream struct {
	*wait
	s S
}

func (f *waitingStream) PollNext(cx *rawwaker.Context) (p rawwaker.Poll[rawwaker.Item[uint64]]) {
	returned, pending := false, false
	defer f.polled(&returned, &pending)
	p = f.s.PollNext(cx)
	returned, pending = true, !p.IsReady()
	return p
}

func (f *waitingStream) Drop() {
	defer f.dropped()
	drop(f.s)
}

// nextTaken is the way past PollNext that a stream of C has.
type nextTaken interface{ NextTaken() *uint64 }

type waitingTaken struct {
	*waitingStream
	nextTaken
}

// ---------------------------------------------------------------------------------- channels

// receives notes a wait for a value of c.
func (e *Task) receives(c *channelState, what string) *wait {
	return e.waits(c, what, func() bool { return c.values.Load() > 0 })
}

// sends notes a wait for a place in c.
func (e *Task) sends(c *channelState) *wait {
	return e.waits(c, "a Send beside a free place", func() bool {
		return c.values.Load() < int64(max(e.w.Capacity, 1))
	})
}

func (e *Task) waits(c *channelState, what string, there func() bool) *wait {
	if e.loose || e.forgotten {
		c.unsure.Store(true) // what is reserved for it stays reserved
	}
	return e.wait(what, func() bool {
		return c.closed.Load() || !c.unsure.Load() && there()
	}, func() { c.unsure.Store(true) })
}

// close closes the channel. Each wait for it must end, if no waker panics.
func (c *channelState) close() {
	c.unsure.Store(true)
	c.tx.Close()
	c.closed.Store(true)
}

// trySend counts a value that is sent.
func (c *channelState) trySend(v uint64) (ok bool) {
	c.sure(func() {
		if ok = c.tx.TrySend(v); ok {
			c.values.Add(1)
		}
	})
	return ok
}

func (c *channelState) tryRecv() (v uint64, ok bool) {
	c.sure(func() { v, ok = c.rx.TryRecv() })
	return v, ok
}

// sure calls f. If a waker panics in it, what is in the channel is not known any more.
func (c *channelState) sure(f func()) {
	returned := false
	defer func() {
		if !returned {
			c.unsure.Store(true)
		}
	}()
	f()
	returned = true
}

// ---------------------------------------------------------------------------------- others

// outcome notes a wait for the end of t.
func (e *Task) outcome(t *Task) *wait {
	return e.wait("a JoinHandle of a task that has ended", func() bool { return t.root.ended() }, nil)
}

// oneshot notes a wait for what the sender of o does.
func (e *Task) oneshot(o *oneshotState) *wait {
	return e.wait("the receiver of a oneshot whose sender has ended", o.over.Load, nil)
}

// scopeEnd notes a wait for the end of scope n.
func (e *Task) scopeEnd(n int) *wait {
	w := e.w
	return e.wait("the Done of a Scope whose tasks have ended", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, t := range w.tasks {
			if t.scoped && t.domain == n%2 && !t.root.ended() {
				return false
			}
		}
		return true
	}, nil)
}

// sharedState is a Shared, and whether what it shares is ready.
type sharedState struct {
	h    *future.SharedFuture[uint64]
	over atomic.Bool
}

func (s *sharedState) inner(f F) F {
	return &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
		p := f.Poll(cx)
		if p.IsReady() {
			s.over.Store(true)
		}
		return p
	}, drop: func() { drop(f) }}
}

func (e *Task) sharedWait(s *sharedState) *wait {
	return e.wait("a handle of a Shared that is ready", s.over.Load, nil)
}

// ---------------------------------------------------------------------------------- the check

// rest waits until no wait is pending beside what it waits for. Meanwhile all that was woken is
// polled, unless user code blocks.
func (w *World) rest() {
	name := "a poll"
	for i := 0; ; i++ {
		what := w.restless()
		if what == "" || w.blockedAny() {
			w.waiting.Store(nil)
			return
		}
		if i < 20 {
			runtime.Gosched()
			continue
		}
		if i == 20 || name != what {
			name = what
			now := "the end of " + what
			w.waiting.Store(&now)
		}
		<-w.event
	}
}

// restless is what is pending beside what it waits for, or "".
func (w *World) restless() string {
	w.mu.Lock()
	all := w.waits
	w.mu.Unlock()
	for _, t := range all {
		if t.pending.Load() && t.there() {
			return t.what
		}
	}
	return ""
}
