//go:build cgo && !windows

package trace

import "github.com/seed-8a1b3254/ffiwaker/internal/capi"

func debugText() string { return capi.DebugText() }

func secure() bool { return capi.Secure() }
