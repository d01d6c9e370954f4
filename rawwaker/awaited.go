package rawwaker

import (
	"reflect"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// awaited is a cfuture for blockon.AwaitRaw. It has no finalizer, and the next call reuses it.
type awaited struct {
	cfuture
	handle wake.RawFuture
}

var allAwaited = sync.Pool{New: func() any {
	f := new(awaited)
	f.handle.F = f
	return f
}}

func init() { wake.Rawwaker.NewFuture = newAwaited }

func newAwaited(call string, t any, data, vtable uintptr) *wake.RawFuture {
	raw := RawFutureOf(data, vtable)
	raw.check(call)
	checkPlainOf(t, call, cannotWrite)
	f := allAwaited.Get().(*awaited)
	f.init(raw, reflect.TypeOf(t).Elem().Size())
	f.last = true
	return &f.handle
}

// Poll is for package wake.
func (f *awaited) Poll(cx any, out uintptr) (ready bool) { return f.poll(cx.(*Context), out) }

// Drop is called at most once, after the last Poll.
func (f *awaited) Drop() {
	if f.claim() {
		f.drop()
	}
}

// Free is called after Drop, or after a Poll that was ready.
func (f *awaited) Free() {
	f.cfuture = cfuture{}
	allAwaited.Put(f)
}
