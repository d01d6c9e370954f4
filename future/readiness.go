//go:build unix

package future

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Readable is ready when something can be read from conn without blocking, its end and an error included. The error is that of a
// connection that was closed. To get conn: [net.TCPConn.SyscallConn], [os.File.SyscallConn] and the like; what a descriptor of C's
// wants is os.NewFile of a dup that is non-blocking.
//
// From the first poll that finds nothing to read it costs one goroutine, asleep in Go's netpoller, and no thread. Drop lets go of that
// goroutine, which stays until conn is readable or closed.
func Readable(conn syscall.RawConn) rawwaker.Future[error] {
	return readiness(conn, unix.POLLIN, syscall.RawConn.Read)
}

// Writable is the same for writing.
func Writable(conn syscall.RawConn) rawwaker.Future[error] {
	return readiness(conn, unix.POLLOUT, syscall.RawConn.Write)
}

func readiness(conn syscall.RawConn, events int16, wait func(syscall.RawConn, func(fd uintptr) bool) error) rawwaker.Future[error] {
	ready := func(fd uintptr) bool {
		for {
			// Asked again each time: the netpoller tells of what has come since it told last, not of what is there.
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 0)
			if err != unix.EINTR {
				return n != 0
			}
		}
	}
	return Then(now(conn, ready), func(err error) rawwaker.Future[error] {
		if err != errNotYet {
			return Ready(err)
		}
		return Map(Go(func(context.Context) (struct{}, error) { return struct{}{}, wait(conn, ready) }),
			func(r rawwaker.Result[struct{}]) error { return r.Err })
	})
}

// now is ready at its first poll, with errNotYet where conn is not.
func now(conn syscall.RawConn, ready func(fd uintptr) bool) rawwaker.Future[error] {
	return PollFn(func(*rawwaker.Context) rawwaker.Poll[error] {
		is := false
		err := conn.Control(func(fd uintptr) { is = ready(fd) })
		if err == nil && !is {
			err = errNotYet
		}
		return rawwaker.Ready(err)
	})
}

type notYet struct{}

func (notYet) Error() string { return "not ready" }

var errNotYet error = notYet{}
