//go:build !cgo && unix

package wake

import "syscall"

func pipe() (readable, writable int, err error) {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		return -1, -1, err
	}
	for _, fd := range ends {
		syscall.CloseOnExec(fd)
		if err := syscall.SetNonblock(fd, true); err != nil {
			return -1, -1, err
		}
	}
	return ends[0], ends[1], nil
}

func read(fd int, b []byte) (int, error)  { return syscall.Read(fd, b) }
func write(fd int, b []byte) (int, error) { return syscall.Write(fd, b) }
func closeFD(fd int)                      { syscall.Close(fd) }
