//go:build !asan && !ffiwakerdebug

package capi

// poolBuffers: a [Buffer] that is given back is used again. With the address sanitizer and in debug
// builds it is freed instead, so that a use of a result after its time is found.
const poolBuffers = true
