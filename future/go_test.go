package future_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestGo(t *testing.T) {
	t.Run("starts_at_the_first_poll_and_returns_value_and_error", func(t *testing.T) {
		var started atomic.Bool
		boom := errors.New("boom")
		f := future.Go(func(context.Context) (int, error) {
			started.Store(true)
			return 3, boom
		})
		runtime.Gosched()
		require.False(t, started.Load())
		require.Equal(t, rawwaker.Result[int]{Value: 3, Err: boom}, blockon.BlockOn(f))
	})
	t.Run("dropped_cancels_its_context_and_does_not_wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var cause error
			f := future.Go(func(ctx context.Context) (int, error) {
				<-ctx.Done()
				cause = ctx.Err()
				return 0, nil
			})
			require.False(t, poll(f).IsReady())
			drop(f)
			synctest.Wait()
			require.ErrorIs(t, cause, context.Canceled)
		})
	})
	t.Run("dropped_wakes_no_more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := future.Go(func(ctx context.Context) (int, error) {
				<-ctx.Done()
				return 0, nil
			})
			woken := 0
			w := rawwaker.FromFunc(func() { woken++ })
			require.False(t, f.Poll(rawwaker.NewContext(w)).IsReady())
			drop(f)
			synctest.Wait()
			require.Zero(t, woken)
			w.Drop()
		})
	})
	t.Run("dropped_before_its_first_poll_never_runs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := future.Go(func(context.Context) (int, error) { panic("ran") })
			drop(f)
			synctest.Wait()
		})
	})
}
