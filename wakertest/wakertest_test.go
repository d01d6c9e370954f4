package wakertest_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
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

func TestAFunctionWakerKeepsTheContract(t *testing.T) {
	balance.Check(t)
	wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
		w, s := fromFunc()
		s.Handle, s.Exact = w, true
		return s
	})
}

func TestAFunctionWakerInCKeepsTheContract(t *testing.T) {
	if !capi.HasCgo {
		t.Skip("nothing crosses without cgo")
	}
	balance.Check(t)
	wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
		w, s := fromFunc()
		s.Raw = w.IntoRaw()
		return s
	})
}

func TestAnAuditedWakerKeepsTheContract(t *testing.T) {
	if !capi.HasCgo {
		t.Skip("nothing crosses without cgo")
	}
	wakertest.Check(t)
	wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
		w, s := fromFunc()
		s.Raw = wakertest.Audit(w.IntoRaw())
		return s
	})
}

// local is a task of a Local, which is ticked when the kit asks.
type local struct {
	mu     sync.Mutex // one tick at a time, as a host has it
	ex     *executor.Local
	w      *rawwaker.Waker
	wakes  int
	missed bool // a poll that was asked for has run already, by looking
	during func()
	over   atomic.Bool
}

func (l *local) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	if l.w == nil {
		l.w = cx.Waker().Clone()
	}
	if l.during != nil {
		l.during()
	}
	if l.over.Load() {
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

// Wakes looks by ticking: a wake is noticed where there is something to tick.
func (l *local) Wakes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.missed && l.ex.Tick() {
		l.wakes++
		l.missed = true
	}
	return l.wakes
}

func (l *local) PollIt(during func()) {
	l.Wakes()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed = false
	w := l.w
	w.WakeByRef() // a poll that nobody asked for
	l.during = during
	l.ex.Tick()
	l.during = nil
}

func (l *local) End() {
	l.over.Store(true)
	l.w.WakeByRef()
	for l.ex.Tick() {
	}
}

func TestAWakerOfALocalsTaskKeepsTheContract(t *testing.T) {
	for _, inC := range []bool{false, true} {
		name := "in Go"
		if inC {
			name = "in C"
		}
		t.Run(name, func(t *testing.T) {
			if inC && !capi.HasCgo {
				t.Skip("nothing crosses without cgo")
			}
			balance.Check(t)
			wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
				l := newLocal()
				s := wakertest.Waker{Handle: l.w.Clone(), Wakes: l.Wakes, Poll: l.PollIt, End: l.End, Free: func() { require.NoError(t, l.ex.Close()) }}
				if inC {
					s.Raw, s.Handle = s.Handle.IntoRaw(), nil
				}
				return s
			})
		})
	}
}

func TestTheExecutorsKeepTheContract(t *testing.T) {
	for name, workers := range map[string]int{"one worker": 1, "four workers": 4} {
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
	t.Run("Local", func(t *testing.T) {
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
	t.Run("BlockOn", func(t *testing.T) {
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

func TestTheFuturesKeepTheContract(t *testing.T) {
	t.Run("Sleep", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[struct{}] {
			return wakertest.Future[struct{}]{Future: future.Sleep(3 * time.Millisecond)}
		})
	})
	t.Run("Yield", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[struct{}] {
			return wakertest.Future[struct{}]{Future: future.Yield()}
		})
	})
	t.Run("Oneshot", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[rawwaker.Result[int]] {
			tx, rx := future.Oneshot[int]()
			return wakertest.Future[rawwaker.Result[int]]{Future: rx, Complete: func() { tx.Send(42) }}
		})
	})
	t.Run("Go", func(t *testing.T) {
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
	t.Run("Async and Join", func(t *testing.T) {
		balance.Check(t)
		wakertest.TestFuture(t, func(testing.TB) wakertest.Future[int] {
			tx, rx := future.Oneshot[int]()
			return wakertest.Future[int]{
				Future: future.Async(func(aw *future.Awaiter) int {
					both := future.Await(aw, future.Join(rawwaker.Future[rawwaker.Result[int]](rx), future.Yield()))
					return both.First.Value
				}),
				Complete: func() { tx.Send(42) },
			}
		})
	})
	t.Run("Shared", func(t *testing.T) {
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

func TestAnAuditedWakersMisuseIsNamedWithItsPlace(t *testing.T) {
	if !capi.HasCgo {
		require.PanicsWithValue(t, "wakertest: Audit needs cgo", func() { wakertest.Audit(rawwaker.RawWaker{}) })
		return
	}
	require.PanicsWithValue(t, "wakertest: Audit of a nil vtable", func() { wakertest.Audit(rawwaker.RawWaker{}) })
	if trace.AuditAll() {
		t.Skip("FromRaw would wrap what is to be found")
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
		require.Contains(t, f.Text, "TestAnAuditedWakersMisuseIsNamedWithItsPlace", f.Text)
		require.Regexp(t, `in order: 1 is wrapped \(\d+\); 1 is cloned as 2 \(\d+\); 1 drop \(\d+\)`, f.Text)
		require.Contains(t, f.Text, "on thread ")
	}
	require.Zero(t, capi.AuditLive())
	var b bytes.Buffer
	require.NoError(t, wakertest.Report(&b))
	require.Empty(t, b.String())
}

// TestAuditOfAll is run by the next test in a process of its own, where everything that crosses is audited.
func TestAuditOfAll(t *testing.T) {
	if !trace.AuditAll() {
		t.Skip("of another test")
	}
	raw := rawwaker.FromFunc(func() {}).IntoRaw()
	require.True(t, capi.IsAudited(numbers(raw)))
	rawwaker.FromRaw(raw).Drop() // Go's own coming back: the wrapping is taken off
	forget()
	for range 200 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
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

func TestAForgottenDropIsReportedWhereTheCollectorFindsIt(t *testing.T) {
	if !capi.HasCgo {
		t.Skip("nothing crosses without cgo")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAuditOfAll$", "-test.v")
	cmd.Env = append(os.Environ(), "FFIWAKERDEBUG=audit=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, regexp.MustCompile(`(?s)rawwaker audit: leak: reference 1 was lost by its owner.*wakertest_test\.foreign`), string(out))
	require.Equal(t, 1, strings.Count(string(out), "rawwaker audit:"), string(out))
}
