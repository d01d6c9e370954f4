//go:build !cgo

package chost

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// Run panics without cgo.
func Run(rawwaker.Future[int]) int { panic("chost: Run needs cgo") }

// WakeFromThreads panics without cgo.
func WakeFromThreads(*rawwaker.Waker, int, int) { panic("chost: WakeFromThreads needs cgo") }
