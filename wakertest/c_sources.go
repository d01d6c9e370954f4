package wakertest

import "embed"

// C holds the sources of the kit for C, c/rawwaker_test.h and c/rawwaker_test.c, for programs that
// compile it themselves.
//
//go:embed c/rawwaker_test.h c/rawwaker_test.c
var C embed.FS
