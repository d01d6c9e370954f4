//go:build !cgo || windows

package trace

import "os"

func debugText() string { return os.Getenv("FFIWAKERDEBUG") }

func secure() bool {
	return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() || atSecure()
}
