//go:build !ffiwakerdebug

package wake

// FreshContexts makes each BlockOn, each task and each poll by C use a Context of its own, so that
// one that is kept past its poll is found. The tag ffiwakerdebug sets it.
const FreshContexts = false
