//go:build (!cgo && !linux) || windows

package capi

func atSecure() bool { return false }
