package wakertest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Waker is a waker under test, with functions that observe the task behind it. Wakes and one of Raw
// and Handle are required. If another function is nil, the rules that need it are skipped. The
// functions may be called on any goroutine.
type Waker struct {
	// Raw is one reference, of which the kit takes ownership. Its slots are called in C.
	Raw rawwaker.RawWaker
	// Handle is used instead of Raw if it is not nil. Its methods are called in Go.
	Handle *rawwaker.Waker

	// Wakes returns the number of wakes that the task has noticed. If wakes coalesce in a flag,
	// return how many polls were due: the polls that found the flag set when they began, plus 1 if
	// it is set now. If it counted how often the flag was set, a poll that clears a wake made during
	// that poll would pass.
	Wakes func() int
	// Live returns the number of references, the kit's included. It is also called when none is
	// left. If it is nil, no count is checked.
	Live func() int
	// Poll clears the notification and polls the task. Inside the poll it calls during, unless that
	// is nil.
	Poll func(during func())
	// OnWake makes each noticed wake call f before it returns. A nil f ends that.
	OnWake func(f func())
	// End ends the task: its wakers stay usable, and their wakes do nothing.
	End func()
	// Free is called once, when every reference has ended and the kit no longer uses the task.
	Free func()
	// Exact is true if each wake is counted, that is, if wakes do not coalesce.
	Exact bool
}

// TestWaker checks the wakers that make returns against every rule, each in a subtest. It calls
// make at least once for each.
func TestWaker(t *testing.T, make func(t testing.TB) Waker) {
	runAll(t, wakers, make)
}

// reference is one reference to a waker, as slots of C or as a Go handle.
type reference interface {
	clone() reference
	wake()
	wakeByRef()
	drop()
	willWake(reference) bool
	words() (w capi.Raw) // the caller takes ownership of the reference
}

type slots struct{ capi.Raw }

func (s slots) clone() reference          { return slots{capi.Clone(s.Raw)} }
func (s slots) wake()                     { capi.Wake(s.Raw) }
func (s slots) wakeByRef()                { capi.WakeByRef(s.Raw) }
func (s slots) drop()                     { capi.Drop(s.Raw) }
func (s slots) willWake(o reference) bool { return s == o }
func (s slots) words() capi.Raw           { return s.Raw }

type handle struct{ *rawwaker.Waker }

func (h handle) clone() reference          { return handle{h.Clone()} }
func (h handle) wake()                     { h.Wake() }
func (h handle) wakeByRef()                { h.WakeByRef() }
func (h handle) drop()                     { h.Drop() }
func (h handle) willWake(o reference) bool { return h.WillWake(o.(handle).Waker) }
func (h handle) words() capi.Raw {
	data, vtable := h.IntoRaw().Words()
	return capi.Raw{Data: data, VTable: vtable}
}

func (s Waker) reference() reference {
	if s.Handle != nil {
		return handle{s.Handle}
	}
	data, vtable := s.Raw.Words()
	return slots{capi.Raw{Data: data, VTable: vtable}}
}

// subject is the Waker of one scenario. Its methods note each call in the report.
type subject struct {
	Waker
	r *report
	w reference
}

func begin(r *report, make func() Waker) *subject {
	s := &subject{Waker: make(), r: r}
	s.w = s.reference()
	return s
}

func (s *subject) clone(w reference, what string) reference {
	s.r.did("%s", what)
	return w.clone()
}
func (s *subject) wake(w reference, what string)      { s.r.did("%s", what); w.wake() }
func (s *subject) wakeByRef(w reference, what string) { s.r.did("%s", what); w.wakeByRef() }
func (s *subject) drop(w reference, what string)      { s.r.did("%s", what); w.drop() }

func (s *subject) poll(during func()) {
	if s.Poll != nil {
		s.r.did("poll")
		s.Poll(during)
	}
}

func (s *subject) live(n int, when string) bool {
	if s.Live == nil {
		return true
	}
	got := s.Live()
	return s.r.expect(got == n, "%d references %s; there are %d", n, when, got)
}

func (s *subject) wakes(n int, when string) bool {
	return s.r.reaches(s.Wakes, n, "wakes noticed", when)
}

func (s *subject) atMost(n int, when string) {
	got := s.Wakes()
	s.r.expect(got <= n, "at most %d wakes noticed %s; there were %d", n, when, got)
}

func (s *subject) done() {
	s.live(0, "at the end, each ended by one wake or drop")
	if s.Free != nil {
		s.Free()
	}
}

