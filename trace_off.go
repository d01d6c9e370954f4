//go:build ffiwakernotrace

package ffiwaker

// Tracing is left out of this build.
const Tracing = false
