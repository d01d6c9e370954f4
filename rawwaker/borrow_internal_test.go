//go:build cgo

package rawwaker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

func TestBorrow(t *testing.T) {
	// Another goroutine may end the task between two steps of borrow.
	t.Run("of_a_task_that_ends_meanwhile_lends_a_no_op", func(t *testing.T) {
		var c wake.Core
		var cx Context
		c.Init(new(counter))
		cx.bind(&c)
		c.End()
		b := cx.Waker().borrow()
		require.Equal(t, borrowed{raw: fromNumbers(capi.Noop())}, b)
		b.giveBack()
	})
}
