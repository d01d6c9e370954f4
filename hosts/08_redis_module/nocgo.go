//go:build !cgo

package main

func main() { panic("redis_module is a library for C: it needs cgo") }
