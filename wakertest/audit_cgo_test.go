//go:build cgo

package wakertest_test

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// underAudit are the subtests of TestDebugAudit. Each runs in a process of its own, with
// FFIWAKERDEBUG=audit=1, which wraps everything that crosses. finds is a pattern for the findings,
// all of one rule; "" if there must be none.
var underAudit = []struct {
	name, finds string
	run         func(t *testing.T)
}{
	{"wraps_each_C_waker_once", "", func(t *testing.T) {
		w := rawwaker.FromFunc(func() {})
		back := rawwaker.FromRaw(w.Clone().IntoRaw())
		require.True(t, back.WillWake(w), "the wrapping is taken off a Go waker that comes back")
		back.Drop()
		w.Drop()

		c := rawwaker.FromRaw(ctest.NumberWaker(42)).IntoRaw()
		require.True(t, capi.IsAudited(numbers(c)), "a C waker is wrapped")
		again := rawwaker.FromRaw(c).IntoRaw()
		require.Equal(t, c, again, "once")
		ctest.Drop(again)
		require.Zero(t, ctest.NumberFaults())
		require.Zero(t, ctest.NumberRefs())
	}},
	{"reports_a_handle_that_the_collector_finds",
		`leak: reference 1 was lost by its owner(?s:.*)wakertest_test\.foreign`,
		func(t *testing.T) {
			raw := rawwaker.FromFunc(func() {}).IntoRaw()
			require.True(t, capi.IsAudited(numbers(raw)))
			rawwaker.FromRaw(raw).Drop()
			forget()
			for range 200 {
				runtime.GC()
				time.Sleep(time.Millisecond)
			}
		}},
	{"accepts_a_clone_taken_by_FromRaw", "", func(t *testing.T) {
		polls := 0
		f := ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			mine := rawwaker.FromRaw(ctest.Clone(w))
			if polls++; polls > 1 {
				mine.Drop()
				return capi.CodeReady
			}
			time.AfterFunc(time.Millisecond, mine.Wake)
			return capi.CodePending
		})
		require.Equal(t, uint64(0x4141414141414141), blockon.BlockOn(rawwaker.FutureFromRaw[uint64](f)))
		require.Equal(t, 2, polls)
	}},
	{"accepts_a_clone_taken_by_FromRaw_in_an_earlier_poll", "", func(t *testing.T) {
		var mine *rawwaker.Waker
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			if mine == nil {
				mine = rawwaker.FromRaw(ctest.Clone(w))
			}
			return capi.CodePending
		}))
		pollTwice(t, f)
		mine.Drop()
		f.Drop()
	}},
	{"accepts_the_first_of_two_equal_wakers", "", func(t *testing.T) {
		var kept *rawwaker.RawWaker
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			if kept == nil {
				c := ctest.Clone(w)
				kept = &c
			}
			return capi.CodePending
		}))
		pollTwice(t, f)
		ctest.Drop(*kept)
		f.Drop()
	}},
	{"accepts_the_first_waker_if_the_future_is_wrapped_twice", "", func(t *testing.T) {
		var kept *rawwaker.RawWaker
		data, vtable := ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			if kept == nil {
				c := ctest.Clone(w)
				kept = &c
			}
			return capi.CodePending
		}).Words()
		twice := audited(data, vtable, capi.UnknownSize)
		f := rawwaker.FutureFromRaw[uint64](twice)
		pollTwice(t, f)
		ctest.Drop(*kept)
		f.Drop()
	}},
	{"accepts_a_clone_kept_by_a_Go_future_that_C_polls", "", func(t *testing.T) {
		tx, rx := future.Oneshot[uint64]()
		value := func(r rawwaker.Result[uint64]) rawwaker.Future[uint64] { return future.Ready(r.Value) }
		inner := rawwaker.FutureIntoRaw(
			future.Then(rawwaker.Future[rawwaker.Result[uint64]](rx), value))
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			code, _ := ctest.PollOnce(inner, w)
			return code
		}))
		time.AfterFunc(time.Millisecond, func() { tx.Send(1) })
		blockon.BlockOn(f)
		ctest.DropFuture(inner)
	}},
	{"reports_that_no_waker_was_kept", "pending_without_waker: ", func(t *testing.T) {
		pending := func(rawwaker.RawWaker) uint8 { return capi.CodePending }
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, pending))
		pollTwice(t, f)
		f.Drop()
	}},
	{"reports_that_another_waker_was_kept", "pending_without_waker: ", func(t *testing.T) {
		var mine *rawwaker.Waker
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			if mine == nil {
				mine = rawwaker.FromRaw(ctest.Clone(w))
			}
			return capi.CodePending
		}))
		for range 2 { // each with a waker of its own
			w := rawwaker.FromFunc(func() {})
			require.False(t, f.Poll(rawwaker.NewContext(w)).IsReady())
			defer w.Drop()
		}
		mine.Drop()
		f.Drop()
	}},
	{"accepts_a_result_of_the_right_size", "", func(t *testing.T) {
		four := blockon.BlockOn(rawwaker.FutureFromRaw[[4]uint64](ready(32)))
		require.Equal(t, [4]uint64{a, a, a, a}, four)
		many := blockon.BlockOn(rawwaker.FutureFromRaw[[5000]byte](ready(5000)))
		require.Equal(t, byte(0x41), many[4999])
		blockon.BlockOn(rawwaker.FutureFromRaw[struct{}](ready(0)))
	}},
	{"reports_a_result_that_is_too_large", "result_too_large: ", func(t *testing.T) {
		require.Equal(t, uint64(a), blockon.BlockOn(rawwaker.FutureFromRaw[uint64](ready(32))))
	}},
	{"reports_one_byte_too_many", "result_too_large: ", func(t *testing.T) {
		blockon.BlockOn(rawwaker.FutureFromRaw[[5]byte](ready(6)))
	}},
	{"reports_a_large_result_that_is_too_large", "result_too_large: ", func(t *testing.T) {
		blockon.BlockOn(rawwaker.FutureFromRaw[[5000]byte](ready(5001)))
	}},
	{"ends_a_poll_that_panics", "", func(t *testing.T) {
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, panics))
		for range 2 {
			poll := func() { blockon.BlockOn[uint64](future.PollFn(f.Poll)) }
			require.PanicsWithValue(t, "of the callback", poll)
		}
		f.Drop()
	}},
	{"ends_the_polls_inside_a_poll_that_panics", "", func(t *testing.T) {
		data, vtable := ctest.Callback(8, panics).Words()
		inner := audited(data, vtable, 8)
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			code, _ := ctest.PollOnce(inner, w)
			return code
		}))
		for range 2 {
			poll := func() { blockon.BlockOn[uint64](future.PollFn(f.Poll)) }
			require.PanicsWithValue(t, "of the callback", poll)
		}
		f.Drop()
		ctest.DropFuture(inner)
	}},
	{"accepts_a_stream_that_is_read_to_its_end", "", func(t *testing.T) {
		require.Equal(t, 3, items(t, "sisiid", false))
		// A Go stream in C, which repeats its end.
		raw := rawwaker.StreamIntoRaw(future.Values[uint64](1))
		for _, want := range []uint8{capi.CodeReady, capi.CodeDone, capi.CodeDone} {
			code, _ := ctest.PollNextOnce(raw, rawwaker.Noop().AsRaw())
			require.Equal(t, want, code)
		}
		ctest.DropStream(raw)
	}},
	{"reports_a_stream_that_kept_no_waker", "pending_without_waker: ", func(t *testing.T) {
		f := ctest.NewFeed(".id", false)
		defer f.Free()
		s := rawwaker.StreamFromRaw[uint64](f.Raw())
		require.False(t, s.PollNext(rawwaker.NewContext(rawwaker.Noop())).IsReady())
		s.Drop()
	}},
	{"reports_an_item_that_is_too_large", "result_too_large: ", func(t *testing.T) {
		require.Equal(t, 2, items(t, "iid", true))
	}},
	{"reports_a_Go_stream_that_C_polls_after_its_panic", "poll_after_ready: ", func(t *testing.T) {
		put := func(unsafe.Pointer, uint64) { panic("put") }
		raw := rawwaker.StreamIntoRawFunc(future.Values[uint64](1), put)
		for range 2 {
			code, _ := ctest.PollNextOnce(raw, rawwaker.Noop().AsRaw())
			require.EqualValues(t, capi.CodePanicked, code)
		}
		ctest.DropStream(raw)
	}},
	{"ends_a_stream_poll_that_panics", "", func(t *testing.T) {
		ctest.OnCall = func() { panic("of the callback") }
		f := ctest.NewFeed("ccid", false)
		defer f.Free()
		s := rawwaker.StreamFromRaw[uint64](f.Raw())
		poll := func() { s.PollNext(rawwaker.NewContext(rawwaker.Noop())) }
		require.PanicsWithValue(t, "of the callback", poll)
		require.PanicsWithValue(t, "of the callback", poll)
		require.Len(t, blockon.BlockOn(future.Collect[uint64](s)), 1)
	}},
}

