// Package callback does what package postgres does, the way it is mostly written: with an exported
// callback, a handle and a channel. It is here to be measured and compared. What it lacks is that a
// context ends the wait only: the statement runs on.
package callback

/*
#cgo CFLAGS: -std=gnu11
#cgo pkg-config: libpq
#include "callback.h"
*/
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Client is a pool of connections. Any goroutine may use it.
type Client struct{ s *shared }

// shared keeps C's memory until no call uses it.
type shared struct {
	mu sync.RWMutex
	p  *C.postgres // NULL: closed
}

// Open returns a pool of up to size connections, which are opened as statements need them. If no
// server answers, the statements give errors.
func Open(conninfo string, size int) Client {
	info := unsafe.Pointer(unsafe.StringData(conninfo + "\x00"))
	return Client{&shared{p: C.callback_open((*C.char)(info), C.int(size))}}
}

// Close ends the connections; statements that have no result yet give an error. Call it once.
func (c Client) Close() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	C.callback_close(c.s.p)
	c.s.p = nil
}

// Result is what a statement gives. Its values are in text form, and nil for NULL. Tag says what it
// did, such as "UPDATE 3". If Err is an error of the server, State is its SQLSTATE.
type Result struct {
	Rows       [][][]byte
	Tag, State string
	Err        error
}

func take(p *C.PGresult) Result {
	defer C.PQclear(p)
	r := Result{Tag: C.GoString(C.PQcmdStatus(p))}
	if text := C.GoString(C.callback_error(p)); text != "" {
		r.Err = errors.New("postgres: " + strings.TrimSpace(text))
		r.State = C.GoString(C.PQresultErrorField(p, C.PG_DIAG_SQLSTATE))
	}
	for i := range C.PQntuples(p) {
		r.Rows = append(r.Rows, make([][]byte, C.PQnfields(p)))
		for j := range C.PQnfields(p) {
			if C.PQgetisnull(p, i, j) == 0 {
				r.Rows[i][j] = C.GoBytes(unsafe.Pointer(C.PQgetvalue(p, i, j)), C.PQgetlength(p, i, j))
			}
		}
	}
	return r
}

// Rows is a statement's rows, and its result behind them.
type Rows struct {
	s      *shared
	rows   chan Result // nil: not wanted one by one
	result chan Result
	full   atomic.Bool // the thread holds a row for which there was no room
	closed atomic.Bool
}

//export callbackResult
func callbackResult(handle C.uintptr_t, p *C.PGresult) {
	h := cgo.Handle(handle)
	r := h.Value().(*Rows)
	h.Delete()
	r.result <- take(p)
	if r.rows != nil {
		close(r.rows)
	}
}

//export callbackRow
func callbackRow(handle C.uintptr_t, p *C.PGresult) C.int {
	r := cgo.Handle(handle).Value().(*Rows)
	if len(r.rows) == cap(r.rows) {
		r.full.Store(true) // before another look: a receiver that has missed it has made room
		if len(r.rows) == cap(r.rows) && !r.closed.Load() {
			return 0
		}
	}
	if r.closed.Load() {
		C.PQclear(p)
		return 1
	}
	r.rows <- take(p)
	return 1
}

func (c Client) submit(sql string, arg []string, rows chan Result) *Rows {
	text := strings.Join(append([]string{sql}, arg...), "\x00v") + "\x00"
	r := &Rows{s: c.s, rows: rows, result: make(chan Result, 1)}
	h := cgo.NewHandle(r)
	c.s.mu.RLock()
	defer c.s.mu.RUnlock()
	if c.s.p == nil || !C.callback_query(c.s.p, unsafe.Pointer(unsafe.StringData(text)),
		C.size_t(len(text)), C.uintptr_t(h), rows != nil) {
		callbackResult(C.uintptr_t(h), nil)
	}
	return r
}

// Next returns the next row, until ok is false.
func (r *Rows) Next(ctx context.Context) (row Result, ok bool, err error) {
	select {
	case row, ok = <-r.rows:
		r.resume()
		return row, ok, nil
	case <-ctx.Done():
		return row, false, ctx.Err()
	}
}

func (r *Rows) resume() {
	if r.full.Swap(false) {
		r.s.mu.RLock()
		defer r.s.mu.RUnlock()
		if r.s.p != nil {
			C.callback_resume(r.s.p)
		}
	}
}

// Result returns the statement's result, without the rows, behind the last of them.
func (r *Rows) Result(ctx context.Context) (Result, error) {
	select {
	case v := <-r.result:
		return v, v.Err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Close gives the rest of the rows up. The statement runs on.
func (r *Rows) Close() {
	r.closed.Store(true)
	r.resume()
}

// Query sends a statement, with the arguments for its parameters $1, $2 and so on.
func (c Client) Query(sql string, arg ...string) <-chan Result {
	return c.submit(sql, arg, nil).result
}

// Rows sends a statement, and returns its rows one by one. Call Next until it gives no more, or
// Close.
func (c Client) Rows(sql string, arg ...string) *Rows {
	return c.submit(sql, arg, make(chan Result, 128))
}

// Do awaits a statement, until ctx ends.
func (c Client) Do(ctx context.Context, sql string, arg ...string) (Result, error) {
	return c.submit(sql, arg, nil).Result(ctx)
}
