//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime returns the user and system time of this process; false: the system does not report it.
func cpuTime() (time.Duration, bool) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0, false
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), true
}
