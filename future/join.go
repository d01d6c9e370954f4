package future

import (
	"context"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// dropFuture drops f if it is a Dropper. Its Drop may panic, so the caller takes f out of its own
// state first, and drops everything else in a deferred call.
func dropFuture[T any](f rawwaker.Future[T]) {
	if d, ok := f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

// panicIfNil panics if what was given to call is nil.
func panicIfNil(call string, isNil bool, what string) {
	if isNil {
		panic("future: " + call + ": nil " + what)
	}
}

func panicIfAnyNil[T any](call string, fs []rawwaker.Future[T]) {
	for _, f := range fs {
		panicIfNil(call, f == nil, "future")
	}
}

// Pair is the result of [Join].
type Pair[A, B any] struct {
	First  A
	Second B
}

type join[A, B any] struct {
	a    rawwaker.Future[A] // nil if it was ready
	b    rawwaker.Future[B]
	v    Pair[A, B]
	done bool
}

// Join returns a future that is ready, with both results, when a and b are.
//
// It owns a and b. Both get the task's waker, so a wake of one polls the other too; [JoinAll]
// avoids that. Drop drops those that are not ready and discards the result of one that is. Join
// panics if a or b is nil.
func Join[A, B any](a rawwaker.Future[A], b rawwaker.Future[B]) rawwaker.Future[Pair[A, B]] {
	panicIfNil("Join", a == nil || b == nil, "future")
	return &join[A, B]{a: a, b: b}
}

func (f *join[A, B]) Poll(cx *rawwaker.Context) rawwaker.Poll[Pair[A, B]] {
	if f.done {
		panic(polledAfterCompletion)
	}
	if f.a != nil {
		if p := f.a.Poll(cx); p.IsReady() {
			f.v.First, f.a = p.Value(), nil
		}
	}
	if f.b != nil {
		if p := f.b.Poll(cx); p.IsReady() {
			f.v.Second, f.b = p.Value(), nil
		}
	}
	if f.a != nil || f.b != nil {
		return rawwaker.Pending[Pair[A, B]]()
	}
	f.done = true
	v := f.v
	f.v = Pair[A, B]{} // it belongs to the caller now
	return rawwaker.Ready(v)
}

// Drop implements [rawwaker.Dropper].
func (f *join[A, B]) Drop() {
	a, b := f.a, f.b
	f.a, f.b, f.done = nil, nil, true
	f.v = Pair[A, B]{}
	defer func() {
		if b != nil {
			dropFuture(b)
		}
	}()
	if a != nil {
		dropFuture(a)
	}
}

type joinAll[T any] struct {
	fs   []rawwaker.Future[T] // nil for those that were ready
	vs   []T
	set  rawwaker.WakerSet
	done bool
}

// JoinAll returns a future that is ready when all fs are, with the results in the order of fs. With
// no fs it is ready at once.
//
// It owns the fs. Each gets a waker of its own, so a wake polls only the future that it is for.
// Drop drops those that are not ready and discards the results of those that are; take the results
// one by one from [Unordered] if none may be lost. JoinAll panics if one of fs is nil.
func JoinAll[T any](fs ...rawwaker.Future[T]) rawwaker.Future[[]T] {
	panicIfAnyNil("JoinAll", fs)
	f := &joinAll[T]{fs: append([]rawwaker.Future[T](nil), fs...), vs: make([]T, len(fs))}
	f.set.Init(len(fs))
	return f
}

func (f *joinAll[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[[]T] {
	if f.done {
		panic(polledAfterCompletion)
	}
	for i, cx := range f.set.Woken(cx) {
		if p := f.fs[i].Poll(cx); p.IsReady() {
			f.vs[i], f.fs[i] = p.Value(), nil
			f.set.Done(i)
		}
	}
	if f.set.Left() > 0 {
		return rawwaker.Pending[[]T]()
	}
	f.done = true
	f.set.Drop()
	vs := f.vs
	f.fs, f.vs = nil, nil
	return rawwaker.Ready(vs)
}

// Drop implements [rawwaker.Dropper].
func (f *joinAll[T]) Drop() {
	fs := f.fs
	f.fs, f.vs, f.done = nil, nil, true
	f.set.Drop()
	dropAll(fs)
}

// dropAll drops all that are left, even if one's Drop panics or calls runtime.Goexit.
func dropAll[T any](fs []rawwaker.Future[T]) {
	next := 0
	defer func() {
		if next < len(fs) {
			dropAll(fs[next:])
		}
	}()
	for i, g := range fs {
		next = i + 1
		if g != nil {
			fs[i] = nil
			dropFuture(g)
		}
	}
}

type race[T any] struct {
	fs  []rawwaker.Future[T]
	set rawwaker.WakerSet
}

// Race returns a future that is ready when one of fs is, with its result. The others are dropped
// then: Rust's select.
//
// It owns the fs. Each gets a waker of its own. The first poll polls them in the order of fs, later
// polls in the order of their wakes, and a poll ends at the first that is ready: no other is polled
// after it, so no result is lost. If several are ready from the start, the first always wins; a
// loop that must be fair changes the order from one Race to the next. Drop drops all. Race panics
// if fs is empty or one of fs is nil.
func Race[T any](fs ...rawwaker.Future[T]) rawwaker.Future[T] {
	if len(fs) == 0 {
		panic("future: Race: no futures")
	}
	panicIfAnyNil("Race", fs)
	f := &race[T]{fs: append([]rawwaker.Future[T](nil), fs...)}
	f.set.Init(len(fs))
	return f
}

func (f *race[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if f.fs == nil {
		panic(polledAfterCompletion)
	}
	for i, cx := range f.set.Woken(cx) {
		if p := f.fs[i].Poll(cx); p.IsReady() {
			f.fs[i] = nil
			f.Drop()
			return p
		}
	}
	return rawwaker.Pending[T]()
}

// Drop implements [rawwaker.Dropper].
func (f *race[T]) Drop() {
	fs := f.fs
	f.fs = nil
	f.set.Drop()
	dropAll(fs)
}

type timeout[T any] struct {
	f     rawwaker.Future[T] // nil if ready or dropped
	sleep rawwaker.Future[struct{}]
}

// Timeout returns a future of f's result that fails with [context.DeadlineExceeded] if f is not
// ready within d. Then f is dropped.
//
// It owns f. The time counts from this call, not from the first poll. If f is ready and the time
// has passed, f's result counts. Drop drops f. Timeout panics if f is nil.
func Timeout[T any](f rawwaker.Future[T], d time.Duration) rawwaker.Future[rawwaker.Result[T]] {
	panicIfNil("Timeout", f == nil, "future")
	return &timeout[T]{f: f, sleep: Sleep(d)}
}

func (t *timeout[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if t.f == nil {
		panic(polledAfterCompletion)
	}
	if p := t.f.Poll(cx); p.IsReady() {
		t.f = nil
		t.Drop()
		return rawwaker.Ready(rawwaker.Result[T]{Value: p.Value()})
	}
	if t.sleep.Poll(cx).IsReady() {
		t.sleep = nil
		t.Drop()
		return rawwaker.Ready(rawwaker.Result[T]{Err: context.DeadlineExceeded})
	}
	return rawwaker.Pending[rawwaker.Result[T]]()
}

// Drop implements [rawwaker.Dropper].
func (t *timeout[T]) Drop() {
	f, sleep := t.f, t.sleep
	t.f, t.sleep = nil, nil
	defer func() {
		if f != nil {
			dropFuture(f)
		}
	}()
	if sleep != nil {
		dropFuture(sleep)
	}
}
