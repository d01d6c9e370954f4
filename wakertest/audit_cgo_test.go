//go:build cgo

package wakertest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// TestWhatCrossesUnderAudit is run by the next test in a process of its own, where everything that crosses is audited.
func TestWhatCrossesUnderAudit(t *testing.T) {
	if !trace.AuditAll() {
		t.Skip("of another test")
	}
	w := rawwaker.FromFunc(func() {})
	back := rawwaker.FromRaw(w.Clone().IntoRaw())
	require.True(t, back.WillWake(w), "Go's own coming back: the wrapping is taken off")
	back.Drop()
	w.Drop()

	c := rawwaker.FromRaw(ctest.NumberWaker(42)).IntoRaw()
	require.True(t, capi.IsAudited(numbers(c)), "C's is wrapped")
	again := rawwaker.FromRaw(c).IntoRaw()
	require.Equal(t, c, again, "once")
	ctest.Drop(again)
	require.Zero(t, ctest.NumberFaults())
	require.Zero(t, ctest.NumberRefs())
	require.Zero(t, capi.AuditLive())
}

func TestUnderAuditEachThatCrossesIsWrappedOnce(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestWhatCrossesUnderAudit$", "-test.v")
	cmd.Env = append(os.Environ(), "FFIWAKERDEBUG=audit=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "rawwaker audit:")
}
