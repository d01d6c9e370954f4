package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// figures are the structs of one language and their fields, under Rust's names: "RawWaker",
// "RawWaker.data".
type figures map[string]figure

// figure is of a field, or, without an offset, of a whole struct. Rust may have two offsets, "0|8".
type figure struct{ offset, size string }

// structs lists the structs in the order in which they are printed: Rust's names, C's and Go's
// types, and the fields.
var structs = []struct {
	name, c string
	goType  reflect.Type
	fields  []string
}{
	{"RawWaker", "rawwaker", reflect.TypeFor[rawwaker.RawWaker](), []string{"data", "vtable"}},
	{"RawWakerVTable", "rawwaker_vtable", reflect.TypeFor[rawwaker.VTable](),
		[]string{"clone", "wake", "wake_by_ref", "drop"}},
	{"Context", "rawwaker_context", reflect.TypeFor[rawwaker.Context](), []string{"waker"}},
}

// inC returns the layout of the C compiler.
func inC() figures {
	f := make(figures)
	for _, l := range capi.Layouts() {
		for _, s := range structs {
			if s.c != l.Name {
				continue
			}
			f[s.name] = figure{size: number(l.Size)}
			for _, field := range l.Fields {
				f[s.name+"."+field.Name] = figure{number(field.Offset), number(field.Size)}
			}
		}
	}
	return f
}

// inGo returns the layout that reflect reports. It finds a field by its name without underscores,
// in any case: WakeByRef, wake_by_ref.
func inGo() figures {
	f := make(figures)
	for _, s := range structs {
		f[s.name] = figure{size: number(s.goType.Size())}
		for _, name := range s.fields {
			field, ok := s.goType.FieldByNameFunc(func(n string) bool {
				return strings.EqualFold(n, strings.ReplaceAll(name, "_", ""))
			})
			if ok {
				f[s.name+"."+name] = figure{number(field.Offset), number(field.Type.Size())}
			}
		}
	}
	return f
}

func number(n uintptr) string { return strconv.FormatUint(uint64(n), 10) }

// live turns a waker made in Go into its two words, reads them and the vtable, and gives the
// reference back.
func live() map[string]uintptr {
	if !capi.HasCgo {
		return nil
	}
	w := rawwaker.FromFunc(func() {})
	raw := w.Clone().IntoRaw() // one reference, given back below
	cx := rawwaker.NewContext(w)
	v := map[string]uintptr{
		"RawWaker.data":              raw.Data,
		"RawWaker.vtable":            reflect.ValueOf(raw.VTable).Pointer(),
		"RawWakerVTable.clone":       raw.VTable.Clone,
		"RawWakerVTable.wake":        raw.VTable.Wake,
		"RawWakerVTable.wake_by_ref": raw.VTable.WakeByRef,
		"RawWakerVTable.drop":        raw.VTable.Drop,
		"Context.waker":              reflect.ValueOf(cx.Waker()).Pointer(),
	}
	rawwaker.FromRaw(raw).Drop()
	w.Drop()
	return v
}

func layoutCommand(out io.Writer) *cobra.Command {
	var live, calling bool
	c := &cobra.Command{
		Use:   "layout",
		Short: "the bytes of a waker, its vtable and a context, in C, Go and Rust",
		Long: `Shows the offsets and sizes of the fields of a waker, its vtable and a context: from the C
compiler, from Go's reflection, and from a probe in Rust, which rustc compiles if it is installed.`,
		Example: "  wakelab layout\n  wakelab layout --live\n  wakelab layout --abi",
		RunE: func(*cobra.Command, []string) error {
			switch {
			case live && calling:
				return usage("either --live or --abi, not both")
			case live:
				return liveWaker(out)
			case calling:
				return abi(out)
			}
			layout(out)
			return nil
		},
	}
	c.Flags().BoolVar(&live, "live", false,
		"the sixteen bytes of one waker and the words of its box, through clone, wake and drop")
	c.Flags().BoolVar(&calling, "abi", false,
		"how clone returns its struct on each platform whose compiler is installed")
	return c
}

// layout prints the table.
func layout(out io.Writer) {
	c, g, values := inC(), inGo(), live()
	r, source := rust()

	fmt.Fprint(out, "A waker is two words, data and vtable. A vtable is four functions. "+
		"A context lends a waker.\n\n")
	line(out, "%-16s %13s   %13s   %13s", "", "C      ", "Go     ", "Rust   ")
	const columns = "offset   size"
	line(out, "%-16s %13s   %13s   %13s   %s", "", columns, columns, columns, "live value")
	for _, s := range structs {
		line(out, "%-16s %s   %s   %s", s.name, c[s.name], g[s.name], r[s.name])
		for _, field := range s.fields {
			key, value := s.name+"."+field, ""
			if v, ok := values[key]; ok {
				value = fmt.Sprintf("%#x", v)
			}
			line(out, "  %-14s %s   %s   %s   %s", field, c[key], g[key], r[key], value)
		}
	}

	if values != nil {
		line(out, "\nThe live RawWaker, byte by byte:")
		line(out, "  C and Go  %s", dump(c, values))
		line(out, "  Rust      %s", dump(r, values))
		line(out, "\nC     from the compiler; static assertions in rawwaker.h enforce it")
	} else {
		line(out, "\nC     %s", noCgo)
	}
	line(out, "Go    by reflection; RawWaker and VTable equal C's; Context is Go's and holds a waker")
	line(out, "Rust  %s", source)
	if values != nil {
		line(out, "live  a waker made in Go, as two words: a box in C memory, C functions; Go's Context")
	} else {
		line(out, "live  %s", noCgo)
	}
	if strings.Contains(r["Context.waker"].offset, "|") {
		fmt.Fprintln(out,
			"|     Rust's Context has its waker's address at both places, as waker and as local_waker")
	}
	fmt.Fprint(out, `
Rust's RawWaker is repr(Rust): the compiler chooses the order of the fields and may change it in any
release. C's order, {data, vtable}, is fixed. So never transmute one to the other.
`)
}

// String is a figure as 13 columns.
func (f figure) String() string {
	if f == (figure{}) {
		return fmt.Sprintf("%6s   %4s", "-", "-")
	}
	return fmt.Sprintf("%6s   %4s", f.offset, f.size)
}

func line(out io.Writer, format string, args ...any) {
	fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// dump returns the bytes of a RawWaker whose fields have the offsets of f.
func dump(f figures, values map[string]uintptr) string {
	size, err := strconv.Atoi(f["RawWaker"].size)
	if err != nil {
		return "?"
	}
	b := make([]byte, size)
	for _, key := range []string{"RawWaker.data", "RawWaker.vtable"} {
		offset, err := strconv.Atoi(f[key].offset)
		if err != nil || offset+size/2 > size {
			return "?"
		}
		if word := b[offset:]; size == 8 {
			binary.NativeEndian.PutUint32(word, uint32(values[key]))
		} else {
			binary.NativeEndian.PutUint64(word, uint64(values[key]))
		}
	}
	return fmt.Sprintf("% x | % x", b[:size/2], b[size/2:])
}
