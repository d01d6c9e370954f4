//go:build !cgo || windows

package kitlib

// HasCgo is true if this build can load libraries.
const HasCgo = false

// Run panics in this build.
func Run(kind, library, symbol string) (failed int, err error) {
	panic("kitlib: Run needs cgo and dlopen")
}

// Symbol finds nothing in this build.
func Symbol(uintptr) (name, library string, base uintptr) { return "", "", 0 }
