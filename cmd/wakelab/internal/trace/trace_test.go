package trace

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const header = `{"ns":0,"what":"trace","version":1,"pid":7,"program":"p",` +
	`"box":[{"name":"vtable","offset":0,"size":8},{"name":"refs","offset":8,"size":8}],` +
	`"slots":{"0x50":"rawwaker_box_vtable"}}` + "\n"

// withID is a header of boxes that have a number.
const withID = `{"ns":0,"what":"trace","version":1,"pid":7,"program":"p",` +
	`"box":[{"name":"refs","offset":8,"size":8},{"name":"id","offset":40,"size":8}]}`

// short replaces abbreviations in the lines of a trace.
var short = strings.NewReplacer(
	`C3`, `"c":3,"there":0,"ref":1`, `BOX`, `"data":"0x90","vtable":"0x50","box"`,
	`WORDS`, `"data":"0x10","vtable":"0x20"`)

func read(t *testing.T, lines ...string) *Trace {
	t.Helper()
	text := header
	for _, l := range lines {
		text += short.Replace(l) + "\n"
	}
	tr, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	return tr
}

// crossing is a Go task whose waker a C thread wakes. The wake is written late.
var crossing = []string{
	`{"ns":10,"thread":1,"goroutine":1,"what":"made","waker":1,"kind":"BlockOn"}`,
	`{"ns":20,"thread":1,"goroutine":1,"what":"poll","waker":1,"word":"EMPTY","handles":0}`,
	`{"ns":30,"thread":1,"goroutine":1,"what":"boxed","waker":1,BOX:["0x60","0x1"]}`,
	`{"ns":40,"thread":1,"what":"is wrapped","c":3,"there":1,"ref":1,BOX:["0x60","0x3"]}`,
	`{"ns":50,"thread":1,"goroutine":1,"what":"pending","waker":1,"word":"EMPTY","handles":0}`,
	`{"ns":60,"thread":1,"goroutine":1,"what":"park","waker":1,"word":"PARKED","handles":0}`,
	`{"ns":80,"thread":1,"goroutine":1,"what":"unpark","waker":1,"word":"NOTIFIED","handles":0}`,
	`{"ns":70,"thread":9,"what":"wake","c":3,"there":1,"ref":1,BOX:["0x60","0x3"]}`,
	`{"ns":75,"thread":2,"goroutine":5,"what":"delivered","waker":1,"word":"PARKED","handles":0}`,
	`{"ns":90,"thread":1,"goroutine":1,"what":"poll","waker":1,"word":"EMPTY","handles":0}`,
	`{"ns":95,"thread":1,"goroutine":1,"what":"ready","waker":1,"word":"EMPTY","handles":0}`,
}

