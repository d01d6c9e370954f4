//go:build unix

package main

import (
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// readable gives up a wait for a pipe that nothing is written to.
func (l *longLife) readable(cx *rawwaker.Context) {
	conn, err := l.pipe[0].SyscallConn()
	if err != nil {
		panic(err)
	}
	pollAndDrop(future.Readable(conn), cx)
}
