//go:build !ffiwakerdebug

package rawwaker

// debugGC collects garbage before each use of a C pointer if the tag ffiwakerdebug is set, so that
// what may be collected too early is collected at once.
func debugGC() {}

// debugHandles counts the handles that hold a reference of C, if the tag is set.
func debugHandles(int64) {}
