//go:build cgo

package main

import (
	"github.com/seed-8a1b3254/ffiwaker/internal/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func init() {
	correctC = func(m *message, w *rawwaker.Waker) {
		m.value = 42
		ctest.Start(w.IntoRaw(), "crdw").Join()
	}
}
