package rawwaker

import (
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// RawStream is a stream as C holds it: bit for bit the struct rawwaker_stream. Nothing in Go drops
// it: [StreamFromRaw] takes it over. Data is a number, as in [RawWaker].
type RawStream struct {
	Data   uintptr
	VTable *StreamVTable
}

// StreamVTable is bit for bit the struct rawwaker_stream_vtable: the addresses of two C functions.
// It lives as long as the process.
type StreamVTable struct {
	PollNext, Drop uintptr
}

// RawStreamOf puts together two words that came from C as numbers (uintptr_t).
func RawStreamOf(data, vtable uintptr) RawStream {
	// SAFETY: vtable is the address of a static vtable in C memory, not of anything that Go moves
	// or frees.
	return RawStream{Data: data, VTable: *(**StreamVTable)(unsafe.Pointer(&vtable))}
}

// RawStreamAt reads a rawwaker_stream in C memory, at p: the opposite of [RawStream.Put].
func RawStreamAt(p unsafe.Pointer) RawStream { return RawStreamOf(wordsAt(p)) }

// Words returns the two words as numbers, for cgo.
func (r RawStream) Words() (data, vtable uintptr) {
	// SAFETY: a vtable lives as long as the process, so its address as a number stays good.
	return r.Data, uintptr(unsafe.Pointer(r.VTable))
}

// Put writes r to a rawwaker_stream in C memory, at to.
func (r RawStream) Put(to unsafe.Pointer) { putWords(to, r.Data, r.VTable) }

func (r RawStream) check(call string) {
	needCgo(call)
	switch {
	case r.VTable == nil:
		panic("rawwaker: " + call + " of a nil vtable")
	case r.VTable.PollNext == 0:
		panic("rawwaker: " + call + " of a vtable with an empty slot poll_next")
	case r.VTable.Drop == 0:
		panic("rawwaker: " + call + " of a vtable with an empty slot drop")
	}
}

// CStream is a stream of C or Rust, used in Go like any other. It takes no goroutine and no thread.
//
// The C stream is dropped exactly once: by the poll that ends it, by Drop, or, if it is forgotten,
// some time after the garbage collector finds it. Drop may be called at any time, on any goroutine,
// and more than once. A Drop that overlaps a poll takes effect when that poll returns.
//
// After its end, PollNext returns the end again, and does not call C. If the C stream panics,
// PollNext panics with a [*ForeignPanic], and with [PolledAfterCompletion] from then on.
type CStream[T any] struct {
	r reader[T, T] // first: the runtime sets a finalizer only on the beginning of an allocation
}

// StreamFromRaw makes a Go stream of a C stream, and owns it: the caller must not use raw any more.
//
// T must have the size and alignment that poll_next writes, and no Go pointers (a pointer of C's is
// a uintptr). Each PollNext reads at most one item, so an item that was read is delivered.
//
// It panics if T has Go pointers, if the vtable is nil or has an empty slot, and in a build without
// cgo.
func StreamFromRaw[T any](raw RawStream) *CStream[T] {
	raw.check("StreamFromRaw")
	checkPlain[T]("StreamFromRaw", cannotWrite)
	s := &CStream[T]{reader[T, T]{take: func(c *T) T { return *c }, max: 1}}
	s.r.own(raw)
	return s
}

// PollNext implements [Stream].
func (s *CStream[T]) PollNext(cx *Context) Poll[Item[T]] { return s.r.PollNext(cx) }

// Drop implements [Dropper].
func (s *CStream[T]) Drop() { s.r.Drop() }

// StreamFromRawFunc is [StreamFromRaw] for items that Go cannot hold as they are, such as structs
// with pointers to C memory. See [FutureFromRawFunc] for what take is given, and what it must do.
//
// PollNext may read up to 64 items from C at once, and then calls take on each of them before it
// returns the first, so nothing that C has allocated is left behind. The others come from later
// calls of PollNext, which do not enter C. If the stream is dropped before that, these values are
// given up to the garbage collector, and no one calls a Drop or Close of theirs. If the C stream
// panics, the items that it gave before are delivered first.
//
// If take panics, the C stream is dropped at once, and PollNext panics after the items before that
// one were delivered. The items behind it that were read with it are taken and given up.
//
// The result is also a [Dropper], and a forgotten one is dropped, both as a [CStream] is.
// StreamFromRawFunc panics if take is nil, if the vtable is nil or has an empty slot, and in a
// build without cgo.
func StreamFromRawFunc[C, T any](raw RawStream, take func(c *C) T) Stream[T] {
	const call = "StreamFromRawFunc"
	raw.check(call)
	if take == nil {
		panic("rawwaker: StreamFromRawFunc of a nil function")
	}
	s := &reader[C, T]{take: take, max: batchItems}
	// A batch has at most 64 KiB, unless a single item is larger.
	if size := unsafe.Sizeof(*new(C)); size > batchBytes/batchItems {
		s.max = max(1, batchBytes/size)
	}
	s.own(raw)
	return s
}

const (
	batchItems = 64
	batchBytes = 64 << 10
)

// reader is a stream of C. Its fields belong to the goroutine that polls, but for the cfuture.
type reader[C, T any] struct {
	cfuture        // first, as in a CFuture
	take           func(*C) T
	max            uintptr // how many items a poll may read
	items          []T     // taken
	next           int     // of items: the first that was not delivered
	failed         any     // what to panic with after them
	atEnd, stopped bool    // after them: the end; a poll after a panic
}

func (s *reader[C, T]) own(raw RawStream) {
	s.stream = true
	s.data, s.vtable = raw.Words()
	if auditAll {
		audited := capi.AuditStream(s.words(), unsafe.Sizeof(*new(C)))
		s.data, s.vtable = audited.Data, audited.VTable
	}
	runtime.SetFinalizer(&s.cfuture, (*cfuture).finalize)
}

// PollNext implements [Stream].
func (s *reader[C, T]) PollNext(cx *Context) (p Poll[Item[T]]) {
	const call = "PollNext of a CStream"
	left := s.next < len(s.items) || s.failed != nil
	if left && atomic.LoadUint32(&s.state)&gaveUp != 0 {
		panic("rawwaker: " + call + " after Drop")
	}
	if !left && !s.atEnd && !s.stopped {
		s.enter(call)
		s.read(cx)
		runtime.KeepAlive(s)
	}
	switch {
	case s.next < len(s.items):
		// In place: a copy of an Item stalls on the stores of the one before.
		v := &s.items[s.next]
		p.value.Value, p.value.Ok, p.ready = *v, true, true
		*v = *new(T)
		s.next++
		return p
	case s.failed != nil:
		v := s.failed
		s.failed, s.stopped = nil, true
		panic(v)
	case s.atEnd:
		return Ready(Item[T]{})
	case s.stopped:
		panic(PolledAfterCompletion)
	}
	return Pending[Item[T]]()
}

// NextTaken returns the next value that an earlier poll has read, or nil: then call PollNext. The
// value is valid until the next call of either. A loop that takes values by it is spared the copies
// of an Item.
func (s *reader[C, T]) NextTaken() *T {
	if i := s.next - 1; i >= 0 && i < len(s.items) {
		s.items[i] = *new(T)
	}
	if s.next == len(s.items) || atomic.LoadUint32(&s.state)&gaveUp != 0 {
		return nil
	}
	s.next++
	return &s.items[s.next-1]
}

// read polls C and takes what it gives, also if a panic leaves the poll.
func (s *reader[C, T]) read(cx *Context) {
	b := capi.NewBatch(s.words(), unsafe.Sizeof(*new(C)), s.max)
	defer b.Free()
	defer func() {
		s.atEnd = b.Last() == capi.CodeDone
		s.takeAll(&b)
		if s.ended {
			runtime.SetFinalizer(&s.cfuture, nil)
		}
	}()
	got := s.run(cx, b.Future(), 0, &b)
	if s.ended && got.Code != capi.CodeReady {
		s.failed = failure(got, "poll_next of a C stream")
	}
}

// takeAll takes the items of a batch. If take panics, the stream has ended.
func (s *reader[C, T]) takeAll(b *capi.Batch) {
	n := b.Len()
	s.items, s.next = slices.Grow(s.items[:0], int(n)), 0
	i := uintptr(0)
	defer func() {
		if i == n {
			return
		}
		s.failed, s.atEnd, s.stopped = nil, false, true
		if i > 0 {
			if v := recover(); v != nil {
				s.failed, s.stopped = v, false
			}
		}
		if atomic.CompareAndSwapUint32(&s.state, 0, polling) { // else a Drop came before
			s.ended = true
			defer s.drop()
		}
		for i++; i < n; i++ {
			s.giveUp(b, i)
		}
	}()
	for ; i < n; i++ {
		s.items = append(s.items, s.take(itemAt[C](b, i)))
	}
}

// giveUp takes an item that is not delivered. A panic has been reported already.
func (s *reader[C, T]) giveUp(b *capi.Batch, i uintptr) {
	defer func() { recover() }()
	s.take(itemAt[C](b, i))
}

func itemAt[C any](b *capi.Batch, i uintptr) *C { return at[C](b.Item(i)) }

// Drop implements [Dropper].
func (s *reader[C, T]) Drop() {
	if s.claim() {
		s.drop()
	}
	runtime.KeepAlive(s)
}
