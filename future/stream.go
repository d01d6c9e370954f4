package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// Stream is [rawwaker.Stream]: a future of many values. The functions of this package own the
// stream that they are given, except [Next].
type Stream[T any] = rawwaker.Stream[T]

// Item is [rawwaker.Item], what a [Stream] returns: a value, or, if Ok is false, its end.
type Item[T any] = rawwaker.Item[T]

func item[T any](v T) rawwaker.Poll[Item[T]] { return rawwaker.Ready(Item[T]{Value: v, Ok: true}) }

func end[T any]() rawwaker.Poll[Item[T]] { return rawwaker.Ready(Item[T]{}) }

func dropStream[T any](s Stream[T]) {
	if d, ok := s.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

type values[T any] struct{ left []T }

// Values returns a stream of vs, all of them ready. It keeps the slice.
func Values[T any](vs ...T) Stream[T] { return &values[T]{vs} }

func (s *values[T]) PollNext(*rawwaker.Context) rawwaker.Poll[Item[T]] {
	if len(s.left) == 0 {
		return end[T]()
	}
	v := s.left[0]
	s.left = s.left[1:]
	return item(v)
}

// Stream returns a stream of the values of the channel, which ends when the channel is closed and
// empty. One task may use it at a time; other receivers may exist beside it. Dropping it does not
// close the channel.
func (r *Receiver[T]) Stream() Stream[T] { return &received[T]{r: r} }

type received[T any] struct {
	r    *Receiver[T]
	recv rawwaker.Future[rawwaker.Result[T]] // nil if none is pending
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
	fs  []rawwaker.Future[T] // nil for those that were ready, and itself nil after Drop
	set rawwaker.WakerSet
}

// Unordered returns a stream of the results of fs, in the order in which they become ready: Rust's
// FuturesUnordered. Results that are ready from the start come in the order of fs.
//
// It owns the fs. Each gets a waker of its own, so a wake polls only the future that it is for. A
// PollNext stops at the first that is ready and returns its result, so Drop discards no result: it
// drops the others before they were polled to their end. Unordered panics if one of fs is nil.
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

// Next returns a future of the next item of s.
//
// It does not own s: the caller drops s at the end. If Next is dropped before it is ready, s loses
// no item. Next panics if s is nil.
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
	s   Stream[T] // nil if ready or dropped
	all []T
}

// Collect returns a future of all values of s, ready when s ends.
//
// It owns s. After 64 values in one poll it wakes its task and returns Pending, so that other tasks
// run. Drop drops s and discards the values collected so far. Collect panics if s is nil.
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
	s  Stream[T] // nil if ready or dropped
	fn func(T)
}

// ForEach returns a future that calls fn with each value of s, in the poll, and is ready when s
// ends.
//
// It owns s. After 64 values in one poll it wakes its task and returns Pending, so that other tasks
// run. Drop drops s. ForEach panics if s or fn is nil.
func ForEach[T any](s Stream[T], fn func(T)) rawwaker.Future[struct{}] {
	panicIfNil("ForEach", s == nil, "stream")
	panicIfNil("ForEach", fn == nil, "function")
	return &forEach[T]{s, fn}
}

// pollBudget is how many values or futures that are ready a loop takes in one poll. Then it wakes
// its task and returns Pending, so that other tasks run.
const pollBudget = 64

func (f *forEach[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if f.s == nil {
		panic(polledAfterCompletion)
	}
	// A stream of C reads several items at once.
	taken, _ := f.s.(interface{ NextTaken() *T })
	for range pollBudget {
		if taken != nil {
			if v := taken.NextTaken(); v != nil {
				f.fn(*v)
				continue
			}
		}
		p := f.s.PollNext(cx)
		if !p.IsReady() {
			return rawwaker.Pending[struct{}]()
		}
		v := p.Value()
		if !v.Ok {
			f.s = nil
			return rawwaker.Ready(struct{}{})
		}
		f.fn(v.Value)
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
	s  Stream[T] // nil if ended or dropped
	fn func(T) U
}

// MapStream returns a stream of fn's results for the values of s. fn runs in the poll.
//
// It owns s. Drop drops s. MapStream panics if s or fn is nil.
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
	s    Stream[T] // nil if ended or dropped
	keep func(T) bool
}

// Filter returns a stream of the values of s for which keep returns true. keep runs in the poll.
//
// It owns s. After 64 values in one poll for which keep returned false, it wakes its task and
// returns Pending, so that other tasks run. Drop drops s. Filter panics if s or keep is nil.
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
	s    Stream[T] // nil if ended or dropped
	left int
}

// Take returns a stream of the first n values of s, or of none if n is below 1.
//
// It owns s, and drops it after the n-th value. Drop drops s. Take panics if s is nil.
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
