//go:build cgo

package capi

/*
#include "shim.h"

static size_t look_box(uintptr_t b, rawwaker_box_field *out, size_t n) {
	return rawwaker_box_look((const rawwaker_box *)b, out, n);
}

static void look_nothing(void *arg) { (void)arg; }

// The vtables of this library's own wakers.
static const rawwaker_vtable *look_vtable(int which) {
	const rawwaker_vtable *v;
	rawwaker w;
	switch (which) {
	case 0: return rawwaker_noop().vtable;
	case 1: return rawwaker_box_vtable();
	default:
		w = rawwaker_from_fn(look_nothing, NULL, NULL);
		v = w.vtable;
		rawwaker_drop(w);
		return v;
	}
}
*/
import "C"

import "unsafe"

// BoxFields returns the fields of a box: names, offsets and sizes.
func BoxFields() []Field {
	var all []Field
	for _, f := range lookBox(0) {
		all = append(all, f.Field)
	}
	return all
}

// BoxLook returns what is in a box, which must exist.
func BoxLook(box uintptr) []Word { return lookBox(box) }

func lookBox(box uintptr) (all []Word) {
	fields := make([]C.rawwaker_box_field, C.look_box(0, nil, 0))
	C.look_box(C.uintptr_t(box), unsafe.SliceData(fields), C.size_t(len(fields)))
	for _, f := range fields {
		field := Field{C.GoString(f.name), uintptr(f.offset), uintptr(f.size)}
		all = append(all, Word{field, uint64(f.value)})
	}
	return all
}

// VTables returns the vtables of this library's own wakers.
func VTables() (all []NamedVTable) {
	for i, name := range []string{"rawwaker_noop", "rawwaker_box", "rawwaker_from_fn"} {
		v := C.look_vtable(C.int(i))
		// SAFETY: a static vtable; its address and slots are valid as numbers for the life of the
		// process.
		at := uintptr(unsafe.Pointer(v))
		slots := *(*[4]uintptr)(unsafe.Pointer(v))
		all = append(all, NamedVTable{name, at, slots})
	}
	return all
}

// Layouts returns the layout of the public structs, from the C compiler.
func Layouts() []Layout {
	var w C.rawwaker
	var v C.rawwaker_vtable
	var cx C.rawwaker_context
	var f C.rawwaker_future
	var fv C.rawwaker_future_vtable
	var s C.rawwaker_stream
	var sv C.rawwaker_stream_vtable
	var n C.rawwaker_notice
	return []Layout{
		{"rawwaker", unsafe.Sizeof(w), []Field{
			{"data", unsafe.Offsetof(w.data), unsafe.Sizeof(w.data)},
			{"vtable", unsafe.Offsetof(w.vtable), unsafe.Sizeof(w.vtable)},
		}},
		{"rawwaker_vtable", unsafe.Sizeof(v), []Field{
			{"clone", unsafe.Offsetof(v.clone), unsafe.Sizeof(v.clone)},
			{"wake", unsafe.Offsetof(v.wake), unsafe.Sizeof(v.wake)},
			{"wake_by_ref", unsafe.Offsetof(v.wake_by_ref), unsafe.Sizeof(v.wake_by_ref)},
			{"drop", unsafe.Offsetof(v.drop), unsafe.Sizeof(v.drop)},
		}},
		{"rawwaker_context", unsafe.Sizeof(cx), []Field{
			{"waker", unsafe.Offsetof(cx.waker), unsafe.Sizeof(cx.waker)},
		}},
		{"rawwaker_future", unsafe.Sizeof(f), []Field{
			{"data", unsafe.Offsetof(f.data), unsafe.Sizeof(f.data)},
			{"vtable", unsafe.Offsetof(f.vtable), unsafe.Sizeof(f.vtable)},
		}},
		{"rawwaker_future_vtable", unsafe.Sizeof(fv), []Field{
			{"poll", unsafe.Offsetof(fv.poll), unsafe.Sizeof(fv.poll)},
			{"drop", unsafe.Offsetof(fv.drop), unsafe.Sizeof(fv.drop)},
		}},
		{"rawwaker_stream", unsafe.Sizeof(s), []Field{
			{"data", unsafe.Offsetof(s.data), unsafe.Sizeof(s.data)},
			{"vtable", unsafe.Offsetof(s.vtable), unsafe.Sizeof(s.vtable)},
		}},
		{"rawwaker_stream_vtable", unsafe.Sizeof(sv), []Field{
			{"poll_next", unsafe.Offsetof(sv.poll_next), unsafe.Sizeof(sv.poll_next)},
			{"drop", unsafe.Offsetof(sv.drop), unsafe.Sizeof(sv.drop)},
		}},
		{"rawwaker_notice", unsafe.Sizeof(n), []Field{
			{"id", unsafe.Offsetof(n.id), unsafe.Sizeof(n.id)},
			{"woken", unsafe.Offsetof(n.woken), unsafe.Sizeof(n.woken)},
			{"last", unsafe.Offsetof(n.last), unsafe.Sizeof(n.last)},
		}},
	}
}
