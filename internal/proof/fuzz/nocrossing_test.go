//go:build !cgo

package fuzz

import (
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Without cgo, a crossing panics and changes nothing.

type inC struct{}

func (f *fut) ofC() bool { return false }

func (w *world) borrow(h *handle, _ int) {
	w.panics("rawwaker: AsRaw needs cgo", func() { h.w.AsRaw() })
}

func (w *world) move(h *handle, _ int) {
	w.panics("rawwaker: IntoRaw needs cgo", func() { h.w.IntoRaw() })
}

func (w *world) back(*raw, int, int)      {}
func (w *world) makeC(kind) *handle       { return nil }
func (w *world) toC(*fut, int)            {}
func (w *world) pollC(*fut, *handle, int) {}
func (w *world) completeC(*fut) bool      { return false }
func (w *world) cancelC(*fut)             {}
func (w *world) blockOnInC(*fut)          {}
func (w *world) finishC()                 {}

type ownC struct{}

func (w *crowd) makeC(*many) *rawwaker.Waker             { return nil }
func (w *crowd) stepC(*ownC, string, *shared, Operation) {}
func (w *crowd) endC(*ownC)                              {}
func (w *crowd) settleC()                                {}
func (w *crowd) blockOnGate(g *gate, _ bool)             { blockon.BlockOn(g) }
