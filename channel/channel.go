// Package channel links the C channel, rawwaker_channel.h and rawwaker_channel.c, into a Go
// program.
//
// A blank import is enough: it makes the functions of rawwaker_channel.h available to the program's
// C code. The stream of such a channel is read in Go through rawwaker.StreamFromRaw or
// rawwaker.StreamFromRawFunc. Channels between Go tasks are in package future.
package channel

import (
	"embed"

	_ "github.com/seed-8a1b3254/ffiwaker" // embeds rawwaker.h, which the channel includes
)

// Sources holds rawwaker_channel.h and rawwaker_channel.c, for C programs that copy them.
//
//go:embed rawwaker_channel.h rawwaker_channel.c
var Sources embed.FS
