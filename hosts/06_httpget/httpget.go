//go:build cgo

// Httpget is the Go part of httpget.c: a library with package archive and one more Go future, an
// HTTP request.
package main

/*
#cgo CFLAGS: -I${SRCDIR} -I${SRCDIR}/.. -I${SRCDIR}/../..
#include "httpget.h"
*/
import "C"

import (
	"context"
	"io"
	"net/http"
	"time"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // embeds the headers
	"github.com/seed-8a1b3254/ffiwaker/future"
	_ "github.com/seed-8a1b3254/ffiwaker/hosts/archive"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type response struct {
	status int
	body   []byte
}

//export httpgetStart
func httpgetStart(url *C.char, out unsafe.Pointer) {
	target := C.GoString(url) // a copy, because url is C's again once this function has returned
	get := future.Go(func(ctx context.Context) (response, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return response{}, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return response{}, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		return response{res.StatusCode, body}, err
	})
	rawwaker.FutureIntoRawFunc(get, func(out unsafe.Pointer, r rawwaker.Result[response]) {
		to := (*C.httpget_response)(out)
		*to = C.httpget_response{
			status: C.int32_t(r.Value.status),
			length: C.uint32_t(len(r.Value.body)),
		}
		if r.Err != nil {
			to.error = C.CString(r.Err.Error())
			return
		}
		to.body = (*C.char)(C.CBytes(r.Value.body))
	}).Put(out)
}

func main() {}
