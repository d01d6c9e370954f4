// Package callback binds libcurl without ffiwaker, for comparison: an exported callback, a
// [cgo.Handle] and a channel for each operation.
package callback

/*
#cgo CFLAGS: -std=gnu11
#cgo pkg-config: libcurl
#include <stdlib.h>

#include "curl.h"
*/
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"unsafe"
)

// Client is an engine with a thread of its own. Any goroutine may use it.
type Client struct{ c *C.fetcher }

// Open starts a client that has at most so many connections open, or any number if it is 0.
// Transfers beyond that wait.
func Open(connections int) (Client, error) {
	c, err := C.fetcher_open(C.long(connections))
	if c == nil {
		return Client{}, err
	}
	return Client{c}, nil
}

// Close ends the client; transfers that are under way give an error. Call it once, after the last
// Do.
func (c Client) Close() { C.fetcher_close(c.c) }

// Response is the answer to a GET. If Err is not nil, Body is what had arrived before.
type Response struct {
	Status int
	Body   []byte
	Err    error
}

//export fetched
func fetched(handle C.uintptr_t, status C.long, body *C.char, n C.size_t, text *C.char) {
	h := cgo.Handle(handle)
	done := h.Value().(chan Response)
	h.Delete()
	r := Response{Status: int(status), Body: C.GoBytes(unsafe.Pointer(body), C.int(n))}
	if text != nil {
		r.Err = errors.New("curl: " + C.GoString(text))
	}
	done <- r
}

// Do awaits a GET, until ctx ends. Then the transfer runs on, and its response is lost.
func (c Client) Do(ctx context.Context, url string) (Response, error) {
	text := C.CString(url)
	defer C.free(unsafe.Pointer(text))
	done := make(chan Response, 1) // the callback never waits
	C.fetcher_get(c.c, text, C.uintptr_t(cgo.NewHandle(done)))
	select {
	case r := <-done:
		return r, r.Err
	case <-ctx.Done():
		return Response{}, ctx.Err()
	}
}
