package wakertest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a call may take. Half of it is how late a wake may arrive. Change it before
// a test begins.
var Patience = 10 * time.Second

// Rule is the name of a scenario and the rule that it checks.
type Rule struct{ Name, Rule string }

// scenario checks one rule.
type scenario[S any] struct {
	name, rule string
	run        func(r *report, make func() S)
}

func rules[S any](all []scenario[S]) []Rule {
	var rs []Rule
	for _, s := range all {
		rs = append(rs, Rule{s.name, s.rule})
	}
	return rs
}

// WakerRules returns the rules of [TestWaker], in the order of its subtests.
func WakerRules() []Rule { return rules(wakers) }

// FutureRules returns the rules of [TestFuture], in the order of its subtests.
func FutureRules() []Rule { return rules(futures[struct{}]()) }

// ExecutorRules returns the rules of [TestExecutor], in the order of its subtests.
func ExecutorRules() []Rule { return rules(executors) }

// report holds the calls of one scenario and its outcome. Its lock orders memory between the
// goroutines that use it, so a scenario about publishing notes nothing between a wake and its poll.
type report struct {
	mu      sync.Mutex
	events  []string
	why     string
	skipped string
}

const maxEvents = 64

func (r *report) did(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == maxEvents {
		copy(r.events, r.events[1:])
		r.events = r.events[:maxEvents-1]
	}
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

// expect returns ok. If it is the scenario's first that is false, the text becomes its failure.
func (r *report) expect(ok bool, format string, args ...any) bool {
	if ok {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == "" {
		r.why = fmt.Sprintf(format, args...)
	}
	return false
}

// noPanic reports a panic as a failure. Every goroutine of the kit defers it.
func (r *report) noPanic() {
	if v := recover(); v != nil {
		r.expect(false, "no panic; %v", v)
	}
}

func (r *report) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why != ""
}

func (r *report) skip(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipped = why
}

// eventually waits until ok returns true, for half of Patience. Otherwise the scenario fails.
func (r *report) eventually(ok func() bool, expected func() string) bool {
	for end := time.Now().Add(Patience / 2); ; time.Sleep(20 * time.Microsecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return r.expect(false, "%s", expected())
		}
	}
}

// reaches waits until count returns at least n, for half of Patience. Otherwise the scenario fails.
func (r *report) reaches(count func() int, n int, of, when string) bool {
	return r.eventually(func() bool { return count() >= n }, func() string {
		return fmt.Sprintf("at least %d %s %s; there were %d", n, of, when, count())
	})
}

// runAll runs each scenario as a subtest, on a goroutine of its own, which may stay blocked.
func runAll[S any](t *testing.T, all []scenario[S], make func(t testing.TB) S) {
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			r := new(report)
			done := newGate()
			go func() {
				defer done.open()
				defer r.noPanic()
				s.run(r, func() S {
					r.did("make")
					return make(t)
				})
			}()
			if !done.within(Patience) {
				r.expect(false, "every call to return; the latest did not")
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			switch {
			case r.why != "":
				t.Errorf("the rule: %s\nexpected: %s\nin order: %s",
					s.rule, r.why, strings.Join(r.events, "; "))
			case r.skipped != "":
				t.Skip(r.skipped)
			}
		})
	}
}

// gate is opened once, and lets every waiter continue.
type gate struct {
	ch   chan struct{}
	once sync.Once
}

func newGate() *gate  { return &gate{ch: make(chan struct{})} }
func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }
func (g *gate) wait() { <-g.ch }
func (g *gate) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-g.ch:
		return true
	case <-timer.C:
		return false
	}
}

// flag is a signal that the race detector does not see as synchronisation, so a scenario about what
// a wake publishes does not publish it itself. The hardware may order it.
type flag struct{ n int32 }

//go:norace
//go:noinline
func (f *flag) raise() { f.n++ }

//go:norace
//go:noinline
func (f *flag) raised() int32 { return f.n }

// await waits until the flag was raised n times.
func (f *flag) await(n int32) {
	for f.raised() < n {
		runtime.Gosched()
	}
}

// graceTime gives a wake that must not come the time to arrive late.
func graceTime() { time.Sleep(5 * time.Millisecond) }
