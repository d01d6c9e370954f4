//go:build cgo

package wakertest_test

import (
	"fmt"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// Finds that one reference is dropped twice. The second drop is not forwarded.
func ExampleAudit() {
	raw := wakertest.Audit(rawwaker.FromFunc(func() {}).IntoRaw())
	rawwaker.FromRaw(raw).Drop()
	rawwaker.FromRaw(raw).Drop() // the same reference
	for _, f := range wakertest.Findings() {
		fmt.Println(f.Rule)
	}
	// Output: double_drop
}

// Finds a clone that was never used. Call Leaks when no reference should exist.
func ExampleLeaks() {
	w := rawwaker.FromRaw(wakertest.Audit(rawwaker.FromFunc(func() {}).IntoRaw()))
	clone := w.Clone()
	w.Drop()
	fmt.Println("leaks:", wakertest.Leaks() > 0)
	fmt.Println("rule:", wakertest.Findings()[0].Rule)
	clone.Drop()
	// Output:
	// leaks: true
	// rule: forgotten
}
