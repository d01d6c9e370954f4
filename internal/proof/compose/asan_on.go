//go:build asan

package main

// asan: the address sanitizer does not know that a panic of Go unwinds through C.
const asan = true
