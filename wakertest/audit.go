package wakertest

import (
	"io"
	"sync"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Finding is one broken rule. Rule is its name in the table of rawwaker_audit.h. Text has several
// lines: on which thread and from where it was broken, where the reference was made, and the calls
// before.
type Finding struct{ Rule, Text string }

// Audit wraps one reference to a waker, of which it takes ownership, and returns the audited
// reference. A call of the audited waker that breaks a rule, in C or in Go, is printed on standard
// error and kept for [Findings], and is not forwarded. The audited waker wakes the same task, but
// is equal to no other waker: will_wake is false even for its own clone. Audit may be called on any
// goroutine. It panics if the vtable is nil, and in a build without cgo.
func Audit(raw rawwaker.RawWaker) rawwaker.RawWaker {
	needCgo("Audit")
	if raw.VTable == nil {
		panic("wakertest: Audit of a nil vtable")
	}
	data, vtable := raw.Words()
	w := capi.Audit(capi.Raw{Data: data, VTable: vtable})
	return rawwaker.RawWakerOf(w.Data, w.VTable)
}

// AuditFuture is [Audit] for a C future and for the waker of each of its polls: it takes ownership
// of the future and returns the audited one.
func AuditFuture(raw rawwaker.RawFuture) rawwaker.RawFuture {
	needCgo("AuditFuture")
	if raw.VTable == nil {
		panic("wakertest: AuditFuture of a nil vtable")
	}
	data, vtable := raw.Words()
	f := capi.AuditFuture(capi.Raw{Data: data, VTable: vtable}, capi.UnknownSize)
	return rawwaker.RawFutureOf(f.Data, f.VTable)
}

// AuditStream is [Audit] for a C stream and for the waker of each of its polls: it takes ownership
// of the stream and returns the audited one.
func AuditStream(raw rawwaker.RawStream) rawwaker.RawStream {
	needCgo("AuditStream")
	if raw.VTable == nil {
		panic("wakertest: AuditStream of a nil vtable")
	}
	data, vtable := raw.Words()
	s := capi.AuditStream(capi.Raw{Data: data, VTable: vtable}, capi.UnknownSize)
	return rawwaker.RawStreamOf(s.Data, s.VTable)
}

// Findings returns the findings of the process since the last call, oldest first. At most 512 are
// kept until then; if there were more, the last one has the rule findings_omitted and their number.
// Findings may be called on any goroutine.
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

// Leaks adds a finding for each audited reference that exists now, each once, and returns their
// number. Call it when none should exist; nothing calls it at the end of the process. It does not
// report futures and streams that were never dropped. If FFIWAKERDEBUG=audit=1 is set, a reference
// held by a Go [rawwaker.Waker] is also reported when the collector finds that it was not dropped.
func Leaks() int { return capi.AuditLeaks() }

// Report writes the texts of the findings, leaks included, and removes them. It returns the first
// error of to.
func Report(to io.Writer) error {
	Leaks()
	for _, f := range Findings() {
		if _, err := io.WriteString(to, f.Text); err != nil {
			return err
		}
	}
	return nil
}

// Check makes t fail at its end if there are findings by then, leaks included. Earlier findings are
// removed, and none are printed while t runs. The process has one auditor, so do not run tests that
// use Check in parallel with others that audit. It panics in a build without cgo.
//
// From Go 1.27 on, t also fails for each goroutine that began to sleep in blockon.BlockOn or
// blockon.Await meanwhile and that nothing can wake any more, and prints its stack. Such a
// goroutine cannot be found while a C waker that is not dropped, or the registry of what C may
// wake, reaches it.
func Check(t testing.TB) {
	t.Helper()
	needCgo("Check")
	capi.AuditPrint(false)
	Findings()
	before := asleepForever()
	t.Cleanup(func() {
		for stack, n := range asleepForever() {
			if n -= before[stack]; n > 0 {
				t.Errorf("wakertest: Check: %d goroutines sleep and nothing can wake them "+
					"(a future must keep its waker, or have woken it):\n%s", n, stack)
			}
		}
		Leaks()
		for _, f := range Findings() {
			t.Error(f.Text)
		}
		capi.AuditPrint(true)
	})
}

// Mutex is a [sync.Mutex] that the auditor sees: a slot of an audited waker that is called while
// the calling goroutine holds a Mutex breaks the rule slot_under_lock. Use it in tests in place of
// your own mutex. The zero value is unlocked.
type Mutex struct{ mu sync.Mutex }

// Lock locks m.
func (m *Mutex) Lock() {
	m.mu.Lock()
	capi.AuditLock(1)
}

// Unlock unlocks m, on the goroutine that locked it.
func (m *Mutex) Unlock() {
	capi.AuditLock(-1)
	m.mu.Unlock()
}

func needCgo(call string) {
	if !capi.HasCgo {
		panic("wakertest: " + call + " needs cgo")
	}
}
