package future

import (
	"context"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// dropFuture drops a future that has not been ready, where it is a Dropper. It panics where that does, so the caller has taken the future out of
// its own state before, and drops what else there is in a deferred call.
func dropFuture[T any](f rawwaker.Future[T]) {
	if d, ok := f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

// panicIfNil panics for a future, stream or function that is nil, in the name of the call that it was given to.
func panicIfNil(call string, isNil bool, what string) {
	if isNil {
		panic("future: " + call + " of a nil " + what)
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
	a    rawwaker.Future[A] // nil: it was ready
	b    rawwaker.Future[B]
	v    Pair[A, B]
	done bool
}

// Join is ready when both are. They share the task's waker, so each wake polls both that are left. Drop drops those that are left, and
// forgets the result of one that was ready.
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
	f.v = Pair[A, B]{} // now the caller's
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
	fs   []rawwaker.Future[T] // nil: it was ready
	vs   []T
	set  rawwaker.WakerSet
	done bool
}

// JoinAll is ready when all are, with the results in their order; of none, at once. Each has a waker of its own, so a wake polls
// only what it is for. Drop drops those that are left, and forgets the results of those that were ready: what must not lose any takes
// them one by one, from [Unordered].
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

// dropAll gives up all that are left, also where one's Drop panics or calls runtime.Goexit.
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

// Race is ready with the first that is; the others are dropped then, and those that come after it are not polled any more, so none of them
// has a result that is lost. At the first poll they are polled in their order, so of several that are ready from the start the first
// always wins; later in the order of their wakes. A loop that must be fair to all changes the order from one Race to the next. It panics
// for none. Each has a waker of its own. Drop drops all.
func Race[T any](fs ...rawwaker.Future[T]) rawwaker.Future[T] {
	if len(fs) == 0 {
		panic("future: Race of nothing")
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
	f     rawwaker.Future[T] // nil: over
	sleep rawwaker.Future[struct{}]
}

// Timeout is f, unless d passes before f is ready: then f is dropped, and the error is [context.DeadlineExceeded]. The time counts
// from now. f is polled first, so where both are ready it is f. Drop drops f.
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
