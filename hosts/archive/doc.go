//go:build !cgo

// Package archive holds what every library for C hosts contains. It needs cgo.
package archive
