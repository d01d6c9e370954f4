package broken

import "embed"

// Sources holds the faulty wakers, futures, streams and executors in C, and run/main.c, their
// program.
//
//go:embed *.c *.h run/main.c
var Sources embed.FS

// Entry is a waker, future, stream, executor or user of a waker that breaks one rule. A sound
// entry, whose name begins with sound_, breaks none.
type Entry struct {
	Name, Kind string // Kind: waker, future, stream, executor, user
	Does       string
	Kit        string // the scenario that must fail; empty if none can
	Audit      string // the rule that the auditor must report; empty if it cannot
	Detector   bool   // only ThreadSanitizer, or -race for an entry in Go, detects the fault

	Go bool // written in Go

	index int
}
