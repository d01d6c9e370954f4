// Package trace reads traces of FFIWAKERDEBUG=trace=FILE and shows them.
//
// docs/TRACE.md describes the format. It finds out which events belong together, and writes the
// article's timeline, JSON, a file for Perfetto, or a page.
package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Trace is one run of one program.
type Trace struct {
	Program string
	PID     int
	Fields  []Field           // of a box
	Slots   map[string]string // names of addresses
	Events  []Event           // in the order in which they happened
	Wakers  []Waker           // Wakers[i] has the number i+1
	Lanes   []Lane
	names   map[string]int // how many wakers have each name

	// Torn counts lines that could not be read, because the disk was full or two processes wrote to
	// one file.
	Torn int
}

// Field is a field of a box.
type Field struct {
	Name   string `json:"name"`
	Offset int    `json:"offset"`
	Size   int    `json:"size"`
}

// Waker is what wakers wake: a task, a function, or two words of C. References, handles and clones
// of it count as the same Waker.
type Waker struct {
	Number       int
	Kind         string // BlockOn, task, FromFunc, C
	Name         string // from rawwaker.Named
	From         string // where it was spawned
	Data, VTable string // in C; empty: it has not crossed to C
	Polls, Wakes int
}

// Lane is a goroutine, or a thread without a goroutine.
type Lane struct {
	Goroutine uint64
	Name      string
}

// Event is one line of a trace.
type Event struct {
	N         int    `json:"n"` // from 1
	NS        int64  `json:"ns"`
	Thread    uint64 `json:"thread,omitempty"`
	Goroutine uint64 `json:"goroutine,omitempty"`
	What      string `json:"what"`
	Waker     int    `json:"waker,omitempty"`
	InC       bool   `json:"in_c,omitempty"` // the auditor has reported it, for what C holds

	Word    string   `json:"word,omitempty"`    // the core's, before
	Handles *int     `json:"handles,omitempty"` // Go's, after
	Data    string   `json:"data,omitempty"`
	VTable  string   `json:"vtable,omitempty"`
	Box     []string `json:"box,omitempty"`   // the box's fields, before
	Refs    *int     `json:"refs,omitempty"`  // C's references in it, before
	There   *int     `json:"there,omitempty"` // the auditor's count of a C waker's references, before

	Family    int    `json:"family,omitempty"` // the auditor's number, in C
	Reference int    `json:"ref,omitempty"`
	New       int    `json:"new,omitempty"`
	Kind      string `json:"kind,omitempty"`
	From      string `json:"from,omitempty"`
	Name      string `json:"name,omitempty"`
	Error     string `json:"error,omitempty"`

	Counts bool `json:"-"` // it is one of its waker's polls or wakes

	Lane  int `json:"-"`
	Depth int `json:"-"` // inside how many polls on its lane
	Pair  int `json:"-"` // the end of a poll or park, and the beginning of such an end; else -1
	Leads int `json:"-"` // the poll that follows a wake; else -1
}

// line is an event as the file has it.
type line struct {
	NS        int64  `json:"ns"`
	Thread    uint64 `json:"thread"`
	Goroutine uint64 `json:"goroutine"`
	What      string `json:"what"`
	Waker     int    `json:"waker"`
	Word      string `json:"word"`
	Handles   *int   `json:"handles"`
	Data      string `json:"data"`
	VTable    string `json:"vtable"`
	Box       []any  `json:"box"`
	Family    int    `json:"c"`
	There     *int   `json:"there"`
	Reference int    `json:"ref"`
	New       int    `json:"new"`
	Kind      string `json:"kind"`
	From      string `json:"from"`
	Name      string `json:"name"`
	Error     string `json:"error"`

	Version int               `json:"version"`
	PID     int               `json:"pid"`
	Program string            `json:"program"`
	Slots   map[string]string `json:"slots"`
}

// ErrEmpty is returned for a file that is not a trace.
var ErrEmpty = errors.New("no trace: not a line that FFIWAKERDEBUG=trace=FILE has written")

// names maps the auditor's names of events to those of the rest.
var names = map[string]string{
	"is wrapped": "wrapped", "is lent": "lent", "is cloned as": "clone", "is returned": "returned",
	"is unwrapped": "unwrapped", "is unwound": "panicked",
	"is READY": "ready", "is PENDING": "pending", "is PANICKED": "panicked", "is DONE": "ready",
}

