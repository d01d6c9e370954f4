// Package ffiwaker holds the C half of the library, rawwaker.h and rawwaker.c, and the only cgo that calls it.
//
// Programs import the packages beside it: [rawwaker] for wakers and futures, [blockon] to drive one future, [future] for
// the ready-made ones. This package's names carry no promise: they are what those packages are built on.
//
// A waker is two words, data and vtable. Here both are numbers (uintptr): a C host may use any integer as data, and Go
// aborts a program that keeps such an integer in a pointer.
//
// [rawwaker]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/rawwaker
// [blockon]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/blockon
// [future]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/future
package ffiwaker

import "embed"

// Sources are rawwaker.h and rawwaker.c, the two files that a C host drops in, the auditor's two, and the headers of the other C in
// this module, which a vendored copy needs where they are. That they are embedded also makes the
// build cache see every edit of the header (golang/go#24355), here and in each cgo package that imports this one directly.
//
//go:embed rawwaker.h rawwaker.c rawwaker_audit.h rawwaker_audit.c trace.h host.h hosts/ffiwaker.h
var Sources embed.FS

// ABIVersion is RAWWAKER_ABI_VERSION of the embedded header.
const ABIVersion = 1

// Raw is a rawwaker as two numbers.
type Raw struct{ Data, VTable uintptr }

// Notice is a rawwaker_notice, bit for bit.
type Notice struct {
	ID    uint64
	Woken uint32
	Last  uint32
}

// Slot is one of a vtable's four.
type Slot int

const (
	SlotClone Slot = iota
	SlotWake
	SlotWakeByRef
	SlotDrop
)

// Polled is what came of a poll of a C future.
type Polled struct {
	Box   uintptr // made by the poll and kept by the future, or 0
	Panic string  // with CodePanicked
	Code  uint8
	Woken bool // the poller's task is to be woken once more
}

// GoFutures is what C calls through the slots of a Go future. Package rawwaker sets it.
var GoFutures struct {
	Poll func(id uint64, w Raw, box uint64, out uintptr) (code uint8)
	Drop func(id uint64)
}

// Layout is what the C compiler says of one struct: its size, and the offset and size of each field in order.
type Layout struct {
	Name   string
	Size   uintptr
	Fields []Field
}

// Field is one field of a [Layout].
type Field struct {
	Name         string
	Offset, Size uintptr
}

// Word is a [Field] and what is in it.
type Word struct {
	Field
	Value uint64
}

// SlotNames are a waker's slots in their order.
var SlotNames = [...]string{"clone", "wake", "wake_by_ref", "drop"}

// NamedVTable is a vtable, and its slots in order.
type NamedVTable struct {
	Name    string
	Address uintptr
	Slots   [4]uintptr
}
