//go:build ffiwakernotrace

package trace

// On is false: tracing is left out of this build.
const On = false
