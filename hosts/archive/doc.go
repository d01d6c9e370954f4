//go:build !cgo

// Package archive is what every library for C hosts has in it. It needs cgo.
package archive