func TestRead(t *testing.T) {
	t.Run("links_a_wake_by_C_to_the_poll_that_follows", func(t *testing.T) {
		tr := read(t, crossing...)
		var order []string
		for _, e := range tr.Events {
			order = append(order, e.What)
		}
		require.Equal(t, "made poll boxed wrapped pending park wake delivered unpark poll ready",
			strings.Join(order, " "))
		require.Len(t, tr.Wakers, 1)
		require.Equal(t, Waker{
			Number: 1, Kind: "BlockOn", Data: "0x90", VTable: "0x50", Polls: 2, Wakes: 1,
		}, tr.Wakers[0])
		wake := tr.Events[6]
		require.Equal(t, 9, wake.Leads)
		require.Equal(t, 1, *wake.Refs)
		require.Equal(t, []string{"goroutine 1", "thread 9 in C", "goroutine 5"},
			[]string{tr.Lanes[0].Name, tr.Lanes[1].Name, tr.Lanes[2].Name})
		require.EqualValues(t, 1, tr.Events[3].Goroutine,
			"an event of C inside a Go poll belongs to that goroutine")
		require.Equal(t, 1, tr.Events[3].Depth)
		require.Equal(t, []int{4, 1}, []int{tr.Events[1].Pair, tr.Events[4].Pair})
		require.Equal(t, []int{8, 5}, []int{tr.Events[5].Pair, tr.Events[8].Pair})
	})
	t.Run("takes_a_poll_by_C_inside_a_poll_by_Go_for_one", func(t *testing.T) {
		tr := read(t,
			`{"ns":10,"thread":1,"goroutine":1,"what":"made","waker":1,"kind":"BlockOn"}`,
			`{"ns":20,"thread":1,"goroutine":1,"what":"boxed","waker":1,BOX:["0x60","0x1"]}`,
			`{"ns":30,"thread":1,"goroutine":1,"what":"poll","waker":1,"word":"EMPTY","handles":0}`,
			`{"ns":40,"thread":1,"what":"poll",C3,BOX:["0x60","0x1"]}`,
			`{"ns":50,"thread":1,"what":"is READY",C3,BOX:["0x60","0x1"]}`,
			`{"ns":60,"thread":1,"goroutine":1,"what":"ready","waker":1,"word":"EMPTY","handles":0}`)
		polls, wakes := tr.Counts()
		require.Equal(t, []int{1, 0}, []int{polls, wakes})
		require.Equal(t, 1, tr.Events[4].Depth)
	})
	// A box that Go has reported belongs to its waker, also inside the poll of another.
	t.Run("assigns_an_inner_poll_to_its_own_waker", func(t *testing.T) {
		tr := read(t,
			withID,
			`{"ns":10,"thread":1,"goroutine":1,"what":"made","waker":1,"kind":"FromFunc"}`,
			`{"ns":20,"thread":1,"goroutine":1,"what":"boxed","waker":1,BOX:["0x3","0x7"]}`,
			`{"ns":30,"thread":1,"goroutine":1,"what":"made","waker":2,"kind":"BlockOn"}`,
			`{"ns":40,"thread":1,"goroutine":1,"what":"poll","waker":2,"word":"EMPTY","handles":0}`,
			`{"ns":50,"thread":1,"goroutine":1,"what":"poll",C3,BOX:["0x3","0x7"]}`,
			`{"ns":60,"thread":1,"goroutine":1,"what":"is PENDING",C3,BOX:["0x3","0x7"]}`,
			`{"ns":70,"thread":1,"goroutine":1,"what":"pending","waker":2,"word":"EMPTY","handles":0}`,
			`{"ns":80,"thread":9,"what":"wake","c":3,"there":1,"ref":2,BOX:["0x3","0x7"]}`)
		require.Equal(t, []int{1, 0}, []int{tr.Wakers[0].Wakes, tr.Wakers[1].Wakes})
	})
	// A goroutine that changes threads before it calls C is still inside its poll: the new box
	// belongs to its waker.
	t.Run("follows_a_goroutine_to_another_thread", func(t *testing.T) {
		tr := read(t,
			withID,
			`{"ns":10,"thread":1,"goroutine":1,"what":"made","waker":1,"kind":"BlockOn"}`,
			`{"ns":20,"thread":1,"goroutine":1,"what":"poll","waker":1,"word":"EMPTY","handles":0}`,
			`{"ns":30,"thread":4,"goroutine":1,"what":"poll",C3,BOX:["0x3","0x0"]}`,
			`{"ns":40,"thread":4,"goroutine":1,"what":"is PENDING",C3,BOX:["0x3","0x0"]}`,
			`{"ns":50,"thread":1,"goroutine":1,"what":"pending","waker":1,"word":"EMPTY","handles":0}`)
		require.Len(t, tr.Wakers, 1)
		require.Equal(t, 1, tr.Wakers[0].Polls)
	})
	// The thread on which a goroutine's poll began may have another goroutine when the poll ends.
	t.Run("follows_a_thread_to_another_goroutine", func(t *testing.T) {
		tr := read(t,
			`{"ns":10,"thread":1,"goroutine":1,"what":"poll","waker":1,"word":"EMPTY","handles":0}`,
			`{"ns":20,"thread":1,"goroutine":2,"what":"poll","waker":2,"word":"EMPTY","handles":0}`,
			`{"ns":30,"thread":4,"goroutine":1,"what":"pending","waker":1,"word":"EMPTY","handles":0}`,
			`{"ns":40,"thread":1,"what":"wake","c":3,"there":1,"ref":1,WORDS}`)
		require.Equal(t, "goroutine 2", tr.Lanes[tr.Events[3].Lane].Name)
	})
	t.Run("identifies_a_C_waker_by_its_words", func(t *testing.T) {
		tr := read(t,
			`{"ns":10,"thread":1,"what":"poll","c":1,"there":0,"ref":1,WORDS}`,
			`{"ns":20,"thread":1,"what":"is cloned as","c":1,"there":1,"ref":1,"new":2,WORDS}`,
			`{"ns":30,"thread":1,"what":"is PENDING","c":1,"there":1,"ref":1,WORDS}`,
			`{"ns":40,"thread":2,"what":"wake","c":1,"there":1,"ref":2,WORDS}`,
			`{"ns":50,"thread":1,"what":"poll","c":1,"there":0,"ref":3,WORDS}`,
			`{"ns":60,"thread":1,"what":"is READY","c":1,"there":0,"ref":3,WORDS}`,
			`{"ns":70,"thread":1,"what":"drop","c":1,"there":0}`,
			`{"ns":80,"thread":1,"what":"is DONE","c":2,"there":0}`)
		require.Len(t, tr.Wakers, 1)
		require.Equal(t, Waker{
			Number: 1, Kind: "C", Data: "0x10", VTable: "0x20", Polls: 2, Wakes: 1,
		}, tr.Wakers[0])
		require.Equal(t, 4, tr.Events[3].Leads)
		require.Equal(t, "future dropped", tr.Events[6].What)
		require.Equal(t, "ready", tr.Events[7].What, "the end of a stream")
	})
	t.Run("takes_an_address_that_is_used_again_for_another_waker", func(t *testing.T) {
		tr := read(t,
			`{"ns":1,"thread":1,"goroutine":1,"what":"made","waker":1,"kind":"BlockOn"}`,
			`{"ns":2,"thread":1,"goroutine":1,"what":"boxed","waker":1,BOX:["0x60","0x1"]}`,
			`{"ns":3,"thread":1,"goroutine":1,"what":"made","waker":2,"kind":"BlockOn"}`,
			`{"ns":4,"thread":1,"goroutine":1,"what":"boxed","waker":2,BOX:["0x60","0x1"]}`,
			`{"ns":5,"thread":2,"what":"wake","c":9,"there":1,"ref":1,BOX:["0x60","0x3"]}`)
		require.Equal(t, []int{0, 1}, []int{tr.Wakers[0].Wakes, tr.Wakers[1].Wakes})
	})
	t.Run("refuses_a_file_that_is_no_trace", func(t *testing.T) {
		for text, want := range map[string]string{
			"":                              "no trace",
			"hello\n":                       "no trace",
			"\x7fELF\x00\n":                 "no trace",
			`{"ns":5,"what":"poll"}` + "\n": "no trace",
			`{"ns":0,"what":"trace","version":2,"pid":1,"program":"p"}` + "\n": "" +
				"a trace of version 2; this reads version 1",
		} {
			_, err := Read(strings.NewReader(text))
			require.ErrorContains(t, err, want, text)
		}
		killed := header + crossing[0] + "\n" + crossing[1][:20] // while it wrote
		tr, err := Read(strings.NewReader(killed))
		require.NoError(t, err)
		require.Len(t, tr.Events, 1)
		gap := header + crossing[0][:20] + "\n\n" + crossing[1] + "\n" // the disk was full
		tr, err = Read(strings.NewReader(gap))
		require.NoError(t, err)
		require.Equal(t, []int{1, 1}, []int{len(tr.Events), tr.Torn})
	})
}

