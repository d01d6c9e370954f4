//go:build !cgo || !unix

package main

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// HasC is whether programs may use C.
const HasC = false

type cLeaf struct{}

func newCLeaf(uint64, int, *site) *cLeaf { return nil }

func (l *cLeaf) raw() (r rawwaker.RawFuture) { return r }
func (l *cLeaf) wake(open, thread bool)      {}
func (l *cLeaf) get(what int) int            { return 0 }
func (l *cLeaf) release()                    {}

func cLeavesLive() int                                  { return 0 }
func cWake(w *rawwaker.Waker, _ int)                    { w.Wake() }
func cHost(F, int) (code int, v uint64)                 { return 0, 0 }
func waitFD(_, _ int)                                   {}
func cOneshot() (f F, end func(how int, v uint64))      { return nil, nil }
func cChannel(int) (s S, send func(uint64), end func()) { return nil, nil, nil }
