package trace

import (
	"encoding/json"
	"fmt"
	"io"
)

// WritePerfetto writes the trace in the Trace Event Format, which ui.perfetto.dev and
// chrome://tracing open. It has a thread for each lane, a slice for each poll and each park, a
// short slice for any other event, an arrow from each wake to the poll that follows it, and a
// counter of references for each waker. The format is described at
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
func (t *Trace) WritePerfetto(out io.Writer) error {
	w := &errWriter{w: out}
	w.printf("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"program\":%s},\"traceEvents\":[\n",
		quote(t.Program))
	first := true
	put := func(event map[string]any) {
		if w.err != nil {
			return
		}
		b, err := json.Marshal(event)
		if err != nil {
			w.err = err
			return
		}
		if !first {
			w.printf(",\n")
		}
		first = false
		w.printf("%s", b)
	}
	metadata := func(name string, tid int, arg string, value any) {
		put(map[string]any{
			"ph": "M", "name": name, "pid": t.PID, "tid": tid, "args": map[string]any{arg: value},
		})
	}
	metadata("process_name", 0, "name", t.Program)
	for i, l := range t.Lanes {
		metadata("thread_name", i+1, "name", l.Name)
		metadata("thread_sort_index", i+1, "sort_index", i)
	}
	us := func(ns int64) float64 { return float64(ns) / 1000 }
	for i := range t.Events {
		e := &t.Events[i]
		base := func(ph, name string) map[string]any {
			return map[string]any{
				"ph": ph, "name": name, "cat": "waker", "ts": us(e.NS), "pid": t.PID, "tid": e.Lane + 1,
			}
		}
		if e.IsEnd() || e.What == "unpark" {
			continue // the slice of its beginning has the length
		}
		slice := base("X", t.Text(e))
		slice["dur"] = 0.001
		if e.What == "poll" || e.What == "park" {
			slice["dur"] = us(t.Events[len(t.Events)-1].NS - e.NS) // unless it has ended
			if e.Pair >= 0 {
				slice["dur"] = us(t.Events[e.Pair].NS - e.NS)
			}
		}
		args := map[string]any{"event": e.N, "waker": t.Title(e.Waker), "thread": e.Thread}
		for key, value := range map[string]string{"word": e.Word, "data": e.Data, "vtable": e.VTable} {
			if value != "" {
				args[key] = value
			}
		}
		if e.What == "poll" && e.Pair >= 0 {
			args["result"] = t.Text(&t.Events[e.Pair])
		}
		slice["args"] = args
		put(slice)
		if e.Leads >= 0 {
			poll := t.Events[e.Leads]
			from := base("s", "wake")
			from["id"] = e.N
			put(from)
			put(map[string]any{
				"ph": "f", "bp": "e", "name": "wake", "cat": "waker", "id": e.N, "ts": us(poll.NS),
				"pid": t.PID, "tid": poll.Lane + 1,
			})
		}
		if n := e.references(); n >= 0 && e.Waker != 0 {
			whose := "in C"
			if e.Handles != nil {
				whose = "in Go" // a different count, so a track of its own
			}
			c := base("C", fmt.Sprintf("references %s of waker %d, %s", whose, e.Waker, t.Title(e.Waker)))
			c["args"] = map[string]any{"references": n}
			put(c)
		}
	}
	w.printf("\n]}\n")
	return w.err
}

// references returns the number of references, in Go or in C; -1: the event does not have it.
func (e *Event) references() int {
	switch {
	case e.Handles != nil:
		return *e.Handles
	case e.Refs != nil:
		return *e.Refs
	case e.There != nil && e.Reference != 0:
		return *e.There
	}
	return -1
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
