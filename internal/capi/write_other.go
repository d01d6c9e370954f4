//go:build !unix

package capi

import "os"

func writeOnce(f *os.File, b []byte) (int, error) { return f.Write(b) }
