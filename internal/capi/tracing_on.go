//go:build !ffiwakernotrace

package capi

// tracing makes the shims note which goroutine is in C. Only [TraceBegin] sets it, from an init
// function. The tag ffiwakernotrace makes it a constant, to measure what it costs.
var tracing bool

func setTracing() { tracing = true }
