//go:build ffiwakernotrace

package capi

// Tracing is left out of this build.
const Tracing = false
