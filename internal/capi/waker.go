//go:build cgo

package capi

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../.. -I${SRCDIR}/../../audit
#cgo !windows LDFLAGS: -lpthread
#cgo windows LDFLAGS: -Wl,-Bstatic -lpthread -Wl,-Bdynamic

#include "shim.h"

// Slots may call back into Go, so no shim that calls one may be nocallback.
static ffiwaker_raw ffiwaker_clone(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	return ffiwaker_of_waker(rawwaker_clone(&r));
}
static void ffiwaker_wake(ffiwaker_raw w) { rawwaker_wake(ffiwaker_waker(w)); }
static void ffiwaker_wake_by_ref(ffiwaker_raw w) {
	rawwaker r = ffiwaker_waker(w);
	rawwaker_wake_by_ref(&r);
}
static void ffiwaker_drop(ffiwaker_raw w) { rawwaker_drop(ffiwaker_waker(w)); }
static ffiwaker_raw ffiwaker_noop(void) { return ffiwaker_of_waker(rawwaker_noop()); }
*/
import "C"

// HasCgo reports whether wakers can cross to C in this build.
const HasCgo = true

func toC(w Raw) C.ffiwaker_raw {
	return C.ffiwaker_raw{data: C.uintptr_t(w.Data), vtable: C.uintptr_t(w.VTable)}
}

func fromC(w C.ffiwaker_raw) Raw { return Raw{Data: uintptr(w.data), VTable: uintptr(w.vtable)} }

// Clone calls the clone slot.
func Clone(w Raw) Raw {
	if auditing.Load() {
		return audited(SlotClone, w)
	}
	return fromC(C.ffiwaker_clone(toC(w)))
}

// Wake calls the wake slot, which consumes.
func Wake(w Raw) {
	if auditing.Load() {
		audited(SlotWake, w)
		return
	}
	C.ffiwaker_wake(toC(w))
}

// WakeByRef calls the wake_by_ref slot.
func WakeByRef(w Raw) {
	if auditing.Load() {
		audited(SlotWakeByRef, w)
		return
	}
	C.ffiwaker_wake_by_ref(toC(w))
}

// Drop calls the drop slot, which consumes.
func Drop(w Raw) {
	if auditing.Load() {
		audited(SlotDrop, w)
		return
	}
	C.ffiwaker_drop(toC(w))
}

// Noop is rawwaker_noop.
func Noop() Raw { return fromC(C.ffiwaker_noop()) }

// LinkedABIVersion returns the version of the compiled rawwaker.c.
func LinkedABIVersion() uint32 { return uint32(C.rawwaker_abi_version()) }

// Live is how many counted C wakers are alive.
func Live() int { return int(C.rawwaker_live()) }
