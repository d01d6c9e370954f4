package executor_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// held is pending until it is dropped, which it counts.
type held struct{ drops *atomic.Int32 }

func (held) Poll(cx *rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Pending[int]() }
func (h held) Drop()                                      { h.drops.Add(1) }

// onBoth runs a test with the scope's tasks on an Executor, and on a Local that another goroutine
// runs.
func onBoth(t *testing.T, test func(t *testing.T, on executor.Spawner)) {
	t.Run("Executor", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		test(t, ex)
	})
	t.Run("Local", func(t *testing.T) {
		l := executor.NewLocal()
		executor.SpawnLocal[int](l, held{new(atomic.Int32)}) // so that Run goes on
		done := make(chan struct{})
		go func() { l.Run(); close(done) }()
		test(t, l)
		l.Close()
		<-done
	})
}

// overlapped is a context that calls during once, in the next call of Done.
type overlapped struct {
	context.Context
	during  func()
	watched atomic.Int32
}

// AfterFunc is what package context calls.
func (c *overlapped) AfterFunc(func()) (stop func() bool) {
	c.watched.Add(1)
	return func() bool { return c.watched.Add(-1) >= 0 }
}

func (c *overlapped) Done() <-chan struct{} {
	if f := c.during; f != nil {
		c.during = nil
		f()
	}
	return make(chan struct{})
}

// silent is a context that ends without a notice.
type silent struct {
	context.Context
	err error
}

func (c *silent) Err() error { return c.err }

