//go:build ffiwakerdebug

package blockon

const debug = true
