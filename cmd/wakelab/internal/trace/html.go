package trace

import (
	_ "embed"
	"encoding/json"
	"html"
	"io"
	"strings"
)

//go:embed page.html
var page string

// table numbers texts, so that a page of many events stays small.
type table struct {
	all     []string
	numbers map[string]int
}

func (t *table) of(s string) int {
	n, ok := t.numbers[s]
	if !ok {
		n = len(t.all)
		t.all = append(t.all, s)
		t.numbers[s] = n
	}
	return n
}

// pageData is what page.html reads. An event is an array, in the order of the constants at the top
// of the script.
type pageData struct {
	Program string            `json:"program"`
	Texts   []string          `json:"texts"`
	Lanes   []string          `json:"lanes"`
	Wakers  []pageWaker       `json:"wakers"`
	Fields  []Field           `json:"fields"`
	Slots   map[string]string `json:"slots"`
	Events  [][]int           `json:"events"`
}

type pageWaker struct {
	Title string `json:"title"`
	Kind  string `json:"kind"`
	From  string `json:"from"`
	Polls int    `json:"polls"`
	Wakes int    `json:"wakes"`
}

// WriteHTML writes a page that needs no network and no other file. It escapes all texts of the
// trace.
func (t *Trace) WriteHTML(out io.Writer, title string) error {
	texts := &table{numbers: map[string]int{}}
	texts.of("")
	d := pageData{
		Program: t.Program, Fields: t.Fields, Slots: t.Slots,
		Lanes: []string{}, Wakers: []pageWaker{}, Events: [][]int{},
	}
	if d.Slots == nil {
		d.Slots = map[string]string{}
	}
	for _, l := range t.Lanes {
		d.Lanes = append(d.Lanes, l.Name)
	}
	for _, w := range t.Wakers {
		d.Wakers = append(d.Wakers,
			pageWaker{t.Title(w.Number), w.Kind, shortPath(w.From), w.Polls, w.Wakes})
	}
	for i := range t.Events {
		e := &t.Events[i]
		kind := 0
		switch {
		case e.Counts && e.IsWake():
			kind = 2
		case e.Counts:
			kind = 1
		case e.IsWake():
			kind = 3
		}
		d.Events = append(d.Events, []int{
			int(e.NS), e.Lane, e.Depth, texts.of(e.What), e.Waker, e.Pair, e.Leads, kind,
			texts.of(t.Text(e)), texts.of(e.Word), e.references(),
			texts.of(e.Data), texts.of(e.VTable), texts.of(strings.Join(e.Box, " ")), int(e.Thread),
		})
	}
	d.Texts = texts.all
	b, err := json.Marshal(d) // it escapes <, > and &, so no text can end the script element
	if err != nil {
		return err
	}
	before, rest, _ := strings.Cut(page, "{{title}}")
	middle, rest, _ := strings.Cut(rest, "{{title}}")
	between, after, _ := strings.Cut(rest, "{{data}}")
	title = html.EscapeString(title)
	for _, s := range []string{before, title, middle, title, between, string(b), after} {
		if _, err := io.WriteString(out, s); err != nil {
			return err
		}
	}
	return nil
}
