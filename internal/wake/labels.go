package wake

import "unsafe" // and for go:linkname

// Sited is a future that knows where it was spawned: a task that a C thread has spawned has no
// caller in Go. SpawnSite returns a place in a program, like "main.c:12"; "": it does not know.
type Sited interface{ SpawnSite() string }

// KeepLabels returns a function that restores the calling goroutine's present profile labels.
// Package runtime/pprof sets labels and cannot return them; Go's runtime keeps these two functions
// for packages that need that.
func KeepLabels() (restore func()) {
	labels := getProfLabel()
	return func() { setProfLabel(labels) }
}

//go:linkname getProfLabel runtime/pprof.runtime_getProfLabel
func getProfLabel() unsafe.Pointer

//go:linkname setProfLabel runtime/pprof.runtime_setProfLabel
func setProfLabel(labels unsafe.Pointer)
