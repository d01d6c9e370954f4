//go:build !cgo

package ffiwaker

import "errors"

// HasCgo says whether wakers can cross to C in this build.
const HasCgo = false

// The rest of the names of cgo.go, so that its callers compile; they ask HasCgo first.

type Sink struct {
	Head     *uintptr
	Sleeping *uint32
}

func Clone(Raw) Raw                       { panic("ffiwaker: Clone needs cgo") }
func Wake(Raw)                            { panic("ffiwaker: Wake needs cgo") }
func WakeByRef(Raw)                       { panic("ffiwaker: WakeByRef needs cgo") }
func Drop(Raw)                            { panic("ffiwaker: Drop needs cgo") }
func Noop() Raw                           { panic("ffiwaker: Noop needs cgo") }
func BoxVTable() uintptr                  { return 0 }
func LinkedABIVersion() uint32            { return ABIVersion }
func Live() int                           { return 0 }
func NewSink() (*Sink, error)             { return nil, errors.New("ffiwaker: wakes from C need cgo") }
func (*Sink) FD() uintptr                 { panic("ffiwaker: FD needs cgo") }
func (*Sink) Sleep() bool                 { panic("ffiwaker: Sleep needs cgo") }
func (*Sink) Kick()                       { panic("ffiwaker: Kick needs cgo") }
func (*Sink) Read(*uintptr, []Notice) int { panic("ffiwaker: Read needs cgo") }
func (*Sink) BoxNew(uint64, bool) uintptr { panic("ffiwaker: BoxNew needs cgo") }
func BoxRef(uintptr)                      { panic("ffiwaker: BoxRef needs cgo") }
func BoxClose(uintptr)                    { panic("ffiwaker: BoxClose needs cgo") }
func BoxRetire(uintptr) bool              { panic("ffiwaker: BoxRetire needs cgo") }
func BoxID(Raw) uint64                    { panic("ffiwaker: BoxID needs cgo") }
func Layouts() []Layout                   { return nil }