// items counts those of a Feed that is read as a stream of uint64.
func items(t *testing.T, letters string, replies bool) int {
	f := ctest.NewFeed(letters, replies)
	defer f.Free()
	all := blockon.BlockOn(future.Collect[uint64](rawwaker.StreamFromRaw[uint64](f.Raw())))
	require.Equal(t, 1, f.Drops())
	return len(all)
}

const a = 0x4141414141414141

func ready(size uintptr) rawwaker.RawFuture {
	return ctest.Callback(size, func(rawwaker.RawWaker) uint8 { return capi.CodeReady })
}

func panics(rawwaker.RawWaker) uint8 { panic("of the callback") }

func pollTwice(t *testing.T, f rawwaker.Future[uint64]) {
	w := rawwaker.FromFunc(func() {})
	defer w.Drop()
	for range 2 {
		require.False(t, f.Poll(rawwaker.NewContext(w)).IsReady())
	}
}

// TestDebugAuditSenderChild is run by TestDebugAuditSender, in a process of its own.
func TestDebugAuditSenderChild(t *testing.T) {
	use, err := strconv.Atoi(os.Getenv("AUDIT_SENDER"))
	if err != nil {
		t.Skip("TestDebugAuditSender runs it")
	}
	ctest.Oneshot(use)
	wakertest.Leaks()
}

