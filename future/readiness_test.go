//go:build unix

package future_test

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// pipe returns a pipe, which is closed when the test ends, and the connection of r.
func pipe(t *testing.T) (r, w *os.File, conn syscall.RawConn) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	conn, err = r.SyscallConn()
	require.NoError(t, err)
	return r, w, conn
}

func TestReadable(t *testing.T) {
	t.Run("and_Writable_follow_a_pipe", func(t *testing.T) {
		r, w, readable := pipe(t)
		writable, err := w.SyscallConn()
		require.NoError(t, err)

		require.NoError(t, blockon.BlockOn(future.Writable(writable)))
		f := future.Readable(readable)
		require.False(t, poll(f).IsReady())
		_, err = w.Write([]byte("xy"))
		require.NoError(t, err)
		require.NoError(t, blockon.BlockOn(f))

		// What is there was told of already, and is still seen.
		for _, want := range []string{"x", "y"} {
			require.NoError(t, blockon.BlockOn(future.Readable(readable)))
			var one [1]byte
			_, err = r.Read(one[:])
			require.NoError(t, err)
			require.Equal(t, want, string(one[:]))
		}

		full := make([]byte, 1<<20)
		w.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		w.Write(full)
		w.SetWriteDeadline(time.Time{})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_, err = blockon.Await(ctx, future.Writable(writable))
		require.ErrorIs(t, err, context.DeadlineExceeded)

		w.Close()
		_, err = io.Copy(io.Discard, r)
		require.NoError(t, err)
		require.NoError(t, blockon.BlockOn(future.Readable(readable)), "the end is something to read")
		require.Error(t, blockon.BlockOn(future.Writable(writable)))
	})
	t.Run("of_one_descriptor_many_times_may_be_dropped_in_any_order", func(t *testing.T) {
		_, w, conn := pipe(t)
		fs, steps := make([]rawwaker.Future[error], 5), make([]step, 5)
		for i := range fs {
			fs[i] = future.Readable(conn)
			require.False(t, fs[i].Poll(steps[i].context()).IsReady())
		}
		for _, i := range []int{4, 2, 0, 2} { // the newest, one in the middle, the oldest
			drop(fs[i])
		}
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
		for _, i := range []int{1, 3} {
			require.NoError(t, blockon.BlockOn(fs[i]))
			require.PanicsWithValue(t, "future polled after completion", func() { poll(fs[i]) })
		}
		for _, i := range []int{0, 2, 4} {
			require.Zero(t, steps[i].wakes.Load(), "a wait that was dropped")
		}
	})
	t.Run("dropped_many_times_costs_one_goroutine_for_each_connection", func(t *testing.T) {
		_, w, conn := pipe(t)
		before := runtime.NumGoroutine()
		for range 1000 {
			f := future.Readable(conn)
			require.False(t, poll(f).IsReady())
			drop(f)
		}
		require.LessOrEqual(t, runtime.NumGoroutine(), before+10)
		f := future.Readable(conn)
		require.False(t, poll(f).IsReady())
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, blockon.BlockOn(f), "and the next shares it")
	})
	t.Run("wakes_all_beside_wakers_that_fail", func(t *testing.T) {
		_, w, conn := pipe(t)
		wait := func() rawwaker.Future[struct{}] { return unit(future.Readable(conn)) }
		through := make(chan struct{})
		var good sync.WaitGroup
		for range 10 {
			wait().Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { <-through })))
			wait().Poll(rawwaker.NewContext(rawwaker.FromFunc(runtime.Goexit)))
			polled := make(chan struct{})
			good.Go(func() { blockon.BlockOn(&signalled{Future: wait(), first: polled}) })
			<-polled
		}
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
		good.Wait()
		close(through)
	})
	t.Run("ends_each_with_its_own_error", func(t *testing.T) {
		r, _, conn := pipe(t)
		var fs []rawwaker.Future[error]
		for range 10 {
			f := future.Readable(conn)
			require.False(t, poll(f).IsReady())
			fs = append(fs, f)
		}
		require.NoError(t, r.SetReadDeadline(time.Now()))
		for _, f := range fs {
			require.ErrorIs(t, blockon.BlockOn(f), os.ErrDeadlineExceeded)
		}
		require.NoError(t, r.SetReadDeadline(time.Time{}))
		f := future.Readable(conn)
		require.False(t, poll(f).IsReady())
		r.Close()
		require.Error(t, blockon.BlockOn(f))
		require.Error(t, blockon.BlockOn(future.Readable(conn)))
	})
	t.Run("of_a_reused_descriptor_waits_for_the_new_connection", func(t *testing.T) {
		for range 50 {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			conn, err := r.SyscallConn()
			require.NoError(t, err)
			f := future.Readable(conn)
			require.False(t, poll(f).IsReady())
			go r.Close()
			require.Error(t, blockon.BlockOn(f))
			_, w2, conn2 := pipe(t)
			g := future.Readable(conn2)
			require.False(t, poll(g).IsReady())
			_, err = w2.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, blockon.BlockOn(g))
			w.Close()
		}
	})
	t.Run("of_nil_panics", func(t *testing.T) {
		require.PanicsWithValue(t, "future: Readable: nil connection", func() { future.Readable(nil) })
		require.PanicsWithValue(t, "future: Writable: nil connection", func() { future.Writable(nil) })
	})
	t.Run("ends_when_the_connection_is_closed", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		conn, err := c.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		f := future.Readable(conn)
		require.False(t, poll(f).IsReady())
		c.Close()
		require.Error(t, blockon.BlockOn(f))
	})
}
