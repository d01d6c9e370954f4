//go:build unix

package future_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
)

func TestReadableAndWritable(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	readable, err := r.SyscallConn()
	require.NoError(t, err)
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
}

func TestReadableEndsWhenTheConnectionIsClosed(t *testing.T) {
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
}
