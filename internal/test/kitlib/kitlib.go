//go:build cgo && !windows

// Package kitlib runs the conformance kit for C on constructors of a shared library.
//
// cmd/wakelab uses it, also to find the symbol at an address.
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
static const char *why(void) {
	const char *s = dlerror();
	return s ? s : "dlopen failed without a message";
}

// A union, because ISO C has no cast from dlsym's object pointer to a function pointer.
static int run(int kind, const char *name, void *symbol) {
	union {
		void *object;
		rawwaker_test_waker (*waker)(void *);
		rawwaker_test_future (*future)(void *);
		rawwaker_test_executor (*executor)(void *);
	} make = { symbol };
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

	// It embeds rawwaker.h: without that, the build cache misses an edit of it (golang/go#24355).
	_ "github.com/seed-8a1b3254/ffiwaker"
	_ "github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// HasCgo is true if this build can load libraries.
const HasCgo = true

// Run checks what the constructor symbol of the library makes, which is of the kind waker, future
// or executor. The kit prints TAP. Run returns the number of scenarios that failed. The library
// stays loaded. If a scenario hangs, the kit ends the process.
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
	i := slices.Index([]string{"waker", "future", "executor"}, kind)
	return int(C.run(C.int(i), name, at)), nil
}

// Symbol returns what the dynamic linker knows about an address: the nearest exported symbol below
// it, or "", the library, and the address at which the library is loaded.
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
