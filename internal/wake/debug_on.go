//go:build ffiwakerdebug

package wake

const FreshContexts = true
