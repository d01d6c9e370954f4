//go:build !race && !asan && !ffiwakerdebug

package blockon_test

// exact reports whether what returns to a pool is reused. Under the race detector a sync.Pool drops
// items at random; with the debug tag no frame is pooled; with the address sanitizer no C memory
// is.
const exact = true
