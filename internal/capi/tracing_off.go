//go:build ffiwakernotrace

package capi

// tracing is left out of this build.
const tracing = false

func setTracing() {}
