//go:build !cgo

package wake

import "github.com/seed-8a1b3254/ffiwaker/internal/capi"

// Without cgo nothing crosses: package rawwaker panics before it calls any of these.

func (c *Core) Cross() (w capi.Raw, ok bool) { return w, false }
func (c *Core) Lend() (w capi.Raw, ok bool)  { return w, false }
func (c *Core) Lent() bool                   { return false }
func (x *crossing) end()                     {}
func (p *Parker) spin() bool                 { return false }

func (c *Core) PollRaw(f capi.Raw, out uintptr, note *uintptr) capi.Polled {
	panic("wake: PollRaw needs cgo")
}

// CoreOf returns nil: there are no boxes.
func CoreOf(capi.Raw) *Core { return nil }
