// Package callback binds hiredis without ffiwaker, for comparison: an exported callback, a
// cgo.Handle and a channel for each command.
package callback

/*
#cgo CFLAGS: -std=gnu11
#cgo pkg-config: hiredis libuv
#include <stdlib.h>

#include "redis.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"unsafe"
)

// Client is a connection. Any goroutine may use it.
type Client struct{ c *C.redis }

// Open connects to the server's socket at path.
func Open(path string) Client {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return Client{C.calls_open(name)}
}

// Close ends the connection. No command may be sent during it or later.
func (c Client) Close() { C.calls_close(c.c) }

// Reply is the answer to a command; OK is false for Redis's nil.
type Reply struct {
	Text string
	OK   bool
	Err  error
}

// Do sends a command and waits for the answer until ctx ends.
func (c Client) Do(ctx context.Context, args ...string) (Reply, error) {
	text := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(a), a)
	}
	answer := make(chan Reply, 1) // the callback must not block if ctx has ended
	C.calls_command(c.c, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)),
		C.uintptr_t(cgo.NewHandle(answer)))
	select {
	case r := <-answer:
		return r, r.Err
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
}

//export onRedisReply
func onRedisReply(handle C.uintptr_t, text *C.char, n C.size_t, isError C.bool) {
	defer C.free(unsafe.Pointer(text))
	h := cgo.Handle(handle)
	defer h.Delete()
	r := Reply{Text: C.GoStringN(text, C.int(n)), OK: text != nil}
	if isError {
		r = Reply{Err: errors.New("redis: " + r.Text)}
	}
	h.Value().(chan Reply) <- r
}
