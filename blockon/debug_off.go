//go:build !ffiwakerdebug

package blockon

// debug keeps frames from being used twice, so that a kept Context never meets another call.
const debug = false
