//go:build !cgo || !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs cgo: half of what it measures is the crossing to C")
	os.Exit(1)
}
