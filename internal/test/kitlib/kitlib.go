//go:build cgo && !windows

// Package kitlib is what cmd/wakelab asks the dynamic linker for: to load a shared library, whose constructors it holds to the conformance kit for C, in
// a process of its own; and the symbol at an address.
package kitlib

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../../.. -I${SRCDIR}/../../../wakertest/c
#cgo linux LDFLAGS: -ldl
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "rawwaker_test.h"

static void *open_library(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
static const char *why(void) { const char *s = dlerror(); return s ? s : "dlopen says nothing"; }

// ISO C has no cast from an object's address to a function's, and POSIX asks for one.
static int run(int kind, const char *name, void *symbol) {
	union { void *object; rawwaker_test_waker (*waker)(void *); rawwaker_test_future (*future)(void *); rawwaker_test_executor (*executor)(void *); } make = { symbol };
	switch (kind) {
	case 0: return rawwaker_test_wakers(name, make.waker, NULL);
	case 1: return rawwaker_test_futures(name, make.future, NULL);
	default: return rawwaker_test_executors(name, make.executor, NULL);
	}
}

static void symbol_at(uintptr_t at, const char **name, uintptr_t *base, const char **library) {
	Dl_info i;
	*name = *library = NULL;
	*base = 0;
	if (dladdr((void *)at, &i) == 0) return;
	*name = i.dli_sname;
	*library = i.dli_fname;
	*base = (uintptr_t)i.dli_fbase;
}
*/
import "C"

import (
	"errors"
	"slices"
	"unsafe"

	// It embeds rawwaker.h, without which the build cache would miss an edit of it (golang/go#24355).
	_ "github.com/seed-8a1b3254/ffiwaker"
	_ "github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// HasCgo says whether libraries can be loaded in this build.
const HasCgo = true

// Run holds what symbol makes to the kit, which prints TAP, and returns how many scenarios failed. The library stays loaded. The kit ends the process
// where a scenario hangs.
func Run(kind, library, symbol string) (failed int, err error) {
	path, name := C.CString(library), C.CString(symbol)
	defer C.free(unsafe.Pointer(path))
	defer C.free(unsafe.Pointer(name))
	handle := C.open_library(path)
	if handle == nil {
		return 0, errors.New(C.GoString(C.why()))
	}
	at := C.dlsym(handle, name)
	if at == nil {
		return 0, errors.New("it exports no " + symbol)
	}
	return int(C.run(C.int(slices.Index([]string{"waker", "future", "executor"}, kind)), name, at)), nil
}

// Symbol is what the dynamic linker knows of an address: the nearest symbol below that a library exports, or nothing; the library, and where
// that is loaded.
func Symbol(at uintptr) (name, library string, base uintptr) {
	var n, l *C.char
	var b C.uintptr_t
	C.symbol_at(C.uintptr_t(at), &n, &b, &l)
	if n != nil {
		name = C.GoString(n)
	}
	if l != nil {
		library = C.GoString(l)
	}
	return name, library, uintptr(b)
}
