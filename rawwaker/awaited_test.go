//go:build cgo

package rawwaker_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// callsOf returns how many calls into C the two polls and the end of a future that is pending once
// take. The count is the process's, so a finalizer may add to it: the least of several counts.
func callsOf(t *testing.T, poll func(s *ctest.Script) func(cx *rawwaker.Context)) (least [3]int64) {
	t.Helper()
	for i := range 20 {
		s := ctest.NewScript("kr")
		cx := new(rawwaker.Context)
		p := new(wake.Parker)
		p.Init(p)
		wake.Rawwaker.Bind(cx, &p.Core)
		poll := poll(s)
		for at, step := range []func(){
			func() { poll(cx) }, func() { poll(cx) }, func() { wake.Rawwaker.End(cx) },
		} {
			before := runtime.NumCgoCall()
			step()
			if n := runtime.NumCgoCall() - before; i == 0 || n < least[at] {
				least[at] = n
			}
		}
		require.Equal(t, 1, s.Drops())
		s.Free()
	}
	return least
}

func TestPollOfCFuture(t *testing.T) {
	if wake.FreshContexts || ctest.ASan || os.Getenv("FFIWAKERDEBUG") != "" {
		t.Skip("debugging makes more calls into C")
	}
	t.Run("is_one_call_into_C_and_the_end_closes_the_box_by_another", func(t *testing.T) {
		balance.Check(t)
		require.Equal(t, [3]int64{1, 1, 1}, callsOf(t, func(s *ctest.Script) func(*rawwaker.Context) {
			f := rawwaker.FutureFromRaw[uint64](s.Raw())
			return func(cx *rawwaker.Context) { f.Poll(cx) }
		}))
	})
	t.Run("of_AwaitRaw_closes_the_box_by_the_call_in_which_it_is_ready", func(t *testing.T) {
		balance.Check(t)
		require.Equal(t, [3]int64{1, 1, 0}, callsOf(t, func(s *ctest.Script) func(*rawwaker.Context) {
			data, vtable := s.Raw().Words()
			f := wake.Rawwaker.NewFuture("AwaitRaw", (*uint64)(nil), data, vtable)
			return func(cx *rawwaker.Context) {
				if v, ready := wake.PollRaw[uint64](f, cx); ready {
					require.EqualValues(t, 42, v)
					f.Free()
				}
			}
		}))
	})
}
