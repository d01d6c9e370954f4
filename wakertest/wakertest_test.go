package wakertest_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

func fromFunc() (w *rawwaker.Waker, s wakertest.Waker) {
	var wakes atomic.Int64
	var hook atomic.Pointer[func()]
	w = rawwaker.FromFunc(func() {
		wakes.Add(1)
		if f := hook.Load(); f != nil {
			(*f)()
		}
	})
	return w, wakertest.Waker{
		Wakes: func() int { return int(wakes.Load()) },
		OnWake: func(f func()) {
			if f == nil {
				hook.Store(nil)
			} else {
				hook.Store(&f)
			}
		},
	}
}

// What the kit must not pass is in internal/test/broken.
func TestWaker(t *testing.T) {
	t.Run("passes_a_function_waker", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
			w, s := fromFunc()
			s.Handle, s.Exact = w, true
			return s
		})
	})
	t.Run("passes_a_function_waker_in_C", func(t *testing.T) {
		skipWithoutCgo(t)
		balance.Check(t)
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
			w, s := fromFunc()
			s.Raw = w.IntoRaw()
			return s
		})
	})
	t.Run("passes_an_audited_waker", func(t *testing.T) {
		skipWithoutCgo(t)
		wakertest.Check(t)
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
			w, s := fromFunc()
			s.Raw = wakertest.Audit(w.IntoRaw())
			return s
		})
	})
	t.Run("passes_the_waker_of_a_Local_task", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker { return newLocal().subject(t) })
	})
	t.Run("passes_the_waker_of_a_Local_task_in_C", func(t *testing.T) {
		skipWithoutCgo(t)
		balance.Check(t)
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
			s := newLocal().subject(t)
			s.Raw, s.Handle = s.Handle.IntoRaw(), nil
			return s
		})
	})
	t.Run("passes_the_task_of_the_example", func(t *testing.T) {
		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker { return newTask().subject() })
	})
}

// local is a task of a Local, which is ticked when the kit asks.
type local struct {
	mu     sync.Mutex // one tick at a time, as in a host
	ex     *executor.Local
	w      *rawwaker.Waker
	wakes  int
	polled bool // Wakes has polled the task since the last PollIt
	during func()
	ended  atomic.Bool
}

func (l *local) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if l.w == nil {
		l.w = cx.Waker().Clone()
	}
	if l.during != nil {
		l.during()
	}
	if l.ended.Load() {
		return rawwaker.Ready(struct{}{})
	}
	return rawwaker.Pending[struct{}]()
}

func newLocal() *local {
	l := &local{ex: executor.NewLocal()}
	executor.SpawnLocal(l.ex, rawwaker.Future[struct{}](l))
	l.ex.Tick()
	return l
}

// Wakes ticks: a wake was noticed if a task was due.
func (l *local) Wakes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.polled && l.ex.Tick() {
		l.wakes++
		l.polled = true
	}
	return l.wakes
}

func (l *local) PollIt(during func()) {
	l.Wakes()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polled = false
	w := l.w
	w.WakeByRef() // a poll without a wake from outside
	l.during = during
	l.ex.Tick()
	l.during = nil
}

func (l *local) End() {
	l.ended.Store(true)
	l.w.WakeByRef()
	for l.ex.Tick() {
	}
}

func (l *local) subject(t testing.TB) wakertest.Waker {
	return wakertest.Waker{
		Handle: l.w.Clone(), Wakes: l.Wakes, Poll: l.PollIt, End: l.End,
		Free: func() { require.NoError(t, l.ex.Close()) },
	}
}

func skipWithoutCgo(t *testing.T) {
	t.Helper()
	if !capi.HasCgo {
		t.Skip("nothing crosses without cgo")
	}
}

func TestExecutor(t *testing.T) {
	for name, workers := range map[string]int{
		"passes_an_executor_with_one_worker":   1,
		"passes_an_executor_with_four_workers": 4,
	} {
		t.Run(name, func(t *testing.T) {
			balance.Check(t)
			wakertest.TestExecutor(t, func(t testing.TB) wakertest.Executor {
				ex := executor.New(executor.Workers(workers))
				return wakertest.Executor{
					Spawn:       func(f rawwaker.Future[struct{}]) { executor.Spawn(ex, f) },
					Run:         func() { require.NoError(t, ex.Wait(context.Background())) },
					Close:       func() { require.NoError(t, ex.Close()) },
					SpawnInside: true,
				}
			})
		})
	}
	t.Run("passes_a_Local", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestExecutor(t, func(testing.TB) wakertest.Executor {
			l := executor.NewLocal()
			return wakertest.Executor{
				Spawn:       func(f rawwaker.Future[struct{}]) { executor.SpawnLocal(l, f) },
				Run:         l.Run,
				Close:       func() { require.NoError(t, l.Close()) },
				SpawnInside: true,
			}
		})
	})
	t.Run("passes_BlockOn", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestExecutor(t, func(testing.TB) wakertest.Executor {
			var all sync.WaitGroup
			return wakertest.Executor{
				Spawn:       func(f rawwaker.Future[struct{}]) { all.Go(func() { blockon.BlockOn(f) }) },
				Run:         all.Wait,
				SpawnInside: true,
			}
		})
	})
}

