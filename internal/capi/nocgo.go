//go:build !cgo

package capi

import (
	"time"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker"
)

// HasCgo reports whether wakers can cross to C in this build.
const HasCgo = false

// The other names of this package, so that its callers compile; they ask HasCgo first.

// What a poll slot may give.
const (
	CodeReady    = 0
	CodePending  = 1
	CodePanicked = 2
	CodeDone     = 3
)

const (
	NoteEnded = 4
	NoteReady = 1
	NoteLast  = 8
)

func Clone(Raw) Raw            { panic("capi: Clone needs cgo") }
func Wake(Raw)                 { panic("capi: Wake needs cgo") }
func WakeByRef(Raw)            { panic("capi: WakeByRef needs cgo") }
func Drop(Raw)                 { panic("capi: Drop needs cgo") }
func Noop() Raw                { panic("capi: Noop needs cgo") }
func DropFuture(Raw)           { panic("capi: DropFuture needs cgo") }
func DropStream(Raw)           { panic("capi: DropStream needs cgo") }
func SetPanic(string)          { panic("capi: SetPanic needs cgo") }
func Die(call, why string)     { panic("capi: Die needs cgo") }
func BoxVTable() uintptr       { return 0 }
func GoFutureVTable() uintptr  { return 0 }
func GoStreamVTable() uintptr  { return 0 }
func LinkedABIVersion() uint32 { return ffiwaker.ABIVersion }
func Live() int                { return 0 }
func Layouts() []Layout        { return nil }
func BoxFields() []Field       { return nil }
func BoxLook(uintptr) []Word   { return nil }
func VTables() []NamedVTable   { return nil }
func PollUnder(w, f Raw, out uintptr, note *uintptr) Polled {
	panic("capi: PollUnder needs cgo")
}

// Buffer is C memory: there is none.
type Buffer struct{}

func NewBuffer(uintptr) *Buffer         { panic("capi: NewBuffer needs cgo") }
func (*Buffer) Pointer() unsafe.Pointer { return nil }
func (*Buffer) Address() uintptr        { return 0 }
func (*Buffer) Free(uintptr)            {}

// Batch is in C memory, too.
type Batch struct{}

func NewBatch(Raw, uintptr, uintptr) Batch { panic("capi: NewBatch needs cgo") }
func (Batch) Future() Raw                  { return Raw{} }
func (Batch) Len() uintptr                 { return 0 }
func (Batch) Item(uintptr) unsafe.Pointer  { return nil }
func (Batch) Last() uint8                  { return 0 }
func (Batch) Over() bool                   { return false }
func (Batch) Free()                        {}

var traceBegan time.Time

func TraceBegin(uintptr) { setTracing(); traceBegan = time.Now() }
func TraceNow() int64    { return int64(time.Since(traceBegan)) }

// The auditor is C's.

// UnknownSize is for AuditFuture and AuditStream.
const UnknownSize = ^uintptr(0)

func AuditCallers() {}
func Audit(Raw) Raw { panic("capi: Audit needs cgo") }
func AuditFuture(Raw, uintptr) Raw {
	panic("capi: AuditFuture needs cgo")
}
func AuditStream(Raw, uintptr) Raw {
	panic("capi: AuditStream needs cgo")
}
func AuditUnwound(Raw)                        {}
func AuditFound() int                         { return 0 }
func IsAudited(Raw) bool                      { return false }
func AuditInner(w Raw) Raw                    { return w }
func AuditUnwrap(w Raw) Raw                   { return w }
func AuditAbandoned(Raw)                      {}
func AuditCount(Raw) int                      { return 0 }
func AuditLive() int                          { return 0 }
func AuditLeaks() int                         { return 0 }
func AuditPrint(bool)                         {}
func AuditTake() (rule, text string, ok bool) { return "", "", false }
func AuditLock(int)                           {}
func OnThread(Slot, Raw, int) (Raw, error)    { panic("capi: OnThread needs cgo") }
