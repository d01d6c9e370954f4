// Package trace reads what FFIWAKERDEBUG=trace=FILE has written (docs/TRACE.md), finds out what belongs together, and shows it: as the article's
// timeline, as JSON, for Perfetto, and as a page.
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
	names   map[string]int // how many wakers have each
	Torn    int            // lines that could not be read: where the disk was full, or two processes wrote to one file
}

// Field is one of a box's.
type Field struct {
	Name   string `json:"name"`
	Offset int    `json:"offset"`
	Size   int    `json:"size"`
}

// Waker is what wakers wake: a task, a function, or two words of C. A reference, a handle, a clone is not one of its own.
type Waker struct {
	Number       int
	Kind         string // BlockOn, task, FromFunc, C
	Name         string // that Named has given it
	From         string // where it was spawned
	Data, VTable string // in C; empty: C has not seen it
	Polls, Wakes int
}

// Lane is a goroutine, or a thread that no goroutine was on.
type Lane struct {
	Goroutine uint64
	Name      string
}

// Event is one line.
type Event struct {
	N         int    `json:"n"` // from 1
	NS        int64  `json:"ns"`
	Thread    uint64 `json:"thread,omitempty"`
	Goroutine uint64 `json:"goroutine,omitempty"`
	What      string `json:"what"`
	Waker     int    `json:"waker,omitempty"`
	InC       bool   `json:"in_c,omitempty"` // told by the auditor, of what C holds

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
	Pair  int `json:"-"` // of a poll: where it ends, and of its end where it began; of park and unpark alike; else -1
	Leads int `json:"-"` // of a wake: the poll that follows; else -1
}

// line is an event as it is written.
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

// ErrEmpty says that there is no trace.
var ErrEmpty = errors.New("no trace: not a line that FFIWAKERDEBUG=trace=FILE has written")

// what the auditor calls what the rest calls otherwise.
var names = map[string]string{
	"is wrapped": "wrapped", "is lent": "lent", "is cloned as": "clone", "is returned": "returned", "is unwrapped": "unwrapped", "is unwound": "panicked",
	"is READY": "ready", "is PENDING": "pending", "is PANICKED": "panicked",
}

// Read reads a trace. A last line without an end, of a program that was killed while it wrote, is left out.
func Read(r io.Reader) (*Trace, error) {
	t := &Trace{Fields: []Field{}}
	var lines []line
	begun := false // the first line is there
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
	// Each thread writes its lines in order, but two threads may write theirs in another order than they looked at the clock.
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

// builder holds what is known on the way through a trace.
type builder struct {
	t       *Trace
	byWords map[words]int  // wakers that C has, by what they are there
	byData  map[string]int // boxes of Go's wakers
	numbers map[int]int    // of the file, to t's
	family  map[int]int    // the auditor's numbers, to t's; 0: of none
	lanes   map[string]int
	open    map[int][]int  // of each lane: the polls that it is inside
	parked  map[int]int    // of each lane: its park
	on      map[uint64]int // of each thread: the lane of the Go poll that it is inside, and -1
	waiting map[int][]int  // of each waker: the wakes since its latest poll began
}

func (t *Trace) build(lines []line) {
	b := &builder{t: t, byWords: map[words]int{}, byData: map[string]int{}, numbers: map[int]int{}, family: map[int]int{}, lanes: map[string]int{},
		open: map[int][]int{}, parked: map[int]int{}, on: map[uint64]int{}, waiting: map[int][]int{}}
	t.Events = make([]Event, 0, len(lines))
	for _, l := range lines {
		b.add(l)
	}
}

func (b *builder) add(l line) {
	i := len(b.t.Events)
	e := Event{N: i + 1, NS: l.NS, Thread: l.Thread, Goroutine: l.Goroutine, What: l.What, Word: l.Word, Handles: l.Handles, Data: l.Data, VTable: l.VTable,
		Family: l.Family, There: l.There, Reference: l.Reference, New: l.New, Kind: l.Kind, From: l.From, Name: l.Name, Error: l.Error, InC: l.Family != 0, Pair: -1, Leads: -1}
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

// refs is how many references C holds: the field counts them in twos, and Go's hold in a one.
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

// waker finds whose waker an event is about.
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
	case e.Box != nil && e.What == "poll" && b.t.fresh(e.Box) && b.polling(e) != 0: // a box that the poll has just made, of which Go has not told yet
		n = b.polling(e)
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

// fresh says whether a box has no number yet.
func (t *Trace) fresh(box []string) bool {
	for i, f := range t.Fields {
		if f.Name == "id" && i < len(box) {
			n, err := strconv.ParseUint(box[i], 0, 64)
			return err == nil && n == 0
		}
	}
	return false
}

// polling is whose poll by Go an event is inside: its goroutine's, which may have changed threads since, or else its thread's.
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

// lane is the goroutine's. What the auditor tells on a thread that is inside a poll of Go's is that goroutine's too; and what a goroutine
// does that C has called inside a poll of C's is that thread's.
func (b *builder) lane(e *Event) int {
	if lane, ok := b.on[e.Thread]; ok {
		switch on := b.t.Lanes[lane].Goroutine; {
		case e.Goroutine == 0:
			e.Goroutine = on
			return lane
		case on == 0:
			return lane
		case on != e.Goroutine: // that one goes on elsewhere
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

// IsWake says whether an event wakes.
func (e *Event) IsWake() bool { return e.What == "wake" || e.What == "wake_by_ref" }

// IsEnd says whether an event ends a poll.
func (e *Event) IsEnd() bool { return e.What == "pending" || e.What == "ready" || e.What == "panicked" }

// pair finds where polls and parks end, and what a wake leads to.
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
		if e.Waker != 0 && !outer { // a C future inside a Go poll is polled by that poll
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
			delete(b.on, thread) // else somebody else polls there by now
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

// Counts are the polls and wakes of all wakers.
func (t *Trace) Counts() (polls, wakes int) {
	for _, w := range t.Wakers {
		polls += w.Polls
		wakes += w.Wakes
	}
	return polls, wakes
}
