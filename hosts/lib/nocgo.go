//go:build !cgo

package main

func main() { panic("hosts/lib is a library for C: it needs cgo") }
