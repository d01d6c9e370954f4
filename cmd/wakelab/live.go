package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/kitlib"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// liveWaker follows one waker of a task through clone, wake and drop. The task belongs to a Local,
// so its wakes from C wait on a list until Tick, and no step happens while another is shown.
func liveWaker(out io.Writer) error {
	if !capi.HasCgo {
		return errors.New(noCgo)
	}
	if trace.AuditAll() {
		return errors.New("with FFIWAKERDEBUG=audit=1 or trace=FILE the two words are the auditor's " +
			"(unset it)")
	}
	l := executor.NewLocal()
	defer l.Close()
	var kept *rawwaker.Waker
	polls := 0
	task := executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		if polls++; kept == nil {
			kept = cx.Waker().Clone()
		}
		return rawwaker.Pending[int]()
	}))
	l.Tick()
	w := kept.IntoRaw()
	v := &viewer{out: out}
	data, vtable := w.Words()
	raw := capi.Raw{Data: data, VTable: vtable}

	line(out, "A task sleeps on an executor. Its waker goes to C, which clones it, wakes and drops.\n")
	v.show("w = waker.IntoRaw()", "one reference of C, and Go's hold", raw)
	v.points(raw)
	clone := capi.Clone(raw)
	v.show("c = rawwaker_clone(&w)", "the same sixteen bytes; the count is higher by one", clone)
	capi.WakeByRef(raw)
	v.show("rawwaker_wake_by_ref(&w)", "queued: the list holds the box and a reference", raw)
	for l.Tick() {
	}
	v.show("the executor drains the list, and polls",
		fmt.Sprintf("the list's reference is gone; the task was polled %d times", polls), raw)
	capi.Wake(clone)
	v.show("rawwaker_wake(c)", "c's own reference went to the list: the count did not change", raw)
	for l.Tick() {
	}
	v.show("the executor drains the list, and polls",
		fmt.Sprintf("c is gone; the task was polled %d times", polls), raw)
	capi.Drop(raw)
	v.show("rawwaker_drop(w)", "only Go's hold is left; these values were read through it", raw)
	task.Abort()
	for l.Tick() {
	}
	for end := time.Now().Add(time.Minute); capi.Live() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	line(out, "the task ends")
	line(out, "    Go releases the box, which is freed: %d counted wakers of C are alive", capi.Live())
	return nil
}

// viewer shows a box, and what has changed in it since it was last shown.
type viewer struct {
	out    io.Writer
	before []capi.Word
}

func (v *viewer) show(step, what string, w capi.Raw) {
	line(v.out, "%s", step)
	line(v.out, "    %s", what)
	line(v.out, "    w   %s | %s", memory(w.Data, 8), memory(w.VTable, 8))
	for i, word := range capi.BoxLook(w.Data) {
		mark := ""
		if v.before != nil && v.before[i].Value != word.Value {
			mark = fmt.Sprintf("   was %s", short(v.before[i]))
		}
		line(v.out, "    box %2d  %-7s %-23s %-18s %s%s", word.Offset, word.Name,
			memory(uintptr(word.Value), int(word.Size)), short(word), meaning(word), mark)
	}
	v.before = capi.BoxLook(w.Data)
	line(v.out, "")
}

// points shows where each word points.
func (v *viewer) points(w capi.Raw) {
	line(v.out, "    data      %#x   %s", w.Data, where(w.Data))
	line(v.out, "    vtable    %#x   %s", w.VTable, where(w.VTable))
	for _, t := range capi.VTables() {
		if t.Address == w.VTable {
			for i, slot := range capi.SlotNames {
				line(v.out, "    %-11s %#x   %s", slot, t.Slots[i], where(t.Slots[i]))
			}
		}
	}
	line(v.out, "")
}

func short(w capi.Word) string {
	if w.Value < 1<<16 {
		return strconv.FormatUint(w.Value, 10)
	}
	return fmt.Sprintf("%#x", w.Value)
}

func meaning(w capi.Word) string {
	switch w.Name {
	case "refs":
		return fmt.Sprintf("2 x %d + %d: references of C and of the list, and Go's hold",
			w.Value/2, w.Value%2)
	case "queued":
		return [...]string{"IDLE", "WOKEN", "LAST", "LOOP"}[w.Value&3]
	case "vtable":
		return "for async-ffi, which expects its slots here"
	case "closed":
		return [...]string{"the task has not ended", "the task has ended"}[w.Value&1]
	case "tell":
		return [...]string{"", "C's last drop is reported to Go"}[w.Value&1]
	case "sink":
		return "receives the wakes"
	case "id":
		return "Go finds the task by it"
	}
	return ""
}

// memory returns the bytes of a word in their order in memory.
func memory(v uintptr, size int) string {
	b := binary.NativeEndian.AppendUint64(nil, uint64(v))
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 { // big-endian: the low bytes are the last
		b = b[8-size:]
	}
	return fmt.Sprintf("% x", b[:size])
}

// where describes an address: the symbol, if it is known, and the file or the part of memory.
func where(at uintptr) string {
	for _, t := range capi.VTables() {
		if t.Address == at {
			return t.Name + "_vtable in " + mapping(at)
		}
		for i, slot := range capi.SlotNames {
			if t.Slots[i] == at {
				return t.Name + "'s " + slot + " in " + mapping(at)
			}
		}
	}
	if name, _, _ := kitlib.Symbol(at); name != "" {
		return name + " in " + mapping(at)
	}
	return mapping(at)
}

// mapping returns the file that an address is mapped from, and the offset in it, or a description
// of the memory.
func mapping(at uintptr) string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		if _, library, base := kitlib.Symbol(at); library != "" {
			return fmt.Sprintf("%s+%#x", filepath.Base(library), at-base)
		}
		return "memory"
	}
	for entry := range strings.Lines(string(maps)) {
		f := strings.Fields(entry)
		from, to, _ := strings.Cut(f[0], "-")
		lo, _ := strconv.ParseUint(from, 16, 64)
		hi, _ := strconv.ParseUint(to, 16, 64)
		if uint64(at) < lo || uint64(at) >= hi {
			continue
		}
		switch {
		case len(f) < 6:
			return "memory that malloc has mapped"
		case strings.HasPrefix(f[5], "["):
			return strings.Trim(f[5], "[]")
		}
		offset, _ := strconv.ParseUint(f[2], 16, 64)
		return fmt.Sprintf("%s+%#x", filepath.Base(f[5]), uint64(at)-lo+offset)
	}
	return "nothing that is mapped"
}
