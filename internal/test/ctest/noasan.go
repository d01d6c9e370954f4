//go:build !asan

package ctest

const ASan = false
