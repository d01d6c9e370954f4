// Package postgres binds libpq, PostgreSQL's C client: each statement is a future, and its rows are
// a stream.
package postgres

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../.. -I${SRCDIR}/../../channel
#cgo pkg-config: libpq
#include "postgres.h"
*/
import "C"

import (
	"context"
	"errors"
	"strings"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // rawwaker.c, and an edit of rawwaker.h rebuilds this
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	_ "github.com/seed-8a1b3254/ffiwaker/channel" // rawwaker_channel.c
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Client is a pool of connections. Any goroutine may use it.
type Client struct{ p *C.postgres }

// Open returns a pool of up to size connections, which are opened as statements need them. If no
// server answers, the statements give errors.
func Open(conninfo string, size int) Client {
	info := unsafe.Pointer(unsafe.StringData(conninfo + "\x00"))
	return Client{C.postgres_open((*C.char)(info), C.int(size))}
}

// Close cancels the statements that have no result yet, which give an error, and so do futures that
// are polled first later. It ends the connections. No other call may come with it or later.
func (c Client) Close() { C.postgres_close(c.p) }

// Result is what a statement gives. Its values are in text form, and nil for NULL. Tag says what it
// did, such as "UPDATE 3". If Err is an error of the server, State is its SQLSTATE.
type Result struct {
	Rows       [][][]byte
	Tag, State string
	Err        error
}

func take(p **C.PGresult) Result {
	defer C.PQclear(*p)
	r := Result{Tag: C.GoString(C.PQcmdStatus(*p))}
	if text := C.GoString(C.postgres_error(*p)); text != "" {
		r.Err = errors.New("postgres: " + strings.TrimSpace(text))
		r.State = C.GoString(C.PQresultErrorField(*p, C.PG_DIAG_SQLSTATE))
	}
	for i := range C.PQntuples(*p) {
		r.Rows = append(r.Rows, make([][]byte, C.PQnfields(*p)))
		for j := range C.PQnfields(*p) {
			if C.PQgetisnull(*p, i, j) == 0 {
				r.Rows[i][j] = C.GoBytes(unsafe.Pointer(C.PQgetvalue(*p, i, j)), C.PQgetlength(*p, i, j))
			}
		}
	}
	return r
}

// submit returns a future, and the same as C knows it.
func (c Client) submit(sql string, arg []string, rows *C.rawwaker_stream) (
	rawwaker.Future[Result], C.rawwaker_future) {
	text := strings.Join(append([]string{sql}, arg...), "\x00v") + "\x00"
	f := C.postgres_query(c.p, unsafe.Pointer(unsafe.StringData(text)), C.size_t(len(text)), rows)
	return rawwaker.FutureFromRawFunc(rawwaker.RawFutureAt(unsafe.Pointer(&f)), take), f
}

// Query returns the future of a statement's result. The first poll sends the statement, with the
// arguments for its parameters $1, $2 and so on. A drop cancels it.
func (c Client) Query(sql string, arg ...string) rawwaker.Future[Result] {
	f, _ := c.submit(sql, arg, nil)
	return f
}

// Rows returns a stream of the statement's rows, each in a Result of its own, and the future of its
// result without them. Await both, as future.Join and future.ForEach do; the stream ends after the
// future. A drop of either cancels the statement.
func (c Client) Rows(sql string, arg ...string) (rawwaker.Stream[Result], rawwaker.Future[Result]) {
	var s C.rawwaker_stream
	f, _ := c.submit(sql, arg, &s)
	return rawwaker.StreamFromRawFunc(rawwaker.RawStreamAt(unsafe.Pointer(&s)), take), f
}

// Do awaits a statement. When ctx ends, it cancels the statement, and waits until it has ended.
func (c Client) Do(ctx context.Context, sql string, arg ...string) (Result, error) {
	f, raw := c.submit(sql, arg, nil)
	r, err := blockon.AwaitCancel(ctx, f, func() { C.rawwaker_oneshot_cancel(raw) })
	return r, errors.Join(err, r.Err)
}
