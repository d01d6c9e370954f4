//go:build unix

package trace

import (
	"io"
	"os"
	"syscall"
)

// writeOnce is one system call: an *os.File's Write has one goroutine wait for another's.
func writeOnce(f *os.File, b []byte) (n int, err error) {
	for {
		n, err = syscall.Write(int(f.Fd()), b)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return max(n, 0), &os.PathError{Op: "write", Path: f.Name(), Err: err}
		case n < len(b):
			return n, io.ErrShortWrite
		}
		return n, nil
	}
}