func TestFuture(t *testing.T) {
	t.Run("passes_Sleep", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[struct{}] {
			return wakertest.Future[struct{}]{Future: future.Sleep(3 * time.Millisecond)}
		})
	})
	t.Run("passes_Yield", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[struct{}] {
			return wakertest.Future[struct{}]{Future: future.Yield()}
		})
	})
	t.Run("passes_Oneshot", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[rawwaker.Result[int]] {
			tx, rx := future.Oneshot[int]()
			return wakertest.Future[rawwaker.Result[int]]{Future: rx, Complete: func() { tx.Send(42) }}
		})
	})
	t.Run("passes_Go", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[rawwaker.Result[int]] {
			end := make(chan struct{})
			return wakertest.Future[rawwaker.Result[int]]{
				Future: future.Go(func(ctx context.Context) (int, error) {
					select {
					case <-end:
						return 42, nil
					case <-ctx.Done():
						return 0, ctx.Err()
					}
				}),
				Complete: func() { close(end) },
			}
		})
	})
	t.Run("passes_Async_and_Join", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[int] {
			tx, rx := future.Oneshot[int]()
			return wakertest.Future[int]{
				Future: future.Async(func(aw *future.Awaiter) int {
					result := rawwaker.Future[rawwaker.Result[int]](rx)
					both := future.Await(aw, future.Join(result, future.Yield()))
					return both.First.Value
				}),
				Complete: func() { tx.Send(42) },
			}
		})
	})
	t.Run("passes_Shared", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[rawwaker.Result[int]] {
			tx, rx := future.Oneshot[int]()
			return wakertest.Future[rawwaker.Result[int]]{
				Future:   future.Shared(rawwaker.Future[rawwaker.Result[int]](rx)),
				Complete: func() { tx.Send(42) },
			}
		})
	})
}

func TestAudit(t *testing.T) {
	t.Run("panics_without_a_vtable_or_cgo", func(t *testing.T) {
		want := "wakertest: Audit of a nil vtable"
		if !capi.HasCgo {
			want = "wakertest: Audit needs cgo"
		}
		require.PanicsWithValue(t, want, func() { wakertest.Audit(rawwaker.RawWaker{}) })
	})
	t.Run("reports_each_misuse_with_its_place", func(t *testing.T) {
		skipWithoutCgo(t)
		if trace.AuditAll() {
			t.Skip("FromRaw would wrap the waker under test")
		}
		capi.AuditPrint(false)
		defer capi.AuditPrint(true)
		wakertest.Findings()
		raw := wakertest.Audit(rawwaker.FromFunc(func() {}).IntoRaw())
		w := rawwaker.FromRaw(raw)
		c := w.Clone()
		w.Drop()
		second := rawwaker.FromRaw(raw) // the same reference again
		second.WakeByRef()
		second.Drop()
		require.Equal(t, 1, wakertest.Leaks())
		var mu wakertest.Mutex
		mu.Lock()
		c.WakeByRef()
		mu.Unlock()
		c.Wake()

		found := wakertest.Findings()
		var names []string
		for _, f := range found {
			names = append(names, f.Rule)
		}
		require.Equal(t, []string{"use_after_drop", "double_drop", "forgotten", "slot_under_lock"}, names)
		for _, f := range found {
			require.Contains(t, f.Text, "TestAudit", f.Text)
			require.Regexp(t,
				`in order: 1 is wrapped \(\d+\); 1 is cloned as 2 \(\d+\); 1 drop \(\d+\)`, f.Text)
			require.Contains(t, f.Text, "on thread ")
		}
		require.Zero(t, capi.AuditLive())
		var b bytes.Buffer
		require.NoError(t, wakertest.Report(&b))
		require.Empty(t, b.String())
	})
}
