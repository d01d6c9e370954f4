package wake

import "unsafe" // and for go:linkname

// Sited is a future that knows where it was spawned: a task that a thread of C has spawned has no
// caller in Go. The answer is a place in a program, like "main.c:12", or "" where it does not
// know.
type Sited interface{ SpawnSite() string }

// KeepLabels returns a function that gives the calling goroutine the profile labels back that it
// has now. Package runtime/pprof sets labels and does not say which are set; Go's runtime keeps
// these two functions for packages that must know.
func KeepLabels() (restore func()) {
	labels := getProfLabel()
	return func() { setProfLabel(labels) }
}

//go:linkname getProfLabel runtime/pprof.runtime_getProfLabel
func getProfLabel() unsafe.Pointer

//go:linkname setProfLabel runtime/pprof.runtime_setProfLabel
func setProfLabel(labels unsafe.Pointer)
