//go:build race || asan || ffiwakerdebug

package blockon_test

const exact = false
