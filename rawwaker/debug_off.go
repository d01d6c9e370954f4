//go:build !ffiwakerdebug

package rawwaker

// debugGC collects garbage before each use of a C pointer where the tag ffiwakerdebug is set: what is collected too early
// is then collected at once.
func debugGC() {}

// debugHandles counts the handles that hold a reference of C, where the tag is set.
func debugHandles(int64) {}
