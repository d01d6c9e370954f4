//go:build cgo

// Command await awaits one asynchronous operation of C. It prints
//
//	Result: 42 <nil>
//
// Run it with go run ./examples/await.
package main

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../..
#include "op.h"
*/
import "C"

import (
	"context"
	"fmt"

	_ "github.com/seed-8a1b3254/ffiwaker" // embeds rawwaker.h, so that an edit rebuilds this package
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func main() {
	var words [2]C.uintptr_t
	C.op_start(21, &words[0]) // returns at once; a C thread completes the operation
	raw := rawwaker.RawFutureOf(uintptr(words[0]), uintptr(words[1]))

	f := rawwaker.FutureFromRaw[C.int](raw) // waiting takes no goroutine and no thread
	v, err := blockon.Await(context.Background(), f)
	fmt.Println("Result:", v, err)
}
