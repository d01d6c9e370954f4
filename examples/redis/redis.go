// Package redis binds hiredis, Redis's asynchronous C client: each command is a future.
package redis

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../..
#cgo pkg-config: hiredis libuv
#include <stdlib.h>

#include "redis.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // rawwaker.c, and an edit of rawwaker.h rebuilds this
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Client is a connection. Any goroutine may use it.
type Client struct{ c *C.redis }

// Open connects to the server's socket at path. If no server answers, the commands give errors.
func Open(path string) *Client {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return &Client{C.redis_open(name)}
}

// Close ends the connection; commands that were not answered, and later ones, give an error. Call
// it once.
func (c *Client) Close() {
	C.redis_close(c.c)
	runtime.AddCleanup(c, func(r *C.redis) { C.redis_free(r) }, c.c)
}

// Reply is the answer to a command; OK is false for Redis's nil.
type Reply struct {
	Text string
	OK   bool
}

// Command returns the future of a command's answer. The command is sent by the first poll.
func (c *Client) Command(args ...string) rawwaker.Future[rawwaker.Result[Reply]] {
	text := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(a), a)
	}
	f := C.redis_command(c.c, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)))
	runtime.KeepAlive(c)
	return rawwaker.FutureFromRawFunc(rawwaker.RawFutureAt(unsafe.Pointer(&f)), take)
}

func take(v *C.redis_value) (r rawwaker.Result[Reply]) {
	defer C.free(unsafe.Pointer(v.text))
	text := C.GoStringN(v.text, C.int(v.len))
	if v.is_error {
		r.Err = errors.New("redis: " + text)
		return r
	}
	r.Value = Reply{text, v.text != nil}
	return r
}

// Do awaits a command, until ctx ends.
func (c *Client) Do(ctx context.Context, args ...string) (Reply, error) {
	r, err := blockon.Await(ctx, c.Command(args...))
	if err != nil {
		return Reply{}, err
	}
	return r.Value, r.Err
}
