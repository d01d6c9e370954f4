//go:build cgo

// Redis_module is the Go part of module.c: package archive, and the futures of its commands.
package main

/*
#cgo CFLAGS: -I${SRCDIR} -I${SRCDIR}/.. -I${SRCDIR}/../..
#include "module.h"

static void call(uintptr_t f, uintptr_t arg) { ((void (*)(void *))f)((void *)arg); }
*/
import "C"

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker" // embeds the headers
	"github.com/seed-8a1b3254/ffiwaker/future"
	_ "github.com/seed-8a1b3254/ffiwaker/hosts/archive"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// put stores f at out, as a C future whose result is a module_answer.
func put(f rawwaker.Future[rawwaker.Result[[]byte]], out unsafe.Pointer) {
	rawwaker.FutureIntoRawFunc(f, func(out unsafe.Pointer, r rawwaker.Result[[]byte]) {
		to := (*C.module_answer)(out)
		if r.Err != nil {
			to.error = C.CString(r.Err.Error())
			return
		}
		to.text = (*C.char)(C.CBytes(r.Value))
		to.length = C.size_t(len(r.Value))
	}).Put(out)
}

//export moduleGet
func moduleGet(url *C.char, out unsafe.Pointer) {
	target := C.GoString(url)
	put(future.Go(func(ctx context.Context) ([]byte, error) { return get(ctx, target) }), out)
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	const most = 1 << 20
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("HTTP status %d", res.StatusCode)
	case len(body) > most:
		return nil, fmt.Errorf("the body is larger than %d bytes", most)
	}
	return body, nil
}

//export moduleGzip
func moduleGzip(data *C.char, length C.size_t, out unsafe.Pointer) {
	// A copy, because Redis may change the value while the goroutine runs.
	value := bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(data)), length))
	put(future.Go(func(ctx context.Context) ([]byte, error) { return compress(ctx, value) }), out)
}

func compress(ctx context.Context, value []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for len(value) > 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err() // the client is gone
		}
		n := min(len(value), 64<<10)
		if _, err := w.Write(value[:n]); err != nil {
			return nil, err
		}
		value = value[n:]
	}
	err := w.Close()
	return b.Bytes(), err
}

//export moduleYield
func moduleYield(times C.uint64_t, out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
		if times == 0 {
			return rawwaker.Ready(struct{}{})
		}
		times--
		cx.Waker().WakeByRef()
		return rawwaker.Pending[struct{}]()
	})).Put(out)
}

//export modulePanic
func modulePanic(text *C.char, out unsafe.Pointer) {
	why := C.GoString(text)
	put(future.Go(func(context.Context) ([]byte, error) { panic(why) }), out)
}

//export moduleNoop
func moduleNoop(out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Ready(struct{}{})).Put(out)
}

//export moduleNoopGo
func moduleNoopGo(f, arg C.uintptr_t) {
	go C.call(f, arg)
}

func main() {}
