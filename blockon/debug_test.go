//go:build ffiwakerdebug

package blockon_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestBlockOnDebug(t *testing.T) {
	t.Run("kept_context_panics", func(t *testing.T) {
		var kept *rawwaker.Context
		blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			kept = cx
			return rawwaker.Ready(0)
		}))
		blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			require.NotSame(t, kept, cx)
			return rawwaker.Ready(0)
		}))
		require.PanicsWithValue(t,
			"rawwaker: WakeByRef of a borrowed waker whose task or poll has ended: Clone it to keep it",
			func() { kept.Waker().WakeByRef() })
	})
}
