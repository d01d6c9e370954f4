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

// Future is a future to be tested, and how to make it go on. A future of C comes by [rawwaker.FutureFromRaw].
type Future[T any] struct {
	Future   rawwaker.Future[T] // taken over: the kit polls it, and calls Drop where it is a Dropper and was not ready
	Complete func()             // makes it ready, and wakes its waker, on any goroutine; once, and perhaps beside or after its drop. nil: it becomes ready by itself in time
	Live     func() int         // what the future holds: 0 when it was ready or dropped
	Free     func()             // the kit is through with it
}

// TestFuture holds the futures that make makes to every rule, each rule a subtest. With cgo it does so twice in each: with a waker
// of Go, of which the race detector sees everything, and with an audited waker of C, which counts its references.
func TestFuture[T any](t *testing.T, make func(t testing.TB) Future[T]) {
	runAll(t, futures[T](), make)
}

// probe is the kit's own task. wakes counts; live and findings are known of the waker in C alone.
type probe struct {
	r      *report
	n      atomic.Int64
	onWake atomic.Pointer[func()]
	raw    capi.Raw // audited
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
		capi.AuditPrint(false) // the report has it
		if !capi.IsAudited(p.raw) {
			p.raw = capi.Audit(p.raw)
		}
		p.w = rawwaker.FromRaw(rawwaker.RawWakerOf(p.raw.Data, p.raw.VTable))
	}
	return p
}

func (p *probe) wakes() int { return int(p.n.Load()) }

// clones are those that live; -1 where that cannot be known.
func (p *probe) clones() int {
	if p.raw.VTable == 0 {
		return -1
	}
	return capi.AuditCount(p.raw) - 1
}

func (p *probe) woken(n int, when string) bool { return p.r.reaches(p.wakes, n, "wakes", when) }

// end looks what is left of the clones. A handle that nobody dropped goes with the collector: the kit asks for it to be dropped.
func (p *probe) end() {
	// What completes a future may still be on its way.
	p.r.comes(func() bool { return p.clones() <= 0 }, func() string {
		return fmt.Sprintf("each clone of the waker woken or dropped by the end; %d are not", p.clones())
	})
	p.w.Drop()
}

// findings takes what the auditor has to say of the waker.
func (p *probe) findings() {
	if p.raw.VTable == 0 {
		return
	}
	for _, f := range Findings() {
		p.r.expect(false, "nothing for the auditor to find; %s", f.Text)
	}
}

// polled is a Future under way.
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

// finish polls after each wake until it is ready.
func (f *polled[T]) finish(p *probe) {
	for {
		seen := p.wakes()
		if f.poll(p) || !p.woken(seen+1, "of a future that is Pending and can go on") {
			return
		}
	}
}

// pollInsideTheWake has another goroutine poll the future, with a waker of its own, while the first wake is still being carried out. If that
// poll does not return while the wake runs, held is called; if it is Pending, pending is, with the probe of its waker.
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
	p.woken(1, "of a future that can go on")
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
	if f.Live != nil {
		got := f.Live()
		f.r.expect(got == 0, "the future to hold nothing after its end; it holds %d", got)
	}
	p.end()
	if f.Free != nil {
		f.Free()
	}
}

// futureScenario is run with each kind of waker.
func futureScenario[T any](name, rule string, run func(r *report, f *polled[T], p *probe)) scenario[Future[T]] {
	return scenario[Future[T]]{name, rule, func(r *report, make func() Future[T]) {
		// The audited waker first: what harms a waker of Go in C's hands is reported by it, and goes no further.
		for _, inC := range []bool{true, false} {
			if r.failed() || inC && !capi.HasCgo {
				continue
			}
			if !inC {
				r.did("with a waker of Go:")
			}
			runtime.LockOSThread() // it is made on a thread of its own
			p := newProbe(r, inC)
			f := &polled[T]{make(), r}
			run(r, f, p)
			f.done(p)
			runtime.UnlockOSThread()
			p.findings()
		}
	}}
}

