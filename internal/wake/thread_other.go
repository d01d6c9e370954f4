//go:build !linux

package wake

// threadID is 0: not known here.
func threadID() int { return 0 }
