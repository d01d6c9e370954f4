//go:build (!cgo && !linux) || windows

package ffiwaker

func atSecure() bool { return false }
