//go:build cgo

package capi

/*
#include <stdint.h>
*/
import "C"

// The slots of Go futures and streams in C. They are here by themselves: a file with exports may
// not define functions in C.

//export ffiwakerFuturePoll
func ffiwakerFuturePoll(id C.uint64_t, data, vtable C.uintptr_t, box C.uint64_t,
	out C.uintptr_t) C.uint8_t {
	w := Raw{Data: uintptr(data), VTable: uintptr(vtable)}
	return C.uint8_t(GoFutures.Poll(uint64(id), w, uint64(box), uintptr(out)))
}

//export ffiwakerFutureDrop
func ffiwakerFutureDrop(id C.uint64_t) { GoFutures.Drop(uint64(id)) }

//export ffiwakerStreamPollNext
func ffiwakerStreamPollNext(id C.uint64_t, data, vtable C.uintptr_t, box C.uint64_t,
	out C.uintptr_t) C.uint8_t {
	w := Raw{Data: uintptr(data), VTable: uintptr(vtable)}
	return C.uint8_t(GoStreams.Poll(uint64(id), w, uint64(box), uintptr(out)))
}

//export ffiwakerStreamDrop
func ffiwakerStreamDrop(id C.uint64_t) { GoStreams.Drop(uint64(id)) }
