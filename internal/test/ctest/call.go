//go:build cgo

package ctest

import "C"

// OnCall is called by a [Script]. It may panic or call runtime.Goexit, which then unwinds through
// C.
var OnCall = func() {}

//export ctestCall
func ctestCall() { OnCall() }
