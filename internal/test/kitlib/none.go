//go:build !cgo || windows

package kitlib

// HasCgo says whether libraries can be loaded in this build.
const HasCgo = false

func Run(kind, library, symbol string) (failed int, err error) {
	panic("kitlib: Run needs cgo and dlopen")
}

// Symbol knows none here.
func Symbol(uintptr) (name, library string, base uintptr) { return "", "", 0 }
