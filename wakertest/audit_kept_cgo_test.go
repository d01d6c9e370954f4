//go:build cgo

package wakertest_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// What happens where everything that crosses is audited, and what is found.
var underAudit = []struct {
	name, finds string
	run         func(t *testing.T)
}{
	{"keeps_a_clone_that_FromRaw_took", "", func(t *testing.T) {
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
	{"keeps_one_that_FromRaw_took_in_an_earlier_poll", "", func(t *testing.T) {
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
	{"keeps_the_first_waker_of_two_equal_ones", "", func(t *testing.T) {
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
	{"keeps_the_first_waker_through_two_wrappings", "", func(t *testing.T) {
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
	{"keeps_the_waker_of_a_future_of_Go_that_C_polls", "", func(t *testing.T) {
		tx, rx := future.Oneshot[uint64]()
		inner := rawwaker.FutureIntoRaw(future.Then(rawwaker.Future[rawwaker.Result[uint64]](rx), func(r rawwaker.Result[uint64]) rawwaker.Future[uint64] {
			return future.Ready(r.Value)
		}))
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			code, _ := ctest.PollOnce(inner, w)
			return code
		}))
		time.AfterFunc(time.Millisecond, func() { tx.Send(1) })
		blockon.BlockOn(f)
		ctest.DropFuture(inner)
	}},
	{"finds_that_none_was_kept", "pending_without_waker", func(t *testing.T) {
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(rawwaker.RawWaker) uint8 { return capi.CodePending }))
		pollTwice(t, f)
		f.Drop()
	}},
	{"finds_that_another_was_kept", "pending_without_waker", func(t *testing.T) {
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
	{"leaves_a_result_of_the_right_size_alone", "", func(t *testing.T) {
		require.Equal(t, [4]uint64{a, a, a, a}, blockon.BlockOn(rawwaker.FutureFromRaw[[4]uint64](ready(32))))
		require.Equal(t, byte(0x41), blockon.BlockOn(rawwaker.FutureFromRaw[[5000]byte](ready(5000)))[4999])
		blockon.BlockOn(rawwaker.FutureFromRaw[struct{}](ready(0)))
	}},
	{"finds_a_result_that_is_too_large", "result_too_large", func(t *testing.T) {
		require.Equal(t, uint64(a), blockon.BlockOn(rawwaker.FutureFromRaw[uint64](ready(32))))
	}},
	{"finds_one_byte_too_much", "result_too_large", func(t *testing.T) {
		blockon.BlockOn(rawwaker.FutureFromRaw[[5]byte](ready(6)))
	}},
	{"finds_a_large_one_that_is_too_large", "result_too_large", func(t *testing.T) {
		blockon.BlockOn(rawwaker.FutureFromRaw[[5000]byte](ready(5001)))
	}},
	{"takes_a_poll_that_a_panic_has_left_for_over", "", func(t *testing.T) {
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(rawwaker.RawWaker) uint8 { panic("of the callback") }))
		for range 2 {
			require.PanicsWithValue(t, "of the callback", func() { blockon.BlockOn[uint64](future.PollFn(f.Poll)) })
		}
		f.Drop()
	}},
	{"and_the_polls_inside_it", "", func(t *testing.T) {
		data, vtable := ctest.Callback(8, func(rawwaker.RawWaker) uint8 { panic("of the callback") }).Words()
		inner := audited(data, vtable, 8)
		f := rawwaker.FutureFromRaw[uint64](ctest.Callback(8, func(w rawwaker.RawWaker) uint8 {
			code, _ := ctest.PollOnce(inner, w)
			return code
		}))
		for range 2 {
			require.PanicsWithValue(t, "of the callback", func() { blockon.BlockOn[uint64](future.PollFn(f.Poll)) })
		}
		f.Drop()
		ctest.DropFuture(inner)
	}},
}

const a = 0x4141414141414141

func ready(size uintptr) rawwaker.RawFuture {
	return ctest.Callback(size, func(rawwaker.RawWaker) uint8 { return capi.CodeReady })
}

func pollTwice(t *testing.T, f rawwaker.Future[uint64]) {
	w := rawwaker.FromFunc(func() {})
	defer w.Drop()
	for range 2 {
		require.False(t, f.Poll(rawwaker.NewContext(w)).IsReady())
	}
}

// TestAuditChild is run by the next test, in a process of its own.
func TestAuditChild(t *testing.T) {
	for _, c := range underAudit {
		if c.name == os.Getenv("AUDIT_CASE") {
			c.run(t)
			require.Zero(t, capi.AuditLive())
			return
		}
	}
	t.Skip("of another test")
}

func TestAuditOfWhatCrosses(t *testing.T) {
	for _, c := range underAudit {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if asan && (c.name == "takes_a_poll_that_a_panic_has_left_for_over" || c.name == "and_the_polls_inside_it") {
				t.Skip("AddressSanitizer keeps the frames of C poisoned that a panic has left")
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestAuditChild$", "-test.v")
			cmd.Env = append(os.Environ(), "FFIWAKERDEBUG=audit=1", "AUDIT_CASE="+c.name)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "--- PASS: TestAuditChild")
			if c.finds == "" {
				require.NotContains(t, string(out), "rawwaker audit:")
				return
			}
			require.Contains(t, string(out), "rawwaker audit: "+c.finds+": ")
		})
	}
}

// audited wraps a future once more, whatever it is.
func audited(data, vtable, size uintptr) rawwaker.RawFuture {
	f := capi.AuditFuture(capi.Raw{Data: data, VTable: vtable}, size)
	return rawwaker.RawFutureOf(f.Data, f.VTable)
}
