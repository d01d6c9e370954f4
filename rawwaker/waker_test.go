package rawwaker_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// counter is a waker of a user's own.
type counter struct{ n atomic.Int64 }

func (c *counter) Wake() { c.n.Add(1) }

// withoutAudit skips a test that looks at the very words that cross, at what a slot costs, or at
// misuse that the auditor stops first: under FFIWAKERDEBUG=audit=1 each reference is another one.
func withoutAudit(t *testing.T) {
	if trace.AuditAll() {
		t.Skip("under audit each reference is another one")
	}
}

func TestFromFunc(t *testing.T) {
	balance.Check(t)
	var log string // no lock: -race would tell if it ran elsewhere
	w := rawwaker.FromFunc(func() { log += "x" })
	w.WakeByRef()
	log += "|"
	w.Clone().Wake()
	log += "|"
	w.Drop()
	require.Equal(t, "x|x|", log)
}

func TestFromWake(t *testing.T) {
	balance.Check(t)
	var c counter
	w := rawwaker.FromWake(&c)
	w.WakeByRef()
	w.Wake()
	require.EqualValues(t, 2, c.n.Load())
}

func TestNoop(t *testing.T) {
	balance.Check(t)
	w := rawwaker.Noop()
	w.WakeByRef()
	c := w.Clone()
	require.True(t, w.WillWake(c))
	require.True(t, w.WillWake(rawwaker.Noop()))
	w.Wake()
	c.Drop()
}

func TestWillWake(t *testing.T) {
	balance.Check(t)
	w, o := rawwaker.FromFunc(func() {}), rawwaker.FromFunc(func() {})
	c := w.Clone()
	require.True(t, w.WillWake(w))
	require.True(t, w.WillWake(c))
	require.True(t, c.WillWake(w))
	require.False(t, w.WillWake(o))
	require.False(t, w.WillWake(rawwaker.Noop()))
	require.False(t, rawwaker.Noop().WillWake(w))
}

func TestCloneFrom(t *testing.T) {
	t.Run("fills_an_empty_waker_replaces_another_and_leaves_the_same_alone", func(t *testing.T) {
		balance.Check(t)
		var a, b counter
		wa, wb := rawwaker.FromWake(&a), rawwaker.FromWake(&b)
		var kept rawwaker.Waker
		kept.CloneFrom(wa)
		kept.WakeByRef()
		require.Zero(t, testing.AllocsPerRun(10, func() { kept.CloneFrom(wa) }))
		kept.CloneFrom(wb)
		kept.WakeByRef()
		wb.CloneFrom(wa) // not an empty one, nor a field
		wb.WakeByRef()
		kept.Drop()
		wb.Drop()
		require.EqualValues(t, 2, a.n.Load())
		require.EqualValues(t, 1, b.n.Load())
	})
	// The consuming call may come to what CloneFrom has just put away: it consumes what is there
	// now.
	t.Run("beside_a_consuming_call_leaves_one_of_both_to_be_consumed", func(t *testing.T) {
		balance.Check(t)
		for i := range 3000 {
			var a, b atomic.Int64
			wa, wb := rawwaker.FromFunc(func() { a.Add(1) }), rawwaker.FromFunc(func() { b.Add(1) })
			var kept rawwaker.Waker
			kept.CloneFrom(wa)
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { _ = recover() }() // it may come too late
				for j := range 4 {
					kept.CloneFrom([]*rawwaker.Waker{wb, wa}[j%2])
				}
			})
			for range i % 64 { // the other one is somewhere by now
				runtime.Gosched()
			}
			kept.Wake()
			wg.Wait()
			require.EqualValues(t, 1, a.Load()+b.Load())
			wa.Drop()
			wb.Drop()
		}
	})
	t.Run("beside_a_call_on_the_same_Waker_panics_or_waits", func(t *testing.T) {
		a, b := rawwaker.FromFunc(func() {}), rawwaker.FromFunc(func() {})
		var w rawwaker.Waker
		w.CloneFrom(a)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 20_000 {
				w.CloneFrom(b)
				w.CloneFrom(a)
			}
		}()
		for calling := true; calling; {
			select {
			case <-done:
				calling = false
			default:
				w.WakeByRef()
				w.Clone().Drop()
				w.WillWake(a)
			}
		}
	})
}