func TestTimeline(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, read(t, crossing...).WriteText(&b, false))
	lines := strings.Split(b.String(), "\n")
	require.Regexp(t, `^Time +elapsed  goroutine on thread +Action +references$`, lines[0])
	require.Regexp(t, `^T1 +0\.000 ms  goroutine 1 on 1 +polls BlockOn 1 +Go 0$`, lines[3])
	require.Regexp(t, `^ +0\.000 ms  goroutine 1 on 1 +`+
		`├─> the waker of BlockOn 1 gets a box in C memory +C 0$`, lines[4])
	require.Regexp(t, `^ +0\.000 ms  goroutine 1 on 1 +└─> Pending +Go 0$`, lines[6])
	require.Contains(t, b.String(),
		"thread 9 in C             wakes BlockOn 1, and consumes reference 1")
	require.Contains(t, b.String(), "\n2 polls, 1 wake\n")
	require.NotContains(t, b.String(), "\x1b")
	b.Reset()
	require.NoError(t, read(t, crossing...).WriteText(&b, true))
	require.Contains(t, b.String(), "\x1b[34mT1")
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, read(t, crossing...).WriteJSON(&b))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	require.Len(t, lines, len(crossing))
	var wake struct {
		N, Waker int
		What     string
		Leads    int  `json:"leads_to"`
		InC      bool `json:"in_c"`
	}
	require.NoError(t, json.Unmarshal([]byte(lines[6]), &wake))
	require.Equal(t, 7, wake.N)
	require.Equal(t, 10, wake.Leads)
	require.True(t, wake.InC)
}

