//go:build unix

package future

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// emptyPipe returns the read end of a pipe, which is closed when the test ends.
func emptyPipe(t *testing.T) syscall.RawConn {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	conn, err := r.SyscallConn()
	require.NoError(t, err)
	return conn
}

func TestWatch(t *testing.T) {
	t.Run("keeps_no_wait_that_was_dropped", func(t *testing.T) {
		conn := emptyPipe(t)
		var all [4]*readiness // each is put before those that came earlier
		for i := range all {
			all[i] = Readable(conn).(*readiness)
			require.False(t, pollOnce[error](all[i]).IsReady())
		}
		of := all[0].watch
		listed := func() (got []*readiness) {
			watches.mu.Lock()
			defer watches.mu.Unlock()
			for f := of.first; f != nil; f = f.next {
				got = append(got, f)
			}
			return got
		}
		require.Equal(t, []*readiness{all[3], all[2], all[1], all[0]}, listed())
		all[1].Drop()
		require.Equal(t, []*readiness{all[3], all[2], all[0]}, listed())
		all[0].Drop()
		require.Equal(t, []*readiness{all[3], all[2]}, listed())
		all[3].Drop()
		require.Equal(t, []*readiness{all[2]}, listed())
		all[2].Drop()
		require.Empty(t, listed())
	})
	t.Run("gives_the_panic_of_its_wait_to_the_future_that_started_it", func(t *testing.T) {
		conn := emptyPipe(t)
		woken := make(chan struct{}, 1)
		f := Readable(conn).(*readiness)
		f.private = true
		f.wait = func(_ syscall.RawConn, _ func(uintptr) bool) error { panic("wait") }
		waker := rawwaker.FromFunc(func() { woken <- struct{}{} })
		defer waker.Drop()
		cx := rawwaker.NewContext(waker)
		require.False(t, f.Poll(cx).IsReady())
		<-woken
		require.Panics(t, func() { f.Poll(cx) })
		require.True(t, f.done)
	})
}
