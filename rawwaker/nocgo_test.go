//go:build !cgo

package rawwaker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestWithoutCgo(t *testing.T) {
	w := rawwaker.FromFunc(func() {})
	require.PanicsWithValue(
		t,
		"rawwaker: FromRaw needs cgo",
		func() { rawwaker.FromRaw(rawwaker.RawWaker{}) },
	)
	require.PanicsWithValue(t, "rawwaker: IntoRaw needs cgo", func() { w.IntoRaw() })
	require.PanicsWithValue(t, "rawwaker: AsRaw needs cgo", func() { w.AsRaw() })
	w.Wake()
}
