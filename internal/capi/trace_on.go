//go:build !ffiwakernotrace

package capi

// Tracing says whether FFIWAKERDEBUG=trace=FILE has what happens written to FILE. It does not change; with the tag ffiwakernotrace it is the
// constant false, for the figure that says what it costs.
var Tracing = openTrace()
