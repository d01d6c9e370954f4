// Package audit links the C auditor, rawwaker_audit.h and rawwaker_audit.c, into a Go program.
//
// A blank import is enough: it makes the functions of rawwaker_audit.h available to the program's
// C code. Go tests that want a waker or future audited call wakertest.Audit instead.
package audit

import (
	"embed"

	_ "github.com/seed-8a1b3254/ffiwaker" // embeds rawwaker.h, which the auditor includes
)

// Sources holds rawwaker_audit.h and rawwaker_audit.c, for C programs that copy them.
//
//go:embed rawwaker_audit.h rawwaker_audit.c
var Sources embed.FS
