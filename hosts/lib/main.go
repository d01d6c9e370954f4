//go:build cgo

// Lib is libffiwaker. It contains package archive and nothing else; `make -C hosts` builds it.
package main

import "C"

import _ "github.com/seed-8a1b3254/ffiwaker/hosts/archive"

func main() {}
