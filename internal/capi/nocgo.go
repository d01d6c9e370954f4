//go:build !cgo

package capi

import (
	"time"

	"github.com/seed-8a1b3254/ffiwaker"
)

// HasCgo says whether wakers can cross to C in this build.
const HasCgo = false

// The rest of the names of cgo.go, so that its callers compile; they ask HasCgo first.

// What a poll slot may give.
const (
	CodeReady    = 0
	CodePending  = 1
	CodePanicked = 2
)

const NoteEnded = 4

func Clone(Raw) Raw            { panic("ffiwaker: Clone needs cgo") }
func Wake(Raw)                 { panic("ffiwaker: Wake needs cgo") }
func WakeByRef(Raw)            { panic("ffiwaker: WakeByRef needs cgo") }
func Drop(Raw)                 { panic("ffiwaker: Drop needs cgo") }
func Noop() Raw                { panic("ffiwaker: Noop needs cgo") }
func DropFuture(_, _ uintptr)  { panic("ffiwaker: DropFuture needs cgo") }
func SetPanic(string)          { panic("ffiwaker: SetPanic needs cgo") }
func Die(call, why string)     { panic("ffiwaker: Die needs cgo") }
func BoxVTable() uintptr       { return 0 }
func GoFutureVTable() uintptr  { return 0 }
func LinkedABIVersion() uint32 { return ffiwaker.ABIVersion }
func Live() int                { return 0 }
func Layouts() []Layout        { return nil }
func BoxFields() []Field       { return nil }
func BoxLook(uintptr) []Word   { return nil }
func VTables() []NamedVTable   { return nil }
func PollUnder(w Raw, data, vtable, out uintptr, note *uintptr) Polled {
	panic("ffiwaker: PollUnder needs cgo")
}

var traceBegan time.Time

func traceBegin(uintptr) { traceBegan = time.Now() }
func TraceNow() int64    { return int64(time.Since(traceBegan)) }

// The auditor is C's.

// UnknownSize is for AuditFuture.
const UnknownSize = ^uintptr(0)

func AuditAll() bool { return false }
func Audit(Raw) Raw  { panic("ffiwaker: Audit needs cgo") }
func AuditFuture(_, _, _ uintptr) (uintptr, uintptr) {
	panic("ffiwaker: AuditFuture needs cgo")
}
func AuditUnwound(_, _ uintptr)               {}
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
func OnThread(Slot, Raw, int) (Raw, error)    { panic("ffiwaker: OnThread needs cgo") }
