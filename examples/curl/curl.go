// Package curl binds libcurl's multi interface: each transfer is a future, and cancelling one ends
// it at once.
package curl

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../..
#cgo pkg-config: libcurl
#include <stdlib.h>

#include "curl.h"
*/
import "C"

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"runtime"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // rawwaker.c, and an edit of rawwaker.h rebuilds this
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Client is an engine with a thread of its own. Any goroutine may use it.
type Client struct{ c *C.http }

// Open starts a client that has at most so many connections open, or any number if it is 0.
// Transfers beyond that wait.
func Open(connections int) (*Client, error) {
	c, err := C.http_open(C.long(connections))
	if c == nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Close ends the client; transfers that are under way, and later ones, give an error. Call it once.
func (c *Client) Close() {
	C.http_close(c.c)
	runtime.AddCleanup(c, func(h *C.http) { C.http_free(h) }, c.c)
}

// Response is the answer to a GET. Beside an error, Body is what had arrived before.
type Response struct {
	Status int
	Body   []byte
}

// Get returns the future of the response to a GET of url. Its first poll begins the transfer, and
// its Drop ends it.
func (c *Client) Get(url string) rawwaker.Future[rawwaker.Result[Response]] {
	text := C.CString(url)
	defer C.free(unsafe.Pointer(text))
	f := C.http_get(c.c, text)
	runtime.KeepAlive(c)
	return rawwaker.FutureFromRawFunc(rawwaker.RawFutureAt(unsafe.Pointer(&f)), take)
}

func take(v *C.http_value) (r rawwaker.Result[Response]) {
	defer C.free(unsafe.Pointer(v.body))
	r.Value.Status = int(v.status)
	r.Value.Body = bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(v.body)), v.len))
	if v.error != nil {
		r.Err = errors.New("curl: " + C.GoString(v.error))
	}
	return r
}

// Do awaits a GET, until ctx ends.
func (c *Client) Do(ctx context.Context, url string) (Response, error) {
	r, err := blockon.Await(ctx, c.Get(url))
	return r.Value, cmp.Or(err, r.Err)
}