// The output keeps the rules of the Trace Event Format for the kinds of events that it has: each
// has its keys; slices of a thread are nested or apart; each flow begins and ends inside a slice,
// in this order.
func TestPerfetto(t *testing.T) {
	for name, lines := range map[string][]string{
		"crossing": crossing, "unended": crossing[:3], "empty": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, read(t, lines...).WritePerfetto(&b))
			checkFormat(t, b.Bytes())
		})
	}
}

func checkFormat(t *testing.T, text []byte) {
	t.Helper()
	var file struct {
		DisplayTimeUnit string
		OtherData       map[string]any
		TraceEvents     []map[string]any
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&file))
	require.Contains(t, []string{"ms", "ns"}, file.DisplayTimeUnit)
	type slice struct{ from, to float64 }
	slices := map[float64][]slice{}
	starts, ends := map[any]float64{}, map[any]float64{}
	inside := func(tid, ts float64) bool {
		for _, s := range slices[tid] {
			if s.from <= ts && ts <= s.to {
				return true
			}
		}
		return false
	}
	number := func(e map[string]any, key string) float64 {
		v, ok := e[key].(float64)
		require.True(t, ok, "%s of %v", key, e)
		return v
	}
	var flows []map[string]any
	for _, e := range file.TraceEvents {
		number(e, "pid")
		tid := number(e, "tid")
		require.NotEmpty(t, e["name"], e)
		allowed := []string{"ph", "name", "pid", "tid"}
		switch e["ph"] {
		case "M":
			require.Contains(t, []any{"process_name", "thread_name", "thread_sort_index"}, e["name"])
			require.NotEmpty(t, e["args"])
			allowed = append(allowed, "args")
		case "X":
			s := slice{number(e, "ts"), number(e, "ts") + number(e, "dur")}
			require.GreaterOrEqual(t, s.to, s.from)
			for _, o := range slices[tid] {
				apart := s.from >= o.to || s.to <= o.from
				within := s.from >= o.from && s.to <= o.to+0.001 // that of an event without a duration
				require.True(t, apart || within, "%v beside %v", s, o)
			}
			slices[tid] = append(slices[tid], s)
			allowed = append(allowed, "cat", "ts", "dur", "args")
		case "s", "f":
			flows = append(flows, e)
			allowed = append(allowed, "cat", "ts", "id", "bp")
		case "C":
			number(e, "ts")
			for _, v := range e["args"].(map[string]any) {
				require.IsType(t, 1.0, v)
			}
			allowed = append(allowed, "cat", "ts", "args")
		default:
			t.Fatalf("an unknown phase: %v", e)
		}
		for key := range e {
			require.Contains(t, allowed, key, e)
		}
	}
	for _, e := range flows {
		require.True(t, inside(number(e, "tid"), number(e, "ts")),
			"a flow begins and ends in a slice: %v", e)
		if e["ph"] == "s" {
			require.NotContains(t, starts, e["id"])
			starts[e["id"]] = number(e, "ts")
		} else {
			require.Equal(t, "e", e["bp"])
			ends[e["id"]] = number(e, "ts")
		}
	}
	require.Len(t, ends, len(starts))
	for id, at := range starts {
		require.GreaterOrEqual(t, ends[id], at)
	}
}

func TestHTML(t *testing.T) {
	const evil = `</script><img src=x onerror=alert(1)>`
	b, err := json.Marshal(evil)
	require.NoError(t, err)
	named := `{"ns":15,"thread":1,"goroutine":1,"what":"named","waker":1,"name":` + string(b) + `}`
	tr := read(t, crossing[0], named)
	var page bytes.Buffer
	require.NoError(t, tr.WriteHTML(&page, evil))
	require.NotContains(t, page.String(), "<img")
	require.Equal(t, 2, strings.Count(page.String(), "</script>"), "its own")
	require.NotRegexp(t, `https?://`, page.String())
	require.Contains(t, page.String(), "default-src 'none'")
}
