//go:build !windows

/* Compiles the kit into this package, because cgo compiles only the C files of a package's
 * folder. */
#include "../../../wakertest/c/rawwaker_test.c"