// uses are all calls that can meet a consumed waker; those that need cgo are added where it is.
var uses = map[string]func(w *rawwaker.Waker){
	"Clone":      func(w *rawwaker.Waker) { w.Clone() },
	"CloneFrom":  func(w *rawwaker.Waker) { w.CloneFrom(rawwaker.Noop()) },
	"Wake":       (*rawwaker.Waker).Wake,
	"WakeByRef":  (*rawwaker.Waker).WakeByRef,
	"Drop":       (*rawwaker.Waker).Drop,
	"WillWake":   func(w *rawwaker.Waker) { w.WillWake(rawwaker.Noop()) },
	"NewContext": func(w *rawwaker.Waker) { rawwaker.NewContext(w) },
}

// ends are the calls that consume.
var ends = map[string]func(w *rawwaker.Waker){
	"Wake": (*rawwaker.Waker).Wake,
	"Drop": (*rawwaker.Waker).Drop,
}

// makers are the kinds of waker.
var makers = map[string]func() *rawwaker.Waker{
	"noop":     rawwaker.Noop,
	"function": func() *rawwaker.Waker { return rawwaker.FromFunc(func() {}) },
	"task":     taskWaker,
	"field": func() *rawwaker.Waker {
		w := new(rawwaker.Waker)
		w.CloneFrom(rawwaker.FromFunc(func() {}))
		return w
	},
}

func init() {
	if capi.HasCgo {
		uses["IntoRaw"] = func(w *rawwaker.Waker) { rawwaker.FromRaw(w.IntoRaw()).Drop() }
		uses["AsRaw"] = func(w *rawwaker.Waker) { w.AsRaw() }
		ends["IntoRaw"] = uses["IntoRaw"]
		makers["C"] = func() *rawwaker.Waker { return rawwaker.FromRaw(rawwaker.Noop().IntoRaw()) }
	}
}

// taskWaker is a clone of the waker of a task that has ended.
func taskWaker() (w *rawwaker.Waker) {
	blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
		w = cx.Waker().Clone()
		return rawwaker.Ready(0)
	}))
	return w
}

type poll func(cx *rawwaker.Context) rawwaker.Poll[int]

func (p poll) Poll(cx *rawwaker.Context) rawwaker.Poll[int] { return p(cx) }

func TestWaker(t *testing.T) {
	t.Run("panics_after_a_consuming_call_and_names_both", func(t *testing.T) {
		balance.Check(t)
		for kind, make := range makers {
			for before, end := range ends {
				for call, use := range uses {
					t.Run(kind+"/"+call+" after "+before, func(t *testing.T) {
						w := make()
						end(w)
						want := "rawwaker: " + call + " after " + before
						require.PanicsWithValue(t, want, func() { use(w) })
						require.PanicsWithValue(t, want, func() { use(w) }, "once more")
					})
				}
			}
		}
	})
	// For the race detector: a handle may be registered while others use it.
	t.Run("may_be_registered_while_it_is_used", func(t *testing.T) {
		for range 500 {
			w := rawwaker.FromFunc(func() {})
			var a rawwaker.AtomicWaker
			var wg sync.WaitGroup
			wg.Go(func() { a.Register(w) })
			wg.Go(func() {
				if capi.HasCgo {
					w.AsRaw()
				}
			})
			wg.Wait()
			a.Drop()
			w.Drop()
		}
	})
	t.Run("panics_for_each_use_of_the_zero_Waker_but_CloneFrom", func(t *testing.T) {
		balance.Check(t)
		for call, use := range uses {
			if call == "CloneFrom" {
				continue
			}
			require.PanicsWithValue(
				t,
				"rawwaker: "+call+" of an empty Waker",
				func() { use(new(rawwaker.Waker)) },
			)
		}
	})
	t.Run("panics_for_nil", func(t *testing.T) {
		require.PanicsWithValue(
			t,
			"rawwaker: FromFunc of a nil function",
			func() { rawwaker.FromFunc(nil) },
		)
		require.PanicsWithValue(t, "rawwaker: FromWake of nil", func() { rawwaker.FromWake(nil) })
		require.PanicsWithValue(
			t,
			"rawwaker: NewContext of a nil Waker",
			func() { rawwaker.NewContext(nil) },
		)
	})
	t.Run("consumed_by_many_at_once_panics_in_all_but_one", func(t *testing.T) {
		balance.Check(t)
		rounds := 2000
		if testing.Short() {
			rounds = 200
		}
		for kind, make := range makers {
			t.Run(kind, func(t *testing.T) {
				for range rounds {
					w := make()
					var won, lost atomic.Int64
					var wg sync.WaitGroup
					for _, end := range ends {
						wg.Go(func() {
							defer func() {
								if recover() != nil {
									lost.Add(1)
								} else {
									won.Add(1)
								}
							}()
							end(w)
						})
					}
					wg.Wait()
					require.EqualValues(t, 1, won.Load())
					require.EqualValues(t, len(ends)-1, lost.Load())
				}
			})
		}
	})
	t.Run("allocates_for_a_clone_only", func(t *testing.T) {
		w := taskWaker()
		require.Zero(t, testing.AllocsPerRun(100, w.WakeByRef))
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { w.Clone().Drop() }), 1.0)
	})
}

