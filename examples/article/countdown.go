package article

import (
	"fmt"
	"io"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// CountdownFuture prints a line at each poll and is ready at 0.
type CountdownFuture struct {
	Count uint32
	Out   io.Writer
}

// Poll implements [rawwaker.Future].
func (f *CountdownFuture) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	fmt.Fprintf(f.Out, "Poll #%d\n", f.Count)

	if f.Count == 0 {
		return rawwaker.Ready(struct{}{})
	}
	f.Count--
	cx.Waker().WakeByRef() // Wake immediately for next poll
	return rawwaker.Pending[struct{}]()
}
