// Package trace reads FFIWAKERDEBUG and writes the trace that it may ask for.
//
// docs/TRACE.md has the format. Each event is one line of JSON, written by one system call, so a
// program that crashes leaves whole lines.
package trace

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

var (
	file   *os.File
	broken atomic.Bool // a write has failed, and that was reported
)

// open opens the file that FFIWAKERDEBUG names. On is its result.
func open() bool {
	name := strings.ReplaceAll(Debug("trace"), "%p", strconv.Itoa(os.Getpid()))
	if name == "" {
		return false
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o666)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ffiwaker: FFIWAKERDEBUG: no trace: %v\n", err)
		return false
	}
	file = f
	capi.TraceBegin(f.Fd())
	writeLine(header())
	return true
}

func header() []byte {
	b := append([]byte(nil), `{"ns":0,"what":"trace","version":1,"pid":`...)
	b = strconv.AppendInt(b, int64(os.Getpid()), 10)
	program := "?"
	if len(os.Args) > 0 && os.Args[0] != "" {
		program = os.Args[0]
	}
	b = appendText(b, "program", program)
	b = append(b, `,"box":[`...)
	for i, f := range capi.BoxFields() {
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
	for _, v := range capi.VTables() {
		names := map[uintptr]string{v.Address: "vtable"}
		addresses := []uintptr{v.Address}
		for i, name := range capi.SlotNames {
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

// writeLine writes one JSON object as a line.
func writeLine(object []byte) {
	if n, err := writeOnce(file, append(object, '\n')); err != nil {
		if n > 0 {
			writeOnce(file, []byte("\n")) // the next line is none of this one
		}
		if !broken.Swap(true) {
			fmt.Fprintf(os.Stderr, "ffiwaker: FFIWAKERDEBUG: the trace has gaps: %v\n", err)
		}
	}
}

// appendText appends a member that may be any text; JSON has no \x escapes, hence not Go's quoting.
func appendText(e []byte, key, value string) []byte {
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

// Event is an event under construction.
type Event []byte

// New begins an event: its time, thread and goroutine, and what happened.
func New(what string) Event {
	e := append(make(Event, 0, 256), `{"ns":`...)
	e = strconv.AppendInt(e, capi.TraceNow(), 10)
	if thread := threadID(); thread != 0 {
		e = e.Number("thread", uint64(thread))
	}
	return e.Number("goroutine", capi.Goroutine()).Text("what", what)
}

// Number appends a member that is a number.
func (e Event) Number(key string, n uint64) Event {
	e = append(append(append(e, `,"`...), key...), `":`...)
	return strconv.AppendUint(e, n, 10)
}

// Text appends a member that is a text.
func (e Event) Text(key, value string) Event { return appendText(e, key, value) }

// Address appends a member that is an address, as a text.
func (e Event) Address(key string, n uintptr) Event {
	return e.Text(key, "0x"+strconv.FormatUint(uint64(n), 16))
}

// Box appends what is in a box.
func (e Event) Box(box uintptr) Event {
	e = append(e, `,"box":[`...)
	for i, w := range capi.BoxLook(box) {
		if i > 0 {
			e = append(e, ',')
		}
		e = append(append(append(e, '"'), "0x"+strconv.FormatUint(w.Value, 16)...), '"')
	}
	return append(e, ']')
}

// Write writes the event.
func (e Event) Write() { writeLine(append(e, '}')) }
