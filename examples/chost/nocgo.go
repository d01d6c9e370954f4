//go:build !cgo

package chost

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

func Run(rawwaker.Future[int]) int              { panic("chost: Run needs cgo") }
func WakeFromThreads(*rawwaker.Waker, int, int) { panic("chost: WakeFromThreads needs cgo") }
