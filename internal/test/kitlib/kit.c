//go:build !windows

/* The kit, compiled here: a folder of a Go module compiles its own C files only. */
#include "../../../wakertest/c/rawwaker_test.c"
