//go:build !cgo

package main

func main() { panic("httpget is a library for C: it needs cgo") }
