package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Title returns the name of what a waker wakes, if it has one, else a name for the waker itself.
func (t *Trace) Title(number int) string {
	if number == 0 {
		return ""
	}
	w := t.Wakers[number-1]
	switch {
	case w.Name != "" && t.shared(w.Name):
		return w.Name + " (" + strconv.Itoa(number) + ")"
	case w.Name != "":
		return w.Name
	case w.Kind == "C":
		return "C waker " + w.Data
	}
	return w.Kind + " " + strconv.Itoa(number)
}

// shared reports whether several wakers have the same name.
func (t *Trace) shared(name string) bool {
	if t.names == nil {
		t.names = map[string]int{}
		for _, w := range t.Wakers {
			t.names[w.Name]++
		}
	}
	return t.names[name] > 1
}

// Text describes an event in words.
func (t *Trace) Text(e *Event) string {
	title := t.Title(e.Waker)
	waker := "the waker of " + title
	if e.Waker == 0 {
		waker = "a waker"
	}
	switch e.What {
	case "made":
		s := fmt.Sprintf("waker %d is made: %s", e.Waker, e.Kind)
		if e.From != "" {
			s += ", spawned at " + shortPath(e.From)
		}
		return s
	case "named":
		return fmt.Sprintf("waker %d is that of %s", e.Waker, e.Name)
	case "poll":
		if title == "" {
			return "polls"
		}
		return "polls " + title
	case "pending":
		return "Pending"
	case "ready":
		return "Ready"
	case "panicked":
		return "panics"
	case "ended":
		return title + " ends without a result: " + e.Error
	case "wake_by_ref":
		return "wakes " + title + by(e, " by reference")
	case "wake":
		return "wakes " + title + by(e, ", and consumes "+reference(e, "the handle"))
	case "clone", "from_raw", "from_func":
		if e.New != 0 {
			return fmt.Sprintf("clones %s: reference %d from %d", waker, e.New, e.Reference)
		}
		verb := map[string]string{
			"clone": "clones ", "from_raw": "takes back ", "from_func": "makes ",
		}[e.What]
		return verb + waker
	case "drop":
		return "drops " + reference(e, "a handle") + " of " + strings.TrimPrefix(waker, "the waker of ")
	case "into_raw":
		return "moves " + waker + " to C"
	case "boxed":
		return waker + " gets a box in C memory"
	case "delivered":
		return "delivers C's wake of " + title
	case "park":
		if title == "" {
			return "parks"
		}
		return "parks until " + title + " is woken"
	case "unpark":
		return "continues"
	case "wrapped":
		if e.Reference == 0 {
			return "a future or stream crosses between C and Go"
		}
		return waker + " crosses to C: reference " + strconv.Itoa(e.Reference)
	case "unwrapped":
		return "reference " + strconv.Itoa(e.Reference) + " comes back to Go"
	case "collected":
		return "the collector drops a forgotten handle of " + title
	case "future dropped":
		if title == "" {
			return "drops a future"
		}
		return "drops the future of " + title
	}
	return e.What
}

func by(e *Event, how string) string {
	switch {
	case e.Word == "PARKED":
		return how + ", which was asleep"
	case e.Word == "NOTIFIED":
		return how + ", which was already woken"
	}
	return how
}

func reference(e *Event, otherwise string) string {
	if e.Reference != 0 {
		return "reference " + strconv.Itoa(e.Reference)
	}
	return otherwise
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// shortPath shortens a path to the file's folder and name, and the line.
func shortPath(path string) string {
	parts := strings.Split(path, "/")
	return strings.Join(parts[max(len(parts)-2, 0):], "/")
}

// Who returns the goroutine and the thread of an event.
func (t *Trace) Who(e *Event) string {
	if e.Goroutine == 0 {
		return "thread " + strconv.FormatUint(e.Thread, 10) + " in C"
	}
	return fmt.Sprintf("goroutine %d on %d", e.Goroutine, e.Thread)
}

// Count returns the counts of references of an event.
func (e *Event) Count() string {
	var all []string
	if e.Handles != nil {
		all = append(all, fmt.Sprintf("Go %d", *e.Handles))
	}
	switch {
	case e.Refs != nil:
		all = append(all, fmt.Sprintf("C %d", *e.Refs))
	case e.There != nil && e.Reference != 0:
		all = append(all, fmt.Sprintf("C %d", *e.There))
	}
	return strings.Join(all, ", ")
}

// WriteText writes the timeline as the article draws it: the events inside a poll hang below it.
// With colour, polls are blue and wakes yellow.
func (t *Trace) WriteText(out io.Writer, colour bool) error {
	w := &errWriter{w: out}
	w.printf("%-5s %12s  %-24s  %-62s  %s\n%s\n", "Time", "elapsed", "goroutine on thread",
		"Action", "references", strings.Repeat("─", 118))
	step := 0
	for i := range t.Events {
		e := &t.Events[i]
		name, mark := "", ""
		switch {
		case e.Depth == 0 && e.IsEnd():
			mark = "└─> "
		case e.Depth > 0:
			mark = strings.Repeat("│   ", e.Depth-1) + "├─> "
			if e.IsEnd() {
				mark = strings.Repeat("│   ", e.Depth) + "└─> "
			}
		default:
			name = "T" + strconv.Itoa(step)
			step++
		}
		line := fmt.Sprintf("%-5s %9.3f ms  %-24s  %-62s  %s",
			name, float64(e.NS)/1e6, t.Who(e), mark+t.Text(e), e.Count())
		line = strings.TrimRight(strings.Map(printable, line), " ")
		switch {
		case colour && e.IsWake():
			line = "\x1b[33m" + line + "\x1b[0m"
		case colour && e.What == "poll":
			line = "\x1b[34m" + line + "\x1b[0m"
		}
		w.printf("%s\n", line)
	}
	if t.Torn > 0 {
		w.printf("\n%s could not be read\n", many(t.Torn, "line"))
	}
	polls, wakes := t.Counts()
	w.printf("\n%s, %s\n", many(polls, "poll"), many(wakes, "wake"))
	for _, k := range t.Wakers {
		if k.Polls+k.Wakes == 0 {
			continue
		}
		s := fmt.Sprintf("  waker %d, %s: %s, %s",
			k.Number, t.Title(k.Number), many(k.Polls, "poll"), many(k.Wakes, "wake"))
		if k.From != "" {
			s += ", spawned at " + shortPath(k.From)
		}
		if k.Data != "" {
			s += ", in C " + k.Data
		}
		w.printf("%s\n", strings.Map(printable, s))
	}
	w.printf("\n" + `references: "Go" counts handles, without the one that the poll lends; "C" counts
references of the box, or of a C waker: before a wake or a drop, after a clone.
`)
	return w.err
}

// WriteJSON writes one event in each line, with what Read has found out about it.
func (t *Trace) WriteJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for i := range t.Events {
		e := &t.Events[i]
		var leads *int
		if e.Leads >= 0 {
			n := t.Events[e.Leads].N
			leads = &n
		}
		err := enc.Encode(struct {
			*Event
			Title string `json:"title,omitempty"`
			Leads *int   `json:"leads_to,omitempty"`
			Text  string `json:"text"`
		}{e, t.Title(e.Waker), leads, t.Text(e)})
		if err != nil {
			return err
		}
	}
	return nil
}

// printable replaces control characters, so that a name cannot control the terminal.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}

// errWriter remembers the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}
