//go:build cgo

// Golib is libffiwaker with one more Go future, for the programs of this folder's parent.
package main

/*
#include <stdint.h>
*/
import "C"

import (
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/future"
	_ "github.com/seed-8a1b3254/ffiwaker/hosts/archive"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// hostsValue writes a future to out that is ready at once with a result of 8 bytes.
//
//export hostsValue
func hostsValue(value C.int64_t, out unsafe.Pointer) {
	rawwaker.FutureIntoRaw(future.Ready(int64(value))).Put(out)
}

func main() {}
