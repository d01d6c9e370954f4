//go:build !race && !ffiwakerdebug

package blockon_test

// exact reports whether a frame that returns to its pool is reused. Under the race detector a
// sync.Pool drops items at random; with the debug tag no frame is pooled.
const exact = true
