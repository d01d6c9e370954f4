//go:build !cgo

package wake

import "github.com/seed-8a1b3254/ffiwaker/internal/capi"

// Without cgo nothing crosses: package rawwaker refuses before it comes here.

func (c *Core) Cross() (w capi.Raw, ok bool) { return w, false }
func (c *Core) Lend() (w capi.Raw, ok bool)  { return w, false }
func (c *Core) Lent() bool                   { return false }
func (x *crossing) end()                     {}
func (p *Parker) spin() bool                 { return false }

func (c *Core) PollRaw(data, vtable, out uintptr, note *uintptr) capi.Polled {
	panic("ffiwaker: PollRaw needs cgo")
}

// CoreOf returns nil: there are no boxes.
func CoreOf(capi.Raw) *Core { return nil }

// CoreOfID returns nil likewise.
func CoreOfID(uint64) *Core { return nil }
