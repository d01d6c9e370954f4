//go:build !ffiwakernotrace

package trace

// On reports whether FFIWAKERDEBUG=trace=FILE asks for a trace and FILE could be opened. It never
// changes. The tag ffiwakernotrace makes it a constant, to measure what it costs.
var On = open()