// Read reads a trace. It ignores a last line without an end, which a program leaves that is killed
// while it writes.
func Read(r io.Reader) (*Trace, error) {
	t := &Trace{Fields: []Field{}}
	var lines []line
	begun := false // the first line has been read
	in := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		b, err := in.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil || l.What == "" {
			if !begun {
				return nil, ErrEmpty
			}
			if len(bytes.TrimSpace(b)) > 0 {
				t.Torn++
			}
			continue
		}
		if l.What != "trace" {
			lines = append(lines, l)
			continue
		}
		begun = true
		if l.Version != 1 {
			return nil, fmt.Errorf("line %d: a trace of version %d; this reads version 1", n, l.Version)
		}
		t.Program, t.PID, t.Slots = l.Program, l.PID, l.Slots
		t.Fields = t.Fields[:0]
		for _, f := range l.Box {
			m, _ := f.(map[string]any)
			name, _ := m["name"].(string)
			offset, _ := m["offset"].(float64)
			size, _ := m["size"].(float64)
			t.Fields = append(t.Fields, Field{name, int(offset), int(size)})
		}
	}
	if !begun {
		return nil, ErrEmpty
	}
	// Each thread writes its lines in order. But two threads may write theirs in another order than
	// they read the clock.
	slices.SortStableFunc(lines, func(a, b line) int {
		switch {
		case a.NS < b.NS:
			return -1
		case a.NS > b.NS:
			return 1
		}
		return 0
	})
	t.build(lines)
	return t, nil
}

type words struct{ data, vtable string }

// builder holds what is known while a trace is read.
type builder struct {
	t       *Trace
	byWords map[words]int  // C wakers, by their two words
	byData  map[string]int // boxes of Go's wakers
	numbers map[int]int    // numbers in the file, to t's
	family  map[int]int    // the auditor's numbers, to t's; 0: none
	lanes   map[string]int
	open    map[int][]int  // of each lane: the polls that it is inside
	parked  map[int]int    // of each lane: its park
	on      map[uint64]int // of each thread: the lane of the poll that it is inside
	waiting map[int][]int  // of each waker: the wakes since its last poll began
}

func (t *Trace) build(lines []line) {
	b := &builder{
		t: t, byWords: map[words]int{}, byData: map[string]int{}, numbers: map[int]int{},
		family: map[int]int{}, lanes: map[string]int{}, open: map[int][]int{},
		parked: map[int]int{}, on: map[uint64]int{}, waiting: map[int][]int{},
	}
	t.Events = make([]Event, 0, len(lines))
	for _, l := range lines {
		b.add(l)
	}
}

func (b *builder) add(l line) {
	i := len(b.t.Events)
	e := Event{
		N: i + 1, NS: l.NS, Thread: l.Thread, Goroutine: l.Goroutine, What: l.What,
		Word: l.Word, Handles: l.Handles, Data: l.Data, VTable: l.VTable,
		Family: l.Family, There: l.There, Reference: l.Reference, New: l.New, Kind: l.Kind,
		From: l.From, Name: l.Name, Error: l.Error,
		InC: l.Family != 0, Pair: -1, Leads: -1,
	}
	for _, w := range l.Box {
		if s, ok := w.(string); ok {
			e.Box = append(e.Box, s)
		}
	}
	e.Refs = b.t.refs(e.Box)
	if name, ok := names[e.What]; ok && e.InC {
		e.What = name
	}
	if e.InC && e.What == "drop" && e.Reference == 0 {
		e.What = "future dropped"
	}
	e.Waker = b.waker(&e, l)
	e.Lane = b.lane(&e)
	b.pair(&e, i)
	b.t.Events = append(b.t.Events, e)
}

// refs returns how many references C holds: the field counts each as 2, and Go's hold as 1.
func (t *Trace) refs(box []string) *int {
	for i, f := range t.Fields {
		if f.Name == "refs" && i < len(box) {
			if n, err := strconv.ParseUint(box[i], 0, 64); err == nil {
				r := int(n / 2)
				return &r
			}
		}
	}
	return nil
}

func (b *builder) new(w Waker) int {
	w.Number = len(b.t.Wakers) + 1
	b.t.Wakers = append(b.t.Wakers, w)
	return w.Number
}

// waker returns the number of the Waker of an event; 0: none.
func (b *builder) waker(e *Event, l line) int {
	if l.Waker != 0 {
		n := b.numbers[l.Waker]
		if n == 0 || e.What == "made" {
			n = b.new(Waker{Kind: e.Kind, From: e.From})
			b.numbers[l.Waker] = n
		}
		w := &b.t.Wakers[n-1]
		switch e.What {
		case "named":
			w.Name = e.Name
		case "boxed":
			w.Data, w.VTable = e.Data, e.VTable
			b.byData[e.Data] = n
		}
		return n
	}
	n := 0
	switch {
	case e.VTable == "":
		n = b.family[e.Family]
	case e.Box != nil && e.What == "poll" && b.t.isNew(e.Box) && b.polling(e) != 0:
		n = b.polling(e) // the poll has just made the box; Go reports it later
		b.byData[e.Data] = n
	case e.Box != nil && b.byData[e.Data] != 0:
		n = b.byData[e.Data]
	default:
		key := words{e.Data, e.VTable}
		if n = b.byWords[key]; n == 0 {
			n = b.new(Waker{Kind: "C", Data: e.Data, VTable: e.VTable})
			b.byWords[key] = n
		}
	}
	if n != 0 && e.Family != 0 {
		b.family[e.Family] = n
	}
	if e.Name != "" && n != 0 {
		b.t.Wakers[n-1].Name = e.Name
	}
	return n
}