// again returns whether a second wake since the last poll must be noticed as well.
func (s *subject) again() bool { return s.Poll != nil || s.Exact }

var wakers = []scenario[Waker]{
	{"complete_vtable",
		"a vtable has four slots",
		func(r *report, make func() Waker) {
			w := make()
			if w.Handle == nil && !r.expect(w.Raw.VTable != nil, "a vtable") {
				return
			}
			if w.Handle == nil {
				v := w.Raw.VTable
				if !r.expect(v.Clone != 0 && v.Wake != 0 && v.WakeByRef != 0 && v.Drop != 0, "four slots") {
					return
				}
			}
			s := &subject{Waker: w, r: r, w: w.reference()}
			s.drop(s.w, "drop w")
			s.done()
		}},

	{"clone_is_a_reference",
		"a clone is a reference of its own, and wakes the same task",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			s.live(1, "of a new waker")
			c := s.clone(s.w, "c = clone w")
			s.live(2, "after clone")
			s.drop(s.w, "drop w")
			s.live(1, "after the original is dropped")
			before := s.Wakes()
			s.wakeByRef(c, "wake_by_ref c")
			s.wakes(before+1, "after a wake of the clone")
			s.drop(c, "drop c")
			s.done()
		}},

	{"clone_may_change_data",
		"a clone may have other data and another vtable, and is then used through those",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			c1 := s.clone(s.w, "c1 = clone w")
			c2 := s.clone(c1, "c2 = clone c1")
			c3 := s.clone(c2, "c3 = clone c2")
			s.live(4, "after three clones")
			s.drop(c2, "drop c2")
			s.drop(s.w, "drop w")
			s.live(2, "after two drops")
			before := s.Wakes()
			s.wakeByRef(c3, "wake_by_ref c3")
			s.wakes(before+1, "after a wake of a clone's clone")
			s.poll(nil)
			before = s.Wakes()
			s.wake(c1, "wake c1")
			if s.again() {
				s.wakes(before+1, "after a wake of the clone")
			}
			s.drop(c3, "drop c3")
			s.done()
		}},

	{"wake_consumes",
		"wake wakes the task and releases this reference: drop never follows it",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			c := s.clone(s.w, "c = clone w")
			before := s.Wakes()
			s.wake(c, "wake c")
			s.wakes(before+1, "after wake")
			s.atMost(before+1, "after one wake")
			s.live(1, "after wake has consumed the clone")
			s.wake(s.w, "wake w")
			s.done()
		}},

	{"wake_by_ref_borrows",
		"wake_by_ref wakes the task and releases nothing",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			before := s.Wakes()
			s.wakeByRef(s.w, "wake_by_ref w")
			s.wakes(before+1, "after wake_by_ref")
			s.live(1, "after wake_by_ref")
			s.poll(nil)
			before = s.Wakes()
			s.wakeByRef(s.w, "wake_by_ref w")
			if s.again() {
				s.wakes(before+1, "after a second wake_by_ref")
			}
			s.live(1, "after a second wake_by_ref")
			s.drop(s.w, "drop w")
			s.done()
		}},

	{"drop_wakes_nobody",
		"drop releases this reference and does not wake",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			before := s.Wakes()
			s.drop(s.clone(s.w, "c = clone w"), "drop c")
			s.drop(s.w, "drop w")
			graceTime()
			s.atMost(before, "after clone and drop")
			s.done()
		}},

	{"references_balance",
		"each reference is ended by exactly one wake or drop, in any order",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			all := []reference{s.w}
			for i := 1; i < 64; i++ {
				all = append(all, s.clone(all[(i*7)%i], "clone one of them"))
			}
			s.live(64, "after 63 clones")
			for i := range 64 {
				if w := all[(i*29)%64]; i%2 == 0 {
					s.drop(w, "drop one")
				} else {
					s.wake(w, "wake one")
				}
				if !s.live(63-i, "after so many drops and wakes") {
					break
				}
			}
			s.done()
		}},

	{"wakes_coalesce",
		"several wakes may lead to one poll; a wake after that poll leads to another",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			before := s.Wakes()
			for range 10 {
				s.wakeByRef(s.w, "wake_by_ref w")
			}
			least := 1
			if s.Exact {
				least = 10
			}
			s.wakes(before+least, "after ten wakes")
			s.atMost(before+10, "after ten wakes")
			if s.Poll != nil {
				s.poll(nil)
				before = s.Wakes()
				s.wakeByRef(s.w, "wake_by_ref w")
				s.wakes(before+1, "after a wake that follows the poll")
			}
			s.drop(s.w, "drop w")
			s.done()
		}},

	{"wakes_publish",
		"what was written before a wake is visible to the poll that follows, " +
			"even if the task was woken already",
		func(r *report, make func() Waker) {
			for range 50 {
				s := begin(r, make)
				if s.Poll == nil {
					r.skip("no Poll")
					s.drop(s.w, "drop w")
					s.done()
					return
				}
				before := s.Wakes()
				var words [2]int
				var woken flag
				var all sync.WaitGroup
				r.did("two goroutines write and wake_by_ref w, then poll reads")
				for i := range words {
					all.Go(func() {
						defer r.noPanic()
						words[i] = 42
						s.w.wakeByRef()
						woken.raise()
					})
					woken.await(int32(i + 1))
				}
				s.wakes(before+1, "after two wakes")
				s.Poll(func() {
					r.expect(words == [2]int{42, 42},
						"the poll to see what was written before each wake; it sees %v", words)
				})
				all.Wait()
				s.drop(s.w, "drop w")
				s.done()
			}
		}},

	{"wake_before_the_poll",
		"a wake that comes before the poll is not lost",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			before := s.Wakes()
			s.wakeByRef(s.w, "wake_by_ref w")
			s.wakes(before+1, "before the first poll")
			s.poll(nil)
			s.drop(s.w, "drop w")
			s.done()
		}},

	{"wake_during_the_poll",
		"a wake that comes during the poll leads to another, afterwards",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if s.Poll == nil {
				r.skip("no Poll")
			} else {
				for range 3 {
					before := s.Wakes()
					s.poll(func() { s.wakeByRef(s.w, "wake_by_ref w inside the poll") })
					if !s.wakes(before+1, "after a wake inside the poll") {
						break
					}
				}
			}
			s.drop(s.w, "drop w")
			s.done()
		}},

	{"wake_after_the_poll",
		"each wake after a poll leads to another",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if s.Poll == nil {
				r.skip("no Poll")
			} else {
				for range 3 {
					s.poll(nil)
					before := s.Wakes()
					s.wake(s.clone(s.w, "c = clone w"), "wake c")
					if !s.wakes(before+1, "after the poll") {
						break
					}
				}
			}
			s.drop(s.w, "drop w")
			s.done()
		}},

	{"wake_after_the_end",
		"wakers may outlive their task; their wakes then do nothing",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if s.End == nil {
				r.skip("no End")
				s.drop(s.w, "drop w")
				s.done()
				return
			}
			c := s.clone(s.w, "c = clone w")
			r.did("end")
			s.End()
			before := s.Wakes()
			s.wakeByRef(s.w, "wake_by_ref w")
			d := s.clone(c, "d = clone c")
			s.wake(c, "wake c")
			s.drop(d, "drop d")
			s.wake(s.w, "wake w")
			graceTime()
			s.atMost(before, "after the task's end")
			s.done()
		}},

	{"drop_inside_wake",
		"code that a wake calls may drop wakers of the same task before the wake returns",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if s.OnWake == nil {
				r.skip("no OnWake")
				s.drop(s.w, "drop w")
				s.done()
				return
			}
			c := s.clone(s.w, "c = clone w")
			inside := newGate()
			var once sync.Once
			s.OnWake(func() {
				once.Do(func() {
					s.drop(c, "drop c inside the wake")
					inside.open()
				})
			})
			s.wake(s.w, "wake w")
			r.expect(inside.within(Patience/2), "the wake to be noticed")
			s.OnWake(nil)
			s.done()
		}},

	{"clone_inside_wake",
		"code that a wake calls may clone wakers of the same task before the wake returns",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if s.OnWake == nil {
				r.skip("no OnWake")
				s.drop(s.w, "drop w")
				s.done()
				return
			}
			c := s.clone(s.w, "c = clone w")
			var d reference
			inside := newGate()
			var once sync.Once
			s.OnWake(func() {
				once.Do(func() {
					d = s.clone(c, "d = clone c inside the wake")
					inside.open()
				})
			})
			s.wake(s.w, "wake w")
			if r.expect(inside.within(Patience/2), "the wake to be noticed") {
				s.live(2, "after the wake")
				s.drop(d, "drop d")
			}
			s.OnWake(nil)
			s.drop(c, "drop c")
			s.done()
		}},

	{"storm",
		"a waker may be cloned, woken and dropped by many threads at once",
		func(r *report, make func() Waker) {
			for round := range 3 {
				if r.failed() {
					return
				}
				s := begin(r, make)
				before := s.Wakes()
				var made atomic.Int64
				var all sync.WaitGroup
				r.did("4 goroutines clone, wake and drop 1,000 times each")
				for i := range 4 {
					mine := s.w.clone()
					all.Go(func() {
						defer r.noPanic()
						made.Add(int64(stormer(mine, uint64(round*4+i))))
					})
				}
				for i := 0; i < 200 && s.Poll != nil; i++ {
					s.Poll(nil)
				}
				all.Wait()
				s.live(1, "after the storm")
				least := before
				if s.Poll == nil { // a poll of the kit may clear all wakes of the storm
					least++
				}
				if s.Exact {
					least = before + int(made.Load())
				}
				s.wakes(least, "after the storm")
				s.atMost(before+int(made.Load()), "after the storm")
				s.poll(nil)
				before = s.Wakes()
				s.wake(s.w, "wake w")
				if s.again() {
					s.wakes(before+1, "after the storm and one more wake")
				}
				s.done()
			}
		}},

	{"will_wake",
		"equal words wake the same task",
		func(r *report, make func() Waker) {
			a, b := begin(r, make), begin(r, make)
			r.expect(a.w.willWake(a.w), "a waker to wake what it wakes")
			same := a.w.willWake(b.w)
			if same {
				before := b.Wakes()
				a.wakeByRef(a.w, "wake_by_ref w, which equals another task's waker")
				b.wakes(before+1, "by each of two tasks whose wakers are equal")
			}
			c := a.clone(a.w, "c = clone w")
			r.expect(same || !c.willWake(b.w), "a clone not to equal another task's waker")
			if c.willWake(a.w) {
				a.poll(nil)
				before := a.Wakes()
				a.wakeByRef(c, "wake_by_ref c")
				if !same || a.again() {
					a.wakes(before+1, "after a wake of a clone that is equal")
				}
			}
			a.drop(c, "drop c")
			a.drop(a.w, "drop w")
			b.drop(b.w, "drop the other task's")
			a.done()
			b.done()
		}},

	{"unknown_thread",
		"a waker may be used on a thread that its executor does not know",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if !capi.HasCgo {
				r.skip("a build without cgo has no such threads")
				s.drop(s.w, "drop w")
				s.done()
				return
			}
			before := s.Wakes()
			w := s.w.words()
			on := func(slot capi.Slot, w capi.Raw, what string) capi.Raw {
				r.did("on a new thread: %s", what)
				got, err := capi.OnThread(slot, w, 1)
				r.expect(err == nil, "a thread; %v", err)
				return got
			}
			c := on(capi.SlotClone, w, "c = clone w")
			on(capi.SlotWakeByRef, c, "wake_by_ref c")
			on(capi.SlotDrop, c, "drop c")
			on(capi.SlotWake, w, "wake w")
			s.wakes(before+1, "after wakes on a thread that the executor does not know")
			s.done()
		}},

	{"slots_under_a_lock",
		"slots only notify: they wait for no poll, even if the caller holds a lock that a poll needs",
		func(r *report, make func() Waker) {
			s := begin(r, make)
			if s.Poll == nil {
				r.skip("no Poll")
			} else {
				var lock sync.Mutex
				inside, out := newGate(), newGate()
				lock.Lock()
				go func() {
					defer out.open()
					defer r.noPanic()
					s.Poll(func() {
						r.did("the poll waits for the lock")
						inside.open()
						lock.Lock()
						defer lock.Unlock()
					})
				}()
				inside.wait()
				c, d := s.clone(s.w, "under the lock: c = clone w"), s.clone(s.w, "under the lock: d = clone w")
				s.wakeByRef(c, "under the lock: wake_by_ref c")
				s.drop(d, "under the lock: drop d")
				s.wake(c, "under the lock: wake c")
				r.did("unlock")
				lock.Unlock()
				out.wait()
			}
			s.drop(s.w, "drop w")
			s.done()
		}},
}

// stormer clones, wakes and drops at random, and returns the number of its wakes.
func stormer(mine reference, seed uint64) (made int) {
	random := rand.New(rand.NewPCG(seed, 1))
	for range 1000 {
		c := mine.clone()
		switch random.IntN(4) {
		case 0:
			c.drop()
		case 1:
			c.wakeByRef()
			c.drop()
			made++
		case 2:
			c.wake()
			made++
		default: // the clone replaces the reference that it was cloned from
			mine.wake()
			mine = c
			made++
		}
	}
	mine.drop()
	return made
}
