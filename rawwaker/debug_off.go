//go:build !ffiwakerdebug

package rawwaker

// debugGC collects garbage before each use of a C pointer where the tag ffiwakerdebug is set: what is collected too early
// is then collected at once.
func debugGC() {}

// debugHandles counts the handles that hold a reference of C, where the tag is set.
func debugHandles(int64) {}

// freshContexts gives each poll of C a Context of its own, where the tag is set, so that one that is kept is found out.
const freshContexts = false
