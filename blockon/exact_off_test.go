//go:build race || ffiwakerdebug

package blockon_test

const exact = false
