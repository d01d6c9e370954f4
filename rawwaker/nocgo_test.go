//go:build !cgo

package rawwaker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
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
	for call, f := range map[string]func(){
		"FutureFromRawFunc": func() {
			rawwaker.FutureFromRawFunc[int, int](rawwaker.RawFuture{}, nil)
		},
		"StreamFromRaw": func() { rawwaker.StreamFromRaw[int](rawwaker.RawStream{}) },
		"StreamFromRawFunc": func() {
			rawwaker.StreamFromRawFunc[int, int](rawwaker.RawStream{}, nil)
		},
		"StreamIntoRaw":     func() { rawwaker.StreamIntoRaw[int](nil) },
		"StreamIntoRawFunc": func() { rawwaker.StreamIntoRawFunc[int](nil, nil) },
		"AwaitRaw": func() {
			blockon.AwaitRaw[int](t.Context(), rawwaker.RawFuture{})
		},
	} {
		require.PanicsWithValue(t, "rawwaker: "+call+" needs cgo", f)
	}
	w.Wake()
}
