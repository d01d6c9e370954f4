package capi

import (
	"bytes"
	"runtime"
	"strconv"
)

// Goroutine is the number of the calling goroutine, which a stack trace begins with: "goroutine 7
// [running]". Go has no other way to it, and this one takes a microsecond: for diagnosis only.
func Goroutine() uint64 {
	var b [32]byte
	text := bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine "))
	n, _, _ := bytes.Cut(text, []byte(" "))
	id, _ := strconv.ParseUint(string(n), 10, 64)
	return id
}
