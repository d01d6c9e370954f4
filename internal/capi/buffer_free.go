//go:build asan || ffiwakerdebug

package capi

const poolBuffers = false