func TestNewScope(t *testing.T) {
	t.Run("ends_when_its_tasks_have", func(t *testing.T) {
		onBoth(t, func(t *testing.T, on executor.Spawner) {
			s := executor.NewScope(context.Background(), on)
			var over atomic.Int32
			for range 100 {
				executor.SpawnIn(s, future.Async(func(aw *future.Awaiter) int {
					future.Await(aw, future.Yield())
					// One that a task spawns belongs to the scope too, though Wait has begun.
					executor.SpawnIn(s, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
						over.Add(1)
						return rawwaker.Ready(0)
					}))
					over.Add(1)
					return 0
				}))
			}
			require.NoError(t, s.Wait())
			require.EqualValues(t, 200, over.Load())
			require.Error(t, s.Context().Err())
		})
	})
	t.Run("gives_two_calls_of_Context_that_overlap_one_context", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		parent := &overlapped{Context: context.Background()}
		s := executor.NewScope(parent, ex)
		var inner context.Context
		parent.during = func() { inner = s.Context() }
		outer := s.Context()
		require.NotNil(t, inner)
		require.Same(t, inner, outer)
		require.EqualValues(t, 2, parent.watched.Load(), "by the scope, and by one context")
		s.Abort()
		require.ErrorIs(t, context.Cause(outer), executor.ErrAborted)
		require.NoError(t, s.Wait())
	})
	t.Run("has_its_parents_error_if_that_ends_before_the_last_task_though_no_notice_has_come",
		func(t *testing.T) {
			l := executor.NewLocal()
			defer l.Close()
			parent := &silent{Context: context.Background()}
			s := executor.NewScope(parent, l)
			executor.SpawnIn(s, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				parent.err = context.DeadlineExceeded
				return rawwaker.Ready(1)
			}))
			ended := s.Done()
			require.False(t, ended.Poll(rawwaker.NewContext(rawwaker.Noop())).IsReady())
			require.True(t, l.Tick())
			p := ended.Poll(rawwaker.NewContext(rawwaker.Noop()))
			require.True(t, p.IsReady())
			require.ErrorIs(t, p.Value(), context.DeadlineExceeded)
		})
	t.Run("is_aborted_by_the_first_panic", func(t *testing.T) {
		onBoth(t, func(t *testing.T, on executor.Spawner) {
			s := executor.NewScope(context.Background(), on)
			var drops atomic.Int32
			held1 := executor.SpawnIn[int](s, held{&drops})
			executor.SpawnIn[int](s, held{&drops})
			boom := errors.New("boom")
			executor.SpawnIn(s, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { panic(boom) }))
			err := s.Wait()
			require.ErrorIs(t, err, boom)
			require.ErrorAs(t, err, new(*executor.PanicError))
			require.EqualValues(t, 2, drops.Load())
			require.ErrorIs(t, blockon.BlockOn(held1.Outcome()).Err, executor.ErrAborted)
			require.ErrorIs(t, context.Cause(s.Context()), boom)
		})
	})
	t.Run("is_aborted_by_the_end_of_its_context", func(t *testing.T) {
		onBoth(t, func(t *testing.T, on executor.Spawner) {
			ctx, cancel := context.WithCancel(context.Background())
			s := executor.NewScope(ctx, on)
			var drops atomic.Int32
			h := executor.SpawnIn[int](s, held{&drops})
			cancel()
			require.ErrorIs(t, s.Wait(), context.Canceled)
			require.ErrorIs(t, blockon.BlockOn(h.Outcome()).Err, executor.ErrAborted)
			require.EqualValues(t, 1, drops.Load())
		})
	})
	t.Run("does_not_keep_a_forgotten_Local", func(t *testing.T) {
		for _, how := range []string{"whose_context_has_ended", "whose_context_is_forgotten"} {
			t.Run(how, func(t *testing.T) {
				var freed atomic.Int32
				func() {
					ctx, cancel := context.WithCancel(context.Background())
					l := executor.NewLocal()
					runtime.AddCleanup(l, func(int) { freed.Add(1) }, 0)
					executor.SpawnIn(executor.NewScope(ctx, l), future.PollFn(pendingInt))
					for l.Tick() {
					}
					if how == "whose_context_has_ended" {
						cancel()
					}
					runtime.KeepAlive(cancel)
				}()
				collected(t, func() bool { return freed.Load() == 1 })
			})
		}
	})
	t.Run("refuses_a_spawn_after_its_end_or_abort", func(t *testing.T) {
		onBoth(t, func(t *testing.T, on executor.Spawner) {
			var drops atomic.Int32
			s := executor.NewScope(context.Background(), on)
			s.Abort()
			s.Abort()
			require.ErrorIs(
				t,
				blockon.BlockOn(executor.SpawnIn[int](s, held{&drops}).Outcome()).Err,
				executor.ErrAborted,
			)
			require.NoError(t, s.Wait())
			require.ErrorIs(
				t,
				blockon.BlockOn(executor.SpawnIn[int](s, held{&drops}).Outcome()).Err,
				executor.ErrClosed,
			)
			require.EqualValues(t, 2, drops.Load())
		})
	})
	t.Run("has_its_end_as_a_future", func(t *testing.T) {
		onBoth(t, func(t *testing.T, on executor.Spawner) {
			s := executor.NewScope(context.Background(), on)
			tx, rx := future.Oneshot[int]()
			h := executor.SpawnIn(s, rx)
			done := s.Done()
			polls := 0
			err := blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[error] {
				if polls++; polls == 1 {
					defer tx.Send(7)
				}
				return done.Poll(cx)
			}))
			require.NoError(t, err)
			require.Equal(t, 7, blockon.BlockOn(h.Outcome()).Value.Value)
			require.NoError(t, s.Wait())
		})
	})
	t.Run("is_ended_by_the_Close_of_its_executor", func(t *testing.T) {
		ex := executor.New()
		s := executor.NewScope(context.Background(), ex)
		var drops atomic.Int32
		executor.SpawnIn[int](s, held{&drops})
		ex.Close()
		require.NoError(t, s.Wait())
		require.EqualValues(t, 1, drops.Load())
	})
}

func TestScopeContext(t *testing.T) {
	t.Run("is_the_same_each_time_and_ends_with_the_scope", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		s := executor.NewScope(t.Context(), ex)
		ctx := s.Context()
		require.Same(t, ctx, s.Context())
		require.NoError(t, ctx.Err())
		done := s.Done()
		require.NoError(t, blockon.BlockOn(done))
		<-ctx.Done()
		require.PanicsWithValue(t, "future polled after completion", func() { blockon.BlockOn(done) })
	})
	t.Run("ends_with_the_reason_of_an_abort", func(t *testing.T) {
		ex := executor.New()
		defer ex.Close()
		s, why := executor.NewScope(t.Context(), ex), errors.New("why")
		ctx := s.Context()
		executor.SpawnIn(s, future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] { panic(why) }))
		require.ErrorIs(t, s.Wait(), why)
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), why)
	})
}
