//go:build !unix

package trace

import "os"

func writeOnce(f *os.File, b []byte) (int, error) { return f.Write(b) }