func TestDebugAuditSender(t *testing.T) {
	child := func(t *testing.T, use string) (string, error) {
		t.Parallel()
		cmd := exec.Command(os.Args[0], "-test.run=^TestDebugAuditSenderChild$", "-test.v")
		cmd.Env = append(os.Environ(), "FFIWAKERDEBUG=audit=1", "AUDIT_SENDER="+use,
			"ASAN_OPTIONS=detect_leaks=0")
		out, err := cmd.CombinedOutput()
		return strings.ReplaceAll(string(out), "\r\n", "\n"), err // C's on Windows
	}
	t.Run("accepts_one_use", func(t *testing.T) {
		out, err := child(t, "0")
		require.NoError(t, err, out)
		require.Contains(t, out, "--- PASS: TestDebugAuditSenderChild")
		require.NotContains(t, out, "rawwaker audit:")
	})
	t.Run("names_a_forgotten_sender", func(t *testing.T) {
		out, err := child(t, "1")
		require.NoError(t, err, out)
		require.Contains(t, out, "--- PASS: TestDebugAuditSenderChild")
		require.Equal(t, 1, strings.Count(out, "rawwaker audit:"), out)
		require.Regexp(t, "rawwaker audit: sender_forgotten: sender 1 was never sent, failed or dropped"+
			"(?s:.*)sender 1 was made by rawwaker_oneshot_new on thread \\d+, from", out)
	})
	t.Run("aborts_at_a_second_use", func(t *testing.T) {
		out, err := child(t, "2")
		require.Error(t, err, out)
		require.Equal(t, 1, strings.Count(out, "rawwaker audit:"), out)
		require.Contains(t, out, "rawwaker audit: sender_use_after: ")
		require.Contains(t, out, "\nrawwaker: rawwaker_oneshot_send: this sender was taken before, "+
			"by rawwaker_oneshot_drop (use it once)\n")
		if runtime.GOOS != "windows" {
			require.Contains(t, out, "SIGABRT")
		}
	})
}

// TestDebugAuditChild is run by TestDebugAudit, in a process of its own.
func TestDebugAuditChild(t *testing.T) {
	for _, c := range underAudit {
		if c.name == os.Getenv("AUDIT_CASE") {
			c.run(t)
			require.Zero(t, capi.AuditLive())
			return
		}
	}
	t.Skip("TestDebugAudit runs it")
}

func TestDebugAudit(t *testing.T) {
	for _, c := range underAudit {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if asan && strings.HasSuffix(c.name, "poll_that_panics") {
				t.Skip("AddressSanitizer keeps the C frames poisoned that a panic has unwound")
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestDebugAuditChild$", "-test.v")
			cmd.Env = append(os.Environ(), "FFIWAKERDEBUG=audit=1", "AUDIT_CASE="+c.name)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "--- PASS: TestDebugAuditChild")
			if c.finds == "" {
				require.NotContains(t, string(out), "rawwaker audit:")
				return
			}
			require.Regexp(t, "rawwaker audit: "+c.finds, string(out))
			rule, _, _ := strings.Cut(c.finds, ":")
			findings := strings.Count(string(out), "rawwaker audit: ")
			require.Equal(t, strings.Count(string(out), "rawwaker audit: "+rule+":"), findings)
			if rule == "leak" {
				require.Equal(t, 1, findings, string(out))
			}
		})
	}
}

// audited wraps a future, even one that is audited already.
func audited(data, vtable, size uintptr) rawwaker.RawFuture {
	f := capi.AuditFuture(capi.Raw{Data: data, VTable: vtable}, size)
	return rawwaker.RawFutureOf(f.Data, f.VTable)
}

//go:noinline
func forget() {
	data, vtable := rawwaker.FromFunc(func() {}).IntoRaw().Words()
	c := capi.Audit(capi.Clone(capi.Raw{Data: data, VTable: vtable}))
	capi.Drop(capi.Raw{Data: data, VTable: vtable})
	_ = rawwaker.FromRaw(foreign(c))
}

// foreign hides a box from FromRaw, by a second wrapping.
func foreign(w capi.Raw) rawwaker.RawWaker {
	w = capi.Audit(w)
	return rawwaker.RawWakerOf(w.Data, w.VTable)
}

func numbers(r rawwaker.RawWaker) capi.Raw {
	data, vtable := r.Words()
	return capi.Raw{Data: data, VTable: vtable}
}
