//go:build cgo

package blockon_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestAwaitRaw(t *testing.T) {
	script := func(t *testing.T, letters string) *ctest.Script {
		balance.Check(t)
		s := ctest.NewScript(letters)
		t.Cleanup(func() {
			require.Equal(t, 1, s.Drops())
			s.Free()
		})
		return s
	}
	t.Run("gives_the_result", func(t *testing.T) {
		for _, letters := range []string{"r", "ssr", "tttr", "ststr"} {
			s := script(t, letters)
			v, err := blockon.AwaitRaw[uint64](t.Context(), s.Raw())
			require.NoError(t, err)
			require.EqualValues(t, 42, v)
		}
	})
	t.Run("gives_nothing_for_an_empty_type", func(t *testing.T) {
		_, err := blockon.AwaitRaw[struct{}](t.Context(), script(t, "tr").Raw())
		require.NoError(t, err)
	})
	t.Run("drops_the_future_if_the_context_ends", func(t *testing.T) {
		balance.Check(t)
		before := ctest.OpsDropped()
		op := ctest.NewOp()
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, err := blockon.AwaitRaw[uint64](ctx, op.Raw())
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before+1, ctest.OpsDropped())
		op.Complete(1)
		_, err = blockon.AwaitRaw[uint64](ctx, script(t, "").Raw())
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("panics_as_Await_of_FutureFromRaw_does", func(t *testing.T) {
		ctx := t.Context()
		for want, f := range map[string]func(){
			"blockon: AwaitRaw: nil context": func() {
				var none context.Context
				blockon.AwaitRaw[int](none, ctest.HoledFuture(0))
			},
			"rawwaker: AwaitRaw of a nil vtable": func() {
				blockon.AwaitRaw[int](ctx, rawwaker.RawFuture{})
			},
			"rawwaker: AwaitRaw of a vtable with an empty slot poll": func() {
				blockon.AwaitRaw[int](ctx, ctest.HoledFuture(0))
			},
			"rawwaker: AwaitRaw of a vtable with an empty slot drop": func() {
				blockon.AwaitRaw[int](ctx, ctest.HoledFuture(1))
			},
			"rawwaker: slot poll of a C future returned 9, which is not a rawwaker_poll": func() {
				blockon.AwaitRaw[uint64](ctx, script(t, "9").Raw())
			},
		} {
			require.PanicsWithValue(t, want, f)
		}
		s := ctest.NewScript("")
		defer s.Free()
		require.PanicsWithValue(t,
			"rawwaker: AwaitRaw of string, which has Go pointers: C cannot write those",
			func() { blockon.AwaitRaw[string](ctx, s.Raw()) })
		func() {
			defer func() { require.Equal(t, &rawwaker.ForeignPanic{Message: "why not"}, recover()) }()
			blockon.AwaitRaw[uint64](ctx, script(t, "tp").Raw())
		}()
	})
	leaves := map[string]func(){"panic": func() { panic("bug") }, "Goexit": runtime.Goexit}
	for how, leave := range leaves {
		for _, letters := range []string{"c", "K", "tc", "R"} {
			t.Run("drops_"+letters+"_once_if_a_callback_ends_by_"+how, func(t *testing.T) {
				if ctest.ASan {
					t.Skip("the address sanitizer does not know of such unwinds")
				}
				s := script(t, letters)
				ctest.OnCall = leave
				defer func() { ctest.OnCall = func() {} }()
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { recover() }()
					blockon.AwaitRaw[uint64](context.Background(), s.Raw())
					t.Error("it returned")
				}()
				<-done
			})
		}
	}
	t.Run("allocates_less_than_Await", func(t *testing.T) {
		if !exact {
			t.Skip("pools drop items at random")
		}
		ctx := t.Context()
		allocations := func(await func(raw rawwaker.RawFuture)) float64 {
			return testing.AllocsPerRun(100, func() {
				s := ctest.NewScript("r")
				await(s.Raw())
				s.Free()
			})
		}
		await := allocations(func(raw rawwaker.RawFuture) {
			blockon.Await[uint64](ctx, rawwaker.FutureFromRaw[uint64](raw))
		})
		awaitRaw := allocations(func(raw rawwaker.RawFuture) {
			blockon.AwaitRaw[uint64](ctx, raw)
		})
		t.Logf("%v and %v", await, awaitRaw)
		require.Less(t, awaitRaw, await)
	})
}