// isNew reports whether a box has no number yet.
func (t *Trace) isNew(box []string) bool {
	for i, f := range t.Fields {
		if f.Name == "id" && i < len(box) {
			n, err := strconv.ParseUint(box[i], 0, 64)
			return err == nil && n == 0
		}
	}
	return false
}

// polling returns the Waker of the Go poll that an event is inside: that of its goroutine, which
// may have changed threads since, or else that of its thread.
func (b *builder) polling(e *Event) int {
	lane, ok := b.lanes["g"+strconv.FormatUint(e.Goroutine, 10)]
	if e.Goroutine == 0 {
		lane, ok = b.on[e.Thread]
	}
	if !ok || b.t.Lanes[lane].Goroutine == 0 {
		return 0
	}
	for _, i := range slices.Backward(b.open[lane]) {
		if poll := &b.t.Events[i]; !poll.InC {
			return poll.Waker
		}
	}
	return 0
}

// lane returns the lane of an event: that of its goroutine. An event of the auditor on a thread
// that is inside a Go poll belongs to that goroutine. An event of a goroutine that C has called
// inside a C poll belongs to that thread.
func (b *builder) lane(e *Event) int {
	if lane, ok := b.on[e.Thread]; ok {
		switch on := b.t.Lanes[lane].Goroutine; {
		case e.Goroutine == 0:
			e.Goroutine = on
			return lane
		case on == 0:
			return lane
		case on != e.Goroutine: // that goroutine continues on another thread
			delete(b.on, e.Thread)
		}
	}
	key := "g" + strconv.FormatUint(e.Goroutine, 10)
	if e.Goroutine == 0 {
		key = "t" + strconv.FormatUint(e.Thread, 10)
	}
	lane, ok := b.lanes[key]
	if !ok {
		lane = len(b.t.Lanes)
		b.lanes[key] = lane
		name := "goroutine " + strconv.FormatUint(e.Goroutine, 10)
		if e.Goroutine == 0 {
			name = "thread " + strconv.FormatUint(e.Thread, 10) + " in C"
		}
		b.t.Lanes = append(b.t.Lanes, Lane{Goroutine: e.Goroutine, Name: name})
	}
	return lane
}

// IsWake reports whether an event is a wake.
func (e *Event) IsWake() bool { return e.What == "wake" || e.What == "wake_by_ref" }

// IsEnd reports whether an event ends a poll.
func (e *Event) IsEnd() bool {
	return e.What == "pending" || e.What == "ready" || e.What == "panicked"
}

// pair finds the ends of polls and parks, and the poll that follows a wake.
func (b *builder) pair(e *Event, i int) {
	open := b.open[e.Lane]
	e.Depth = len(open)
	switch {
	case e.What == "poll":
		b.open[e.Lane] = append(open, i)
		if e.Thread != 0 && len(open) == 0 {
			b.on[e.Thread] = e.Lane
		}
		outer := len(open) > 0 && b.t.Events[open[len(open)-1]].Waker == e.Waker
		if e.Waker != 0 && !outer { // a poll of a C future inside a Go poll is the same poll
			b.t.Wakers[e.Waker-1].Polls++
			e.Counts = true
			for _, wake := range b.waiting[e.Waker] {
				b.t.Events[wake].Leads = i
			}
			delete(b.waiting, e.Waker)
		}
	case e.IsEnd() && len(open) > 0:
		began := open[len(open)-1]
		b.open[e.Lane] = open[:len(open)-1]
		e.Depth--
		e.Pair, b.t.Events[began].Pair = began, i
		if thread := b.t.Events[began].Thread; len(open) == 1 && b.on[thread] == e.Lane {
			delete(b.on, thread) // else another goroutine polls there by now
		}
	case e.What == "park":
		b.parked[e.Lane] = i
	case e.What == "unpark":
		if began, ok := b.parked[e.Lane]; ok {
			e.Pair, b.t.Events[began].Pair = began, i
			delete(b.parked, e.Lane)
		}
	case e.IsWake() && e.Waker != 0:
		b.t.Wakers[e.Waker-1].Wakes++
		e.Counts = true
		b.waiting[e.Waker] = append(b.waiting[e.Waker], i)
	}
}

// Counts returns the numbers of polls and wakes of all wakers.
func (t *Trace) Counts() (polls, wakes int) {
	for _, w := range t.Wakers {
		polls += w.Polls
		wakes += w.Wakes
	}
	return polls, wakes
}
