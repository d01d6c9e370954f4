//go:build asan

package wakertest_test

const asan = true
