package broken

import "embed"

// Sources are the broken things in C, and run/main.c, which is a program of them.
//
//go:embed *.c *.h run/main.c
var Sources embed.FS

// Entry is one that breaks a rule, or a sound one, which breaks none.
type Entry struct {
	Name, Kind string // Kind: waker, future, executor, user
	Does       string
	Kit        string // the scenario that must fail; empty: none can
	Audit      string // the auditor's rule; empty: it cannot know
	Detector   bool   // only ThreadSanitizer, or -race for those in Go, can tell

	Go bool // written in Go

	index int
}
