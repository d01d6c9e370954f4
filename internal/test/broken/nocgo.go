//go:build !cgo

package broken

// Entries are those in C: none in a build without it.
func Entries() []Entry { return nil }