func TestContext(t *testing.T) {
	t.Run("lends_its_waker", func(t *testing.T) {
		balance.Check(t)
		var c counter
		w := rawwaker.FromWake(&c)
		inView := func(test func(w *rawwaker.Waker)) { test(rawwaker.NewContext(w).Waker()) }
		inBlockOn := func(test func(w *rawwaker.Waker)) {
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				test(cx.Waker())
				return rawwaker.Ready(0)
			}))
		}
		for name, lend := range map[string]func(func(*rawwaker.Waker)){
			"NewContext": inView, "BlockOn": inBlockOn,
		} {
			t.Run(name, func(t *testing.T) {
				lend(func(w *rawwaker.Waker) {
					for call := range ends {
						want := "rawwaker: " + call + " of a borrowed waker: Clone it first"
						require.PanicsWithValue(t, want, func() { ends[call](w) })
					}
					require.PanicsWithValue(t, "rawwaker: CloneFrom of a borrowed waker: Clone it first",
						func() { w.CloneFrom(rawwaker.Noop()) })
					clone := w.Clone()
					require.True(t, clone.WillWake(w))
					w.WakeByRef()
					clone.Wake()
				})
			})
		}
		require.EqualValues(t, 2, c.n.Load(), "a view goes through to what it is a view of")
		w.Drop()
	})
	t.Run("of_NewContext_uses_the_state_of_its_Waker", func(t *testing.T) {
		w := rawwaker.FromFunc(func() {})
		v := rawwaker.NewContext(w).Waker()
		w.Drop()
		require.PanicsWithValue(t, "rawwaker: WakeByRef after Drop", v.WakeByRef)
	})
	t.Run("panics_if_its_waker_is_used_after_the_task", func(t *testing.T) {
		balance.Check(t)
		var kept *rawwaker.Waker
		polls := 0
		blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			if polls++; polls == 1 {
				kept = cx.Waker()
				go kept.WakeByRef() // between two polls it still wakes this very task
				return rawwaker.Pending[int]()
			}
			return rawwaker.Ready(0)
		}))
		for _, call := range []string{"Clone", "WakeByRef", "WillWake", "NewContext"} {
			want := "rawwaker: " + call +
				" of a borrowed waker whose task or poll has ended: Clone it to keep it"
			require.PanicsWithValue(t, want, func() { uses[call](kept) })
		}
		require.Equal(t, 2, polls)
	})
	t.Run("never_wakes_another_task", func(t *testing.T) {
		seen := map[*rawwaker.Waker]bool{}
		for range 100 {
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				require.False(t, seen[cx.Waker()], "given out twice")
				seen[cx.Waker()] = true
				return rawwaker.Ready(0)
			}))
		}
	})
}

func TestPoll(t *testing.T) {
	require.False(t, rawwaker.Pending[int]().IsReady())
	require.Equal(t, 3, rawwaker.Ready(3).Value())
	require.PanicsWithValue(
		t,
		"rawwaker: Value of Pending",
		func() { rawwaker.Pending[int]().Value() },
	)
}
