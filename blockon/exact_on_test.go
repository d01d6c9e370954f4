//go:build !race && !ffiwakerdebug

package blockon_test

// exact: sync.Pool keeps what it is given. Under the race detector it forgets at random; the debug tag uses no frame twice.
const exact = true
