//go:build asan

package ctest

// ASan reports whether the address sanitizer is on. It does not know that a panic of Go unwinds
// through C: what those frames have poisoned stays so, and later calls on that stack are reported
// at random. Tests of such panics skip.
const ASan = true
