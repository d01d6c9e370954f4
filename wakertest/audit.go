package wakertest

import (
	"io"
	"sync"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Finding is a rule that was broken: its name, as rawwaker_audit.h lists them, and a text of some lines, which says on which
// thread and from where, who made the reference, and what went before.
type Finding struct{ Rule, Text string }

// Audit wraps one reference of anybody's waker, and takes it over. What breaks a rule with it, in C or in Go, is printed on standard
// error and kept for [Findings], and is not passed on. An audited waker wakes the same task, but equals no other: will_wake is false
// of it and its clone.
func Audit(raw rawwaker.RawWaker) rawwaker.RawWaker {
	needCgo("Audit")
	if raw.VTable == nil {
		panic("wakertest: Audit of a nil vtable")
	}
	data, vtable := raw.Words()
	w := capi.Audit(capi.Raw{Data: data, VTable: vtable})
	return rawwaker.RawWakerOf(w.Data, w.VTable)
}

// AuditFuture wraps a future of C, and the waker of each of its polls.
func AuditFuture(raw rawwaker.RawFuture) rawwaker.RawFuture {
	needCgo("AuditFuture")
	if raw.VTable == nil {
		panic("wakertest: AuditFuture of a nil vtable")
	}
	data, vtable := raw.Words()
	f := capi.AuditFuture(capi.Raw{Data: data, VTable: vtable}, capi.UnknownSize)
	return rawwaker.RawFutureOf(f.Data, f.VTable)
}

// Findings takes what was found so far, oldest first. Of those that nobody takes 512 are kept; if there were more, the last one given here is
// of the rule findings_omitted and says how many.
func Findings() []Finding {
	var all []Finding
	for {
		rule, text, ok := capi.AuditTake()
		if !ok {
			return all
		}
		all = append(all, Finding{rule, text})
	}
}

// Leaks reports each audited reference that is there now, once, and returns how many: call it when none should be. They are among the
// [Findings] then. Nothing calls it at the program's end. It sees references to wakers, and no futures that were never dropped. A reference that a Go [rawwaker.Waker] holds is reported by itself where the collector has found it undropped, if
// FFIWAKERDEBUG=audit=1 is set.
func Leaks() int { return capi.AuditLeaks() }

// Report writes what was found so far, leaks included.
func Report(to io.Writer) error {
	Leaks()
	for _, f := range Findings() {
		if _, err := io.WriteString(to, f.Text); err != nil {
			return err
		}
	}
	return nil
}

// Check makes t fail at its end with whatever was found until then, leaks included. Tests that use it must not run beside others that
// audit: there is one audit in a process.
func Check(t testing.TB) {
	t.Helper()
	needCgo("Check")
	capi.AuditPrint(false)
	Findings()
	t.Cleanup(func() {
		Leaks()
		for _, f := range Findings() {
			t.Error(f.Text)
		}
		capi.AuditPrint(true)
	})
}

// Mutex is a sync.Mutex that the auditor knows of: whoever calls a slot of an audited waker while he holds it breaks the rule
// slot_under_lock. Use it in place of your own in tests.
type Mutex struct{ mu sync.Mutex }

func (m *Mutex) Lock() {
	m.mu.Lock()
	capi.AuditLock(1)
}

func (m *Mutex) Unlock() {
	capi.AuditLock(-1)
	m.mu.Unlock()
}

func needCgo(call string) {
	if !capi.HasCgo {
		panic("wakertest: " + call + " needs cgo")
	}
}