// elsewhere does f on another goroutine and another thread, and waits.
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
		futureScenario("complete_future_vtable", "a future's vtable has two slots", func(r *report, f *future, p *probe) {
			r.skip("FutureFromRaw looks at it: the kit in C tests it")
			f.drop()
		}),

		futureScenario("pending_keeps_a_waker", "a future that returns PENDING has kept a clone of the waker of that poll", func(r *report, f *future, p *probe) {
			if f.poll(p) {
				r.skip("Ready at once")
				return
			}
			if n := p.clones(); n >= 0 {
				if n == 0 { // a wake through C may come a little later
					r.reaches(p.wakes, 1, "wakes", "of a future that is Pending and has kept no clone of the waker")
				}
			}
			f.drop()
		}),

		futureScenario("context_is_borrowed", "the waker of a context is borrowed: clone it to keep it, never wake or drop it by value", func(r *report, f *future, p *probe) {
			if !f.poll(p) { // consuming it panics
				f.complete()
				f.finish(p)
			}
		}),

		futureScenario("wakes_when_it_can_go_on", "a future that returned PENDING wakes when it can continue", func(r *report, f *future, p *probe) {
			if f.poll(p) {
				return
			}
			f.complete()
			if p.woken(1, "of a future that is Pending and can go on") {
				f.finish(p)
			}
		}),

		futureScenario("latest_waker_is_woken", "of several polls, the waker of the latest is the one to wake", func(r *report, f *future, first *probe) {
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

		futureScenario("unasked_poll", "a poll without a wake is legal", func(r *report, f *future, p *probe) {
			seen := 0
			for range 10 {
				seen = p.wakes()
				if f.poll(p) {
					return
				}
			}
			f.complete()
			if p.woken(seen+1, "of a future that was polled when nobody had asked") {
				f.finish(p)
			} else {
				f.drop()
			}
		}),

		futureScenario("polls_on_any_thread", "poll and drop may each come from another thread", func(r *report, f *future, p *probe) {
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
				if !p.woken(seen+1, "of a future that is Pending and can go on") {
					elsewhere(r, f.drop)
					return
				}
			}
		}),

		futureScenario("drop_before_the_poll", "drop releases everything, also before the first poll", func(r *report, f *future, p *probe) {
			f.drop()
		}),

		futureScenario("drop_while_pending", "drop called early cancels: it releases what the future holds, including the waker", func(r *report, f *future, p *probe) {
			if f.poll(p) {
				r.skip("Ready at once")
				return
			}
			f.drop()
		}),

		futureScenario("drop_after_ready", "drop is called after READY too, and releases everything", func(r *report, f *future, p *probe) {
			f.complete()
			f.finish(p) // in Go a future that was Ready has released what it held, and Drop does not follow
		}),

		futureScenario("out_only_when_ready", "*out is written only with READY", func(r *report, f *future, p *probe) {
			r.skip("a Poll that is Pending has no value: the kit in C tests it")
			f.drop()
		}),

		{"drop_beside_the_wake", "drop may overlap a wake on another thread", func(r *report, make func() Future[T]) {
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

		futureScenario("wakes_under_no_lock", "no slot is called under a lock: wake may call the future again at once", func(r *report, f *future, p *probe) {
			held := "a poll on another goroutine to return while the wake runs: the future seems to hold a lock over it"
			f.pollInsideTheWake(p, func() { r.expect(false, "%s", held) }, func(*probe) { f.drop() })
		}),

		futureScenario("set_before_wake", "the completing side sets the condition first and wakes after: a poll inside the wake finds it, or another wake follows", func(r *report, f *future, p *probe) {
			held := func() { r.skip("a lock seems to be held over the wake: see wakes_under_no_lock") }
			f.pollInsideTheWake(p, held, func(inside *probe) {
				r.reaches(inside.wakes, 1, "wakes", "after a poll inside the wake was Pending: the condition was set after the wake, which is lost")
				if r.failed() {
					f.drop()
				} else {
					f.finish(inside)
				}
			})
		}),

		futureScenario("clones_under_no_lock", "no slot is called under a lock, clone included", func(r *report, f *future, p *probe) {
			r.skip("a clone of Go's calls nobody: the kit in C tests it, and a Mutex under audit")
			f.drop()
		}),
	}
}
