//go:build cgo

package rawwaker_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

const done = 3

// steps is a Go stream that runs a function in each poll. It writes what is done with it: n for a
// poll, d for a drop.
type steps struct {
	events string
	polls  []func(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]]
}

func (s *steps) PollNext(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	s.events += "n"
	f := s.polls[0]
	s.polls = s.polls[1:]
	return f(cx)
}

func (s *steps) Drop() { s.events += "d" }

type step = func(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]]

func item(v uint64) step {
	return func(*rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
		return rawwaker.Ready(rawwaker.Item[uint64]{Value: v, Ok: true})
	}
}

func theEnd(*rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	return rawwaker.Ready(rawwaker.Item[uint64]{})
}

func wakesItself(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	cx.Waker().WakeByRef()
	return rawwaker.Pending[rawwaker.Item[uint64]]()
}

func bugs(*rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] { panic("bug") }

func TestGoStream(t *testing.T) {
	noop := rawwaker.Noop().AsRaw
	poll := func(s rawwaker.RawStream) [2]uint64 {
		code, v := ctest.PollNextOnce(s, noop())
		return [2]uint64{uint64(code), v}
	}
	onThread := func(t *testing.T) { // whose last panic is read
		runtime.LockOSThread()
		t.Cleanup(runtime.UnlockOSThread)
		balance.Check(t)
	}
	t.Run("gives_C_its_items_and_repeats_its_end", func(t *testing.T) {
		onThread(t)
		s := &steps{polls: []step{item(1), wakesItself, item(2), theEnd}}
		raw := rawwaker.StreamIntoRaw[uint64](s)
		var got [][2]uint64
		for range 6 {
			got = append(got, poll(raw))
		}
		want := [][2]uint64{{ready, 1}, {pending, 0}, {ready, 2}, {done, 0}, {done, 0}, {done, 0}}
		require.Equal(t, want, got)
		ctest.DropStream(raw)
		require.Equal(t, "nnnn", s.events, "not polled after its end, and not dropped")
	})
	t.Run("dropped_early_is_dropped", func(t *testing.T) {
		onThread(t)
		for _, polls := range []int{0, 1, 2} {
			s := &steps{polls: []step{item(1), wakesItself}}
			raw := rawwaker.StreamIntoRaw[uint64](s)
			for range polls {
				poll(raw)
			}
			ctest.DropStream(raw)
			require.Equal(t, strings.Repeat("n", polls)+"d", s.events)
		}
	})
	t.Run("that_panics_gives_C_its_text_and_is_dropped_at_once", func(t *testing.T) {
		onThread(t)
		s := &steps{polls: []step{item(1), bugs}}
		raw := rawwaker.StreamIntoRaw[uint64](s)
		require.EqualValues(t, ready, poll(raw)[0])
		require.EqualValues(t, panicked, poll(raw)[0])
		require.Equal(t, "bug", ctest.LastPanic())
		require.Equal(t, "nnd", s.events)
		require.EqualValues(t, panicked, poll(raw)[0])
		if !trace.AuditAll() { // the auditor passes no such poll on
			require.Equal(t, rawwaker.PolledAfterCompletion, ctest.LastPanic())
		}
		ctest.DropStream(raw)
		require.Equal(t, "nnd", s.events)
	})
	t.Run("is_written_by_put_on_the_polling_thread", func(t *testing.T) {
		onThread(t)
		s := rawwaker.StreamIntoRawFunc(future.Values("a", "bcd", "panic", "e"),
			func(out unsafe.Pointer, v string) {
				if v == "panic" {
					panic("put")
				}
				if out != nil {
					*(*uint64)(out) = uint64(len(v))
				}
			})
		require.Equal(t, [2]uint64{ready, 1}, poll(s))
		require.EqualValues(t, ready, ctest.PollNextNowhere(s, noop()))
		require.EqualValues(t, panicked, poll(s)[0])
		require.Equal(t, "put", ctest.LastPanic())
		require.EqualValues(t, panicked, poll(s)[0])
		ctest.DropStream(s)
		given := &steps{polls: []step{item(1)}}
		s = rawwaker.StreamIntoRawFunc[uint64](given, func(unsafe.Pointer, uint64) { panic("put") })
		require.EqualValues(t, panicked, poll(s)[0])
		require.Equal(t, "nd", given.events, "the stream is given up")
		ctest.DropStream(s)
	})
	t.Run("needs_memory_for_an_item", func(t *testing.T) {
		withoutAudit(t)
		onThread(t)
		s := rawwaker.StreamIntoRaw(future.Values[uint64](1))
		require.EqualValues(t, panicked, ctest.PollNextNowhere(s, noop()))
		require.Equal(t, "rawwaker: poll_next: out is NULL, and the result has 8 bytes "+
			"(give poll_next memory for it)", ctest.LastPanic())
		ctest.DropStream(s)
		s = rawwaker.StreamIntoRaw(future.Values(struct{}{}))
		require.EqualValues(t, ready, ctest.PollNextNowhere(s, noop()))
		require.EqualValues(t, done, ctest.PollNextNowhere(s, noop()))
		ctest.DropStream(s)
	})
	t.Run("that_is_a_CStream_goes_back_as_itself", func(t *testing.T) {
		withoutAudit(t)
		f := feed(t, "iid", false)
		s := rawwaker.StreamFromRaw[uint64](f.Raw())
		require.Equal(t, "1", next[uint64](s))
		raw := rawwaker.StreamIntoRaw[uint64](s)
		require.Equal(t, f.Raw(), raw)
		require.PanicsWithValue(t,
			"rawwaker: StreamIntoRaw of a CStream that has ended or is being polled",
			func() { rawwaker.StreamIntoRaw[uint64](s) })
		s.Drop() // C has it
		again := rawwaker.StreamFromRaw[uint64](raw)
		require.Equal(t, "2, end", each[uint64](again))
		over := rawwaker.StreamIntoRaw[uint64](again)
		require.EqualValues(t, done, poll(over)[0])
		ctest.DropStream(over)
	})
	t.Run("crosses_to_C_and_back", func(t *testing.T) {
		balance.Check(t)
		tx, rx := future.Channel[uint64](4)
		go func() {
			for i := range uint64(1000) {
				blockon.BlockOn(tx.Send(i))
			}
			tx.Close()
		}()
		raw := rawwaker.StreamIntoRaw(rx.Stream())
		got := blockon.BlockOn(future.Collect[uint64](rawwaker.StreamFromRaw[uint64](raw)))
		require.Len(t, got, 1000)
		for i, v := range got {
			require.EqualValues(t, i, v)
		}
	})
	t.Run("crosses_to_C_and_back_with_read_ahead", func(t *testing.T) {
		balance.Check(t)
		var vs []uint64
		for i := range uint64(1000) {
			vs = append(vs, i)
		}
		raw := rawwaker.StreamIntoRaw(future.Values(vs...))
		s := rawwaker.StreamFromRawFunc(raw, func(c *uint64) uint64 { return *c })
		require.Equal(t, vs, blockon.BlockOn(future.Collect(s)))
	})
	t.Run("panics_in_a_forked_child_and_is_not_dropped_there", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("there is no fork")
		}
		onThread(t)
		s := &steps{polls: []step{theEnd}}
		raw := rawwaker.StreamIntoRaw[uint64](s)
		code, text := ctest.PollNextForked(raw, noop())
		require.EqualValues(t, panicked, code)
		require.Equal(t, "ffiwaker: poll of a Go stream in a forked child: "+
			"Go's threads do not exist there", text)
		require.EqualValues(t, done, poll(raw)[0])
		ctest.DropStream(raw)
	})
	t.Run("panics_for_what_it_cannot_be_made_of", func(t *testing.T) {
		require.PanicsWithValue(t, "rawwaker: StreamIntoRaw of string, which has Go pointers: "+
			"use StreamIntoRawFunc", func() { rawwaker.StreamIntoRaw(future.Values("a")) })
		require.PanicsWithValue(t, "rawwaker: StreamIntoRawFunc of a nil function",
			func() { rawwaker.StreamIntoRawFunc(future.Values("a"), nil) })
		require.PanicsWithValue(t, "rawwaker: StreamIntoRaw of a nil stream",
			func() { rawwaker.StreamIntoRaw[int](nil) })
		require.PanicsWithValue(t, "rawwaker: StreamIntoRawFunc of a nil stream",
			func() { rawwaker.StreamIntoRawFunc(nil, func(unsafe.Pointer, int) {}) })
	})
	t.Run("aborts_with_one_line_for_misuse_by_C", func(t *testing.T) {
		withoutAudit(t)
		of := func(f func()) rawwaker.RawStream {
			return rawwaker.StreamIntoRaw[uint64](&steps{polls: []step{
				func(*rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] { f(); return theEnd(nil) },
			}})
		}
		var during rawwaker.RawStream
		deaths := map[string]struct {
			want string
			do   func()
		}{
			"poll after drop": {"rawwaker: poll_next: this Go stream was dropped before", func() {
				s := of(func() {})
				ctest.DropStream(s)
				poll(s)
			}},
			"drop twice": {"rawwaker: drop: this Go stream was dropped before", func() {
				s := of(func() {})
				ctest.DropStream(s)
				ctest.DropStream(s)
			}},
			"poll during poll": {"rawwaker: poll_next: another thread is in a slot of this Go stream",
				func() {
					during = of(func() { poll(during) })
					poll(during)
				}},
			"Goexit in poll": {"rawwaker: poll_next: runtime.Goexit in a Go stream that C polls", func() {
				poll(of(runtime.Goexit))
			}},
			"panic in drop": {"rawwaker: drop: panic in a Go stream's Drop: no", func() {
				ctest.DropStream(rawwaker.StreamIntoRaw[uint64](dropPanicsStream{}))
			}},
		}
		if name, ok := os.LookupEnv("FFIWAKER_DEATH"); ok {
			deaths[name].do()
			os.Exit(0)
		}
		for name, d := range deaths {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				cmd := exec.Command(os.Args[0],
					"-test.run=^TestGoStream$/^aborts_with_one_line_for_misuse_by_C$")
				cmd.Env = append(os.Environ(), "FFIWAKER_DEATH="+name)
				out, err := cmd.CombinedOutput()
				require.Error(t, err)
				require.Equal(t, d.want, firstLine(out), "%s", out)
				require.True(t, aborted(out), "%s", out)
			})
		}
	})
}

type dropPanicsStream struct{}

func (dropPanicsStream) PollNext(*rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	return theEnd(nil)
}
func (dropPanicsStream) Drop() { panic("no") }
