package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// Stream is a future of many values: Rust's futures::Stream. PollNext keeps the waker as Poll does; after an Item that is not Ok
// there are no more. One that holds something is a [rawwaker.Dropper], as for a future. The verbs here own the stream that they are
// given, but for [Next].
type Stream[T any] interface {
	PollNext(cx *rawwaker.Context) rawwaker.Poll[Item[T]]
}

// Item is what a [Stream] gives: a value, or, where Ok is false, its end.
type Item[T any] struct {
	Value T
	Ok    bool
}

func item[T any](v T) rawwaker.Poll[Item[T]] { return rawwaker.Ready(Item[T]{v, true}) }

func end[T any]() rawwaker.Poll[Item[T]] { return rawwaker.Ready(Item[T]{}) }

func dropStream[T any](s Stream[T]) {
	if d, ok := s.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

type values[T any] struct{ left []T }

// Values is a stream of these, all of them ready.
func Values[T any](vs ...T) Stream[T] { return &values[T]{vs} }

func (s *values[T]) PollNext(*rawwaker.Context) rawwaker.Poll[Item[T]] {
	if len(s.left) == 0 {
		return end[T]()
	}
	v := s.left[0]
	s.left = s.left[1:]
	return item(v)
}

// Stream is what the channel gives until it is closed and empty. It is for one task.
func (r *Receiver[T]) Stream() Stream[T] { return &received[T]{r: r} }

type received[T any] struct {
	r    *Receiver[T]
	recv rawwaker.Future[rawwaker.Result[T]] // under way
}

func (s *received[T]) PollNext(cx *rawwaker.Context) rawwaker.Poll[Item[T]] {
	if s.recv == nil {
		s.recv = s.r.Recv()
	}
	p := s.recv.Poll(cx)
	if !p.IsReady() {
		return rawwaker.Pending[Item[T]]()
	}
	s.recv = nil
	if p.Value().Err != nil {
		return end[T]()
	}
	return item(p.Value().Value)
}

// Drop implements [rawwaker.Dropper].
func (s *received[T]) Drop() {
	if recv := s.recv; recv != nil {
		s.recv = nil
		dropFuture(recv)
	}
}

type unordered[T any] struct {
	fs  []rawwaker.Future[T] // nil: it was ready, or was given up; all are: over
	set rawwaker.WakerSet
}

// Unordered is a stream of the results, in the order in which the futures become ready; of several that are ready when they are polled
// first, in their order. Each has a waker of its own, so that a wake polls only what it is for: Rust's FuturesUnordered. A call of
// PollNext stops polling at the first that is ready, so Drop loses no result: the others still have theirs, and are dropped.
func Unordered[T any](fs ...rawwaker.Future[T]) Stream[T] {
	panicIfAnyNil("Unordered", fs)
	s := &unordered[T]{fs: append([]rawwaker.Future[T](nil), fs...)}
	s.set.Init(len(fs))
	return s
}

func (s *unordered[T]) PollNext(cx *rawwaker.Context) rawwaker.Poll[Item[T]] {
	if s.set.Left() == 0 {
		s.Drop()
		return end[T]()
	}
	for i, cx := range s.set.WokenNext(cx) {
		if p := s.fs[i].Poll(cx); p.IsReady() {
			s.fs[i] = nil
			s.set.Done(i)
			return item(p.Value())
		}
	}
	return rawwaker.Pending[Item[T]]()
}

// Drop implements [rawwaker.Dropper].
func (s *unordered[T]) Drop() {
	fs := s.fs
	if fs == nil {
		return
	}
	s.fs = nil
	s.set.Drop()
	dropAll(fs)
}

type next[T any] struct{ s Stream[T] }

// Next is the stream's next item. The stream stays the caller's: to drop Next before it is ready takes nothing out of it.
func Next[T any](s Stream[T]) rawwaker.Future[Item[T]] {
	panicIfNil("Next", s == nil, "stream")
	return &next[T]{s}
}

func (n *next[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[Item[T]] {
	if n.s == nil {
		panic(polledAfterCompletion)
	}
	p := n.s.PollNext(cx)
	if p.IsReady() {
		n.s = nil
	}
	return p
}

type collect[T any] struct {
	s   Stream[T] // nil: over
	all []T
}

// Collect is all the values of a stream. After 64 values in one poll others get their turn. Dropped before the stream's end, it forgets
// those it has.
func Collect[T any](s Stream[T]) rawwaker.Future[[]T] {
	panicIfNil("Collect", s == nil, "stream")
	return &collect[T]{s: s}
}

func (c *collect[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[[]T] {
	if c.s == nil {
		panic(polledAfterCompletion)
	}
	for range pollBudget {
		p := c.s.PollNext(cx)
		if !p.IsReady() {
			return rawwaker.Pending[[]T]()
		}
		if !p.Value().Ok {
			all := c.all
			c.s, c.all = nil, nil
			return rawwaker.Ready(all)
		}
		c.all = append(c.all, p.Value().Value)
	}
	cx.Waker().WakeByRef()
	return rawwaker.Pending[[]T]()
}

// Drop implements [rawwaker.Dropper].
func (c *collect[T]) Drop() {
	if s := c.s; s != nil {
		c.s, c.all = nil, nil
		dropStream(s)
	}
}

type forEach[T any] struct {
	s  Stream[T] // nil: over
	fn func(T)
}

// ForEach calls fn with each value, in the poll, and is ready at the stream's end. After 64 values in one poll others get their turn.
func ForEach[T any](s Stream[T], fn func(T)) rawwaker.Future[struct{}] {
	panicIfNil("ForEach", s == nil, "stream")
	panicIfNil("ForEach", fn == nil, "function")
	return &forEach[T]{s, fn}
}

// pollBudget is how many rounds a loop over what is ready does in one poll, before it wakes itself and returns.
const pollBudget = 64

func (f *forEach[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if f.s == nil {
		panic(polledAfterCompletion)
	}
	for range pollBudget {
		p := f.s.PollNext(cx)
		if !p.IsReady() {
			return rawwaker.Pending[struct{}]()
		}
		if !p.Value().Ok {
			f.s = nil
			return rawwaker.Ready(struct{}{})
		}
		f.fn(p.Value().Value)
	}
	cx.Waker().WakeByRef()
	return rawwaker.Pending[struct{}]()
}

// Drop implements [rawwaker.Dropper].
func (f *forEach[T]) Drop() {
	if s := f.s; s != nil {
		f.s = nil
		dropStream(s)
	}
}

type mapStream[T, U any] struct {
	s  Stream[T] // nil: over
	fn func(T) U
}

// MapStream is s with each value put through fn, in the poll.
func MapStream[T, U any](s Stream[T], fn func(T) U) Stream[U] {
	panicIfNil("MapStream", s == nil, "stream")
	panicIfNil("MapStream", fn == nil, "function")
	return &mapStream[T, U]{s, fn}
}

func (m *mapStream[T, U]) PollNext(cx *rawwaker.Context) rawwaker.Poll[Item[U]] {
	if m.s == nil {
		return end[U]()
	}
	p := m.s.PollNext(cx)
	switch {
	case !p.IsReady():
		return rawwaker.Pending[Item[U]]()
	case !p.Value().Ok:
		m.s = nil
		return end[U]()
	}
	return item(m.fn(p.Value().Value))
}

// Drop implements [rawwaker.Dropper].
func (m *mapStream[T, U]) Drop() {
	if s := m.s; s != nil {
		m.s = nil
		dropStream(s)
	}
}

type filter[T any] struct {
	s    Stream[T] // nil: over
	keep func(T) bool
}

// Filter is those values of s for which keep says true. After 64 others in one poll other tasks get their turn.
func Filter[T any](s Stream[T], keep func(T) bool) Stream[T] {
	panicIfNil("Filter", s == nil, "stream")
	panicIfNil("Filter", keep == nil, "function")
	return &filter[T]{s, keep}
}

func (f *filter[T]) PollNext(cx *rawwaker.Context) rawwaker.Poll[Item[T]] {
	if f.s == nil {
		return end[T]()
	}
	for range pollBudget {
		p := f.s.PollNext(cx)
		if !p.IsReady() {
			return p
		}
		if !p.Value().Ok {
			f.s = nil
			return p
		}
		if f.keep(p.Value().Value) {
			return p
		}
	}
	cx.Waker().WakeByRef()
	return rawwaker.Pending[Item[T]]()
}

// Drop implements [rawwaker.Dropper].
func (f *filter[T]) Drop() {
	if s := f.s; s != nil {
		f.s = nil
		dropStream(s)
	}
}

type take[T any] struct {
	s    Stream[T] // nil: over, and dropped
	left int
}

// Take is the first n values of s, which is dropped after them; none where n is below 1.
func Take[T any](s Stream[T], n int) Stream[T] {
	panicIfNil("Take", s == nil, "stream")
	return &take[T]{s, n}
}

func (t *take[T]) PollNext(cx *rawwaker.Context) rawwaker.Poll[Item[T]] {
	if t.left <= 0 {
		t.Drop()
	}
	if t.s == nil {
		return end[T]()
	}
	p := t.s.PollNext(cx)
	if p.IsReady() {
		if !p.Value().Ok {
			t.s = nil
		} else if t.left--; t.left == 0 {
			t.Drop()
		}
	}
	return p
}

// Drop implements [rawwaker.Dropper].
func (t *take[T]) Drop() {
	if s := t.s; s != nil {
		t.s = nil
		dropStream(s)
	}
}
