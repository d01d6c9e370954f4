package rawwaker

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// StreamIntoRaw gives a Go stream to C, which owns it. C polls it on any thread, with any waker,
// one poll at a time, and drops it exactly once. A drop before the end cancels it: s.Drop is called
// if s is a [Dropper]. C gives poll_next memory for a T. A [CStream] becomes the C stream that it
// is.
//
// After the end of s, each poll gives RAWWAKER_DONE, and s is not polled any more. A panic in
// PollNext gives RAWWAKER_PANICKED with its text, and s is dropped at once; a poll after that gives
// RAWWAKER_PANICKED, too. What aborts the process is said at [FutureIntoRaw].
//
// It panics if T has Go pointers, which C must not keep (use [StreamIntoRawFunc]), if s is nil, and
// in a build without cgo.
func StreamIntoRaw[T any](s Stream[T]) RawStream {
	const call = "StreamIntoRaw"
	needCgo(call)
	checkPlain[T](call, ": use StreamIntoRawFunc")
	if s == nil {
		panic("rawwaker: StreamIntoRaw of a nil stream")
	}
	if c, ok := s.(*CStream[T]); ok && !c.r.atEnd {
		return c.intoRaw()
	}
	return exportStream(&typedStream[T]{s, write[T]("poll_next")}, unsafe.Sizeof(*new(T)))
}

// StreamIntoRawFunc is [StreamIntoRaw] for items that C cannot hold as they are. Before the poll
// returns RAWWAKER_READY, it calls put on the polling thread, which writes v to out in the form
// agreed on with C. out is what C gave poll_next, and may be nil.
//
// If put panics, the poll gives RAWWAKER_PANICKED, and s is dropped. It panics if s or put is nil,
// and in a build without cgo.
func StreamIntoRawFunc[T any](s Stream[T], put func(out unsafe.Pointer, v T)) RawStream {
	needCgo("StreamIntoRawFunc")
	if s == nil {
		panic("rawwaker: StreamIntoRawFunc of a nil stream")
	}
	if put == nil {
		panic("rawwaker: StreamIntoRawFunc of a nil function")
	}
	return exportStream(&typedStream[T]{s, put}, capi.UnknownSize)
}

func exportStream(s pollDropper, size uintptr) RawStream {
	raw := capi.Raw{Data: kindStream.number(s), VTable: capi.GoStreamVTable()}
	if auditAll {
		raw = capi.AuditStream(raw, size)
	}
	return RawStreamOf(raw.Data, raw.VTable)
}

// intoRaw moves the C stream out of s.
func (s *CStream[T]) intoRaw() RawStream {
	if !atomic.CompareAndSwapUint32(&s.r.state, 0, gaveUp) {
		panic("rawwaker: StreamIntoRaw of a CStream that has ended or is being polled")
	}
	runtime.SetFinalizer(&s.r.cfuture, nil)
	return RawStreamOf(s.r.data, s.r.vtable)
}

type typedStream[T any] struct {
	s   Stream[T] // nil after its end
	put func(out unsafe.Pointer, v T)
}

func (t *typedStream[T]) poll(cx *Context, out uintptr) (code uint8, over bool) {
	if t.s == nil {
		return capi.CodeDone, false
	}
	p := t.s.PollNext(cx)
	switch {
	case !p.ready:
		return capi.CodePending, false
	case !p.value.Ok:
		t.s = nil
		return capi.CodeDone, false
	}
	t.put(memory(out), p.value.Value)
	return capi.CodeReady, false
}

func (t *typedStream[T]) drop() {
	if d, ok := t.s.(Dropper); ok {
		d.Drop()
	}
}
