package wakertest

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Future is a future under test, with functions that control and observe it. Only Future is
// required. To test a C future, convert it with [rawwaker.FutureFromRaw].
type Future[T any] struct {
	// Future is owned by the kit: it polls it, and drops it if it is a [rawwaker.Dropper] and was
	// not Ready.
	Future rawwaker.Future[T]
	// Complete makes the future ready and wakes its waker. It is called at most once, on any
	// goroutine, possibly during or after the drop. If it is nil, the future must become ready
	// without it.
	Complete func()
	// Live returns the number of resources that the future holds. It must become 0 after the future
	// was Ready or dropped: at once, or soon if an engine ends the operation.
	Live func() int
	// Free is called once, when the kit no longer uses the future.
	Free func()
}

// TestFuture checks the futures that make returns against every rule, each in a subtest. It calls
// make at least once for each. In a build with cgo each subtest runs twice: with an audited C
// waker, whose references are counted, and with a Go waker, which the race detector sees.
func TestFuture[T any](t *testing.T, make func(t testing.TB) Future[T]) {
	runAll(t, futures[T](), make)
}

// probe is the task of the kit. It counts its wakes. If its waker is a C waker, the auditor counts
// the clones and checks the calls.
type probe struct {
	r      *report
	n      atomic.Int64
	onWake atomic.Pointer[func()]
	raw    capi.Raw // audited; zero for a Go waker
	w      *rawwaker.Waker
}

func newProbe(r *report, inC bool) *probe {
	p := &probe{r: r}
	p.w = rawwaker.FromFunc(func() {
		r.did("the waker is woken")
		p.n.Add(1)
		if f := p.onWake.Load(); f != nil {
			(*f)()
		}
	})
	if inC {
		data, vtable := p.w.IntoRaw().Words()
		p.raw = capi.Raw{Data: data, VTable: vtable}
		capi.AuditPrint(false) // the report contains the findings
		if !capi.IsAudited(p.raw) {
			p.raw = capi.Audit(p.raw)
		}
		p.w = rawwaker.FromRaw(rawwaker.RawWakerOf(p.raw.Data, p.raw.VTable))
	}
	return p
}

func (p *probe) wakes() int { return int(p.n.Load()) }

// clones returns the number of live clones, or -1 if it is unknown.
func (p *probe) clones() int {
	if p.raw.VTable == 0 {
		return -1
	}
	return capi.AuditCount(p.raw) - 1
}

func (p *probe) woken(n int, when string) bool { return p.r.reaches(p.wakes, n, "wakes", when) }

// end checks that no clone is left. Handles must be dropped: the collector would release them too
// late.
func (p *probe) end() {
	// The goroutine that completes the future may still hold a clone.
	p.r.eventually(func() bool { return p.clones() <= 0 }, func() string {
		return fmt.Sprintf("each clone of the waker woken or dropped by the end; %d are not", p.clones())
	})
	p.w.Drop()
}

// findings fails the scenario if the auditor has findings.
func (p *probe) findings() {
	if p.raw.VTable == 0 {
		return
	}
	for _, f := range Findings() {
		p.r.expect(false, "nothing for the auditor to find; %s", f.Text)
	}
}

// polled is the Future of one scenario. Its methods note each call in the report.
type polled[T any] struct {
	Future[T]
	r *report
}

func (f *polled[T]) poll(p *probe) (ready bool) {
	f.r.did("poll")
	ready = f.Future.Future.Poll(rawwaker.NewContext(p.w)).IsReady()
	if ready {
		f.r.did("is Ready")
	} else {
		f.r.did("is Pending")
	}
	return ready
}

func (f *polled[T]) complete() {
	if f.Complete != nil {
		f.r.did("complete")
		f.Complete()
	}
}

