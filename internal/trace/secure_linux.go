//go:build !cgo

package trace

import (
	"encoding/binary"
	"os"
	"strconv"
	"syscall"
)

// atSecure returns AT_SECURE, as the kernel reports it. A program with more rights than its
// caller may not read its own auxiliary vector, and its memory may not be dumped.
func atSecure() bool {
	const wordBytes, atSecure = strconv.IntSize / 8, 23
	word := func(b []byte) uint64 {
		if wordBytes == 8 {
			return binary.NativeEndian.Uint64(b)
		}
		return uint64(binary.NativeEndian.Uint32(b))
	}
	if auxv, err := os.ReadFile("/proc/self/auxv"); err == nil {
		for ; len(auxv) >= 2*wordBytes; auxv = auxv[2*wordBytes:] {
			if word(auxv) == atSecure {
				return word(auxv[wordBytes:]) != 0
			}
		}
	}
	const getDumpable = 3
	dumpable, _, err := syscall.RawSyscall(syscall.SYS_PRCTL, getDumpable, 0, 0)
	return err != 0 || dumpable != 1
}
