// Package capi is all cgo of the Go packages: one shim for each C function that they call.
//
// A waker is two words, data and vtable. Here both are numbers (uintptr): a C host may use any
// integer as data, and Go aborts a program that keeps such an integer in a pointer.
package capi

import (
	"embed"

	_ "github.com/seed-8a1b3254/ffiwaker"       // embeds rawwaker.h
	_ "github.com/seed-8a1b3254/ffiwaker/audit" // embeds rawwaker_audit.h
)

// The headers of this package's C code, which hosts/archive includes too: see ffiwaker.Sources
// for why they are embedded.
//
//go:embed host.h shim.h trace.h
var _ embed.FS

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

// Slots are what C calls through the two slots of a future or stream of Go.
type Slots struct {
	Poll func(id uint64, w Raw, box uint64, out uintptr) (code uint8)
	Drop func(id uint64)
}

// GoFutures and GoStreams are set by package rawwaker.
var GoFutures, GoStreams Slots

// Layout is the layout of one struct, from the C compiler: its size, and the offset and size of
// each field in order.
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