func (f *polled[T]) drop() {
	f.r.did("drop")
	if d, ok := f.Future.Future.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

// finish polls after each wake until the future is ready.
func (f *polled[T]) finish(p *probe) {
	for {
		seen := p.wakes()
		if f.poll(p) || !p.woken(seen+1, "of a future that is Pending and can continue") {
			return
		}
	}
}

// pollInsideTheWake completes the future and polls it on another goroutine, with another waker,
// while the first wake still runs. If that poll does not return during the wake, it calls held. If
// that poll is Pending, it calls pending with the probe of the other waker.
func (f *polled[T]) pollInsideTheWake(p *probe, held func(), pending func(inside *probe)) {
	r := f.r
	if f.Complete == nil {
		r.skip("no Complete")
		f.drop()
		return
	}
	other := newProbe(r, p.raw.VTable != 0)
	defer other.end()
	if f.poll(p) {
		return
	}
	var ready, late bool
	var once sync.Once
	back, left := newGate(), newGate()
	inside := func() {
		once.Do(func() {
			defer left.open()
			go func() {
				defer back.open()
				defer r.noPanic()
				r.did("another goroutine polls meanwhile:")
				ready = f.poll(other)
			}()
			if late = !back.within(Patience / 4); late {
				held()
			}
		})
	}
	p.onWake.Store(&inside)
	f.complete()
	p.woken(1, "of a future that can continue")
	back.wait()
	left.wait()
	switch {
	case ready:
	case late:
		f.drop()
	default:
		pending(other)
	}
}

func (f *polled[T]) done(p *probe) {
	if live := soon(f.r, f.Live, "the future"); live != nil {
		live()
	}
	p.end()
	if f.Free != nil {
		f.Free()
	}
}

// futureScenario returns a scenario that calls run with each kind of waker.
func futureScenario[T any](
	name, rule string, run func(r *report, f *polled[T], p *probe),
) scenario[Future[T]] {
	return scenario[Future[T]]{name, rule, func(r *report, make func() Future[T]) {
		// The audited waker first: it reports misuse that would corrupt memory of a Go waker.
		for _, inC := range []bool{true, false} {
			if r.failed() || inC && !capi.HasCgo {
				continue
			}
			if !inC {
				r.did("with a waker of Go:")
			}
			runtime.LockOSThread() // elsewhere polls on another thread than the one that makes f
			p := newProbe(r, inC)
			f := &polled[T]{make(), r}
			run(r, f, p)
			f.done(p)
			runtime.UnlockOSThread()
			p.findings()
		}
	}}
}

// elsewhere calls f on another goroutine and another thread, and waits for it.
func elsewhere(r *report, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	done := newGate()
	go func() {
		defer done.open()
		defer r.noPanic()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
	done.wait()
}

func futures[T any]() []scenario[Future[T]] {
	type future = polled[T]
	return []scenario[Future[T]]{
		futureScenario("complete_future_vtable",
			"a future's vtable has two slots",
			func(r *report, f *future, p *probe) {
				r.skip("FutureFromRaw checks the vtable: the kit in C tests it")
				f.drop()
			}),

		futureScenario("pending_keeps_a_waker",
			"a future that returns PENDING has kept a clone of the waker of that poll",
			func(r *report, f *future, p *probe) {
				if f.poll(p) {
					r.skip("Ready at once")
					return
				}
				if p.clones() == 0 { // a wake from C may be delivered later
					r.reaches(p.wakes, 1, "wakes",
						"of a future that is Pending and has kept no clone of the waker")
				}
				f.drop()
			}),

		futureScenario("context_is_borrowed",
			"the waker of a context is borrowed: clone it to keep it, never wake or drop it by value",
			func(r *report, f *future, p *probe) {
				if !f.poll(p) { // consuming it panics
					f.complete()
					f.finish(p)
				}
			}),

		futureScenario("wakes_when_it_can_go_on",
			"a future that returned PENDING wakes when it can continue",
			func(r *report, f *future, p *probe) {
				if f.poll(p) {
					return
				}
				f.complete()
				if p.woken(1, "of a future that is Pending and can continue") {
					f.finish(p)
				}
			}),

		futureScenario("latest_waker_is_woken",
			"of several polls, the waker of the latest is the one to wake",
			func(r *report, f *future, first *probe) {
				if f.Complete == nil {
					r.skip("no Complete")
					f.drop()
					return
				}
				latest := newProbe(r, first.raw.VTable != 0)
				defer latest.end()
				if f.poll(first) {
					return
				}
				r.did("with another waker:")
				if f.poll(latest) {
					return
				}
				f.complete()
				if latest.woken(1, "of the waker of the latest poll") {
					f.finish(latest)
				} else {
					f.drop()
				}
			}),

		futureScenario("unasked_poll",
			"a poll without a wake is legal",
			func(r *report, f *future, p *probe) {
				seen := 0
				for range 10 {
					seen = p.wakes()
					if f.poll(p) {
						return
					}
				}
				f.complete()
				if p.woken(seen+1, "of a future that was polled without a wake") {
					f.finish(p)
				} else {
					f.drop()
				}
			}),

		futureScenario("polls_on_any_thread",
			"poll and drop may each come from another thread",
			func(r *report, f *future, p *probe) {
				completed, ready := false, false
				for i := 0; !ready && !r.failed(); i++ {
					seen := p.wakes()
					elsewhere(r, func() { ready = f.poll(p) })
					if ready || i < 2 {
						continue
					}
					if !completed {
						f.complete()
					}
					completed = true
					if !p.woken(seen+1, "of a future that is Pending and can continue") {
						elsewhere(r, f.drop)
						return
					}
				}
			}),

		futureScenario("drop_before_the_poll",
			"drop releases everything, also before the first poll",
			func(r *report, f *future, p *probe) {
				f.drop()
			}),

		futureScenario("drop_while_pending",
			"drop called early cancels: it releases what the future holds, including the waker",
			func(r *report, f *future, p *probe) {
				if f.poll(p) {
					r.skip("Ready at once")
					return
				}
				f.drop()
			}),

		futureScenario("drop_after_ready",
			"drop is called after READY too, and releases everything",
			func(r *report, f *future, p *probe) {
				f.complete()
				f.finish(p) // a Go future that was Ready has released what it held, and is not dropped
			}),

		futureScenario("out_only_when_ready",
			"*out is written only with READY",
			func(r *report, f *future, p *probe) {
				r.skip("a Poll that is Pending has no value: the kit in C tests it")
				f.drop()
			}),

		{"drop_beside_the_wake",
			"drop may overlap a wake on another thread",
			func(r *report, make func() Future[T]) {
				for i := range 200 {
					inC := i%2 == 0
					if r.failed() || inC && !capi.HasCgo {
						continue
					}
					p := newProbe(r, inC)
					f := &future{make(), r}
					if f.Complete == nil {
						r.skip("no Complete")
						f.drop()
						f.done(p)
						return
					}
					ready := f.poll(p)
					var there atomic.Bool
					var all sync.WaitGroup
					all.Go(func() {
						defer r.noPanic()
						there.Store(true)
						f.complete()
					})
					for !there.Load() {
						runtime.Gosched()
					}
					for n := 0; n < i*10; n++ {
						there.Load()
					}
					if !ready {
						f.drop()
					}
					all.Wait()
					f.done(p)
					p.findings()
				}
			}},

		futureScenario("wakes_under_no_lock",
			"no slot is called under a lock: wake may call the future again at once",
			func(r *report, f *future, p *probe) {
				held := func() {
					r.expect(false, "a poll on another goroutine to return while the wake runs: "+
						"the future seems to hold a lock during the wake")
				}
				f.pollInsideTheWake(p, held, func(*probe) { f.drop() })
			}),

		futureScenario("set_before_wake",
			"the completing side sets the condition first and wakes after: "+
				"a poll inside the wake finds it, or another wake follows",
			func(r *report, f *future, p *probe) {
				held := func() { r.skip("a lock seems to be held during the wake: see wakes_under_no_lock") }
				f.pollInsideTheWake(p, held, func(inside *probe) {
					r.reaches(inside.wakes, 1, "wakes", "after a poll inside the wake was Pending: "+
						"the condition was set after the wake, which is lost")
					if r.failed() {
						f.drop()
					} else {
						f.finish(inside)
					}
				})
			}),

		futureScenario("clones_under_no_lock",
			"no slot is called under a lock, clone included",
			func(r *report, f *future, p *probe) {
				r.skip("a clone of a Go waker calls no user code: the kit in C tests it")
				f.drop()
			}),
	}
}
