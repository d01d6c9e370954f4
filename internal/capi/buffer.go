//go:build cgo

package capi

/*
#include <stdlib.h>
#include <string.h>

// Zeroed memory that is aligned for any type of this size, up to a page: size is a power of two,
// and a type's alignment divides its size. (Not on Windows, where free would not take it.)
static void *ffiwaker_zeroed(size_t size) {
#if !defined(_WIN32)
	void *p;
	if (size > 16) {
		if (posix_memalign(&p, size < 4096 ? size : 4096, size) != 0) return NULL;
		return memset(p, 0, size);
	}
#endif
	return calloc(1, size);
}
*/
import "C"

import (
	"math/bits"
	"runtime"
	"sync"
	"unsafe"
)

// Buffer is C memory for results: zeroed, and aligned for any type of that size, also one whose
// alignment Go does not know, such as a vector's. C code keeps addresses in it that no Go memory
// may hold. A buffer that is forgotten is freed by the collector.
type Buffer struct {
	at      unsafe.Pointer // nil: it has no bytes
	class   int
	cleanup runtime.Cleanup
}

// buffers are free ones, all of whose bytes are 0. A buffer of class c has 16<<c bytes.
var buffers [bits.UintSize - 4]sync.Pool

var noBuffer Buffer

// NewBuffer returns a buffer of at least size bytes. Give it back by [Buffer.Free].
func NewBuffer(size uintptr) *Buffer {
	if size == 0 {
		return &noBuffer
	}
	class := bits.Len64(uint64(size-1) >> 4)
	if b, ok := buffers[class].Get().(*Buffer); ok {
		return b
	}
	b := &Buffer{at: C.ffiwaker_zeroed(16 << class), class: class}
	if b.at == nil {
		panic("rawwaker: out of memory for a result of C")
	}
	b.cleanup = runtime.AddCleanup(b, freeC, uintptr(b.at))
	return b
}

func freeC(at uintptr) {
	// SAFETY: ffiwaker_zeroed has returned it, to a Buffer that exists no more.
	C.free(*(*unsafe.Pointer)(unsafe.Pointer(&at)))
}

// Pointer returns the address of the memory, for Go. It is nil if the buffer has no bytes.
func (b *Buffer) Pointer() unsafe.Pointer { return b.at }

// Address is Pointer, for C.
func (b *Buffer) Address() uintptr { return uintptr(b.at) }

// Free gives the buffer back. Of its bytes only the first used ones may have been written.
func (b *Buffer) Free(used uintptr) {
	if b.at == nil {
		return
	}
	if !poolBuffers {
		b.cleanup.Stop()
		C.free(b.at)
		b.at = nil
		return
	}
	// Bytes, because the write of a pointer would concern the collector.
	clear(unsafe.Slice((*byte)(b.at), used))
	buffers[b.class].Put(b)
}
