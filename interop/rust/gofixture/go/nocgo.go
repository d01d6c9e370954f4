//go:build !cgo

package main

func main() { panic("gofixture is a library for Rust; it needs cgo") }
