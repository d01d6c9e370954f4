package capi

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// The trace: docs/TRACE.md is its format. Each event is one line of JSON, written by one call, so that a program that crashes leaves whole lines.
var (
	traceFile   *os.File
	traceBroken atomic.Bool // and that was said
)

// openTrace is what Tracing is initialised with.
func openTrace() bool {
	name := strings.ReplaceAll(Debug("trace"), "%p", strconv.Itoa(os.Getpid()))
	if name == "" {
		return false
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o666)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ffiwaker: FFIWAKERDEBUG: no trace: %v\n", err)
		return false
	}
	traceFile = f
	traceBegin(f.Fd())
	TraceWrite(traceHeader())
	return true
}

func traceHeader() []byte {
	b := append([]byte(nil), `{"ns":0,"what":"trace","version":1,"pid":`...)
	b = strconv.AppendInt(b, int64(os.Getpid()), 10)
	program := "?"
	if len(os.Args) > 0 && os.Args[0] != "" {
		program = os.Args[0]
	}
	b = TraceText(b, "program", program)
	b = append(b, `,"box":[`...)
	for i, f := range BoxFields() {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"name":%q,"offset":%d,"size":%d}`, f.Name, f.Offset, f.Size)
	}
	return append(b, `],"slots":{`+slotNames()+`}}`...)
}

// slotNames are the addresses of the slots of this library's own vtables, and their names.
func slotNames() string {
	var all []string
	for _, v := range VTables() {
		names := map[uintptr]string{v.Address: "vtable"}
		addresses := []uintptr{v.Address}
		for i, name := range SlotNames {
			if at := v.Slots[i]; names[at] == "" {
				addresses, names[at] = append(addresses, at), name
			} else {
				names[at] += " and " + name // a function may be in several slots
			}
		}
		for _, at := range addresses {
			all = append(all, fmt.Sprintf(`"%#x":%q`, at, v.Name+"_"+names[at]))
		}
	}
	return strings.Join(all, ",")
}

// TraceWrite writes one line, a JSON object.
func TraceWrite(object []byte) {
	if n, err := writeOnce(traceFile, append(object, '\n')); err != nil {
		if n > 0 {
			writeOnce(traceFile, []byte("\n")) // the next line is none of this one
		}
		if !traceBroken.Swap(true) {
			fmt.Fprintf(os.Stderr, "ffiwaker: FFIWAKERDEBUG: the trace has gaps: %v\n", err)
		}
	}
}

// TraceText appends a member that may be any text; JSON has no \x escapes, hence not Go's quoting.
func TraceText(e []byte, key, value string) []byte {
	e = append(append(append(e, `,"`...), key...), `":"`...)
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			e = append(e, '\\', byte(r))
		case r < ' ':
			e = append(e, `\u00`...)
			e = append(e, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			e = utf8.AppendRune(e, r)
		}
	}
	return append(e, '"')
}
